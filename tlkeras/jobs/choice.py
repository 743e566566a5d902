"""The backbone `auto` of a run: one named step between the settings and the plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset
from tlkeras.distribution.cluster import from_environment
from tlkeras.errors import ConfigError
from tlkeras.jobs import plan as planning
from tlkeras.jobs import preflight
from tlkeras.jobs.plan import Plan
from tlkeras.modalities.sources import open_source
from tlkeras.progress import Reporter
from tlkeras.startup import load_tensorflow
from tlkeras.weights.sources import FIRST


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A plan whose backbone is known, and the examples where they were opened for that."""

    plan: Plan
    dataset: Dataset | None


def settled(config: RunConfig, dataset: Dataset | None, reporter: Reporter, *, start: Callable[[], None] = load_tensorflow) -> Settled:
    """Returns the plan of a run; a backbone `auto` is decided by the examples first, which loads TensorFlow.

    Args:
        config: as the user gave it.
        dataset: examples that were passed instead of a source.
        reporter: receives the progress of the comparison.
        start: loads TensorFlow.

    Raises:
        ConfigError: when settings contradict a choice, or there is nothing to choose from.
    """
    if config.model.backbone != planning.CHOSEN:
        return Settled(plan=planning.resolve(config), dataset=dataset)
    if config.model.weights not in FIRST:
        raise ConfigError(
            f"weights is {config.model.weights!r}, and backbone auto compares pretrained ones; leave one of them out, or name a backbone"
        )
    if from_environment() is not None:
        raise ConfigError("backbone auto is decided by one machine; run `tlkeras recommend` first and name the backbone it recommends")
    if dataset is None:
        dataset = open_source(config.data.source, data_dir=config.data.data_dir, columns=preflight.columns(config))
    preflight.check_out(config)
    start()
    from tlkeras.jobs import recommend  # needs TensorFlow

    recommendation = recommend.for_run(config, dataset, reporter=reporter)
    reporter.say(f"backbone: {recommendation.reason}")
    return Settled(plan=planning.resolve(config, recommendation.content), dataset=dataset)


def opened(
    config: RunConfig, dataset: Dataset | None, reporter: Reporter, *, start: Callable[[], None] = load_tensorflow
) -> tuple[Plan, Dataset]:
    """Returns the plan of a run, see `settled`, and its examples, see `preflight.open_examples`."""
    decided = settled(config, dataset, reporter, start=start)
    return decided.plan, preflight.open_examples(decided.plan, decided.dataset)
