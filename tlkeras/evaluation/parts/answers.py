"""Galleries: the worst answers, the examples of each cell of the confusion matrix, and random ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlkeras.evaluation.gallery import PER_CELL, PER_RIGHT_CELL, WORST, chosen
from tlkeras.evaluation.report_data import ReportData
from tlkeras.evaluation.report_parts import Section
from tlkeras.tasks.cases import Cases, cell_anchor, slug
from tlkeras.tasks.markup import escape

ERRORS = "errors.json"  # of a run that was reviewed
TEXT = "<p class=text>"  # how the thumbnail of a text, and its explanation, begin
OPENED = 3  # most confused pairs whose examples are shown at once


def card(data: ReportData, answers: Cases | None, index: int, anchor: str = "") -> str:
    """Returns one example: thumbnail, what is true, what was answered, its name; nothing where the run has no thumbnail of it.

    Args:
        data: of the run.
        answers: of one target; None where the task names none.
        index: position among the held-out examples.
        anchor: of the card.
    """
    name = data.ids[index]
    if name not in data.gallery.thumbnails:
        return ""
    caption, marks = _caption(answers, index), ""
    if answers is not None:
        marks = f' data-truth="{escape(answers.truth[index])}" data-answer="{escape(answers.answer[index])}"'
    identity = f' id="{anchor}"' if anchor else ""
    return f"<figure class=example{identity}{marks}>{_image(data, name)}<figcaption>{caption}{_name(data, name)}</figcaption></figure>"


def _image(data: ReportData, name: str) -> str:
    """Returns the thumbnail of an example with what speaks for its answer; of a text, its words with their marks instead."""
    explained = data.explained.html.get(name, "")
    return explained if explained.startswith(TEXT) else data.gallery.thumbnails[name] + explained


def _name(data: ReportData, name: str) -> str:
    shown = data.without_folders(escape(name))
    return f'<span class=name title="{shown}">{shown}</span>'


def _legend(data: ReportData) -> str:
    """Returns what the explanations of the galleries mean; nothing where there are none."""
    explained = data.explained
    if not explained.html:
        return ""
    words = any(html.startswith(TEXT) for html in explained.html.values())
    what, plural = ("Marked words", "") if words else ("The second image shows what", "s")
    by = f"by {escape(explained.method)}"
    if not explained.by_answer:
        return f"<p class=muted>{what} count{plural} in the network, whatever it answers, {by}.</p>"
    subject = "the answer of the model" if explained.label is None else f"“{escape(explained.label)}”"
    if explained.output:
        subject += f" as to {escape(explained.output)}"
    against = f" ({'orange' if words else 'red'}) or against it (blue)" if explained.signed else ""
    return f"<p class=muted>{what} speak{plural} for {subject}{against}, {by}.</p>"


def _caption(answers: Cases | None, index: int) -> str:
    if answers is None:
        return ""
    truth, answer = escape(answers.truth[index]), escape(answers.answer[index])
    sure = "" if answers.certainty is None else f" <span class=sure>{answers.certainty[index]:.0%}</span>"
    if answers.correct is not None and answers.correct[index]:
        return f"<span class=right>{answer}{sure}</span>"
    wrong = "wrong" if answers.correct is not None else "answer"
    return f"<span class=truth>{truth}</span> <span class={wrong}><span class=arrow>→</span> {answer}{sure}</span>"


def gallery(cards: Sequence[str]) -> str:
    """Returns cards side by side; nothing without any."""
    return f"<div class=gallery>{''.join(cards)}</div>" if any(cards) else ""


def mistakes(data: ReportData) -> Sequence[Section]:
    """Returns the worst answers, of each target."""
    sections = []
    for name, answers in data.cases.items():
        shown = gallery([card(data, answers, index) for index in answers.worst(WORST)])
        note = f"<p class=muted>What is true, then what the model answered; the {data.held_out} examples that it is most wrong about, worst first.</p>"
        title = f"{name}: {answers.mistakes}" if name else answers.mistakes
        sections.append((title, note + _legend(data) + shown if shown else ""))
    return sections


def confused(data: ReportData) -> Sequence[Section]:
    """Returns the examples of each cell of the confusion matrix, the most confused pairs first."""
    sections = []
    for name, answers in data.cases.items():
        prefix = f"{slug(name)}-" if name else ""
        wrong: list[str] = []
        right: list[str] = []
        for cell, members in answers.confused():
            block = _cell(data, answers, cell, members, prefix, opened=len(wrong) < OPENED and cell[0] != cell[1])
            (right if cell[0] == cell[1] else wrong).append(block)
        body = "".join(wrong)
        if any(right):
            body += f"<details><summary>Correct answers</summary>{''.join(right)}</details>"
        title = f"{name}: Confused examples" if name else "Confused examples"
        sections.append((title, f"{_legend(data)}<div data-filter>{body}</div>" if body else ""))
    return sections


def _cell(data: ReportData, answers: Cases, cell: tuple[int, int], members: np.ndarray, prefix: str, *, opened: bool) -> str:
    """Returns the examples of one cell; browsers open what is closed around the target of a link."""
    row, column = cell
    shown = [html for index in members[: PER_RIGHT_CELL if row == column else PER_CELL] if (html := card(data, answers, int(index)))]
    if not shown:
        return ""
    count, truth, answer = len(members), answers.labels[row], answers.labels[column]
    said = f"{truth} ({count:,})" if row == column else f"{truth} predicted as {answer} ({count:,})"
    more = f"<p class=muted>{count - len(shown):,} more are in predictions.csv.</p>" if count > len(shown) else ""
    anchor = cell_anchor(row, column, prefix)
    return (
        f"<details{' open' * opened}><summary>{escape(said)}</summary><div id={anchor} tabindex=-1>{gallery(shown)}{more}</div></details>"
    )


def random_examples(data: ReportData) -> Sequence[Section]:
    """Returns random held-out examples, as a view of the usual answer that the galleries of mistakes do not give."""
    seed = int(data.config.get("seed", 0))
    answers = next(iter(data.cases.values()), None) if len(data.cases) == 1 else None
    shown = gallery([card(data, answers, index) for index in chosen({}, len(data.ids), seed)["random"]])
    note = f"<p class=muted>Drawn at random from the {data.held_out} examples: what the model usually sees and says.</p>"
    return [("Random examples", note + _legend(data) + shown if shown else "")]


def label_errors(data: ReportData) -> Sequence[Section]:
    """Returns examples whose labels are probably wrong, as `errors.json` lists them: with the label that they have, and the one suggested."""
    listed = data.contents[ERRORS].get("label_errors", ())
    cards: list[str] = []
    for row in listed:
        if row["example"] in data.gallery.thumbnails and len(cards) < WORST:
            stated, suggested = (data.without_folders(escape(row[key])) for key in ("given", "suggested"))
            text = f"<span class=truth>{stated}</span> <span class=wrong><span class=arrow>→</span> {suggested}?</span>"
            image, name = _image(data, row["example"]), _name(data, row["example"])
            cards.append(f"<figure class=example>{image}<figcaption>{text}{name}</figcaption></figure>")
    note = "<p class=muted>The label in the data, then the one that the model of other folds is sure of. review.csv has all of them.</p>"
    return [("Probable label errors", note + gallery(cards) if cards else "")]
