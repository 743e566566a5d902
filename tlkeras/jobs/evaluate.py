"""Score a run or an artifact, in its own runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras import files
from tlkeras.config import EvaluateConfig, RunConfig
from tlkeras.data.examples import Dataset, Example
from tlkeras.data.row_cache import open_cache
from tlkeras.data.split import group_numbers
from tlkeras.data.store import Store
from tlkeras.errors import DataError
from tlkeras.evaluation import comparison, intervals, robustness, slices
from tlkeras.evaluation.prediction import Model
from tlkeras.evaluation.slice_columns import COLUMNS
from tlkeras.jobs import evaluation_request, report_run, run_folder
from tlkeras.jobs.evaluation_request import Request
from tlkeras.jobs.opening import open_target
from tlkeras.jobs.preflight import Chosen
from tlkeras.progress import AUTO, SILENT, Reporter, resolve
from tlkeras.registry import load_function
from tlkeras.tasks.measures import Measures
from tlkeras.tasks.protocols import Score
from tlkeras.tasks.registry import Targets, take

VERSION = 1  # of the format of evaluation.json
PARTS = ("figures", "against", "slices", "corruptions")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Figures of a run or an artifact on some examples.

    Args:
        score: the figures that `metrics.json` has too.
        runtime: name and version of the runtime.
        data, part: the source and the split.
        skipped: examples that could not be read.
        figures: target -> every figure with its interval; see `evaluation.intervals.estimates`.
        against: `run` and `targets`: target -> comparison with another run; see `evaluation.comparison.compare`.
        slices: target -> slices; see `evaluation.slices.evaluate`.
        corruptions: target -> what is lost on corrupted inputs; see `evaluation.robustness.summarised`.
    """

    score: Score
    runtime: str
    data: str
    part: str
    skipped: int
    figures: Mapping[str, Any] = field(default_factory=dict)
    against: Mapping[str, Any] = field(default_factory=dict)
    slices: Mapping[str, Any] = field(default_factory=dict)
    corruptions: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON holds it; parts that were not asked for are left out."""
        return {
            **self.score.detailed(),
            "runtime": self.runtime,
            "data": self.data,
            "split": self.part,
            "skipped": self.skipped,
            **{name: dict(part) for name in PARTS if (part := getattr(self, name))},
        }

    def lines(self) -> list[str]:
        """Returns the details that `tlkeras evaluate` prints below the headline."""
        return [
            *(intervals.lines(self.figures) if self.figures else self.score.lines()),
            *(comparison.lines(self.against["run"], self.against["targets"]) if self.against else []),
            *(slices.lines(self.slices) if self.slices else []),
            *(robustness.lines(self.corruptions) if self.corruptions else []),
        ]


def evaluate(
    target: str | Path,
    data: str | Path | Dataset | Chosen | Request | None = None,
    *,
    dataset: Dataset | None = None,
    part: str = "auto",
    data_dir: str | None = None,
    reporter: Reporter | str | None = AUTO,
    **settings: Any,
) -> Evaluation:
    """Scores a run or an artifact; arguments, result and errors are those of `tlkeras.evaluate`."""
    reporter = resolve(reporter)
    if isinstance(data, Request):
        request = data
    else:
        config = EvaluateConfig.from_dict({"split": part, "data_dir": data_dir, **settings})
        request = evaluation_request.check(target, data if dataset is None else dataset, config)
    opened = open_target(target)
    with reporter.live():
        result = _evaluate(opened, request, reporter)
    run = run_folder.run_of(target)
    if run is not None:
        _store(run.evaluation, result)
        report_run.refresh(run, reporter)
    return result


def _evaluate(opened: Model, request: Request, reporter: Reporter) -> Evaluation:
    config, examples = request.config, _decoded(opened, request.chosen, request.config.part, reporter)
    scored = _scored(opened, examples, reporter)
    figures = load_function(opened.task.score)(scored.targets, scored.scores, opened.target)
    measures, seed = scored.measures(), config.seed
    optional: dict[str, Any] = {}
    if request.other is not None and config.against is not None:
        optional["against"] = {"run": config.against, "targets": _against(config, request.other, scored, reporter)}
    if config.slices:
        columns = _slice_columns(request, scored)
        optional["slices"] = {
            name: slices.evaluate(columns, lambda index, name=name: scored.measures(index)[name], part.n, seed=seed)  # type: ignore[misc]
            for name, part in measures.items()
        }
    if config.corruptions:
        optional["corruptions"] = _corruptions(request.chosen.dataset, scored, measures, seed, reporter)
    return Evaluation(
        score=figures,
        runtime=opened.runtime,
        data=examples.name,
        part=examples.part,
        skipped=len(examples.store.skipped),
        figures={name: intervals.estimates(part, seed=seed) for name, part in measures.items()},
        **optional,
    )


def _store(path: Path, result: Evaluation) -> None:
    """Writes what was found; parts of an earlier evaluation on the same examples stay."""
    content = {"version": VERSION, **result.to_dict()}
    if path.is_file():
        try:
            earlier = run_folder.read_json(path)
        except DataError:  # it is replaced: a damaged file must not cost an evaluation
            earlier = {}
        if all(earlier.get(name) == content[name] for name in ("version", "runtime", "data", "split", "n")):
            content |= {name: earlier[name] for name in PARTS if name in earlier and name not in content}
    files.write_json(path, content)


# === Examples ===


@dataclass(frozen=True, kw_only=True)
class _Examples:
    """Decoded examples, which of them are meant, and what they are called."""

    store: Store
    index: np.ndarray
    part: str
    name: str


@dataclass(frozen=True, kw_only=True)
class _Scored:
    """A model, its scores on some examples, and what these are.

    `groups` has one number for each example, the same for those that belong together; it is None where the data name no groups.
    """

    opened: Model
    examples: tuple[Example, ...]
    sha256: tuple[str, ...]
    inputs: np.ndarray
    targets: Targets
    scores: np.ndarray
    groups: np.ndarray | None

    def measures(self, index: np.ndarray | None = None, scores: np.ndarray | None = None) -> dict[str, Measures]:
        """Returns the figures of each target on some of the examples; none where the task has nothing but its score."""
        opened, scores = self.opened, self.scores if scores is None else scores
        if not opened.task.measures:
            return {}
        targets, groups = self.targets, self.groups
        if index is not None:
            targets, scores = take(targets, index), scores[index]
            groups = None if groups is None else groups[index]
        measured: dict[str, Measures] = load_function(opened.task.measures)(targets, scores, opened.target)
        return intervals.grouped(measured, groups)


def _decoded(opened: Model, chosen: Chosen, part: str, reporter: Reporter) -> _Examples:
    """Decodes examples as a model accepts them, and picks a part of them; see `evaluate`."""
    dataset = chosen.dataset
    cache = open_cache(chosen.own is None or chosen.own.data.cache, reporter.warn)
    store = opened.inputs.materialise(dataset, progress=partial(reporter.progress, "decode"), cache=cache)
    index, part = _chosen(store, dataset, chosen.own, part)
    if not len(index):
        raise DataError(f"{dataset.name} has no examples in its {part} split; choose another with --split")
    return _Examples(store=store, index=index, part=part, name=dataset.name)


def _scored(opened: Model, examples: _Examples, reporter: Reporter) -> _Scored:
    store, index = examples.store, examples.index
    inputs = store.inputs[index]
    scored = tuple(store.examples[position] for position in index)
    sha256 = tuple(store.sha256[position] for position in index)
    return _Scored(
        opened=opened,
        examples=scored,
        sha256=sha256,
        inputs=inputs,
        targets=take(opened.task.targets_of(store.examples, opened.target), index),
        scores=opened.scores(inputs, progress=partial(reporter.progress, "score")),
        groups=group_numbers(sha256, [example.group for example in scored]),
    )


def held_out(opened: Model, chosen: Chosen, *, reporter: Reporter = SILENT) -> tuple[np.ndarray, Targets, str]:
    """Returns held-out inputs, their targets, and what they are called."""
    examples = _decoded(opened, chosen, "auto", reporter)
    store, index = examples.store, examples.index
    targets = take(opened.task.targets_of(store.examples, opened.target), index)
    return np.asarray(store.inputs[index]), targets, f"{examples.name}, {examples.part}, {len(index)} examples"


def _chosen(store: Store, dataset: Dataset, own: RunConfig | None, part: str) -> tuple[np.ndarray, str]:
    """Returns which examples to score, and what they are called."""
    everything = np.arange(len(store))
    if part == "all" or (part == "auto" and own is None and not dataset.has_splits):
        return everything, "all"
    fractions: dict[str, Any] = {"val_split": own.data.val_split, "test_split": own.data.test_split, "seed": own.seed} if own else {}
    splits = store.split(**fractions)
    if part == "auto":
        part = "test" if len(splits.test) else "val"
    return getattr(splits, part), part


# === On request ===


def _against(config: EvaluateConfig, chosen: Chosen, first: _Scored, reporter: Reporter) -> dict[str, Any]:
    """Returns the comparison with another model on the examples that both are scored on."""
    other_name = str(config.against)
    opened = open_target(other_name)
    second = _scored(opened, _decoded(opened, chosen, config.part, reporter), reporter)
    # By content too: two sources may have different examples of one name.
    places = {(example.id, digest): place for place, (example, digest) in enumerate(zip(second.examples, second.sha256, strict=True))}
    names = ((example.id, digest) for example, digest in zip(first.examples, first.sha256, strict=True))
    pairs = [(place, places[name]) for place, name in enumerate(names) if name in places]
    if not pairs:
        raise DataError(
            f"no example is held out from both models: {other_name!r} has other examples or other splits; pass --data with examples of neither"
        )
    index, other = (np.array(side) for side in zip(*pairs, strict=True))
    differing = [first.examples[at] for at, to in pairs if first.examples[at].label != second.examples[to].label]
    if differing:
        raise DataError(
            f"{len(differing)} of {len(pairs)} shared examples have other labels for {other_name!r}, the first is {differing[0].id!r}; "
            "evaluate both on the same data with --data"
        )
    if len(pairs) < max(len(first.examples), len(second.examples)):
        reporter.warn(
            f"compared on {len(pairs):,} examples that are held out from both: {len(first.examples):,} of this model, {len(second.examples):,} of "
            f"{other_name!r}"
        )
    ours, theirs = first.measures(index), second.measures(other)
    return {name: comparison.compare(part, theirs[name], seed=config.seed) for name, part in ours.items()}


def _slice_columns(request: Request, scored: _Scored) -> dict[str, Sequence[Any]]:
    """Returns column -> a value for each example."""
    columns: dict[str, Sequence[Any]] = {}
    for name in request.config.slices:
        if name in request.in_table:
            columns[name] = [request.cells.get(example.id, {}).get(name) for example in scored.examples]
        else:
            columns[name] = load_function(COLUMNS.get(name).compute)(scored.examples, scored.inputs)
    return columns


def _corruptions(dataset: Dataset, scored: _Scored, clean: Mapping[str, Measures], seed: int, reporter: Reporter) -> dict[str, Any]:
    """Returns what each target loses on corrupted inputs."""
    opened, kinds = scored.opened, robustness.corruptions_of(scored.opened.inputs.modality)
    if not kinds:
        raise DataError(f"there are no corruptions of {opened.inputs.noun} inputs; leave out --corruptions")

    def prepare(examples: Sequence[Example]) -> np.ndarray:
        return opened.inputs.materialise(replace(dataset, examples=tuple(examples), notes=())).inputs

    worse: dict[str, dict[str, list[Measures]]] = {name: {} for name in clean}
    total = len(kinds) * len(robustness.SEVERITIES)
    for at, row in enumerate(kinds):
        for severity in robustness.SEVERITIES:
            reporter.progress("corruptions", at * len(robustness.SEVERITIES) + severity, total, row.name)
            inputs = robustness.corrupted(row, severity, scored.examples, scored.inputs, prepare, seed)
            for name, part in scored.measures(scores=opened.scores(inputs)).items():
                worse[name].setdefault(row.name, []).append(part)
    return {name: robustness.summarised(part, worse[name], seed=seed) for name, part in clean.items()}
