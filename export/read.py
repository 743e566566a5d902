"""Open an artifact in its own runtime to score or predict with it: in this process, or in another where `TLKERAS_ISOLATE` is set."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlkeras.errors import ExportError, reason
from tlkeras.export import isolated, runner, safety
from tlkeras.export.spec import FEATURES, SCORES
from tlkeras.files import open_regular, read_regular
from tlkeras.startup import KNOWN_NOISE, filtered_stderr, isolates


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """An artifact ready to answer.

    Args:
        runtime: name and version of its runtime.
        input_name: of its one input.
        dtype: of that input.
        call: feeds -> answers.
    """

    runtime: str
    input_name: str
    dtype: str
    call: Callable[[runner.Feeds], runner.Feeds]

    def scores(self, inputs: np.ndarray, *, progress: Callable[[int, int], None] | None = None) -> np.ndarray:
        """Returns the scores of images (n, size, size, 3), RGB 0-255, or of token ids (n, tokens, …), as float32 (n, classes)."""
        return self._scored(self.call, inputs, progress)

    @property
    def gives_features(self) -> bool:
        """Whether it gives features beside its scores."""
        return hasattr(self.call, "wide")

    def scores_and_features(self, inputs: np.ndarray, *, progress: Callable[[int, int], None] | None = None) -> np.ndarray:
        """Returns the scores and, in columns behind them, the features, where it `gives_features`; float32 (n, classes + features)."""

        def both(feeds: runner.Feeds) -> runner.Feeds:
            answers = self.call.wide(feeds)  # type: ignore[attr-defined]
            return {SCORES: np.concatenate([answers[SCORES], answers[FEATURES]], axis=1)}

        return self._scored(both, inputs, progress)

    def _scored(
        self, call: Callable[[runner.Feeds], runner.Feeds], inputs: np.ndarray, progress: Callable[[int, int], None] | None
    ) -> np.ndarray:
        parts, done = [], 0
        for part in runner.scored(call, self.input_name, inputs, SCORES, self.dtype):
            parts.append(part)
            done += len(part)
            if progress:
                progress(done, len(inputs))
        return np.concatenate(parts)


def kind_of(path: Path) -> str:
    """Returns which format a file or folder is, by its content.

    Raises:
        ExportError: when it is none.
    """
    if path.is_dir() and (path / "saved_model.pb").is_file():
        return "saved_model"
    if path.is_file():
        with open_regular(path) as file:
            head = file.read(8)
        if head[4:8] == b"TFL3":
            return "tflite"
        if path.suffix == ".onnx":
            return "onnx"
    raise ExportError(f"{str(path)!r} is not an artifact; expected a SavedModel folder, a .tflite or an .onnx file")


def open_artifact(path: str | Path, reader: str | None = None) -> Predictor:
    """Opens a classifier that tlkeras exported.

    Args:
        path: of the artifact.
        reader: name in `runner.READERS`; that of its kind when None.

    Raises:
        ExportError: when it is not an artifact, is damaged, or accepts something other than one image, token ids or a sequence.
    """
    path = Path(path)
    kind = kind_of(path)
    if kind in safety.CHECKS:
        safety.CHECKS[kind](path)
    if isolates():
        apart = isolated.Isolated(path, reader or kind)
        return Predictor(runtime=apart.opened["runtime"], input_name=apart.opened["input_name"], dtype=apart.opened["dtype"], call=apart)
    try:
        with filtered_stderr(re.compile(r"Created TensorFlow Lite XNNPACK delegate|" + KNOWN_NOISE.pattern)):
            name, shape, takes = INPUTS[kind](path)
            call, runtime = runner.READERS[reader or kind](str(path), [name])
            if len(shape) in (2, 3, 4):  # the first call prints too
                call({name: np.ones((1, *(side if isinstance(side, int) else 4 for side in shape[1:])), takes)})
    except Exception as error:  # three runtimes, each with errors of its own
        raise ExportError(f"cannot open {str(path)!r}: {reason(error)}") from error
    if len(shape) not in (2, 3) and (len(shape) != 4 or not isinstance(shape[3], int)):
        raise ExportError(f"{str(path)!r} accepts an input of shape {shape}; expected images, token ids or sequences")
    return Predictor(runtime=runtime, input_name=name, dtype=takes, call=call)


Shape = tuple[int | None | str, ...]


Input = tuple[str, Shape, str]  # name, shape and dtype; float32 where 8 bits are converted by their scale


def _saved_model_input(path: Path) -> Input:
    """Reads the signature from the file: to load the graph takes a second, and the runtime will do so."""
    import tensorflow as tf
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    signatures = SavedModel.FromString(read_regular(path / "saved_model.pb", safety.LARGEST_GRAPH)).meta_graphs[0].signature_def
    if "predict_tensor" not in signatures:
        raise KeyError("predict_tensor")
    (name, tensor), *_ = signatures["predict_tensor"].inputs.items()
    return name, tuple(tf.TensorShape(tensor.tensor_shape)), tf.as_dtype(tensor.dtype).name


def _tflite_input(path: Path) -> Input:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    name = interpreter.get_signature_list()["serving_default"]["inputs"][0]
    detail = interpreter.get_input_details()[0]
    sides = tuple(None if side < 0 else int(side) for side in detail["shape_signature"])
    return name, sides, "float32" if detail["quantization"][0] else np.dtype(detail["dtype"]).name


ONNX_TYPES = {f"tensor({name})": name for name in ("int32", "int64", "uint8", "int8")}


def _onnx_input(path: Path) -> Input:
    import onnxruntime

    (value,) = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).get_inputs()
    return value.name, tuple(value.shape), ONNX_TYPES.get(value.type, "float32")


INPUTS: dict[str, Callable[[Path], Input]] = {
    "saved_model": _saved_model_input,
    "tflite": _tflite_input,
    "onnx": _onnx_input,
}
