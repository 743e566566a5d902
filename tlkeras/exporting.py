"""Somebody else's model: a `.keras` file or a SavedModel that tlkeras never saw, to verified artifacts."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from tlkeras.backbones.weights import read_keras
from tlkeras.data import decode
from tlkeras.data.examples import Example
from tlkeras.data.sources.folder import PICTURES
from tlkeras.data.store import DECODE_NOISE, Decoder
from tlkeras.errors import ConfigError, DataError, ExportError, OutputError
from tlkeras.export.artifact import Artifact
from tlkeras.export.budget import MAX_DROP, Budget
from tlkeras.export.calibration import FEWEST, Calibration
from tlkeras.export.export import export
from tlkeras.export.formats import FORMATS
from tlkeras.export.graph import Graph
from tlkeras.export.options import HIGHEST_OPSET
from tlkeras.export.parity import Samples
from tlkeras.export.quiet import quiet_converters
from tlkeras.export.spec import ExportSpec
from tlkeras.reporting import AUTO, Reporter, resolve
from tlkeras.startup import filtered_stderr

SAMPLES = 8  # examples on which every artifact is compared with the model
HELD_OUT = 200  # examples, at most, on which quantised formats are judged
FREE = 16  # length of a free axis of random examples
RANGES = {"0-255": None, "0-1": (1 / 255, 0.0), "-1-1": (1 / 127.5, -1.0)}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a foreign model is exported.

    Args:
        formats: names of formats.
        labels: the label map, in class order; None for models that are no classifiers.
        calibration: folder of pictures (in class folders or not), or `.npz` of arrays by input name: real examples, on
            which the artifacts are compared, calibrated and judged.
        input_range: what pixel values the model was trained on; the artifacts take 0-255 and scale inside.
        resize: `stretch`, `crop` or `pad`, for pictures.
        max_drop: accuracy, or agreement where the classes of the examples are not known, that quantised files may lose.
        calibration_examples: how many examples full-integer formats are calibrated on.
        tflite_io: input and output type of full-integer TFLite files.
        opset: of ONNX files.
        trust: whether Python code inside the file (Lambda layers) may run.
        modules: modules to import first: those that register the model's own layers.
        seed: of the choice of examples.
    """

    formats: Sequence[str] = ("saved_model", "tflite", "onnx")
    labels: Sequence[str] | None = None
    calibration: str | Path | None = None
    input_range: str = "0-255"
    resize: str = "stretch"
    max_drop: float = MAX_DROP
    calibration_examples: int = 100
    tflite_io: str = "float32"
    opset: int = HIGHEST_OPSET
    trust: bool = False
    modules: Sequence[str] = field(default_factory=tuple)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.formats:
            FORMATS.get(name)
        if self.input_range not in RANGES:
            raise ConfigError(f"input_range is {self.input_range!r}; expected {', '.join(RANGES)}")
        if self.resize not in ("stretch", "crop", "pad"):
            raise ConfigError(f"resize is {self.resize!r}; expected stretch, crop or pad")


def export_model(
    model: str | Path | keras.Model, out: str | Path, options: Options, *, reporter: Reporter | str | None = AUTO
) -> list[Artifact]:
    """Exports a plain Keras model, or a SavedModel, to verified artifacts.

    Args:
        model: a `.keras` or `.h5` file, a SavedModel folder, or a built `keras.Model`.
        out: new or empty folder.
        options: how.
        reporter: receives progress; None for silence.

    Returns:
        The artifacts.

    Raises:
        ConfigError: when the file holds code that is not trusted, or labels do not fit.
        ExportError: when it cannot be read, or an artifact cannot be written; see `tlkeras.export.export`.
    """
    reporter = resolve(reporter)
    folder = Path(out).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"--out {str(out)!r} is not an empty folder, and nothing is overwritten; choose another")
    given = model if isinstance(model, keras.Model) else read(model, trust=options.trust, modules=options.modules)
    given = _with_contract(given, options.input_range)
    spec = _spec(given, options)
    graph = Graph(given, spec)
    # Its variables must be stored with what is traced from it.
    graph.module.saved_models = [layer.loaded[0] for layer in given._flatten_layers() if isinstance(layer, _Signature)]
    examples = _examples(graph, options, reporter)
    if examples.random:
        reporter.warn("no --calibration: verified on random inputs; figures on real examples tell more")
    samples, calibration = _parted(graph, examples, options)
    budget = Budget(max_drop=options.max_drop, calibration=calibration, io=options.tflite_io, opset=options.opset)
    try:
        return export(graph, spec, folder, samples, formats=options.formats, budget=budget, progress=reporter.pieces("export"))
    finally:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


# === Read ===


def read(path: str | Path, *, trust: bool = False, modules: Sequence[str] = ()) -> keras.Model:
    """Reads a `.keras` or `.h5` file or a SavedModel.

    Args:
        path: of the file or folder.
        trust: whether Python code inside it may run.
        modules: modules to import first.

    Raises:
        ConfigError: when the file holds code and is not trusted, or a module cannot be imported.
        ExportError: when it cannot be read.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise ExportError(f"no model {str(path)!r}; expected a .keras or .h5 file or a SavedModel folder")
    _import(modules)
    if path.is_dir():
        return _from_saved_model(path)
    from tlkeras.backbones import contracts, elmo_layers, language_model, variational  # noqa: F401 - our own layers

    try:
        return keras.saving.load_model(path, compile=False, safe_mode=False) if trust else _safely(path)
    except (ConfigError, ExportError):
        raise
    except Exception as error:  # Keras raises many kinds
        raise _explained(path, error) from error


def _safely(path: Path) -> keras.Model:
    return read_keras(path) if path.suffix == ".keras" else keras.saving.load_model(path, compile=False, safe_mode=True)


def _import(modules: Sequence[str]) -> None:
    for name in modules:
        if "" not in sys.path:
            sys.path.insert(0, "")
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(f"cannot import {name!r}: {error}") from error


def _explained(path: Path, error: Exception) -> Exception:
    text = " ".join(str(error).split())
    if "ambda" in text and ("unsafe" in text or "safe_mode" in text):
        return ConfigError(
            f"{str(path)!r} holds a Lambda layer, which is Python code that would run here; replace it by a layer, "
            "or pass --trust if you know who wrote the file"
        )
    if "Could not locate class" in text or "not registered" in text or "Unknown layer" in text:
        return ExportError(f"{str(path)!r} has layers of its own: {text[:200]}; name the module that registers them with --import MODULE")
    return ExportError(f"cannot read {str(path)!r}: {text[:300]}")


class _Signature(keras.layers.Layer):
    """One signature of a SavedModel as a layer, for inference; its variables stay those of the SavedModel."""

    def __init__(self, loaded: Any, name: str):
        super().__init__(name="saved_model", trainable=False)
        self.signature = loaded.signatures[name]
        self.loaded = [loaded, loaded]  # Keras would take a lone trackable object apart

    def call(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return self.signature(**inputs)

    def compute_output_spec(self, inputs: dict[str, Any]) -> dict[str, Any]:
        made = self.signature.structured_outputs
        return {name: keras.KerasTensor(tuple(one.shape), dtype=one.dtype.name, name=name) for name, one in made.items()}


def _from_saved_model(path: Path) -> keras.Model:
    """Returns a SavedModel's signature of tensors as a functional model."""
    try:
        with quiet_converters(), _without_xla(path) as folder:
            loaded = tf.saved_model.load(str(folder))
    except (OSError, ValueError, DecodeError, tf.errors.OpError) as error:
        raise ExportError(f"cannot read {str(path)!r}: {' '.join(str(error).split())[:300]}") from error
    names = [name for name in ("predict_tensor", "serving_default") if name in loaded.signatures]
    if not names:
        raise ExportError(
            f"{str(path)!r} has no signature predict_tensor or serving_default; it has {', '.join(loaded.signatures) or 'none'}"
        )
    given = loaded.signatures[names[0]].structured_input_signature[1]
    texts = [name for name, one in given.items() if one.dtype == tf.string]
    if texts:
        raise ExportError(f"the signature {names[0]} of {str(path)!r} takes texts or encoded pictures ({texts[0]}); expected numbers")
    inputs = {name: keras.Input(tuple(one.shape[1:]), dtype=one.dtype.name, name=name) for name, one in given.items()}
    return keras.Model(inputs, _Signature(loaded, names[0])(inputs), name=re.sub(r"\W", "_", path.resolve().name))


@contextmanager
def _without_xla(path: Path) -> Iterator[Path]:
    """Yields the SavedModel, or a copy without the attributes that make converters leave calls no runtime has.

    What Keras compiles so are grouped convolutions; their bias is then added, not fused: see `export.graph.no_xla`.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    file = path / "saved_model.pb"
    proto = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    marked = [(holder, name) for meta in proto.meta_graphs for holder in _attributed(meta.graph_def) for name in XLA if name in holder.attr]
    if not marked:
        yield path
        return
    for meta in proto.meta_graphs:
        _unfuse(meta.graph_def.node)
        for function in meta.graph_def.library.function:
            renamed = _unfuse(function.node_def)
            for key, value in function.ret.items():
                function.ret[key] = renamed.get(value, value)
    for holder, name in marked:
        del holder.attr[name]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(path, Path(folder) / "model"))
        (copy / file.name).write_bytes(proto.SerializeToString())
        yield copy


XLA = ("_XlaMustCompile", "_noinline")


def _unfuse(nodes: Any) -> dict[str, str]:
    """Makes `BiasAdd` of what XLA was to compile an addition; returns old name of an output -> new one, in functions."""
    compiled = {node.name for node in nodes if XLA[0] in node.attr}
    added = [node for node in nodes if node.op == "BiasAdd" and node.input[0].partition(":")[0] in compiled]
    renamed = {f"{node.name}:output:0": f"{node.name}:z:0" for node in added}
    for node in added:
        node.op = "AddV2"  # channels stand last: TensorFlow's CPU has no other convolutions
        if "data_format" in node.attr:
            del node.attr["data_format"]
    for node in nodes:
        node.input[:] = [renamed.get(one, one) for one in node.input]
    return renamed


def _attributed(graph: Any) -> Iterator[Any]:
    """Yields what can have attributes: the nodes, the functions, and the nodes of the functions."""
    yield from graph.node
    for function in graph.library.function:
        yield function
        yield from function.node_def


# === What is known beside the model ===


def _with_contract(model: keras.Model, input_range: str) -> keras.Model:
    """Puts the scaling of pixels into the model, where it expects another range than 0-255."""
    scaling = RANGES[input_range]
    if scaling is None:
        return model
    inputs = keras.tree.flatten(model.inputs)
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise ConfigError(
            f"input_range {input_range} is for models of one picture; this one has {len(inputs)} inputs, the first {inputs[0].shape}"
        )
    image = keras.Input(inputs[0].shape[1:], name="image")
    scaled = keras.layers.Rescaling(scaling[0], offset=scaling[1], name="to_range")(image)
    return keras.Model(image, model(scaled), name=model.name)


def _spec(model: keras.Model, options: Options) -> ExportSpec:
    labels = None if options.labels is None else tuple(options.labels)
    outputs = keras.tree.flatten(model.outputs)
    if labels is not None and (len(outputs) != 1 or outputs[0].shape[-1] != len(labels)):
        raise ConfigError(
            f"{len(labels)} labels for outputs of shape {', '.join(str(one.shape) for one in outputs)}; expected one for each class"
        )
    side = _side(model)
    metadata = {"name": model.name, "resize": options.resize} | ({"image_size": str(side)} if side else {})
    decoder = partial(decode.decode_and_resize, size=side, resize=options.resize) if side and labels is not None else None
    return ExportSpec(labels=labels, decode=decoder, metadata=metadata)


def _side(model: keras.Model) -> int | None:
    """Returns the side of the square RGB pictures that a model takes, or None for models of other things."""
    inputs = keras.tree.flatten(model.inputs)
    shape = inputs[0].shape
    square = len(inputs) == 1 and len(shape) == 4 and shape[3] == 3 and shape[1] == shape[2]
    return int(shape[1]) if square and shape[1] else None


# === Examples ===


@dataclass(frozen=True, kw_only=True)
class _Given:
    """Examples of all inputs; classes and encoded pictures where they are known."""

    inputs: Mapping[str, np.ndarray]
    y: np.ndarray | None = None
    encoded: Callable[[int], bytes] | None = None
    random: bool = False


def _examples(graph: Graph, options: Options, reporter: Reporter) -> _Given:
    if options.calibration is None:
        return _Given(inputs={one.name: _random(one) for one in graph.inputs}, random=True)
    path = Path(options.calibration).expanduser()
    if path.is_dir():
        return _pictures(path, graph, options, reporter)
    if path.suffix == ".npz" and path.is_file():
        return _arrays(path, graph)
    raise DataError(f"no calibration examples in {str(path)!r}; expected a folder of pictures, or an .npz of arrays by input name")


def _random(tensor: Any) -> np.ndarray:
    """Returns inputs where nothing is known: pixels, token ids or normal numbers, by their type and shape."""
    rng = np.random.default_rng(0)
    shape = (SAMPLES, *(FREE if side is None else side for side in tensor.shape[1:]))
    if tensor.dtype.startswith(("int", "uint", "bool")):
        return rng.integers(0, 2, shape).astype(tensor.dtype)
    if len(shape) == 4 and shape[-1] in (1, 3):
        return rng.integers(0, 256, shape).astype(tensor.dtype)
    return rng.normal(size=shape).astype(tensor.dtype)


def _arrays(path: Path, graph: Graph) -> _Given:
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = dict(held)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {str(path)!r}: {error}") from error
    missing = [one.name for one in graph.inputs if one.name not in arrays]
    if missing:
        raise DataError(
            f"{str(path)!r} has the arrays {', '.join(arrays)}; the model's inputs are {', '.join(one.name for one in graph.inputs)}"
        )
    inputs = {one.name: arrays[one.name].astype(one.dtype) for one in graph.inputs}
    for one in graph.inputs:
        got = inputs[one.name].shape
        if len(got) != len(one.shape) or any(side not in (None, there) for side, there in zip(one.shape[1:], got[1:], strict=True)):
            raise DataError(f"{one.name} in {str(path)!r} has the shape {got}; expected {one.shape}")
    if len({len(array) for array in inputs.values()}) != 1 or not len(next(iter(inputs.values()))):
        raise DataError(f"the arrays in {str(path)!r} are empty or of different lengths; expected one row for each example")
    return _Given(inputs=inputs, y=arrays.get("labels"))


def _pictures(folder: Path, graph: Graph, options: Options, reporter: Reporter) -> _Given:
    side = _side(graph.model)
    if side is None:
        raise DataError(f"the model does not take one square RGB picture but {graph.inputs[0].shape}; give its examples as .npz")
    paths = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in PICTURES and not path.name.startswith(".")
    )
    order = np.random.default_rng(options.seed).permutation(len(paths))[: options.calibration_examples + HELD_OUT]
    decoder, images = Decoder(side, options.resize), np.zeros((len(order), side, side, 3), "uint8")
    kept: list[Path] = []
    for done, index in enumerate(order):
        with filtered_stderr(DECODE_NOISE):
            reading = decoder.read(Example(id=str(paths[index]), label="", path=paths[index]), images[len(kept)])
        if reading.bad is None:
            kept.append(paths[index])
        reporter.progress("decode", done + 1, len(order))
    if not kept:
        raise DataError(f"no picture in {str(folder)!r} can be read")
    name = graph.inputs[0].name
    places = {label: i for i, label in enumerate(options.labels or ())}
    known = bool(places) and all(path.parent.name in places for path in kept)
    y = np.array([places[path.parent.name] for path in kept]) if known else None
    return _Given(inputs={name: images[: len(kept)].astype("float32")}, y=y, encoded=lambda index: decode.read_image_bytes(kept[index]))


def _parted(graph: Graph, given: _Given, options: Options) -> tuple[Samples, Calibration | None]:
    """Sets examples aside to judge on, before the others calibrate: half of few, all but the calibration's of many."""
    count = len(next(iter(given.inputs.values())))
    needed = any(FORMATS.get(name).calibrated or FORMATS.get(name).attempts for name in options.formats)
    used = min(options.calibration_examples, count // 2) if needed and not given.random else 0
    if needed and not given.random and used < FEWEST:
        raise ConfigError(f"{count} examples are too few to calibrate and judge on; give {2 * FEWEST} or more")
    held = {name: array[used:] for name, array in given.inputs.items()}
    few = {name: _at_least(array[:SAMPLES], 3) for name, array in held.items()}
    whole = next(iter(held.values())) if len(held) == 1 and len(graph.output_names) == 1 and graph.spec.labels is not None else None
    pictures = [given.encoded(used + i) for i in range(min(3, count - used))] if given.encoded and graph.spec.decode else []
    samples = Samples(
        inputs=few,
        encoded=pictures,
        score_inputs=None if given.random else whole,
        score_labels=None if given.y is None or whole is None else np.asarray(given.y)[used:],
    )
    if not used:
        return samples, None
    told = {"of": str(options.calibration), "stratified": False, "seed": options.seed}
    return samples, Calibration(inputs={name: array[:used] for name, array in given.inputs.items()}, chosen=told)


def _at_least(array: np.ndarray, count: int) -> np.ndarray:
    """Repeats examples where there are too few to try batches."""
    return array if len(array) >= count else array[np.arange(count) % len(array)]
