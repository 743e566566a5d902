"""The report of a run: what it keeps for it, and the page, written from the run folder alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras import files
from tlkeras.data import sheets
from tlkeras.data.store import Store, rows
from tlkeras.data.target import Target
from tlkeras.errors import DataError, reason
from tlkeras.evaluation import report
from tlkeras.evaluation.gallery import BYTES, gallery, thumbnails
from tlkeras.evaluation.report_data import EXAMPLES, OUTCOMES, Explained, Outcomes, ReportData, read_gallery, read_outcomes, write_outcomes
from tlkeras.evaluation.report_parts import files_of_parts
from tlkeras.explain.registry import SUBJECTS
from tlkeras.jobs import baseline, explain_request, run_folder, single
from tlkeras.jobs.examples import Data
from tlkeras.jobs.outcome import Scored
from tlkeras.jobs.run_folder import Run
from tlkeras.modalities.inputs import Inputs
from tlkeras.models import TaskModel
from tlkeras.progress import Reporter
from tlkeras.registry import load_function
from tlkeras.selection import pages as recommendation
from tlkeras.tasks.protocols import Score
from tlkeras.tasks.registry import Task, take, task_of
from tlkeras.training import freezing

RECOMMENDATION = "recommend.json"  # file of a run whose backbone was chosen by its data


def keep(
    run: Run, task: TaskModel, data: Data, scored: Mapping[str, Scored], features: Mapping[str, np.ndarray], *, method: str, seed: int
) -> None:
    """Keeps what a report shows besides figures: targets and scores of the held-out examples, thumbnails, and a map of their features.

    Args:
        run: where.
        task: the trained task model, with its final target.
        data: the examples.
        scored: split -> scores and figures.
        features: split -> features before the head, where training has computed them.
        method: of the map, or `none`.
        seed: of what is chosen at random.
    """
    examples = data.store.examples
    outcomes = {
        name: Outcomes(ids=[examples[index].id for index in part.index], targets=take(data.targets, part.index), scores=part.scores)
        for name, part in scored.items()
    }
    write_outcomes(run.root / OUTCOMES, outcomes)
    split = "test" if len(scored["test"].index) else "val"
    part, held_out = scored[split], outcomes[split]
    places = {example.id: index for index, example in enumerate(examples)}

    def draw(name: str) -> str:
        index = places.get(name)
        return "" if index is None else data.inputs.thumbnail(examples[index], data.store.inputs[index])

    drawn = gallery(
        task.model,
        rows(data.store.inputs, part.index),
        held_out.ids,
        _cases(task.task, held_out, task.target),
        draw,
        noun=data.inputs.noun,
        audited=[issue.path for issue in data.audit.issues if issue.path in places],
        method=method,
        seed=seed,
        known=features.get(split),
    )
    files.write_json(run.root / EXAMPLES, drawn.to_dict())


def _cases(task: Task, part: Outcomes, target: Target) -> Mapping[str, Any]:
    return load_function(task.cases)(part.targets, part.scores, target) if task.cases and len(part.scores) else {}


def add_thumbnails(run: Run, inputs: Inputs, store: Store, names: Iterable[str]) -> None:
    """Keeps thumbnails of further examples, for parts of the report that show others than the held-out ones.

    Args:
        run: with an `examples.json`; of one without, nothing is kept.
        inputs: what the model accepts; see `tlkeras.modalities.inputs.Inputs`.
        store: the examples.
        names: ids of those to show, the important ones first.
    """
    path = run.root / EXAMPLES
    if not path.is_file():
        return
    drawn, places = read_gallery(path), {example.id: index for index, example in enumerate(store.examples)}
    room = BYTES - sum(len(html.encode()) for html in drawn.thumbnails.values())
    new = [name for name in names if name in places and name not in drawn.thumbnails]
    more = thumbnails(new, lambda name: inputs.thumbnail(store.examples[places[name]], store.inputs[places[name]]), room)
    shown = {**drawn.thumbnails, **{name: html for name, html in more.items() if html}}
    files.write_json(path, replace(drawn, thumbnails=shown).to_dict())


def freeze_rows(task: TaskModel) -> list[dict[str, Any]]:
    """Returns, for each section of a network from input to output, what the last phase trained, for `metrics.json`."""
    sections: dict[str, dict[str, Any]] = {}
    for flag in freezing.report(task.model).layers:
        row = sections.setdefault(
            flag.section or "other layers", {"layers": 0, "parameters": 0, "trained": 0, "batch_norm": "", "rules": []}
        )
        row["layers"] += 1
        row["parameters"] += flag.parameters
        row["trained"] += flag.parameters - flag.held if flag.trainable else 0
        row["batch_norm"] = flag.batch_norm or row["batch_norm"]
        if flag.rule and flag.rule not in row["rules"]:
            row["rules"].append(flag.rule)
    return [{"section": name, **row} for name, row in sections.items() if row["parameters"]]


# === The page ===


def write(
    run: Run,
    *,
    summary: Mapping[str, Any] | None = None,
    figures: Mapping[str, Score] | None = None,
    further: Sequence[tuple[str, str]] = (),
) -> ReportData:
    """Writes `report.html` from the files of a run.

    Args:
        run: with all of its files but `metrics.json`.
        summary: content of `metrics.json`; read when None.
        figures: split -> score; made of the stored scores when None.
        further: (title, HTML) of sections that do not come from the run folder.

    Returns:
        What the page says.
    """
    data = collect(run, summary=summary, figures=figures, further=further)
    report.write(run.report, data)
    return data


def rewrite(run: Run, further: Sequence[tuple[str, str]] = ()) -> None:
    """Writes the report of a finished run again, with what the run folder has by now.

    Raises:
        DataError: when the run is not finished, or was made before runs kept their scores.
    """
    write(run, further=further)


def refresh(run: Run, reporter: Reporter) -> None:
    """Writes the report of a run again after something was added to its folder.

    What was added stays, whatever else in the folder is damaged: then a line says why the report is the one before.
    """
    if run.metrics.is_file() and (run.root / OUTCOMES).is_file():
        try:
            rewrite(run)
        except DataError as error:
            reporter.warn(f"the report stays as it is: {error}")


def collect(
    run: Run,
    *,
    summary: Mapping[str, Any] | None = None,
    figures: Mapping[str, Score] | None = None,
    further: Sequence[tuple[str, str]] = (),
) -> ReportData:
    """Returns what the report of a run says; see `write`."""
    if summary is None:
        summary = _json(run, run.metrics.name)
        if summary is None:
            raise DataError(f"{str(run.root)!r} has no metrics.json: the run is not finished, so there is nothing to report")
    target, outcomes = run_folder.read_target(run), read_outcomes(run.root / OUTCOMES)
    if figures is None:
        if not outcomes:
            raise DataError(f"{str(run.root)!r} has no {OUTCOMES}: it was made by an earlier tlkeras, and its report stays as it is")
        score = load_function(task_of(summary["config"]).score)
        figures = {name: score(part.targets, part.scores, target) for name, part in outcomes.items()}
    contents = {name: content for name in files_of_parts() if (content := _json(run, name)) is not None}
    held_out = "test" if figures["test"].n else "val"
    drawn = read_gallery(run.root / EXAMPLES)
    own = [single.section(summary["single"], held_out)] if "single" in summary else []
    chosen = _json(run, RECOMMENDATION)
    own += [recommendation.section(chosen)] if chosen else []
    own += [baseline.section(summary["baseline"])] if summary.get("baseline") else []
    return ReportData(
        title=run.root.resolve().name,
        folder=run.root,
        summary=summary,
        config=summary["config"],
        figures=figures,
        target=target,
        audit=_json(run, run.audit.name) or {"issues": [], "counts": {}},
        history=_rows(run),
        environment=_json(run, run.environment.name) or {},
        outcomes=outcomes,
        gallery=drawn,
        explained=_explained(run, drawn.thumbnails),
        contents=contents,
        further=[*own, *further],
    )


def _explained(run: Run, thumbnails: Mapping[str, str]) -> Explained:
    """Returns what `tlkeras explain` has found of the examples of a report.

    Args:
        run: whose folder of explanations is read.
        thumbnails: id of an example -> its thumbnail.
    """
    folder, shown = run.root / explain_request.FOLDER, dict[str, str]()
    content = _json(run, f"{explain_request.FOLDER}/{explain_request.NAME}") or {"explanations": []}
    for record in content["explanations"]:
        parts = Path(record["file"]).parts
        name = next((tail for start in range(len(parts)) if (tail := "/".join(parts[start:])) in thumbnails), None)
        if name is not None and not shown.get(name):
            shown[name] = load_function(SUBJECTS.get(record["modality"]).thumbnail)(record, folder, name)
    drawn = {name: html for name, html in shown.items() if html}
    if not drawn:
        return Explained()
    facts = {key: content[key] for key in ("method", "signed", "by_answer", "label", "output") if key in content}
    return Explained(html=drawn, **facts)


def _json(run: Run, name: str) -> Any:
    """Returns the content of a file of a run, or None where there is none."""
    path = run.root / name
    if not path.is_file():
        return None
    try:
        content = files.read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {str(path)!r}: {reason(error)}; make it anew, or delete it") from error
    if isinstance(content, dict):
        files.check_format(path, content, DataError)
    return content


def _rows(run: Run) -> list[dict[str, str]]:
    if not run.history.is_file():
        return []
    try:
        return sheets.read_rows(run.history)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {str(run.history)!r}: {reason(error)}; it was changed after the run; restore it") from error
