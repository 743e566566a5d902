"""Explain the answers of a run: which pixels, words or steps speak for them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tlkeras import files
from tlkeras.errors import DataError
from tlkeras.evaluation.prediction import Model
from tlkeras.explain.answers import VALUE
from tlkeras.explain.explainer import Explainer
from tlkeras.explain.explanation import Explanation, Sample
from tlkeras.explain.registry import SUBJECTS, Subject
from tlkeras.explain.text_pages import marked
from tlkeras.jobs import report_examples, report_run
from tlkeras.jobs.explain_request import FOLDER, NAME, ExplainRequest
from tlkeras.jobs.opening import open_target
from tlkeras.modalities.items import items
from tlkeras.progress import AUTO, Reporter, resolve
from tlkeras.registry import load_function

MOST = 32  # inputs that are explained where no limit is set; of the examples of a report, all
VERSION = 1  # of the format of `explanations.json`
OVERLAY = ".overlay.png"


@dataclass(frozen=True, kw_only=True)
class Explanations:
    """What a job explained.

    Args:
        explanations: one for each input and label, in the order of the inputs.
        folder: where they were written; None where they were not.
        method: name of the method.
        errors: why inputs could not be read.
    """

    explanations: list[Explanation]
    folder: Path | None
    method: str
    errors: list[str]

    def __iter__(self) -> Iterator[Explanation]:
        return iter(self.explanations)

    def __len__(self) -> int:
        return len(self.explanations)


def explain(request: ExplainRequest, inputs: Any = None, *, write: bool = True, reporter: Reporter | str | None = AUTO) -> Explanations:
    """Explains the answers of a run; see `tlkeras.explain`.

    Args:
        request: from `explain_request.check`.
        inputs: what is explained; when None, `data` of the request, or else the examples that the report of the run shows.
        write: whether the folder of the request is written.
        reporter: receives progress.

    Raises:
        DataError: when no input can be read.
    """
    reporter, config = resolve(reporter), request.config
    opened = open_target(request.run.model)
    explainer = Explainer(
        opened.model,  # type: ignore[arg-type]  # a run has one
        opened.task,
        opened.target,
        opened.inputs,
        method=config.method,
        output=config.output,
        batch_size=config.batch_size,
        window=config.window,
        stride=config.stride,
    )
    pairs: list[tuple[Explanation, Sample]] = []
    errors: list[str] = []
    with reporter.live():
        source = report_examples.shown(request.run) if request.of_report else _source(opened, inputs, config.data)
        most = config.limit or (None if request.of_report else MOST)
        listed = list(islice(items(source, opened.inputs, reporter.say), most))
        for done, item in enumerate(listed):
            reporter.progress("explain", done, len(listed))
            try:
                sample = _sample(explainer, item)
            except DataError as error:
                errors.append(str(error))
                continue
            explained = explainer.explain([sample], opened.scores(sample.array), config.label, config.top)
            pairs += [(explanation, sample) for explanation in explained]
        reporter.progress("explain", len(listed), len(listed))
    if not pairs:
        raise DataError(errors[0] if errors else f"{config.data}: there is nothing to explain")
    if write:
        _write(request.out, explainer, config.label, pairs)
        if request.out == request.run.root / FOLDER:
            report_run.refresh(request.run, reporter)
    folder = request.out if write else None
    return Explanations(explanations=[pair[0] for pair in pairs], folder=folder, method=explainer.method.name, errors=errors)


def _source(opened: Model, inputs: Any, data: str | None) -> Any:
    """Returns what the user named; of texts, a path where there is one."""
    if inputs is not None:
        return inputs
    try:
        return Path(str(data)) if Path(str(data)).expanduser().exists() else data
    except OSError:  # a text that is too long for a path
        return data


def _sample(explainer: Explainer, item: Any) -> Sample:
    if item.error is not None:
        raise DataError(item.error)
    array = explainer.inputs.read(item.value, item.name)
    value = item.value.decode("utf-8", "replace") if isinstance(item.value, bytes) else item.value
    return explainer.sample(array, item.name, value if explainer.subject.page and isinstance(value, str) else "")


# === Files ===


def _write(out: Path, explainer: Explainer, label: str | None, pairs: Sequence[tuple[Explanation, Sample]]) -> None:
    """Writes the folder whole or not at all; one that holds earlier explanations is replaced. `label` is the one that was asked for."""
    out.parent.mkdir(parents=True, exist_ok=True)
    subject = SUBJECTS.get(explainer.subject.name)
    with files.folder_aside(out.parent) as folder:
        records = [_draw(folder, subject, index, *pair) for index, pair in enumerate(pairs)]
        if subject.page:
            explanations, samples = ([pair[place] for pair in pairs] for place in (0, 1))
            for name, text in load_function(subject.page)(explanations, samples).items():
                files.write(folder / name, text)
        content = {"version": VERSION, "method": explainer.method.name, "signed": explainer.method.signed}
        content |= {"label": _label_of_all(explainer, label), "output": explainer.answers.name}
        source = {"by_answer": explainer.method.by_answer, "source": explainer.method.source}
        files.write_json(folder / NAME, {**content, **source, "explanations": records})
        files.put(folder, out)


def _label_of_all(explainer: Explainer, label: str | None) -> str | None:
    """Returns what all explanations are of: the label asked for, or the first number; None where each is of its own answer."""
    return explainer.answers.labels[0] if label is None and explainer.answers.scale == VALUE else label


def _draw(folder: Path, subject: Subject, index: int, explanation: Explanation, sample: Sample) -> dict[str, Any]:
    """Writes the drawings of an explanation; returns its record."""
    stem = f"{index:03d}-{_slug(Path(explanation.file).stem if not sample.text else explanation.file)}-{_slug(explanation.label)}"
    names = {}
    for ending, content in load_function(subject.draw)(explanation, sample).items():
        files.write(folder / f"{stem}{ending}", content)
        names["overlay" if ending == OVERLAY else "image"] = f"{stem}{ending}"
    html = {"html": marked(explanation, sample)} if subject.page else {}
    return {**explanation.to_dict(), **names, **html}


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:40] or "x"
