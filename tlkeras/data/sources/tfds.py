"""Data sets of tensorflow-datasets: `tfds:NAME[:CONFIG]`; what is prepared locally is used as it is."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlkeras.data.examples import Dataset, Example, make_dataset, unlabelled
from tlkeras.data.file_kinds import FileKind
from tlkeras.data.sources.columns import Columns
from tlkeras.data.split_names import split_of
from tlkeras.data.target import Target
from tlkeras.data.values import Column, read_values
from tlkeras.errors import DataError
from tlkeras.startup import load_tensorflow

IMAGE, LABEL = "image", "label"  # features of the image sets
PATIENCE = 10  # seconds until a host that does not answer is given up


def open_tfds(
    spec: str,
    *,
    target: Target | None = None,
    data_dir: str | None = None,
    columns: Columns | None = None,
    kinds: Sequence[FileKind] = (),
) -> Dataset:
    """Reads a classification set of images or texts; it is downloaded only when it is not under `data_dir`.

    Raises:
        DataError: for an unknown name, a set without image or text and label, or one that is not available.
    """
    load_tensorflow()  # tensorflow-datasets would load it without our settings
    builder = _prepared(spec, data_dir)
    features = builder.info.features
    asked = columns or Columns()
    if IMAGE in features:
        content = IMAGE
        if asked.label is None and LABEL not in features:
            raise DataError(f"{spec!r} has the features {', '.join(features)}; expected image or text, and label")
        label_names = asked.labels_in(spec, list(features), target) if asked.label else {LABEL: None}
    else:
        content, label_names = asked.text_in(spec, list(features)), asked.labels_in(spec, list(features), target)
    examples: list[Example] = []
    cells: list[list[Any]] = []
    for split in builder.info.splits:
        known = split_of(split) or split_of(split.split("_")[0])
        if known is None:
            continue
        for index, row in enumerate(builder.as_data_source(split=split) if _random_access(builder) else _stream(builder, split)):
            name = f"{spec}/{split}/{index}"
            cells.append([row[label_name] for label_name in label_names])
            examples.append(Example(id=name, label=None, split=known, **_content(row[content])))
    read = read_values(
        [_column(name, kind, features[name], [row[index] for row in cells]) for index, (name, kind) in enumerate(label_names.items())],
        where=[example.id for example in examples],
        request=asked.request(target),
    )
    notes = unlabelled(read, [example.id for example in examples])
    labelled = zip(examples, read.values, strict=True)
    examples = [dataclasses.replace(example, label=value) for example, value in labelled if value is not None]
    only_train = {example.split for example in examples} == {"train"}
    if only_train:
        examples = [dataclasses.replace(one, split=None) for one in examples]
    return make_dataset(spec, examples, notes=notes, target=target, draft=read.draft)


def _column(name: str, kind: str | None, feature: Any, cells: Sequence[Any]) -> Column:
    """Returns the cells of a feature: labels by number, their sequences, texts or numbers."""
    classes = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
    return Column(name=name, cells=[_cell(cell) for cell in cells], title=f"feature {name!r}", classes=classes, kind=kind)


def _cell(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return [_cell(entry) for entry in value.tolist()] if isinstance(value, np.ndarray) and value.ndim else value


def _content(value: Any) -> dict[str, Any]:
    """Returns the text or the image of a row, by the name of its field in `Example`."""
    return {"text": value.decode("utf-8", "replace")} if isinstance(value, bytes) else {"array": np.asarray(value)}


def _random_access(builder: Any) -> bool:
    return builder.info.file_format is not None and builder.info.file_format.value == "array_record"


def _stream(builder: Any, split: str) -> Any:
    import tensorflow_datasets as tfds

    return tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False))


def _prepared(spec: str, data_dir: str | None) -> Any:
    """Returns a builder whose data is on disk."""
    import tensorflow_datasets as tfds

    name = spec.removeprefix("tfds:").replace(":", "/", 1)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
        if not builder.data_path.exists():
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
        return builder
    except Exception as error:  # tensorflow-datasets raises its own, requests' and the file system's errors here
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{spec!r} is not available ({type(error).__name__}: {reason}); prepare it elsewhere and pass --data-dir DIR, or use a folder or a CSV"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
