"""What `finetune --dry-run` shows."""

from __future__ import annotations

from tlkeras.data.examples import Dataset
from tlkeras.jobs import plan as planning
from tlkeras.jobs import preflight
from tlkeras.jobs.examples import build
from tlkeras.training import freezing


def dry_run(plan: planning.Plan, dataset: Dataset) -> str:
    """Returns what the data are, and for each phase of the recipe the table of layers: rule, parameters, flag, BatchNorm mode."""
    plan = planning.for_examples(plan, dataset)
    config = plan.config
    dataset = preflight.limited(config, dataset)
    task = build(plan, dataset.target, dataset)
    tables = [preflight.describe(config, dataset)]
    for phase, rules in planning.phases(plan, task.section_names):
        flags = freezing.apply(task.model, rules, sections=task.sections, batch_norm=config.train.batch_norm or "frozen")
        tables.append(f"phase {phase.name}: at most {phase.epochs} epochs, learning rate {phase.learning_rate:g}\n{flags}")
    return "\n\n".join(tables)
