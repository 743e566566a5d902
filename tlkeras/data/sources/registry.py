"""The sources: what a `--data` value can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tlkeras.data.examples import Dataset
from tlkeras.data.file_kinds import FileKind
from tlkeras.data.sources.columns import Columns
from tlkeras.data.sources.idx import is_idx
from tlkeras.data.sources.listing import readable
from tlkeras.data.target import Target
from tlkeras.errors import DataError, close_names, near, shown
from tlkeras.files import open_regular
from tlkeras.registry import Registry, load_function


@dataclass(frozen=True, kw_only=True)
class Source:
    """One kind of source.

    Args:
        name: short name.
        takes: whether a `--data` value is of this kind.
        open: `"module:function"`, called with (value, target, data_dir, columns, kinds), returns a `Dataset`.
        help: one line of help text.
        licence: of the examples, where every source of this kind has the same.
        has_columns: whether it has columns that may say what examples belong to.
        facts: module with `names` and `read`, for further columns of its examples; empty where there are none. See `table_columns`.
    """

    name: str
    takes: Callable[[str], bool]
    open: str
    help: str
    licence: str | None = None
    has_columns: bool = False
    facts: str = ""


TABLES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".parquet", ".txt", ".data", "")

SOURCES: Registry[Source] = Registry(
    "source",
    [
        Source(
            name="digits",
            takes=lambda spec: spec == "digits",
            open="tlkeras.data.sources.digits:open_digits",
            help="1,797 handwritten digits",
            licence="BSD-3-Clause (scikit-learn's copy of the UCI digits, CC BY 4.0)",
        ),
        Source(
            name="tfds", takes=lambda spec: spec.startswith("tfds:"), open="tlkeras.data.sources.tfds:open_tfds", help="tfds:NAME[:CONFIG]"
        ),
        Source(
            name="idx",
            takes=is_idx,
            open="tlkeras.data.sources.idx:open_idx",
            help="a folder of idx files such as MNIST's (train-images-idx3-ubyte, …)",
        ),
        Source(
            name="folder",
            takes=lambda spec: readable(spec, "is_dir"),
            open="tlkeras.data.sources.folder:open_folder",
            help="a folder of class folders",
        ),
        Source(
            name="sequences",
            takes=lambda spec: readable(spec, "is_file") and Path(spec).suffix.lower() == ".npz",
            open="tlkeras.data.sources.sequences:open_npz",
            help="an .npz file with x and y: sequences (n, time, features), or images uint8 (n, height, width, channels)",
        ),
        Source(
            name="table",
            takes=lambda spec: readable(spec, "is_file") and Path(spec).suffix.lower() in TABLES,
            open="tlkeras.data.sources.table:open_table",
            has_columns=True,
            facts="tlkeras.data.sources.table_columns",
            help="a CSV, TSV, JSONL or Parquet file with path,label or text,label columns, image,label (bytes, as Hugging Face stores them), "
            "label and pixel1, pixel2, …, or id,label and features (sequences)",
        ),
    ],
)

DEFAULT = SOURCES.names()[0]  # what is opened where no source is named
PASSED = "dataset:"  # begins what a config records of examples that a Python call passed


def recorded(dataset: Dataset) -> str:
    """Returns what the config of a run records of its examples: their source, or `dataset:NAME` where a Python call passed them."""
    return dataset.source or PASSED + dataset.name


def is_passed(source: str) -> bool:
    """Whether a recorded source stands for examples that a Python call passed."""
    return source.startswith(PASSED)


def kind_of(spec: str) -> Source | None:
    """Returns the kind of a `--data` value, or None where there is no such source on this computer."""
    return next((source for source in SOURCES if source.takes(spec)), None)


def open_dataset(
    spec: str | None,
    *,
    kinds: Sequence[FileKind],
    target: Target | None = None,
    data_dir: str | None = None,
    columns: Columns | None = None,
) -> Dataset:
    """Lists the examples of a source; `tlkeras.open_source` is the same for the files of all modalities.

    Args:
        spec: a `--data` value; None means `DEFAULT`, the built-in digits.
        kinds: what files are examples.
        target: what a model predicts, whose label maps are kept to.
        data_dir: where tensorflow-datasets keeps prepared data.
        columns: how a table is read, and which of its columns is what.

    Raises:
        DataError: when there is no such source or it holds nothing to learn from.
    """
    value = DEFAULT if spec is None else spec
    if not value.strip():
        raise DataError(f"the source is {value!r}; expected {', '.join(source.help for source in SOURCES)}")
    if is_passed(value):
        raise DataError(f"{value!r} stands for arrays that a Python call passed, which are not stored; pass --data or dataset=")
    kind = kind_of(value)
    if kind is not None:
        if columns is not None and columns.group is not None and not kind.has_columns:
            raise DataError(
                f"group_column is {columns.group!r}, and {value!r} has no columns; expected a table of paths, labels and groups, or leave it out"
            )
        return replace(
            load_function(kind.open)(value, target=target, data_dir=data_dir, columns=columns, kinds=kinds),
            source=value,
        )
    if readable(value, "is_file"):
        raise DataError(f"{value!r} is a file but not a table; {_advice(Path(value).expanduser(), kinds)}")
    if readable(value):
        raise DataError(f"{value!r} is neither a folder nor a regular file; expected {', '.join(source.help for source in SOURCES)}")
    raise DataError(f"no folder, table or source {shown(value)}; {_hint(value)}")


# What to do with a file that is no source, by its ending.
ADVICE = {
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"), "unpack it and name the folder"),
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), "save the sheet as CSV"),
    ".json": "write one JSON object on each line, as .jsonl",
    ".npy": "save the examples and their labels in one file: numpy.savez('data.npz', x=images, y=labels)",
    **dict.fromkeys((".tfrecord", ".tfrecords", ".h5", ".hdf5", ".mat", ".pkl", ".pickle"), "pass arrays: tlkeras.from_arrays(x, y)"),
}


def _advice(path: Path, kinds: Sequence[FileKind]) -> str:
    with open_regular(path) as file:
        head = file.read(32)
    advice = next((kind.advice for kind in kinds if kind.is_content(head)), None)
    return advice or ADVICE.get(path.suffix.lower()) or f"expected {', '.join(source.help for source in SOURCES)}"


def _hint(value: str) -> str:
    """Returns what a source that is not here was probably meant to be."""
    if "://" in value:
        return "sources are on this computer: download it, and unpack it if it is an archive"
    try:
        path = Path(value).expanduser()
        path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        return f"it can be no path: {getattr(error, 'strerror', None) or error}"
    if not path.parent.is_dir():
        return f"the folder {str(path.parent)!r} is missing too"
    siblings = [entry.name for entry in path.parent.iterdir() if not entry.name.startswith(".") or path.name.startswith(".")]
    named = [DEFAULT] if path.parent == Path(".") else []
    if not close_names(path.name, [*siblings, *named]) and not siblings:
        return f"the folder {str(path.parent.resolve())!r} is empty"
    return near(path.name, [*siblings, *named])
