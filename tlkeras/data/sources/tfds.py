"""Data sets of tensorflow-datasets: `tfds:NAME[:CONFIG]`; what is prepared locally is used as it is."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlkeras.data.cells import label_texts
from tlkeras.data.examples import Dataset, Example, Issue, make_dataset
from tlkeras.data.file_kinds import FileKind
from tlkeras.data.sources.columns import Columns
from tlkeras.data.split_names import split_of
from tlkeras.errors import DataError
from tlkeras.startup import load_tensorflow

IMAGE, LABEL = "image", "label"  # features of the image sets
PATIENCE = 10  # seconds until a host that does not answer is given up


def open_tfds(
    spec: str,
    *,
    labels: Sequence[str] | None = None,
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
    if IMAGE in features:
        content = IMAGE
        if LABEL not in features:
            raise DataError(f"{spec!r} has the features {', '.join(features)}; expected image or text, and label")
        label_name = LABEL
    else:
        asked = columns or Columns()
        content, label_name = asked.text_in(spec, list(features)), asked.label_in(spec, list(features))
    names = getattr(features[label_name], "names", None)
    examples: list[Example] = []
    notes: list[Issue] = []
    for split in builder.info.splits:
        known = split_of(split) or split_of(split.split("_")[0])
        if known is None:
            continue
        for index, row in enumerate(builder.as_data_source(split=split) if _random_access(builder) else _stream(builder, split)):
            name = f"{spec}/{split}/{index}"
            (label,) = label_texts([row[label_name]], where=[name], names=names, known=labels or ())
            if label is None:
                notes.append(Issue(kind="bad-row", path=name, reason="without a label", action="skipped"))
            else:
                examples.append(Example(id=name, label=label, split=known, **_content(row[content])))
    only_train = {example.split for example in examples} == {"train"}
    if only_train:
        examples = [dataclasses.replace(one, split=None) for one in examples]
    return make_dataset(spec, examples, notes=notes, labels=labels)


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
