"""How much a model loses on corrupted inputs (Hendrycks & Dietterich 2019, https://arxiv.org/abs/1903.12261)."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkeras.data.examples import Example
from tlkeras.evaluation import intervals
from tlkeras.evaluation.comparison import words
from tlkeras.registry import Registry, load_function
from tlkeras.tasks.markup import escape, table
from tlkeras.tasks.measures import Measures

TITLE = "Corruptions"
SEVERITIES = (1, 2, 3)
FUNCTIONS = "tlkeras.evaluation.corruptions"
HENDRYCKS = "Hendrycks & Dietterich 2019, https://arxiv.org/abs/1903.12261, severities 1, 3 and 5"
BELINKOV = "Belinkov & Bisk 2018, https://arxiv.org/abs/1711.02173"


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """One way in which inputs become worse.

    Args:
        name: of the kind.
        modality: whose inputs it changes.
        field: of an `Example` that it changes, which is then prepared for the model as every input; empty where it changes decoded inputs.
        apply: `"module:function"`: (inputs, strength, random generator) -> inputs.
        strengths: for severities 1 to 3.
        source: of the corruption and its strengths.
    """

    name: str
    modality: str
    field: str = ""
    apply: str
    strengths: tuple[float, float, float]
    source: str


def _image(name: str, function: str, strengths: tuple[float, float, float]) -> Corruption:
    return Corruption(name=name, modality="image", apply=f"{FUNCTIONS}:{function}", strengths=strengths, source=HENDRYCKS)


def _text(name: str, function: str, strengths: tuple[float, float, float], source: str) -> Corruption:
    return Corruption(name=name, modality="text", field="text", apply=f"{FUNCTIONS}:{function}", strengths=strengths, source=source)


def _sequence(name: str, function: str, strengths: tuple[float, float, float]) -> Corruption:
    own = "strengths are shares of the spread of a feature, and of the steps"
    return Corruption(name=name, modality="sequence", field="array", apply=f"{FUNCTIONS}:{function}", strengths=strengths, source=own)


CORRUPTIONS: Registry[Corruption] = Registry(
    "corruption",
    [
        _image("gaussian noise", "gaussian_noise", (0.08, 0.18, 0.38)),
        _image("gaussian blur", "gaussian_blur", (1.0, 3.0, 6.0)),
        _image("JPEG", "jpeg", (25, 15, 7)),
        _image("brighter", "brightness", (0.1, 0.3, 0.5)),
        _image("less contrast", "contrast", (0.4, 0.2, 0.05)),
        _image("pixelation", "pixelate", (0.6, 0.4, 0.25)),
        _text("typos", "typos", (0.1, 0.2, 0.4), BELINKOV),
        _text("changed case", "case", (0.25, 0.5, 1.0), "strengths are shares of the words"),
        _text("dropped words", "dropped_words", (0.1, 0.2, 0.4), "strengths are shares of the words"),
        _sequence("noise", "sequence_noise", (0.1, 0.3, 0.5)),
        _sequence("dropped steps", "dropped_steps", (0.1, 0.2, 0.4)),
    ],
)


def corruptions_of(modality: str) -> list[Corruption]:
    """Returns the corruptions of the inputs of a modality."""
    return [row for row in CORRUPTIONS if row.modality == modality]


def corrupted(
    row: Corruption,
    severity: int,
    examples: Sequence[Example],
    inputs: np.ndarray,
    prepare: Callable[[Sequence[Example]], np.ndarray],
    seed: int,
) -> np.ndarray:
    """Returns inputs as a model accepts them, corrupted. Equal for equal arguments.

    Args:
        row: the kind.
        severity: 1 to 3.
        examples: as the source gave them.
        inputs: of the model, (n, …).
        prepare: examples -> inputs of the model.
        seed: of the corruption.
    """
    rng = np.random.default_rng((seed, zlib.crc32(row.name.encode()), severity))
    apply, strength = load_function(row.apply), row.strengths[severity - 1]
    if not row.field:
        return apply(inputs, strength, rng)
    changed = apply([getattr(example, row.field) for example in examples], strength, rng)
    return prepare([dataclasses.replace(example, **{row.field: value}) for example, value in zip(examples, changed, strict=True)])


def summarised(clean: Measures, worse: Mapping[str, Sequence[Measures]], *, seed: int = 0) -> dict[str, Any]:
    """Returns the headline figure on clean and corrupted inputs, and how much is lost, with intervals by a paired bootstrap.

    Args:
        clean: figures on clean inputs; whole groups are drawn where it names them.
        worse: kind -> figures at severities 1 to 3, on the same examples in the same order.
        seed: of the resamples.

    Returns:
        `title`, `higher`, `share` of the figure; `clean`: `value`, `low`, `high`; `kinds`: kind -> `values` at severities 1 to 3, `first`
        (their mean), `second` (clean), `difference`, `low`, `high`; `mean`: the same over all kinds; `words` of it.
    """
    figure, conditions = clean.headline_figure, [clean, *(part for parts in worse.values() for part in parts)]
    families = [part.family_of(clean.headline) for part in conditions]
    count = intervals.count_of(dataclasses.replace(families[0], cost=families[0].cost * len(families)), clean)
    computes = [family.compute for family in families]
    values = np.array([intervals.point(compute, clean.n)[figure.key] for compute in computes])
    drawn = np.array([part[figure.key] for part in intervals.values_of(computes, clean, count, seed)]) if count else None
    meaning = {"title": figure.title, "higher": figure.higher, "share": figure.share}

    def against_clean(rows: slice) -> dict[str, Any]:
        """Returns the mean over some conditions against the clean inputs."""
        first, second = float(values[rows].mean()), float(values[0])
        ends = None if drawn is None else intervals.quantiles(drawn[rows].mean(axis=0) - drawn[0])
        low, high = ends or (None, None)
        return {**meaning, "first": first, "second": second, "difference": first - second, "low": low, "high": high}

    size = len(SEVERITIES)
    kinds = {
        name: {"values": values[1 + at * size :][:size].tolist(), **against_clean(slice(1 + at * size, 1 + (at + 1) * size))}
        for at, name in enumerate(worse)
    }
    mean = against_clean(slice(1, None))
    clean_estimate = intervals.headline(clean, seed=seed).to_dict()
    return {**meaning, "n": clean.n, "clean": clean_estimate, "kinds": kinds, "mean": mean, "words": words(mean)}


# === Text and report ===


def lines(content: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns the corruptions of each target as lines of the terminal."""
    shown = []
    for target, part in content.items():
        of = f" of {target}" if len(content) > 1 else ""
        shown.append(
            f"corruptions{of}: {part['title']} {intervals.text(part['clean'])} on clean inputs, {intervals.number(part['mean']['first'])} on average"
        )
        shown.append(f"  against clean inputs, {part['words']}")
        for name, row in part["kinds"].items():
            severities = "  ".join(map(intervals.number, row["values"]))
            shown.append(
                f"  {name:<16} severity 1 to 3: {severities}   mean {intervals.number(row['first'])}   {words(row).partition(': ')[2]}"
            )
    return shown


def section(content: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """Returns title and HTML of the corruptions, for the report; see `summarised`."""
    parts = []
    for target, part in content.items():
        head = f"<h3>{escape(target)}</h3>" if len(content) > 1 else ""
        text = f"<p>{escape(part['title'])} {escape(intervals.text(part['clean']))} on clean inputs. Against them, {escape(part['words'])}.</p>"
        rows = [
            (name, *map(intervals.number, row["values"]), intervals.number(row["first"]), words(row).partition(": ")[2])
            for name, row in {**part["kinds"], "all kinds": {**part["mean"], "values": [float("nan")] * len(SEVERITIES)}}.items()
        ]
        parts.append(head + text + table(("kind", *(f"severity {one}" for one in SEVERITIES), "mean", "against clean"), rows))
    return TITLE, "".join(parts)
