"""Finds the role of each column of a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlkeras.config import DataConfig
from tlkeras.data.cells import NEARLY_ALL, NUMBER, is_binary, is_missing
from tlkeras.data.sources.tabular import Table
from tlkeras.data.target import KINDS, Target
from tlkeras.data.values import Request
from tlkeras.errors import DataError, near

TEXTS = ("text", "sentence", "review", "content", "message", "body", "comment", "document")
LABELS = ("label", "class", "category", "target", "sentiment", "stars", "labels")
PATHS = (
    "path", "filepath", "file_path", "file", "filename", "file_name", "image", "img",
    "image_path", "img_path", "image_file", "image_name", "image_id",
)  # fmt: skip
PATH, SPLIT = "path", "split"
IDS = ("id", "sequence", "series")
ORDER = ("time", "step", "t", "timestamp")
PIXEL = re.compile(r"(?:pixel|px|pix)_?(\d{1,9})|(\d{1,9})x(\d{1,9})")
FEWEST_PIXELS = 16
CELLS = 1000  # from which columns of 0 and 1 are detected
FEW = 3  # ids that are looked for among the images beside a table
IMAGE_ENDING = re.compile(r".*\.(jpe?g|jpe|jfif|png|webp|bmp|dib|tiff?|gif|heic|heif|avif|ppm|pgm|jp2|tga|ico)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Roles:
    """What the columns of a table hold.

    Args:
        kind: `text`, `path`, `image` (encoded images in the cells), `pixels` or `sequence`.
        content: columns of the content: one, or all pixels or features.
        labels: columns of the target -> kind of each, where that is asked for.
        split: column with the split of each row, or None.
        id: column that identifies the sequence, or None.
        order: column that orders the steps of a sequence, or None.
        group: column that says what each row belongs to, or None.
    """

    kind: str
    content: tuple[str, ...]
    labels: Mapping[str, str | None]
    split: str | None = None
    id: str | None = None
    order: str | None = None
    group: str | None = None


@dataclass(frozen=True, kw_only=True)
class Columns:
    """How a table is read, and which of its columns is what; None: detected, or found by the usual names, in any case.

    Args:
        text: of the texts: a name, or a number from 1.
        path: of the image files.
        label: of the target: a column, or several, comma-separated; `NAME:KIND` says of what kind one of several targets is.
        encoding: of the file, for example `cp1252`.
        header: whether the first line names the columns.
        kind: kind of target that is asked for, a name in `tlkeras.data.target.KINDS`; None: inferred.
        separator: between the labels of one example.
        group: of what the rows belong to, such as patients; only where it is asked for.
    """

    text: str | None = None
    path: str | None = None
    label: str | None = None
    encoding: str | None = None
    header: bool | None = None
    kind: str | None = None
    separator: str | None = None
    group: str | None = None

    @classmethod
    def from_config(cls, data: DataConfig, *, kind: str | None = None) -> Columns:
        """Returns the settings of a config for tables, and the kind of target that its task predicts, where one is asked for."""
        return cls(
            text=data.text_column,
            path=data.path_column,
            label=data.label_column,
            encoding=data.encoding,
            header=data.header,
            kind=kind,
            separator=data.label_separator,
            group=data.group_column,
        )

    def request(self, target: Target | None) -> Request:
        """Returns what is known about the target: by these settings and, where there is a trained model, by what it predicts."""
        return Request(kind=self.kind, separator=self.separator, target=target)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are asked for."""
        labels = () if self.label is None else (self.label, *dict(_listed(self.label)))
        return tuple(name for name in (self.text, self.path, self.group, *labels) if name is not None)

    def roles(self, spec: str, table: Table, is_image: Callable[[str], bool], target: Target | None = None) -> Roles:
        """Returns what each column of a table holds.

        Args:
            spec: the table, for errors.
            table: its rows.
            is_image: whether an image beside the table has a name.
            target: what a trained model predicts.

        Raises:
            DataError: when a column is missing, stands twice, or nothing in the table says what is to be predicted.
        """
        names = table.names
        if self.text is not None and self.path is not None:
            raise DataError(f"both --text-column {self.text} and --path-column {self.path} are set; keep one of them")
        split, group = _usual(names, (SPLIT,)), _asked(spec, names, self.group)
        kind, content = self._content(spec, table)
        used = {*content, *filter(None, (split, group))}
        labels = self._labels(spec, table, used, target)
        if group in labels:
            raise DataError(f"column {group!r} of {spec!r} holds the labels, so it is no group; choose another --group-column")
        # A group may also be what the rows are about: the steps of a sequence belong to its own id.
        named = {*labels, split}
        rest = [name for name in names if name not in named and (name != group or _plain(name) in IDS)]
        if kind is None:
            order = _usual(rest, ORDER)
            key = _usual(rest, IDS)
            features = tuple(name for name in rest if name not in (key, order))
            pixels = _pixels(rest) or (not table.has_header and _unnamed_pixels(table, rest))
            if pixels:
                kind, content = "pixels", pixels
            elif key is not None and _are_steps(table, key, features, is_image):
                return Roles(kind="sequence", content=features, labels=labels, split=split, id=key, order=order, group=group)
            elif key is not None:
                kind, content = "path", (key,)
            else:
                raise self._missing(spec, table, "images or texts", "--path-column or --text-column")
        if both := [name for name in content if name in labels]:
            raise DataError(f"column {both[0]!r} of {spec!r} holds the {kind}s, so it cannot be predicted; choose another --label-column")
        roles = Roles(kind=kind, content=content, labels=labels, split=split, group=group)
        counts = Counter(names)
        for name in (*(content if len(content) == 1 else ()), *labels, *filter(None, (split, group))):
            if counts[name] > 1:
                raise DataError(f"{spec!r} has {counts[name]} columns {name!r}; rename one, or choose another column")
        return roles

    def text_in(self, spec: str, names: Sequence[str]) -> str:
        """Returns the column of texts."""
        asked = _asked(spec, names, self.text)
        text = asked or _usual(names, TEXTS)
        if text is None:
            raise DataError(f"{spec!r} has the columns {listed(names)}; expected text: name it with --text-column")
        return text

    def labels_in(self, spec: str, names: Sequence[str], target: Target | None) -> Mapping[str, str | None]:
        """Returns the columns of the target, with the kind of each where that is asked for."""
        labels = self._named(spec, names, target)
        if not labels:
            raise DataError(f"{spec!r} has the columns {listed(names)}; expected label: name it with --label-column")
        return labels

    def numbered(self, names: Sequence[str]) -> bool:
        """Whether columns are asked for by number, and not by a name that happens to be one."""
        return any(asked.isdecimal() and asked not in names for asked in self.names)

    def _content(self, spec: str, table: Table) -> tuple[str | None, tuple[str, ...]]:
        """Returns kind and column of the content, (None, ()) where no name says it."""
        text, path = _asked(spec, table.names, self.text), _asked(spec, table.names, self.path)
        if text is not None:
            return "text", (text,)
        if path is not None:
            return ("image" if _holds_images(table, path) else "path"), (path,)
        usual, text = _usual(table.names, PATHS), _usual(table.names, TEXTS)
        encoded = next((name for name in filter(None, (usual, *table.binary)) if _holds_images(table, name)), None)
        if encoded is not None:
            return "image", (encoded,)
        # A table of texts may name the file that each text is from.
        if usual is not None and (text is None or usual.lower().strip() == PATH or _holds_paths(table, usual)):
            return "path", (usual,)
        return ("text", (text,)) if text is not None else (None, ())

    def _named(self, spec: str, names: Sequence[str], target: Target | None) -> Mapping[str, str | None]:
        """Returns the columns of the target that are asked for, those of a trained model, or the usual one; empty where there are none."""
        if self.label is not None:
            parts = _listed(self.label)
            whole = not parts or self.label in names or _usual(names, (_plain(self.label),))
            labels: dict[str, str | None] = {}
            for asked, kind in [(self.label, None)] if whole else parts:
                is_name = kind is None or f"{asked}:{kind}" in names
                name = str(_asked(spec, names, asked if kind is None or not is_name else f"{asked}:{kind}"))
                if name in labels:
                    raise DataError(f"--label-column {self.label} names {name!r} twice; expected different columns")
                labels[name] = None if is_name else kind
            if any(labels):  # a column without a name is none
                return labels
        if target and target.columns and all(name in names for name in target.columns):
            return dict.fromkeys(target.columns)
        usual = _usual(names, LABELS) or (target.name if target and target.name in names else None)
        if usual is None and target and any(name in names for name in target.columns):
            missing = next(name for name in target.columns if name not in names)
            raise DataError(
                f"{spec!r} has no column {missing!r}; expected a column for each of {', '.join(target.columns)}, which the model predicts"
            )
        return {} if usual is None else {usual: None}

    def _labels(self, spec: str, table: Table, used: set[str], target: Target | None) -> Mapping[str, str | None]:
        labels = self._named(spec, table.names, target)
        if labels:
            return labels
        taken = {*used, *filter(None, (_usual(table.names, IDS), _usual(table.names, ORDER)))}
        binary = [name for name in table.names if name not in taken and not PIXEL.fullmatch(_plain(name)) and _is_binary(table, name)]
        if len(binary) > 1:
            known = {*taken, *binary}
            for name in table.names:
                if name not in known and (stray := _stray(table, name)) is not None:
                    raise DataError(
                        f"{spec!r} has {stray!r} in column {name!r}, nearly all of which is 0 or 1, as in {', '.join(binary[:FEW])}; "
                        "write 0 or 1, or name the columns of labels with --label-column"
                    )
            return dict.fromkeys(binary)
        raise self._missing(spec, table, "label", "--label-column")

    def _missing(self, spec: str, table: Table, what: str, flag: str) -> DataError:
        if not table.has_header:
            return DataError(f"{spec!r} has no header and {len(table.names)} columns; expected {what}: {suggestion(table)}")
        what = "path or text" if flag.startswith("--path") else what
        return DataError(f"{spec!r} has the columns {listed(table.names)}; expected {what}: name it with {flag}")


SHOWN = 12  # columns that an error names
LONGEST = 60  # characters of the name of a column in a message


def recognises(names: Sequence[str]) -> bool:
    """Whether a name is one of the usual ones, so that the line is a header."""
    return any(_usual([name], (*TEXTS, *LABELS, *PATHS, SPLIT, *IDS, *ORDER)) or PIXEL.fullmatch(_plain(name)) for name in names)


def suggestion(table: Table) -> str:
    """Returns which columns to give by number, for a table without names: the fewest values are the labels, the longest the texts."""
    values = {name: [str(value) for value in table.sample(name)] for name in table.names}
    label = min(table.names, key=lambda name: (len(set(values[name])) < 2, len(set(values[name]))))
    others = [name for name in table.names if name != label]
    content = max(others, key=lambda name: sum(map(len, values[name])), default=label)
    number = {name: index for index, name in enumerate(table.names, 1)}
    if _unnamed_pixels(table, others):
        return f"give the columns by number, for example --no-header --label-column {number[label]}, or write a header"
    flag = "--path-column" if all(IMAGE_ENDING.fullmatch(value) for value in values[content]) else "--text-column"
    return f"give the columns by number, for example --no-header {flag} {number[content]} --label-column {number[label]}, or write a header"


def pixel_order(names: Sequence[str]) -> list[tuple[int, ...]]:
    """Returns the place that the name of each column of pixels says: (number,) or (row, column)."""
    matches = [PIXEL.fullmatch(_plain(name)) for name in names]
    return [tuple(int(part) for part in match.groups() if part) if match else (index,) for index, match in enumerate(matches)]


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())


def _usual(names: Sequence[str], usual: Sequence[str]) -> str | None:
    plain = {_plain(name): name for name in reversed(names)}
    return next((plain[name] for name in usual if name in plain), None)


def _listed(names: str) -> list[tuple[str, str | None]]:
    """Returns the names of a comma-separated list and the kinds behind them; empty where it is a single name."""
    if "," not in names:
        return []
    pairs = [(name.strip(), *name.strip().rpartition(":")) for name in names.split(",") if name.strip()]
    return [(head, kind) if head and kind in KINDS else (whole, None) for whole, head, _, kind in pairs]


def _asked(spec: str, names: Sequence[str], asked: str | None) -> str | None:
    if asked is None or asked in names:
        return asked
    if asked.isdecimal() and 1 <= int(asked) <= len(names):
        return names[int(asked) - 1]
    plain = _usual(names, (_plain(asked),))
    if plain is None:
        head, _, kind = asked.rpartition(":")
        if head in names:
            raise DataError(
                f"{asked!r} asks for the kind {kind!r} of column {head!r}; expected one of {', '.join(KINDS.names())} behind its name, "
                "where --label-column has several"
            )
        raise DataError(f"{spec!r} has no column {asked!r}; {near(asked, names)}")
    return plain


def _pixels(names: Sequence[str]) -> tuple[str, ...]:
    pixels = tuple(name for name in names if PIXEL.fullmatch(_plain(name)))
    return pixels if len(pixels) >= FEWEST_PIXELS else ()


def _unnamed_pixels(table: Table, names: Sequence[str]) -> tuple[str, ...]:
    """All columns besides the label, where they are as many as a square image has pixels, and numbers from 0 to 255."""
    if len(names) < FEWEST_PIXELS or round(len(names) ** 0.5) ** 2 != len(names):
        return ()
    values = [str(value) for name in names for value in table.sample(name, 3)]
    return tuple(names) if all(value.isdecimal() and len(value) < 10 and int(value) <= 255 for value in values) else ()


def _are_steps(table: Table, key: str, features: Sequence[str], is_image: Callable[[str], bool]) -> bool:
    """Whether rows are steps of sequences: of numbers in all columns, and not facts about images that ids name."""
    if not features or not all(any(NUMBER.fullmatch(str(value).strip()) for value in table.sample(name)) for name in features):
        return False
    ids = [str(value) for value in table.sample(key)]
    return len(set(ids)) < len(ids) or not any(is_image(name) for name in ids[:FEW])


def _holds_images(table: Table, name: str) -> bool:
    return any(is_encoded(value) for value in table.sample(name))


def is_encoded(value: Any) -> bool:
    """Whether a cell holds an image as bytes, alone or as Hugging Face stores it."""
    return isinstance(value, bytes) or isinstance(value, dict) and {"bytes", "path"} >= set(value) and bool(value)


def _holds_paths(table: Table, name: str) -> bool:
    return any(IMAGE_ENDING.fullmatch(str(value)) for value in table.sample(name))


def _stray(table: Table, name: str) -> Any:
    """Returns a cell that is neither 0 nor 1, where nearly all others of its column are; else None."""
    values = [value for value in table.sample(name, CELLS) if not is_missing(value)]
    stray = [value for value in values if not is_binary(value)]
    return stray[0] if stray and len(values) - len(stray) >= NEARLY_ALL * len(values) else None


def _is_binary(table: Table, name: str) -> bool:
    values = [value for value in table.sample(name, CELLS) if not is_missing(value)]
    return bool(values) and all(map(is_binary, values))


def listed(names: Sequence[str]) -> str:
    """Returns the names of columns for a message: the first of them, and the beginning of what is no name."""
    shortened = [name if len(name) <= LONGEST else name[:LONGEST] + "…" for name in names if name]  # Excel leaves empty ones at the end
    return ", ".join(shortened[:SHOWN]) + (f", … ({len(shortened)} in all)" if len(shortened) > SHOWN else "")
