"""What `finetune --dry-run` shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset, tallied
from tlkeras.data.split import SPLITS
from tlkeras.data.target import Target, by_part, number_text
from tlkeras.jobs import plan as planning
from tlkeras.jobs import preflight
from tlkeras.jobs.examples import build
from tlkeras.modalities.sources import modality_of
from tlkeras.training import freezing
from tlkeras.training.recipes.registry import function


def dry_run(plan: planning.Plan, dataset: Dataset) -> str:
    """Returns what the data are, and for each phase of the recipe the table of layers: rule, parameters, flag, BatchNorm mode."""
    plan = planning.for_examples(plan, dataset)
    config = plan.config
    dataset = preflight.limited(config, dataset)
    task = build(plan, dataset.target, dataset)
    task = function(plan.recipe.transform)(task) if plan.recipe.transform else task
    tables = [describe(config, dataset)]
    for phase, rules in planning.phases(plan, task.section_names):
        batch_norm = phase.batch_norm or config.train.batch_norm or "frozen"
        flags = freezing.apply(task.model, rules, sections=task.sections, batch_norm=batch_norm, only=phase.only)
        tables.append(f"phase {phase.name}: at most {phase.epochs} epochs, learning rate {phase.learning_rate:g}\n{flags}")
    return "\n\n".join(tables)


def describe(config: RunConfig, dataset: Dataset) -> str:
    """Returns the report of a dry run on the examples: their number, classes, splits and issues."""
    dataset = preflight.limited(config, dataset)
    target, values = dataset.target, [example.label for example in dataset.examples]
    lines = [f"data: {len(dataset.examples):,} {modality_of(dataset).plural} from {dataset.name}"]
    for part, own in zip(target.parts, by_part(target, values), strict=True) if target.parts else [(target, values)]:
        lines += [f"{f'{part.name}, ' if target.parts else ''}{part.described}:", *_entries(part, own)]
    lines.append(f"splits: {_splits(config, dataset)}")
    notes = Counter(note.kind for note in dataset.notes)
    for kind, count in sorted(notes.items()):
        first = next(note for note in dataset.notes if note.kind == kind)
        lines.append(f"note: {kind} ({count}): {first.path}: {first.reason} ({first.action})" + (" …" if count > 1 else ""))
    return "\n".join(lines)


def _entries(target: Target, values: Sequence[Any]) -> list[str]:
    """Returns a line for each entry of the label map: how often it occurs, or of numbers from where to where they go."""
    counts = tallied(Counter(values), target)
    if counts:
        return [f"  {label}: {counts[label]:,}" for label in target.labels]
    columns = zip(target.labels, target.encode(values).T, strict=True)
    return [f"  {name}: {number_text(float(column.min()))} to {number_text(float(column.max()))}" for name, column in columns]


def _splits(config: RunConfig, dataset: Dataset) -> str:
    """Returns the sizes that the source gives, or those expected where examples are split by their content."""
    if dataset.has_splits:
        own = Counter(example.split or "train" for example in dataset.examples)
        return ", ".join(f"{name} {own[name]:,}" for name in SPLITS if own[name]) + ", from the source"
    val, test = (fraction or 0.0 for fraction in planning.split_fractions(config, dataset))
    shares = {"train": 1 - val - test, "val": val, "test": test}
    return ", ".join(f"{name} about {round(share * len(dataset.examples)):,}" for name, share in shares.items()) + ", by content"
