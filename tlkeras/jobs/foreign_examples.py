"""Examples to verify, calibrate and judge the artifacts of a model that tlkeras did not write: real ones, or random inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlkeras.config import ExportModelConfig
from tlkeras.data.examples import Example
from tlkeras.data.sources.folder import listed_files
from tlkeras.errors import ConfigError, DataError
from tlkeras.export.calibration import FEWEST, Calibration
from tlkeras.export.formats import FORMATS
from tlkeras.export.graph import Graph
from tlkeras.export.parity import Samples
from tlkeras.export.spec import as_array
from tlkeras.files import read_npz
from tlkeras.jobs.foreign_inputs import SAMPLES, channels_of, random_inputs, size_of
from tlkeras.modalities.images import decode
from tlkeras.modalities.images.file_decoder import DECODE_NOISE, decoder
from tlkeras.modalities.images.files import FILES
from tlkeras.progress import Reporter
from tlkeras.startup import filtered_stderr
from tlkeras.tasks.registry import TARGET

HELD_OUT = 200  # examples, at most, on which quantised formats are judged


@dataclass(frozen=True, kw_only=True)
class ForeignExamples:
    """Examples of all inputs; classes and encoded images where they are known."""

    inputs: Mapping[str, np.ndarray]
    y: np.ndarray | None = None
    encoded: Callable[[int], bytes] | None = None
    random: bool = False


def examples_for(graph: Graph, config: ExportModelConfig, reporter: Reporter) -> ForeignExamples:
    if config.calibration is None and graph.spec.decode is not None:
        return _random_images(graph, config)
    if config.calibration is None:
        return ForeignExamples(inputs={tensor.name: random_inputs(tensor, graph.model) for tensor in graph.inputs}, random=True)
    path = Path(config.calibration).expanduser()
    if path.is_dir():
        return _images(path, graph, config, reporter)
    if path.suffix == ".npz" and path.is_file():
        return _arrays(path, graph)
    raise DataError(f"no calibration examples in {str(path)!r}; expected a folder of images, or an .npz of arrays by input name")


def _random_images(graph: Graph, config: ExportModelConfig) -> ForeignExamples:
    """Returns random pixels as encoded images, and decoded as the SavedModel decodes them."""
    size, channels = size_of(graph.model) or 0, channels_of(graph.model)
    pixels = np.random.default_rng(0).integers(0, 256, (SAMPLES, *decode.sides(size), channels)).astype("uint8")
    read, images = decoder(size, config.resize, channels).read, np.zeros_like(pixels)
    for index, image in enumerate(pixels):
        read(Example(id=str(index), label="", array=image), images[index])
    encoded = [decode.encode_png(image) for image in pixels]
    return ForeignExamples(
        inputs={graph.inputs[0].name: images.astype(graph.inputs[0].dtype)}, encoded=lambda index: encoded[index], random=True
    )


def _arrays(path: Path, graph: Graph) -> ForeignExamples:
    try:
        arrays = read_npz(path)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {str(path)!r}: {error}") from error
    missing = [tensor.name for tensor in graph.inputs if tensor.name not in arrays]
    if missing:
        raise DataError(
            f"{str(path)!r} has the arrays {', '.join(arrays)}; the model's inputs are {', '.join(tensor.name for tensor in graph.inputs)}"
        )
    inputs = {tensor.name: as_array(arrays[tensor.name], tensor.dtype) for tensor in graph.inputs}
    for tensor in graph.inputs:
        got = inputs[tensor.name].shape
        if len(got) != len(tensor.shape) or any(side not in (None, there) for side, there in zip(tensor.shape[1:], got[1:], strict=True)):
            raise DataError(f"{tensor.name} in {str(path)!r} has the shape {got}; expected {tensor.shape}")
    if len({len(array) for array in inputs.values()}) != 1 or not len(next(iter(inputs.values()))):
        raise DataError(f"the arrays in {str(path)!r} are empty or of different lengths; expected one row for each example")
    return ForeignExamples(inputs=inputs, y=arrays.get("labels"))


def _images(folder: Path, graph: Graph, config: ExportModelConfig, reporter: Reporter) -> ForeignExamples:
    size = size_of(graph.model)
    if size is None:
        raise DataError(
            f"the model does not accept one RGB or grey image of fixed size but {graph.inputs[0].shape}; pass its examples as .npz"
        )
    channels = channels_of(graph.model)
    paths = sorted(listed_files(folder, FILES)[0])
    order = np.random.default_rng(config.seed).permutation(len(paths))[: config.limits.calibration_examples + HELD_OUT]
    read, images = decoder(size, config.resize, channels).read, np.zeros((len(order), *decode.sides(size), channels), "uint8")
    readable: list[Path] = []
    for done, index in enumerate(order):
        with filtered_stderr(DECODE_NOISE):
            reading = read(Example(id=str(paths[index]), label="", path=paths[index]), images[len(readable)])
        if reading.bad is None:
            readable.append(paths[index])
        reporter.progress("decode", done + 1, len(order))
    if not readable:
        raise DataError(f"no image in {str(folder)!r} can be read")
    name = graph.inputs[0].name
    classes = {label: i for i, label in enumerate(config.labels or ())}
    known = bool(classes) and all(path.parent.name in classes for path in readable)
    y = np.array([classes[path.parent.name] for path in readable]) if known else None
    return ForeignExamples(
        inputs={name: images[: len(readable)].astype(graph.inputs[0].dtype)},
        y=y,
        encoded=lambda index: decode.read_image_bytes(readable[index]),
    )


def divided(graph: Graph, examples: ForeignExamples, config: ExportModelConfig) -> tuple[Samples, Calibration | None]:
    """Sets examples aside for evaluation before the others are used for calibration: half of few, all but the calibration's of many."""
    count = len(next(iter(examples.inputs.values())))
    needed = any(FORMATS.get(name).calibrated or FORMATS.get(name).attempts for name in config.formats)
    used = min(config.limits.calibration_examples, count // 2) if needed and not examples.random else 0
    if needed and not examples.random and used < FEWEST:
        raise ConfigError(f"{count} examples are too few to calibrate and evaluate on; pass {2 * FEWEST} or more")
    held = {name: array[used:] for name, array in examples.inputs.items()}
    first = {name: _at_least(array[:SAMPLES], 3) for name, array in held.items()}
    whole = next(iter(held.values())) if len(held) == 1 and len(graph.output_names) == 1 and graph.spec.labels is not None else None
    encoded = [examples.encoded(used + i) for i in range(min(3, count - used))] if examples.encoded and graph.spec.decode else []
    samples = Samples(
        inputs=first,
        encoded=encoded,
        score_inputs=None if examples.random else whole,
        score_targets=None if examples.y is None or whole is None else {TARGET: np.asarray(examples.y)[used:]},
    )
    if not used:
        return samples, None
    described = {"of": str(config.calibration), "stratified": False, "seed": config.seed}
    return samples, Calibration(inputs={name: array[:used] for name, array in examples.inputs.items()}, chosen=described)


def _at_least(array: np.ndarray, count: int) -> np.ndarray:
    """Repeats examples where there are too few to try batches."""
    return array if len(array) >= count else array[np.arange(count) % len(array)]
