"""What the report of a run and the card of an entry say about several targets: for each what its own task says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlkeras.data.target import Target
from tlkeras.registry import load_function
from tlkeras.tasks.cases import Cases, slug
from tlkeras.tasks.markup import code, escape, figure, plain, table
from tlkeras.tasks.registry import Targets
from tlkeras.tasks.several import Score, parts_of


def report(figures: Score, split: str, target: Target, conditions: str) -> list[tuple[str, str]]:
    """Returns the headline of each target, and the sections of each."""
    headlines, sections = "", []
    for part in parts_of(target):
        name = part.target.name
        (_, headline), *others = load_function(part.task.report)(figures.parts[name], split, part.target, conditions)
        headlines += f"<h3>{escape(name)}</h3>{headline}"
        start = f'href="#{slug(name)}-cell-'  # the matrices of several targets are told apart
        sections += [(f"{name}: {title}", body.replace('href="#cell-', start)) for title, body in others]
    return [("", headlines), *_weights(target), *sections]


def cases(targets: Targets, scores: np.ndarray, target: Target) -> dict[str, Cases]:
    """Returns how each target of each example was predicted."""
    return {
        part.target.name: load_function(part.task.cases)(part.targets_in(targets), scores[:, part.scores], part.target)[""]
        for part in parts_of(target)
        if part.task.cases
    }


def _weights(target: Target) -> list[tuple[str, str]]:
    """Returns the weights of the losses that were learnt."""
    learnt = target.facts.get("learnt_weights")
    return (
        [("Learnt weights of the losses", table(("target", "weight"), [(name, figure(value)) for name, value in learnt.items()]))]
        if learnt
        else []
    )


def publish(metrics: Mapping[str, Any], rows: Sequence[Mapping[str, str]], target: Target) -> dict[str, Any]:
    """Returns what the manifest of an entry records: for each target what its own task records."""
    results = {}
    for part in parts_of(target):
        name, start = part.target.name, f"{part.target.name}/"
        own_metrics = {split: {**metrics[split]["targets"][name], "n": metrics[split]["n"]} for split in ("val", "test")}
        own_rows = [{title.removeprefix(start): cell for title, cell in row.items() if title.startswith(start)} for row in rows]
        results[name] = load_function(part.task.publish)(own_metrics, own_rows, part.target)
    return {"metrics": {split: metrics[split] for split in ("val", "test")}, "targets": results}


def card(content: Mapping[str, Any], noun: str) -> list[tuple[str, str]]:
    """Returns a sentence on all targets, and the sections of each."""
    target = Target.from_dict(json.loads(content["metadata"]["target"]))
    summaries, sections = [], []
    for part in parts_of(target):
        name = part.target.name
        own = {
            **content,
            **content["targets"][name],
            "task": part.task.name,
            "labels": list(part.target.labels),
            "metadata": {**content["metadata"], "task": part.task.name, "target": json.dumps(part.target.to_dict())},
        }
        (_, summary), *others = load_function(part.task.card)(own, noun)
        summaries.append(f"{code(name)} ({summary.rstrip('.')})")
        sections += [(f"{plain(name)}: {title}", body) for title, body in others]
    return [("", f"{content['task']}: {len(summaries)} targets at once: {'; '.join(summaries)}."), *sections]
