"""TFLite metadata: labels, tensor names and input range inside the `.tflite` file, so that MediaPipe Tasks needs no other.

The metadata is a flatbuffer of its own (schema `metadata_schema.fbs` of MediaPipe, file identifier `M001`) in a buffer of
the model that is called `TFLITE_METADATA`; associated files are a ZIP archive behind the model. The few tables that are
needed are written here with `flatbuffers`, because the package that has a writer, `mediapipe`, is far too large for that.

MediaPipe has one threshold for all labels. Those of a multi-label file are therefore written as score calibration: MediaPipe replaces
a score below the minimum of its label by 0, passes every other through unchanged, and drops what is below the global threshold. So it
returns the labels that hold, with the scores of the model. A `score_threshold` that an application sets replaces the global threshold
only, and drops further labels.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flatbuffers import Builder

from tlkeras import __version__
from tlkeras.errors import ExportError
from tlkeras.export.names import decoded

LABELS, VOCABULARY, CALIBRATION, TARGET = "labels.txt", "vocab.txt", "score_calibration.txt", "target.json"
NAME = b"TFLITE_METADATA"
# What the oldest reader must know: images and labels came with 1.0.0.
MIN_PARSER_VERSION = "1.0.0"
# Values of enums and unions of the schema.
AXIS_LABELS, CALIBRATION_FILE, VOCABULARY_FILE = 2, 4, 5
NORMALIZATION, SCORE_CALIBRATION, SCORE_THRESHOLDING, BERT_TOKENIZER = 1, 2, 3, 4
IMAGE_PROPERTIES, RGB, GREY, INVERSE_LOGISTIC = 2, 1, 2, 2
COLOURS: Mapping[int | None, int] = {1: GREY, 3: RGB}  # by the number of channels


@dataclass(frozen=True, kw_only=True)
class Described:
    """The content of the metadata.

    Args:
        name: name of the model.
        description: one sentence about it.
        labels: the label map, or None.
        colours: of its one input, where that is an image with values 0-255: `RGB` or `GREY`; None for other inputs.
        vocabulary: of a BERT tokeniser, by id, or None.
        thresholds: of the score of each label, where several or none may hold; None elsewhere.
        target: what is predicted, as JSON, for programs that read more than labels; None where the model was not trained here.
    """

    name: str
    description: str
    labels: Sequence[str] | None
    colours: int | None
    vocabulary: Sequence[str] | None = None
    thresholds: Sequence[float] | None = None
    target: str | None = None

    @property
    def calibration(self) -> list[str] | None:
        """Scale, slope, offset and minimum of the score of each label: the logistic function undoes its inverse, so scores stay."""
        return None if self.thresholds is None else [f"1,1,0,{np.float32(threshold)!s}" for threshold in self.thresholds]


def attach(content: bytes, metadata: Described) -> bytes:
    """Returns a TFLite file with metadata, and with `labels.txt` in it; the same bytes for the same input.

    Args:
        content: the file, as the converter wrote it.
        metadata: its content.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    buffer = schema.BufferT()
    buffer.data = list(_metadata(model, metadata))  # type: ignore[assignment]
    entry = schema.MetadataT()
    entry.name, entry.buffer = NAME, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    builder = Builder(len(content) + 4096)
    builder.Finish(packed(model, builder), b"TFL3")
    return bytes(builder.Output()) + _archive(metadata)


def packed(model: Any, builder: Builder) -> int:
    """Packs a model with every constant at a multiple of 16 bytes, as the schema asks; the generated code does not."""
    for buffer in model.buffers:
        buffer.Pack = _aligned(buffer)
    return int(model.Pack(builder))


def _aligned(buffer: Any) -> Callable[[Builder], int]:
    from ai_edge_litert import schema_py_generated as schema

    def pack(builder: Builder) -> int:
        data = None
        if buffer.data is not None and len(buffer.data):
            raw = bytes(bytearray(buffer.data))
            builder.StartVector(1, len(raw), 16)
            builder.head -= len(raw)
            builder.Bytes[builder.head : builder.head + len(raw)] = raw
            data = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))

    return pack


def _archive(metadata: Described) -> bytes:
    """Returns a ZIP with labels, thresholds, vocabulary and target; its time is fixed, so that the same model is the same file."""
    lines_of = {LABELS: metadata.labels, VOCABULARY: metadata.vocabulary, CALIBRATION: metadata.calibration}
    files = {name: "".join(f"{line}\n" for line in lines) for name, lines in lines_of.items() if lines is not None}
    if CALIBRATION in files:
        files[CALIBRATION] = files[CALIBRATION].removesuffix("\n")  # MediaPipe would count the end of the last line as one more label
    if metadata.target is not None:
        files[TARGET] = metadata.target
    if not files:
        return b""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:  # stored: MediaPipe reads it in place
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)
    return held.getvalue()


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Reads the labels back from a `.tflite` file.

    Raises:
        ExportError: when there are none, or the archive is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(archive.read(LABELS).decode("utf-8").split("\n")[:-1])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ExportError(f"{str(path)!r} contains no labels: {error}") from None


# === The tables; the numbers are the places of the fields in the schema ===


def _metadata(model: Any, metadata: Described) -> bytes:
    (graph, *_), (signature, *_) = model.subgraphs, model.signatureDefs
    names = {one.tensorIndex: decoded(one.name) for one in [*signature.inputs, *signature.outputs]}
    builder = Builder(1024)
    inputs = [
        _tensor(builder, names[index], {} if metadata.colours is None else _input(builder, metadata.colours)) for index in graph.inputs
    ]
    outputs = [_tensor(builder, names[index], _output(builder, metadata)) for index in graph.outputs]
    process = {} if metadata.vocabulary is None else {5: _vector(builder, [_bert_tokenizer(builder)])}
    subgraph = _table(builder, 10, {2: _vector(builder, inputs), 3: _vector(builder, outputs), **process})
    root = {
        0: builder.CreateString(metadata.name),
        1: builder.CreateString(metadata.description),
        2: builder.CreateString(f"tlkeras {__version__}"),
        3: _vector(builder, [subgraph]),
        7: builder.CreateString(MIN_PARSER_VERSION),
    }
    builder.Finish(_table(builder, 8, root), b"M001")
    return bytes(builder.Output())


def _tensor(builder: Builder, name: str, more: dict[int, int]) -> int:
    """TensorMetadata."""
    return _table(builder, 7, {0: builder.CreateString(name), **more})


def _input(builder: Builder, colours: int) -> dict[int, int]:
    """Content: an image. ProcessUnit: nothing to normalise, because the model does that itself."""
    properties = _table(builder, 2, {}, bytes_at={0: colours})
    content = _table(builder, 3, {1: properties}, bytes_at={0: IMAGE_PROPERTIES})
    options = _table(builder, 2, {0: _floats(builder, [0.0]), 1: _floats(builder, [1.0])})
    unit = _table(builder, 2, {1: options}, bytes_at={0: NORMALIZATION})
    return {3: content, 4: _vector(builder, [unit])}


def _output(builder: Builder, metadata: Described) -> dict[int, int]:
    """AssociatedFiles: labels, and the calibration of their scores. ProcessUnits: calibration, and what is dropped after it."""
    if metadata.labels is None:
        return {}
    files = [_file(builder, LABELS, "Labels, in class order.", AXIS_LABELS)]
    if not metadata.thresholds:
        return {6: _vector(builder, files)}
    files.append(_file(builder, CALIBRATION, "Scale, slope, offset and minimum of the score of each label.", CALIBRATION_FILE))
    calibration = _table(builder, 2, {}, bytes_at={0: INVERSE_LOGISTIC})  # scores below their minimum become 0, the default
    least = _table(builder, 1, {}, floats_at={0: min(metadata.thresholds) / 2})
    units = [
        _table(builder, 2, {1: calibration}, bytes_at={0: SCORE_CALIBRATION}),
        _table(builder, 2, {1: least}, bytes_at={0: SCORE_THRESHOLDING}),
    ]
    return {4: _vector(builder, units), 6: _vector(builder, files)}


def _file(builder: Builder, name: str, description: str, kind: int) -> int:
    """AssociatedFile: one entry per line."""
    return _table(builder, 5, {0: builder.CreateString(name), 1: builder.CreateString(description)}, bytes_at={2: kind})


def _bert_tokenizer(builder: Builder) -> int:
    """ProcessUnit: the texts are split into the word pieces of a vocabulary."""
    files = _vector(builder, [_file(builder, VOCABULARY, "Word pieces, by id.", VOCABULARY_FILE)])
    return _table(builder, 2, {1: _table(builder, 1, {0: files})}, bytes_at={0: BERT_TOKENIZER})


def _table(
    builder: Builder,
    fields: int,
    offsets: dict[int, int],
    bytes_at: dict[int, int] | None = None,
    floats_at: dict[int, float] | None = None,
) -> int:
    builder.StartObject(fields)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, value in (bytes_at or {}).items():
        builder.PrependInt8Slot(slot, value, 0)
    for slot, number in (floats_at or {}).items():
        builder.PrependFloat32Slot(slot, number, 0.0)
    return int(builder.EndObject())


def _vector(builder: Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _floats(builder: Builder, values: Sequence[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return int(builder.EndVector())
