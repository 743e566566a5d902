"""The parts of a report, in the order in which they stand. Reading this table imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tlkeras.registry import Registry, load_function

if TYPE_CHECKING:
    from tlkeras.evaluation.report_data import ReportData

Section = tuple[str, str]  # title and HTML; without a title, what stands at the top of the page


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a report.

    Args:
        name: of the part.
        order: where it stands; parts of one number stand in the order of the table.
        build: `"module:function"`: `ReportData` -> sections, none where there is nothing to say.
        section: the same, for a part that is made of a file alone: content of `file` -> one section.
        file: a JSON file of the run folder that the part reads, and without which it is left out; `ReportData.contents` has it.
    """

    name: str
    order: int
    build: str = ""
    section: str = ""
    file: str = ""

    def sections(self, data: ReportData) -> Sequence[Section]:
        """Returns the sections of this part."""
        if self.file and self.file not in data.contents:
            return []
        if self.section:
            return [load_function(self.section)(data.contents[self.file])]
        return load_function(self.build)(data)


PARTS: Registry[Part] = Registry(
    "report part",
    [
        Part(name="Headline", order=0, build="tlkeras.evaluation.parts.overview:headline"),
        Part(name="Sections of the caller", order=20, build="tlkeras.evaluation.parts.overview:further"),
        Part(name="Cross-validation", order=25, section="tlkeras.evaluation.cross_validation:section", file="cross_validation.json"),
        Part(name="Evaluations", order=27, build="tlkeras.evaluation.parts.from_files:evaluation", file="evaluation.json"),
        Part(name="Sections of the task", order=30, build="tlkeras.evaluation.parts.overview:task_sections"),
        Part(name="Examples of the confusions", order=40, build="tlkeras.evaluation.parts.answers:confused"),
        Part(name="Mistakes", order=41, build="tlkeras.evaluation.parts.answers:mistakes"),
        Part(name="Random examples", order=42, build="tlkeras.evaluation.parts.answers:random_examples"),
        Part(name="Probable label errors", order=43, build="tlkeras.evaluation.parts.answers:label_errors", file="errors.json"),
        Part(name="Review of the examples", order=44, section="tlkeras.evaluation.errors:section", file="errors.json"),
        Part(name="Certainty", order=50, build="tlkeras.evaluation.parts.certainty:certainty"),
        Part(name="Calibration", order=51, build="tlkeras.evaluation.parts.from_files:calibration", file="calibration.json"),
        Part(name="Map of the features", order=60, build="tlkeras.evaluation.parts.feature_map:feature_map"),
        Part(name="Training curves", order=70, build="tlkeras.evaluation.parts.training:training"),
        Part(name="Freeze report", order=71, build="tlkeras.evaluation.parts.training:freezing"),
        Part(name="Table of artifacts", order=80, build="tlkeras.evaluation.parts.overview:artifacts"),
        Part(name="Data audit", order=90, build="tlkeras.evaluation.parts.provenance:audit"),
        Part(name="How to reproduce", order=100, build="tlkeras.evaluation.parts.provenance:reproduce"),
    ],
)


def files_of_parts() -> list[str]:
    """Returns the files of a run folder that parts read."""
    return [part.file for part in PARTS if part.file]


def sections(data: ReportData) -> list[Section]:
    """Returns the sections of all parts, in order."""
    return [section for part in sorted(PARTS, key=lambda part: part.order) for section in part.sections(data) if section[1]]
