"""Sections of what other jobs left in the run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tlkeras.evaluation import calibration as certainty
from tlkeras.evaluation import comparison, intervals, robustness, slices
from tlkeras.evaluation.report_data import ReportData
from tlkeras.evaluation.report_parts import Section


def _name(run: str) -> str:
    """Returns the folder of a run without where it stands on this computer, because reports are shared."""
    return Path(run).name if Path(run).is_absolute() else run


# Part of `evaluation.json` -> its section.
EVALUATIONS: dict[str, Callable[[Any], Section]] = {
    "figures": intervals.section,
    "against": lambda part: comparison.section(_name(part["run"]), part["targets"]),
    "slices": slices.section,
    "corruptions": robustness.section,
}


def calibration(data: ReportData) -> Sequence[Section]:
    """Returns how certain scores are and should be, from `calibration.json`."""
    record = data.contents["calibration.json"]
    return [certainty.section(record, data.held_out)] if record else []


def evaluation(data: ReportData) -> Sequence[Section]:
    """Returns what `tlkeras evaluate` found, from `evaluation.json`."""
    content = data.contents["evaluation.json"]
    return [section(content[name]) for name, section in EVALUATIONS.items() if content.get(name)]
