"""A batch size of `auto` becomes a number, which the config of the run records: a run with that number is the same run."""

from __future__ import annotations

import dataclasses

from tlkeras.config import RunConfig
from tlkeras.config.parsing import AUTO, BATCH
from tlkeras.distribution.strategies import Distribution
from tlkeras.errors import ConfigError
from tlkeras.jobs import plan as planning
from tlkeras.jobs.plan import Plan
from tlkeras.models import TaskModel
from tlkeras.progress import Reporter
from tlkeras.training.batch_trial import batch_trial
from tlkeras.training.options import Examples, Options

# Rates of the recipes are for AdamW: Malladi et al. 2022, https://arxiv.org/abs/2205.10287.
SCALING = "sqrt"


def check(config: RunConfig, distribution: Distribution) -> None:
    """Rejects a batch size to be chosen where several devices share the work, whose speeds one of them cannot tell.

    Raises:
        ConfigError: stating the placement.
    """
    if config.train.batch_size == AUTO and distribution.strategy is not None:
        raise ConfigError(
            f"batch_size is {AUTO}, which is measured on one device, and the placement is {distribution.name}; pass a number (--batch-size {BATCH})"
        )


def chosen(plan: Plan, task: TaskModel, train: Examples, options: Options, reporter: Reporter, **facts: object) -> Plan:
    """Returns the plan with the batch size at which training is fastest, where its config leaves it open.

    Learning rates then grow with the square root of the batch size above the 32 that recipes are made for, unless the config says linear.

    Args:
        plan: of the run.
        task, train, options: as for training.
        reporter: receives the speeds that were measured.
        facts: of the data and the machine, as for `plan.phases`.
    """
    config = plan.config
    if config.train.batch_size != AUTO:
        return plan
    trial = batch_trial(task, planning.phases(plan, task.section_names, **facts), train, options)
    if trial is None:
        reporter.say(f"batch_size {BATCH}: nothing is trained by steps, so auto has nothing to choose")
        return dataclasses.replace(plan, config=config.updated(batch_size=BATCH))
    scaling = SCALING if config.train.scale_learning_rate == "none" else config.train.scale_learning_rate
    reporter.say(f"{trial.described}; learning rates times {scaling} of {trial.chosen} / {BATCH}")
    return dataclasses.replace(plan, config=config.updated(batch_size=trial.chosen, scale_learning_rate=scaling))
