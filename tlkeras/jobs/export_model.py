"""Third-party models: a Keras file or a SavedModel that tlkeras did not write, to verified artifacts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tensorflow.saved_model.experimental import TrackableResource

from tlkeras.data.examples import Example
from tlkeras.errors import ConfigError, DataError, ExportError, OutputError, reason
from tlkeras.export.artifact import Artifact
from tlkeras.export.budget import MAX_DROP, Budget
from tlkeras.export.calibration import FEWEST, Calibration
from tlkeras.export.export import export
from tlkeras.export.formats import FORMATS
from tlkeras.export.graph import Graph
from tlkeras.export.options import HIGHEST_OPSET
from tlkeras.export.parity import Samples
from tlkeras.export.spec import ExportSpec, as_array
from tlkeras.files import read_npz
from tlkeras.jobs.model_files import read, saved_models
from tlkeras.modalities.images import decode
from tlkeras.modalities.images.files import ENDINGS
from tlkeras.modalities.images.reading import DECODE_NOISE, Decoder
from tlkeras.progress import AUTO, Reporter, resolve
from tlkeras.registry import load_function
from tlkeras.startup import filtered_stderr
from tlkeras.tasks.registry import DEFAULT, TARGET, TASKS

__all__ = ["Options", "default_folder", "export_model", "read"]

SAMPLES = 8  # examples on which every artifact is compared with the model
HELD_OUT = 200  # examples, at most, on which quantised formats are judged
FREE = 16  # length of a free axis of random examples
ACTIVATIONS = ("auto", "softmax", "sigmoid", "none")
RANGES = {"0-255": None, "0-1": (1 / 255, 0.0), "-1-1": (1 / 127.5, -1.0)}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a third-party model is exported.

    Args:
        formats: names of formats.
        labels: the label map, in class order; None for models that are not classifiers.
        calibration: folder of images (in class folders or not), or `.npz` of arrays by input name: real examples, on
            which the artifacts are compared, calibrated and evaluated.
        input_range: pixel values the model was trained on, 0-255 when None. The artifacts accept 0-255 and scale inside.
        resize: `stretch`, `crop` or `pad`, for images.
        activation: activation to add after the last layer: `softmax`, `sigmoid` or `none`. `auto` adds one to a classifier whose scores
            are logits. A sigmoid over one output becomes the scores of two labels.
        max_drop: accuracy, or agreement where the classes of the examples are not known, that quantised files may lose.
        calibration_examples: how many examples full-integer formats are calibrated on.
        tflite_io: input and output type of full-integer TFLite files.
        opset: of ONNX files.
        trust: whether code inside the file (Lambda layers) may run, and a SavedModel may touch files.
        modules: modules to import first, which register the model's custom layers.
        seed: of the choice of examples.
    """

    formats: Sequence[str] = ("saved_model", "tflite", "onnx")
    labels: Sequence[str] | None = None
    calibration: str | Path | None = None
    input_range: str | None = None
    resize: str = "stretch"
    activation: str = "auto"
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
        if self.input_range is not None and self.input_range not in RANGES:
            raise ConfigError(f"input_range is {self.input_range!r}; expected {', '.join(RANGES)}")
        if self.resize not in ("stretch", "crop", "pad"):
            raise ConfigError(f"resize is {self.resize!r}; expected stretch, crop or pad")
        if self.activation not in ACTIVATIONS:
            raise ConfigError(f"activation is {self.activation!r}; expected {', '.join(ACTIVATIONS)}")
        if self.activation in ("softmax", "sigmoid") and self.labels is None:
            raise ConfigError(f"activation {self.activation} turns outputs into class scores; pass --labels")


def export_model(
    model: str | Path | keras.Model, out: str | Path, options: Options, *, reporter: Reporter | str | None = AUTO
) -> list[Artifact]:
    """Exports a plain Keras model, or a SavedModel, to verified artifacts.

    Args:
        model: a `.keras` or `.h5` file, a SavedModel folder, or a built `keras.Model`.
        out: new or empty folder.
        options: export options.
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
        raise OutputError(f"--out {str(out)!r} is not an empty folder and is not overwritten; choose another")
    network = model if isinstance(model, keras.Model) else read(model, trust=options.trust, modules=options.modules)
    network = _with_free_batch(network)
    if options.input_range is None and _takes_raw_images(network):
        reporter.say(
            "no layer scales the pixels: exported for values 0-255; pass --input-range 0-1 or -1-1 if the model was trained on those"
        )
    network = _with_contract(network, options.input_range or "0-255")
    network = _as_classifier(network, options, reporter)
    graph = Graph(network, _spec(network, options))
    graph.module.saved_models = saved_models(network)
    examples = _examples(graph, options, reporter)
    if examples.random:
        reporter.warn("no --calibration: verified on random inputs; real examples give more meaningful figures")
    samples, calibration = _parted(graph, examples, options)
    budget = Budget(max_drop=options.max_drop, calibration=calibration, io=options.tflite_io, opset=options.opset)
    try:
        return export(graph, graph.spec, folder, samples, formats=options.formats, budget=budget, progress=reporter.pieces("export"))
    finally:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def default_folder(model: str | Path) -> Path:
    """Returns the default folder for the artifacts of a model: NAME-export in the working folder, or NAME-export-2, …"""
    path = Path(model).expanduser().resolve()
    name = f"{path.name if path.is_dir() else path.stem}-export"
    folder, number = Path(name), 1
    while folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        number += 1
        folder = Path(f"{name}-{number}")
    return folder


# === Around the model ===


def _with_free_batch(model: keras.Model) -> keras.Model:
    """Returns the model with a free batch size, where it was built for batches of one size."""
    if not getattr(model, "inputs", None):  # refused when it is traced
        return model
    inputs = keras.tree.flatten(model.inputs)
    if all(one.shape[0] is None for one in inputs):
        return model
    free = [keras.Input(one.shape[1:], dtype=one.dtype, name=one.name) for one in inputs]
    try:
        freed = keras.Model(free, model(keras.tree.pack_sequence_as(_functional(model)._inputs_struct, free)), name=model.name)
        for count in (1, 3):  # layers that hold the size fail, or give another number of answers
            answers = keras.tree.flatten(freed([_random(one, model)[:count] for one in free], training=False))
            if any(len(answer) != count for answer in answers):
                raise ValueError(f"{count} examples got {len(answers[0])} answers")
        return freed
    except Exception as error:  # layers raise many kinds
        raise ExportError(
            f"the model is built for batches of exactly {inputs[0].shape[0]}, and not all of its layers accept others ({reason(error)}); "
            "build it with a free batch size"
        ) from error


def _functional(model: keras.Model) -> Any:
    return getattr(model, "_functional", None) or model


# A first operation of these prepares pixels for the others.
SCALING = ("Rescaling", "Normalization", "BatchNormalization", "TrueDivide", "Divide", "Multiply", "Subtract", "Lambda")


def _takes_raw_images(model: keras.Model) -> bool:
    """Whether a model accepts float images and no layer before its first weights scales them."""
    inputs = keras.tree.flatten(getattr(model, "inputs", None) or [])
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[3] not in (1, 3) or not inputs[0].dtype.startswith("float"):
        return False
    for operation in _operations(model):
        if type(operation).__name__ in SCALING:
            return False
        if getattr(operation, "weights", []):
            return not saved_models(model)
    return False


def _operations(model: keras.Model) -> Iterator[Any]:
    """Yields layers and operations in the order of the graph, those of inner models among them."""
    for operation in getattr(_functional(model), "operations", model.layers):
        if isinstance(operation, keras.Model):
            yield from _operations(operation)
        else:
            yield operation


def _with_contract(model: keras.Model, input_range: str) -> keras.Model:
    """Puts the scaling of pixels into the model, where it expects another range than 0-255."""
    scaling = RANGES[input_range]
    if scaling is None:
        return model
    inputs = keras.tree.flatten(model.inputs)
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise ConfigError(
            f"input_range {input_range} is for models of one image; this one has {len(inputs)} inputs, the first {inputs[0].shape}"
        )
    image = keras.Input(inputs[0].shape[1:], name="image")
    scaled = keras.layers.Rescaling(scaling[0], offset=scaling[1], name="to_range")(image)
    return keras.Model(image, model(scaled), name=model.name)


def _as_classifier(model: keras.Model, options: Options, reporter: Reporter) -> keras.Model:
    """Makes the scores of a model with labels probabilities, one for each label."""
    if options.labels is None or not getattr(model, "outputs", None):
        return model
    outputs, count = keras.tree.flatten(model.outputs), len(options.labels)
    _check_labels(outputs, count)
    activation = _activation(model, options, reporter)
    if activation == "none" and outputs[0].shape[-1] == count:
        return model
    scores = (
        keras.layers.Activation(activation, name="to_probabilities", dtype="float32")(outputs[0]) if activation != "none" else outputs[0]
    )
    if outputs[0].shape[-1] != count:
        scores = keras.layers.Concatenate(name="two_classes")(
            [keras.layers.Rescaling(-1.0, offset=1.0, name="first_class")(scores), scores]
        )
        first, second = options.labels
        reporter.say(f"one output for two labels: its value p is the score of {second!r}, 1 - p that of {first!r}")
    return keras.Model(_functional(model)._inputs_struct, scores, name=model.name)


def _check_labels(outputs: Sequence[Any], count: int) -> None:
    """Refuses labels that do not fit the outputs; one output stands for two labels."""
    shapes = ", ".join(str(one.shape) for one in outputs)
    if len(outputs) != 1:
        raise ConfigError(f"{count} labels for outputs of shape {shapes}; expected one output of shape (None, {count})")
    if outputs[0].shape[-1] == 1 and count != 2:
        raise ConfigError(f"{count} labels for one output of shape {shapes}: it is the probability of the second of two labels; pass two")
    if outputs[0].shape[-1] not in (1, count):
        raise ConfigError(f"{count} labels for outputs of shape {shapes}; expected one for each class")


def _activation(model: keras.Model, options: Options, reporter: Reporter) -> str:
    """Returns which activation to add: the one asked for, or what makes logits probabilities."""
    width = keras.tree.flatten(model.outputs)[0].shape[-1]
    if options.activation == "softmax" and width == 1:
        raise ConfigError("activation softmax over one output is always 1; expected sigmoid")
    if options.activation != "auto":
        return options.activation
    if not _gives_logits(model):
        return "none"
    added = "sigmoid" if width == 1 else "softmax"
    reporter.say(f"the model outputs logits: added {added}, so that its scores are probabilities (--activation none leaves it out)")
    return added


PROBABILITIES = ("softmax", "sigmoid", "hard_sigmoid", "sparsemax", "sparse_sigmoid")  # activations whose values lie from 0 to 1
PASSING = ("Flatten", "Reshape", "Identity", "Dropout", "Activation", "Rescaling", "Cast")  # what may stand behind the last layer


def _gives_logits(model: keras.Model) -> bool:
    """Whether the scores of a model are logits, according to its last layer or, if that is inconclusive, its answers."""
    logits = _ends_in_logits(keras.tree.flatten(model.outputs)[0])
    if logits is not None:
        return logits
    graph = Graph(model, ExportSpec())
    graph.module.saved_models = saved_models(model)
    feeds = [keras.ops.convert_to_tensor(_random(one, model)) for one in graph.inputs]
    scores = next(iter(graph.network(*feeds).values())).numpy()
    return bool(scores.min() < -1e-3 or scores.max() > 1 + 1e-3)


def _ends_in_logits(output: Any) -> bool | None:
    """Whether the last layer that computes gives other values than probabilities; None for a function that Keras does not have."""
    while True:
        operation = output._keras_history.operation
        name, activation = type(operation).__name__, getattr(operation, "activation", None)
        inner = _functional(operation) if isinstance(operation, keras.Model) else None
        if inner is not None and hasattr(inner, "_outputs_struct"):
            output = keras.tree.flatten(inner._outputs_struct)[0]
        elif name in ("Softmax", "Sigmoid"):
            return False
        elif activation is not None and activation is not keras.activations.linear:
            name = getattr(activation, "__name__", "")
            known = getattr(keras.activations, name, None) is activation
            return name not in PROBABILITIES if known else None
        elif name in PASSING and name != "Rescaling":
            inputs = operation._inbound_nodes[output._keras_history.node_index].input_tensors
            output = inputs[0]
        else:
            return True if isinstance(operation, keras.layers.Dense | keras.layers.Conv2D | keras.layers.Conv1D) else None


def _spec(model: keras.Model, options: Options) -> ExportSpec:
    labels = None if options.labels is None else tuple(options.labels)
    size, channels = _size(model), _channels(model)
    metadata = {"name": model.name, "resize": options.resize} | ({"image_size": decode.size_text(size)} if size else {})
    metadata |= {"channels": str(channels)} if size and channels != 3 else {}
    decoder = (
        partial(decode.decode_and_resize, size=size, resize=options.resize, channels=channels) if size and labels is not None else None
    )
    spec = ExportSpec(labels=labels, decode=decoder, tracked=_resources(model), metadata=metadata)
    return spec if labels is None else _of_task(spec, labels)


def _of_task(spec: ExportSpec, labels: tuple[str, ...]) -> ExportSpec:
    """Adds how the scores of labels are judged, and what the SavedModel says of them."""
    task = TASKS.get(DEFAULT)
    return dataclasses.replace(spec, judge=load_function(task.judge), signature=partial(load_function(task.signature), labels=labels))


def _resources(model: keras.Model) -> list[Any]:
    """Returns the lookup tables of a model's layers, which a SavedModel must hold."""
    held = [value for layer in getattr(model, "_flatten_layers", list)() for value in vars(layer).values()]
    return [value for value in held if isinstance(value, TrackableResource)]


def _size(model: keras.Model) -> int | tuple[int, int] | None:
    """Returns side, or height and width, of the RGB or grey images that a model accepts; None for other inputs, or free sides."""
    inputs = keras.tree.flatten(getattr(model, "inputs", None) or [])
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[3] not in (1, 3) or None in inputs[0].shape[1:3]:
        return None
    height, width = (int(side) for side in inputs[0].shape[1:3])
    return height if height == width else (height, width)


def _channels(model: keras.Model) -> int:
    return int(keras.tree.flatten(model.inputs)[0].shape[-1] or 3) if _size(model) else 3


# === Examples ===


@dataclass(frozen=True, kw_only=True)
class _Given:
    """Examples of all inputs; classes and encoded images where they are known."""

    inputs: Mapping[str, np.ndarray]
    y: np.ndarray | None = None
    encoded: Callable[[int], bytes] | None = None
    random: bool = False


def _examples(graph: Graph, options: Options, reporter: Reporter) -> _Given:
    if options.calibration is None and graph.spec.decode is not None:
        return _random_images(graph, options)
    if options.calibration is None:
        return _Given(inputs={one.name: _random(one, graph.model) for one in graph.inputs}, random=True)
    path = Path(options.calibration).expanduser()
    if path.is_dir():
        return _pictures(path, graph, options, reporter)
    if path.suffix == ".npz" and path.is_file():
        return _arrays(path, graph)
    raise DataError(f"no calibration examples in {str(path)!r}; expected a folder of images, or an .npz of arrays by input name")


def _random_images(graph: Graph, options: Options) -> _Given:
    """Returns random pixels as encoded images, and decoded as the SavedModel decodes them."""
    size, channels = _size(graph.model) or 0, _channels(graph.model)
    pixels = np.random.default_rng(0).integers(0, 256, (SAMPLES, *decode.sides(size), channels)).astype("uint8")
    decoder, images = Decoder(size, options.resize, channels), np.zeros_like(pixels)
    for index, image in enumerate(pixels):
        decoder.read(Example(id=str(index), label="", array=image), images[index])
    encoded = [decode.encode_png(image) for image in pixels]
    return _Given(inputs={graph.inputs[0].name: images.astype(graph.inputs[0].dtype)}, encoded=lambda index: encoded[index], random=True)


WORDS = ("the", "a", "good", "bad", "film", "very", "not", "and", "was", "it")


def _random(tensor: Any, model: keras.Model) -> np.ndarray:
    """Returns inputs where nothing is known: texts, pixels, token ids or normal numbers, by their type and shape."""
    rng = np.random.default_rng(0)
    shape = (SAMPLES, *(FREE if side is None else side for side in tensor.shape[1:]))
    if tensor.dtype == "string":
        return np.array([" ".join(rng.choice(_words(model), 6)) for _ in range(int(np.prod(shape)))]).reshape(shape)
    pixels = len(shape) == 4 and shape[-1] in (1, 3)
    if pixels or tensor.dtype == "uint8":
        return rng.integers(0, 256, shape).astype(tensor.dtype)
    if tensor.dtype.startswith(("int", "uint", "bool")):
        return rng.integers(0, 2, shape).astype(tensor.dtype)
    return rng.normal(size=shape).astype(tensor.dtype)


def _words(model: keras.Model) -> list[str]:
    """Returns words to make texts of: known ones of the model, and others."""
    known = [word for layer in model._flatten_layers() if hasattr(layer, "get_vocabulary") for word in layer.get_vocabulary()[2:200]]
    return [str(word) for word in known] + list(WORDS)


def _arrays(path: Path, graph: Graph) -> _Given:
    try:
        arrays = read_npz(path)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {str(path)!r}: {error}") from error
    missing = [one.name for one in graph.inputs if one.name not in arrays]
    if missing:
        raise DataError(
            f"{str(path)!r} has the arrays {', '.join(arrays)}; the model's inputs are {', '.join(one.name for one in graph.inputs)}"
        )
    inputs = {one.name: as_array(arrays[one.name], one.dtype) for one in graph.inputs}
    for one in graph.inputs:
        got = inputs[one.name].shape
        if len(got) != len(one.shape) or any(side not in (None, there) for side, there in zip(one.shape[1:], got[1:], strict=True)):
            raise DataError(f"{one.name} in {str(path)!r} has the shape {got}; expected {one.shape}")
    if len({len(array) for array in inputs.values()}) != 1 or not len(next(iter(inputs.values()))):
        raise DataError(f"the arrays in {str(path)!r} are empty or of different lengths; expected one row for each example")
    return _Given(inputs=inputs, y=arrays.get("labels"))


def _pictures(folder: Path, graph: Graph, options: Options, reporter: Reporter) -> _Given:
    size = _size(graph.model)
    if size is None:
        raise DataError(
            f"the model does not accept one RGB or grey image of fixed size but {graph.inputs[0].shape}; pass its examples as .npz"
        )
    channels = _channels(graph.model)
    paths = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in ENDINGS and not path.name.startswith(".")
    )
    order = np.random.default_rng(options.seed).permutation(len(paths))[: options.calibration_examples + HELD_OUT]
    decoder, images = Decoder(size, options.resize, channels), np.zeros((len(order), *decode.sides(size), channels), "uint8")
    kept: list[Path] = []
    for done, index in enumerate(order):
        with filtered_stderr(DECODE_NOISE):
            reading = decoder.read(Example(id=str(paths[index]), label="", path=paths[index]), images[len(kept)])
        if reading.bad is None:
            kept.append(paths[index])
        reporter.progress("decode", done + 1, len(order))
    if not kept:
        raise DataError(f"no image in {str(folder)!r} can be read")
    name = graph.inputs[0].name
    places = {label: i for i, label in enumerate(options.labels or ())}
    known = bool(places) and all(path.parent.name in places for path in kept)
    y = np.array([places[path.parent.name] for path in kept]) if known else None
    return _Given(
        inputs={name: images[: len(kept)].astype(graph.inputs[0].dtype)}, y=y, encoded=lambda index: decode.read_image_bytes(kept[index])
    )


def _parted(graph: Graph, given: _Given, options: Options) -> tuple[Samples, Calibration | None]:
    """Sets examples aside for evaluation before the others are used for calibration: half of few, all but the calibration's of many."""
    count = len(next(iter(given.inputs.values())))
    needed = any(FORMATS.get(name).calibrated or FORMATS.get(name).attempts for name in options.formats)
    used = min(options.calibration_examples, count // 2) if needed and not given.random else 0
    if needed and not given.random and used < FEWEST:
        raise ConfigError(f"{count} examples are too few to calibrate and evaluate on; pass {2 * FEWEST} or more")
    held = {name: array[used:] for name, array in given.inputs.items()}
    few = {name: _at_least(array[:SAMPLES], 3) for name, array in held.items()}
    whole = next(iter(held.values())) if len(held) == 1 and len(graph.output_names) == 1 and graph.spec.labels is not None else None
    pictures = [given.encoded(used + i) for i in range(min(3, count - used))] if given.encoded and graph.spec.decode else []
    samples = Samples(
        inputs=few,
        encoded=pictures,
        score_inputs=None if given.random else whole,
        score_targets=None if given.y is None or whole is None else {TARGET: np.asarray(given.y)[used:]},
    )
    if not used:
        return samples, None
    told = {"of": str(options.calibration), "stratified": False, "seed": options.seed}
    return samples, Calibration(inputs={name: array[:used] for name, array in given.inputs.items()}, chosen=told)


def _at_least(array: np.ndarray, count: int) -> np.ndarray:
    """Repeats examples where there are too few to try batches."""
    return array if len(array) >= count else array[np.arange(count) % len(array)]
