"""What the parts of a report are made of, and the thumbnails and the map that a run keeps for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras import files
from tlkeras.data.target import Target
from tlkeras.errors import DataError, reason
from tlkeras.registry import load_function
from tlkeras.tasks.cases import Cases
from tlkeras.tasks.markup import escape
from tlkeras.tasks.protocols import Score
from tlkeras.tasks.registry import Targets, Task, task_of

EXAMPLES = "examples.json"  # of a run: thumbnails and the map
OUTCOMES = "predictions.npz"  # of a run: targets and scores of the held-out examples
VERSION = 1
LOCAL = ("data", "data_dir", "out", "weights", "teacher", "mlflow_uri")  # keys whose values may be local paths
# The folders of a path that is absolute, on POSIX or Windows, where a value or a word begins with it; its last part stays.
FOLDERS = re.compile(r"(?<![^\s>(;=])(?:/|[A-Za-z]:[\\/])(?:[^\s/\\<>&]+[/\\])*(?=[^\s/\\<>&])")
TOO_NARROW = "the interval takes examples of one group for independent, so it is too narrow: tlkeras evaluate draws whole groups"


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """The held-out examples of one split, with what is true and what the model answered.

    Args:
        ids: of the examples.
        targets: name -> array (n, …).
        scores: float32 (n, width).
    """

    ids: Sequence[str]
    targets: Targets
    scores: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Thumbnails of examples, and where some of them stand on a map.

    Args:
        noun: what one example is called.
        thumbnails: id of an example -> HTML without scripts.
        points: (id, x, y) of each example on the map.
        method: how the map was made; empty without one.
    """

    noun: str = "example"
    thumbnails: Mapping[str, str] = field(default_factory=dict)
    points: Sequence[tuple[str, float, float]] = ()
    method: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of `examples.json`."""
        points = [[name, round(x, 4), round(y, 4)] for name, x, y in self.points]
        return {
            "version": VERSION,
            "noun": self.noun,
            "thumbnails": dict(self.thumbnails),
            "map": {"method": self.method, "points": points},
        }

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> Gallery:
        """Reads the content of `examples.json`.

        Raises:
            DataError: when a later tlkeras wrote it.
        """
        if content.get("version") != VERSION:
            raise DataError(f"{EXAMPLES} has version {content.get('version')!r}; expected {VERSION}: use the tlkeras that wrote it")
        points = [(str(name), float(x), float(y)) for name, x, y in content["map"]["points"]]
        return Gallery(noun=content["noun"], thumbnails=content["thumbnails"], points=points, method=content["map"]["method"])


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What speaks for the answers to some examples.

    Args:
        html: id of an example -> an image, or a text whose words are marked.
        method: how it was found.
        signed: whether there is evidence against, too.
        label: what the evidence is for, where a label was asked for; None where it is for the answer to each example.
        by_answer: whether it depends on the answer or the label.
        output: which of several targets; empty where there is one.
    """

    html: Mapping[str, str] = field(default_factory=dict)
    method: str = ""
    signed: bool = False
    label: str | None = None
    by_answer: bool = True
    output: str = ""


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """All that a report says, as the run folder holds it.

    Args:
        title: name of the run.
        folder: of the run, whose path the page does not show; None where there is none.
        summary: content of `metrics.json`.
        config: the effective config, flat.
        figures: split -> score.
        target: what is predicted.
        audit: content of `data_audit.json`.
        history: one row for each epoch, with `phase`, `epoch`, `loss`, `val_loss`, ….
        environment: content of `environment.json`.
        outcomes: split -> its examples and their scores; empty for runs that kept none.
        gallery: thumbnails and map.
        explained: what speaks for the answers to examples that have a thumbnail.
        contents: name of a further file of the run folder -> its content.
        further: (title, HTML) of sections that a caller adds.
    """

    title: str
    folder: Path | None = None
    summary: Mapping[str, Any]
    config: Mapping[str, Any]
    figures: Mapping[str, Score]
    target: Target
    audit: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    environment: Mapping[str, Any] = field(default_factory=dict)
    outcomes: Mapping[str, Outcomes] = field(default_factory=dict)
    gallery: Gallery = field(default_factory=Gallery)
    explained: Explained = field(default_factory=Explained)
    contents: Mapping[str, Any] = field(default_factory=dict)
    further: Sequence[tuple[str, str]] = ()

    @property
    def held_out(self) -> str:
        """The split that the figures at the top are of."""
        return "test" if self.figures["test"].n else "val"

    @property
    def task(self) -> Task:
        """The task of the run."""
        return task_of(self.config)

    @property
    def conditions(self) -> str:
        """How the model was trained, in a few words."""
        return f"recipe {self.config['recipe']}, seed {self.config['seed']}"

    @cached_property
    def sections(self) -> list[tuple[str, str]]:
        """The sections that the task supplies; the first is the headline."""
        grouped = f"; {TOO_NARROW}" if self.config.get("group_column") else ""
        return load_function(self.task.report)(self.figures[self.held_out], self.held_out, self.target, self.conditions + grouped)

    @cached_property
    def ids(self) -> Sequence[str]:
        """The held-out examples."""
        return self.outcomes[self.held_out].ids if self.held_out in self.outcomes else ()

    @cached_property
    def cases(self) -> dict[str, Cases]:
        """How each held-out example was answered, by the name of the target; empty where the run or the task does not say."""
        part = self.outcomes.get(self.held_out)
        if part is None or not len(part.scores) or not self.task.cases:
            return {}
        return load_function(self.task.cases)(part.targets, part.scores, self.target)

    @cached_property
    def _folders(self) -> list[str]:
        """Local folders that the page must not show, the longest first, as HTML writes them."""
        local = [Path(str(self.config[key])).expanduser() for key in LOCAL if self.config.get(key)]
        own = [] if self.folder is None else [self.folder.resolve()]
        known = {str(form.parent) for path in [*own, *local] for form in (path, path.absolute(), path.resolve()) if form.is_absolute()}
        return sorted({escape(folder) for folder in {*known, str(Path.home()), str(Path.cwd())} if len(folder) > 1}, key=len, reverse=True)

    def without_folders(self, part: str) -> str:
        """Shortens every local path in HTML to its last part, because reports are shared."""
        for folder in self._folders:
            part = part.replace(folder + "/", "").replace(folder + "\\", "")
        return FOLDERS.sub("", part)


# === Files of a run ===


def write_outcomes(path: Path, outcomes: Mapping[str, Outcomes]) -> None:
    """Writes targets and scores as arrays by name: `SPLIT/ids`, `SPLIT/scores`, `SPLIT/targets/NAME`."""
    arrays: dict[str, np.ndarray] = {}
    for split, part in outcomes.items():
        arrays[f"{split}/ids"] = np.array(list(part.ids), dtype=np.str_)
        arrays[f"{split}/scores"] = np.asarray(part.scores, "float32")
        arrays |= {f"{split}/targets/{name}": np.asarray(values) for name, values in part.targets.items()}
    files.write_npz(path, arrays)


def read_outcomes(path: Path) -> dict[str, Outcomes]:
    """Reads what `write_outcomes` wrote; nothing where the run has no such file.

    Raises:
        DataError: when it is damaged.
    """
    if not path.is_file():
        return {}
    try:
        arrays = files.read_npz(path)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path.name}: {error}; delete it, and the report leaves out what is made of it") from error
    outcomes = {}
    for split in dict.fromkeys(name.split("/")[0] for name in arrays):
        start = f"{split}/targets/"
        targets = {name.removeprefix(start): values for name, values in arrays.items() if name.startswith(start)}
        outcomes[split] = Outcomes(ids=arrays[f"{split}/ids"].tolist(), targets=targets, scores=arrays[f"{split}/scores"])
    return outcomes


def read_gallery(path: Path) -> Gallery:
    """Reads thumbnails and map; an empty gallery where the run has no such file.

    Raises:
        DataError: when it is damaged.
    """
    if not path.is_file():
        return Gallery()
    try:
        return Gallery.from_dict(files.read_json(path))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"cannot read {path.name}: {reason(error)}; delete it, and the report leaves out what is made of it") from error
