"""Recommend a backbone for a data set: all whose weights can be had race against each other; costs and limits are beside it."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tlkeras import files
from tlkeras.backbones.row import Backbone
from tlkeras.config import RecommendConfig, RunConfig, keys
from tlkeras.data.examples import Dataset
from tlkeras.data.row_cache import open_cache
from tlkeras.data.sources.registry import is_passed
from tlkeras.jobs import latency, preflight
from tlkeras.jobs.entrants import Entrants, check_any, entered, is_timed, limits_of, request_of, rows_of, run_config, task_of
from tlkeras.jobs.run_folder import check_free, fresh
from tlkeras.modalities.sources import modality_of
from tlkeras.progress import Reporter
from tlkeras.selection import candidates, cost, pages, race
from tlkeras.selection import recommend as selection
from tlkeras.selection.examples import Compared, compared
from tlkeras.selection.probe import Probe, Reader
from tlkeras.selection.race import Race
from tlkeras.startup import tensor_float32
from tlkeras.tasks.registry import Task

RECORD, PLOT = "recommend.json", "recommend.png"
SAMPLES = 16  # examples that latencies are measured and int8 files calibrated on


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The result: the content of `recommend.json`, and the folder that holds it with the plot."""

    content: Mapping[str, Any]
    folder: Path | None = None

    @property
    def backbone(self) -> str:
        """Name of the recommended backbone."""
        return str(self.content["recommended"])

    @property
    def reason(self) -> str:
        """Why it is recommended."""
        return str(self.content["reason"])

    @property
    def ranking(self) -> list[Mapping[str, Any]]:
        """A record of each backbone that was compared, best first."""
        return list(self.content["ranking"])


def recommend(config: RecommendConfig, dataset: Dataset, *, reporter: Reporter) -> Recommendation:
    """Compares backbones on examples that were opened, and writes the result; see `tlkeras.recommend`."""
    content = compare(config, dataset, reporter=reporter)
    folder = Path(config.out) if config.out else fresh(Path("runs"), "recommend", dataset.source or dataset.name)
    check_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / RECORD, content)
    pages.plot(content, folder / PLOT)
    return Recommendation(content=content, folder=folder)


def compare(config: RecommendConfig, dataset: Dataset, *, reporter: Reporter, rows: Sequence[Backbone] | None = None) -> dict[str, Any]:
    """Returns the content of `recommend.json`.

    Args:
        config: the settings.
        dataset: the examples.
        reporter: receives progress.
        rows: backbones to compare; those of the settings when None.

    Raises:
        ConfigError: when no backbone is left to compare, with the reasons.
    """
    started, run = time.monotonic(), run_config(config)
    dataset = preflight.limited(run, dataset)
    task, modality = task_of(config, dataset), modality_of(dataset)
    rows = rows_of(config, dataset, modality) if rows is None else rows
    examples = compared(dataset, val_split=config.data.val_split, test_split=config.data.test_split, seed=config.seed)
    unseen = f"; the {examples.held_out:,} of the test split are not looked at" if examples.held_out else ""
    reporter.say(f"{len(examples):,} examples of {dataset.target.described} to compare on{unseen}")
    if config.device is not None and cost.DEVICES[config.device].accelerator and not tf.config.get_visible_devices("GPU"):
        reporter.warn(f"device is {config.device}, and there is none here: times are those of this processor")
    with tempfile.TemporaryDirectory(prefix="tlkeras-recommend-") as work, reporter.live(), tensor_float32(False):
        reader = Reader(
            examples=examples,
            cache=open_cache(config.data.cache, reporter.warn),
            work=Path(work),
            progress=reporter.progress,
            seed=config.seed,
            count=config.folds,
        )
        entrants = entered(rows, config, examples, run, task, reporter)
        check_any(entrants, modality, dataset)
        order = _by_cost(entrants.probes, reader, reporter)
        latencies = {}
        if config.max_latency_ms is not None:
            latencies = _latencies(config, order, entrants, reader, reporter)
            check_any(entrants, modality, dataset)
        course = _race(config, [name for name in order if name in entrants.probes], entrants.probes, reader, started, reporter)
        entrants.excluded |= course.refused
        if not latencies and is_timed(config):
            latencies = _latencies(config, list(course.rungs[-1].estimates), entrants, reader, reporter)
    return _content(config, dataset, task, entrants, course, latencies, examples, time.monotonic() - started)


# === Costs and the race ===


def _by_cost(probes: Mapping[str, Probe], reader: Reader, reporter: Reporter) -> list[str]:
    """Returns the names, the cheapest first, those with the same form of input after one another."""
    groups: list[list[str]] = []
    for number, (name, own) in enumerate(probes.items()):
        reporter.progress("time", number, len(probes), name)
        own.time(reader)
        group = next((names for names in groups if probes[names[0]].inputs == own.inputs), None)
        if group is None:
            groups.append(group := [])
        group.append(name)
    reporter.progress("time", len(probes), len(probes), "")
    for names in groups:
        names.sort(key=lambda name: probes[name].seconds)
    return [name for names in sorted(groups, key=lambda names: probes[names[0]].seconds) for name in names]


def _latencies(
    config: RecommendConfig, names: list[str], entrants: Entrants, reader: Reader, reporter: Reporter
) -> dict[str, dict[str, Any]]:
    """Measures backbones as files, and leaves out those that are too slow."""
    records: dict[str, dict[str, Any]] = {}
    limits = limits_of(config)
    kind = "int8" if limits.integers else "float32"
    for number, name in enumerate(names):
        reporter.progress("latency", number, len(names), name)
        own = entrants.probes[name]
        store = reader.first(own.inputs, SAMPLES)
        samples = np.asarray(store.inputs)
        samples = samples if store.lengths is None else samples[:, : int(np.median(store.lengths))]
        records[name] = latency.measured(own.row, own.prefix, samples)
        took = records[name][kind].get("ms")
        if limits.latency_ms is not None and (took is None or took > limits.latency_ms):
            why = records[name][kind].get("refused", "") if took is None else f"{took:.1f} ms for one example in {kind} here"
            entrants.excluded[name] = f"{why}; at most {limits.latency_ms:g} ms"
            del entrants.probes[name]
    reporter.progress("latency", len(names), len(names), "")
    return records


def _race(
    config: RecommendConfig, order: list[str], probes: Mapping[str, Probe], reader: Reader, started: float, reporter: Reporter
) -> Race:
    """Runs the race within its minutes."""
    steps = race.sizes(len(reader.examples), len(reader.examples.dataset.labels))

    def measure(name: str, size: int) -> race.Estimate:
        own = probes[name].measure(reader, size)
        low, high = own.interval
        reporter.say(f"{name}: {own.figure:.3f} ({low:.3f} to {high:.3f}) on {own.examples:,} examples")
        return own

    return race.run(
        order,
        steps,
        measure,
        {name: probes[name].seconds for name in order},
        remaining=lambda: config.max_minutes * 60 - (time.monotonic() - started),
        clock=time.monotonic,
        leave=lambda name: probes[name].release(),
    )


# === The result ===


def _content(
    config: RecommendConfig,
    dataset: Dataset,
    task: Task,
    entrants: Entrants,
    course: Race,
    latencies: Mapping[str, Mapping[str, Any]],
    examples: Compared,
    seconds: float,
) -> dict[str, Any]:
    """Returns the content of `recommend.json`."""
    measure = task.compared or task.figure
    facts = {name: _facts(entrants.probes[name], latencies.get(name)) for name in course.order}
    records = selection.ranking(course, facts)
    price = cost.DEVICES[config.device].price if config.device else None
    choice = selection.chosen(records, price)
    integers = bool(config.device and cost.DEVICES[config.device].integers)
    size = f"bytes_{'int8' if integers else 'float32'}"
    for record, best in zip(records, selection.on_front(records, size), strict=True):
        record["pareto"] = best
    return {
        "format": selection.FORMAT,
        "data": dataset.name,
        "examples": len(examples),
        "held_out_for_test": examples.held_out,
        "task": task.name,
        "figure": measure,
        "folds": config.folds,
        "seed": config.seed,
        "device": config.device,
        "integers": integers,
        "accelerator": bool(tf.config.get_visible_devices("GPU")),
        "machine": cost.machine(),
        "limits": {key: getattr(config, key) for key in ("max_latency_ms", "max_size_mb", "max_minutes", "licence")},
        "recommended": choice["backbone"],
        "reason": selection.reason(records, choice, measure, config.folds, price),
        "command": command(run_config(config).updated(backbone=choice["backbone"]), dataset),
        "ranking": records,
        "scores_on": course.rungs[0].examples,
        "rungs": [{"examples": rung.examples, "backbones": list(rung.estimates), "left": dict(rung.left)} for rung in course.rungs],
        "excluded": entrants.excluded,
        "published": published_rows(entrants.lineup.downloads) if config.include_downloads else [],
        "unavailable": [*entrants.unavailable, *(row.name for row in entrants.lineup.downloads)],
        "seconds": round(seconds, 1),
    }


def _facts(own: Probe, latencies: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns what a record says of a backbone besides its figure."""
    parameters = own.prefix.count_params()
    estimated = cost.sizes(parameters)
    known = latencies or {}
    measured = {kind: known.get(kind, {}) for kind in estimated}
    return {
        "parameters": parameters,
        **{f"bytes_{kind}": measured[kind].get("bytes", size) for kind, size in estimated.items()},
        "bytes_measured": all("bytes" in measured[kind] for kind in estimated),
        **{f"latency_{kind}_ms": measured[kind].get("ms") for kind in estimated},
        "latency_refused": {kind: row["refused"] for kind, row in measured.items() if "refused" in row},
        "seconds_per_example": own.seconds,
        "licence": own.row.license,
        "weights": own.row.weights[0].kind,
        "image_size": getattr(own.inputs, "size", None),
        "strength": own.solution.strength if own.solution else None,
        "logme": own.transfer.get("logme"),
        "h_score": own.transfer.get("h_score"),
        "details": own.details,
    }


def published_rows(rows: tuple[Backbone, ...]) -> list[dict[str, Any]]:
    """Returns the published figures of backbones whose weights are not here, the best first; those without one are not listed."""
    known = [(row, candidates.published(row)) for row in rows]
    records = [
        {
            "backbone": row.name,
            "value": figure.value,
            "measure": figure.measure,
            "source": figure.source,
            "parameters": row.params,
            **{f"bytes_{kind}": size for kind, size in cost.sizes(row.params).items()},
            "licence": row.license,
        }
        for row, figure in known
        if figure is not None
    ]
    return sorted(records, key=lambda record: (record["measure"], -record["value"]))


def command(config: RunConfig, dataset: Dataset) -> str:
    """Returns the command of the run that a backbone was chosen for, as typed."""
    words = ["tlkeras", "finetune"]
    if dataset.source is not None and is_passed(dataset.source) or dataset.source is None and config.data.source is None:
        words += ["--data", "SOURCE"]
    for item in keys(RunConfig):
        value = config.value_of(item)
        if value == item.default:
            continue
        flag = f"--{item.key.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag.removeprefix('--')}")
        else:
            words += [flag, shlex.quote(",".join(map(str, value)) if isinstance(value, tuple) else str(value))]
    return " ".join(words)


def for_run(config: RunConfig, dataset: Dataset, *, reporter: Reporter) -> Recommendation:
    """Returns the recommendation for a run whose backbone is `auto`; nothing is written.

    Raises:
        ConfigError: see `compare`.
    """
    reporter.say(f"backbone auto: compares the pretrained backbones for {modality_of(dataset).plural}")
    return Recommendation(content=compare(request_of(config), dataset, reporter=reporter))
