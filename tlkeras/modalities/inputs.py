"""The inputs of a model, by modality: how a source becomes a store, and how one value from a user becomes an input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from tlkeras.data.examples import Dataset, Example
from tlkeras.data.sources.folder import PICTURES
from tlkeras.data.store import DECODE_NOISE, Decoder, Progress, Store, materialise
from tlkeras.errors import DataError
from tlkeras.files import read_npy
from tlkeras.modalities.images import decode
from tlkeras.modalities.images.formats import encoded_image
from tlkeras.modalities.sequences import arrays as sequences
from tlkeras.modalities.texts import materialise as texts
from tlkeras.modalities.texts.tokens import Tokens, padded
from tlkeras.modalities.texts.tokens import load as load_tokens
from tlkeras.startup import filtered_stderr

MOST_CHANNELS = 16  # an array whose last side is longer is no single image
TOKENIZER = "tokenizer"  # folder of the vocabulary, in a run and beside artifacts


class Inputs(Protocol):
    """The inputs that a model accepts."""

    @property
    def modality(self) -> str:
        """`"image"`, `"text"` or `"sequence"`."""

    def materialise(
        self, dataset: Dataset, *, cache_dir: Path | None = None, strict: bool = False, progress: Progress | None = None
    ) -> Store:
        """Turns every example of a source into an input of the model."""

    @property
    def noun(self) -> str:
        """What one input is called in messages."""

    @property
    def endings(self) -> frozenset[str]:
        """Endings of the files that may be such inputs, in lower case."""

    @property
    def examples(self) -> tuple[str, ...]:
        """The endings to name in a message."""

    def is_batch(self, array: np.ndarray) -> bool:
        """Whether an array holds several inputs."""

    def read(self, value: Any, name: str | None = None) -> np.ndarray:
        """Returns one input, (1, …), from a user's value.

        Args:
            value: a path; the content of a file; an array; for images a PIL image; for texts the text.
            name: its name in error messages.

        Raises:
            DataError: when it cannot be read.
        """

    def stack(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Returns several inputs, each (1, …), as one array (n, …)."""

    def encoded(self, example: Example) -> bytes:
        """Returns an example as clients send it: an encoded image, or a text in UTF-8."""

    def metadata(self) -> dict[str, str]:
        """Returns the metadata stored with the artifacts."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Images of `size` pixels, square or (height, width): RGB, grey, or of as many channels as arrays have."""

    size: decode.Size
    resize: str
    channels: int = 3
    modality: str = "image"
    noun: str = "image"

    def materialise(
        self, dataset: Dataset, *, cache_dir: Path | None = None, strict: bool = False, progress: Progress | None = None
    ) -> Store:
        _check(dataset, self.modality)
        self._check_channels(dataset)
        return materialise(
            dataset, size=self.size, resize=self.resize, channels=self.channels, cache_dir=cache_dir, strict=strict, progress=progress
        )

    @cached_property
    def _decoder(self) -> Decoder:
        return Decoder(self.size, self.resize, self.channels)

    @property
    def encodable(self) -> bool:
        """Whether image files have these channels; others come as arrays only."""
        return self.channels in (1, 3)

    def _check_channels(self, dataset: Dataset) -> None:
        for one in dataset.examples:
            if one.array is None and not self.encodable:
                raise DataError(
                    f"channels is {self.channels}, and {one.id!r} is an image file, which is grey or RGB; give arrays: "
                    f"an .npz with x uint8 (n, height, width, {self.channels}) and y, or from_arrays(x, y)"
                )
            if one.array is not None and not decode.fits(one.array, self.channels):
                has = one.array.shape[-1]
                raise DataError(
                    f"{one.id} has {has} channels, of shape {one.array.shape}; the model accepts {self.channels}: set channels to {has}"
                )

    @property
    def endings(self) -> frozenset[str]:
        return PICTURES if self.encodable else frozenset({".npy"})

    @property
    def examples(self) -> tuple[str, ...]:
        return (".jpg", ".png", ".webp") if self.encodable else (".npy",)

    def is_batch(self, array: np.ndarray) -> bool:
        # (n, height, width) is grey images; (height, width, channels) has few channels in the last place, right or wrong.
        return array.ndim == 4 or (array.ndim == 3 and self.encodable and array.shape[-1] > MOST_CHANNELS)

    def read(self, value: Any, name: str | None = None) -> np.ndarray:
        name = name or (str(value) if isinstance(value, str | Path) else "the input")
        picture = np.zeros((1, *decode.sides(self.size), self.channels), "uint8")
        example, content = self._example(value, name)
        with filtered_stderr(DECODE_NOISE):
            reading = self._decoder.read(example, picture[0], content)
        if reading.bad:
            raise DataError(f"{name}: {reading.bad.reason}")
        return picture

    def _example(self, value: Any, name: str) -> tuple[Example, bytes | None]:
        """Returns a value as an example, and its content where it is encoded already."""
        if isinstance(value, Image.Image):
            value = encoded_image(value)
        if isinstance(value, str | Path) and not self.encodable:
            return self._array(_load_array(value, name, f"an .npy file of uint8 (height, width, {self.channels})"), name), None
        if isinstance(value, str | Path):
            return Example(id=name, label="", path=Path(value)), None
        if isinstance(value, bytes) and not self.encodable:
            raise DataError(f"{name} is an image file; expected an array, uint8 (height, width, {self.channels})")
        if isinstance(value, bytes):
            return Example(id=name, label=""), value
        if not hasattr(value, "__array__"):
            raise DataError(
                f"{name} is {type(value).__name__}; expected a path, an image, or an array uint8 (height, width, {self.channels})"
            )
        return self._array(np.asarray(value), name), None

    def _array(self, array: np.ndarray, name: str) -> Example:
        shape = f"(height, width, {self.channels})"
        if array.dtype.kind in "fiu" and array.dtype != np.uint8 and array.size and 0 <= array.min() and array.max() <= 255:
            unit = array.dtype.kind == "f" and array.max() <= 1
            call = "(x * 255).round().astype('uint8')" if unit else "x.round().astype('uint8')"
            raise DataError(f"{name} is {array.dtype} from {array.min():g} to {array.max():g}; expected uint8 {shape}: pass {call}")
        if array.dtype != np.uint8 or array.ndim not in (2, 3) or not array.size or not decode.fits(array, self.channels):
            raise DataError(f"{name} is {array.dtype} of shape {array.shape}; expected uint8 {shape}")
        return Example(id=name, label="", array=array)

    def stack(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(inputs)

    def encoded(self, example: Example) -> bytes:
        if example.content is not None:
            return decode.decodable(example.content)
        return decode.encode_png(example.array) if example.array is not None else decode.read_image_bytes(example.path or example.id)

    def metadata(self) -> dict[str, str]:
        told = {"resize": self.resize, "image_size": decode.size_text(self.size)}
        return told if self.channels == 3 else {**told, "channels": str(self.channels)}

    @property
    def decode(self) -> Callable[[Any], Any] | None:
        """Encoded image -> uint8 (size, size, channels), in TensorFlow; None where no file has such channels."""
        if not self.encodable:
            return None
        return partial(decode.decode_and_resize, size=self.size, resize=self.resize, channels=self.channels)


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Texts as token ids."""

    tokens: Tokens
    modality: str = "text"
    noun: str = "text"
    endings: frozenset[str] = frozenset({".txt"})
    examples: tuple[str, ...] = (".txt",)

    def materialise(
        self, dataset: Dataset, *, cache_dir: Path | None = None, strict: bool = False, progress: Progress | None = None
    ) -> Store:
        _check(dataset, self.modality)
        bad = [note for note in dataset.notes if note.action == "skipped"]
        if strict and bad:
            raise DataError(f"{len(bad)} texts cannot be used, the first is {bad[0].path}: {bad[0].reason}; fix it, or leave out --strict")
        store = texts.materialise(dataset, encode=self.tokens, lengths=None if self.tokens.fixed else self.tokens.lengths)
        if progress:
            progress(len(store), len(store))
        return store

    def fitted(self, dataset: Dataset, asked: int | None) -> tuple[Texts, Any]:
        """Returns the same with a length that fits the data (or the one asked for), and the table of lengths as a note."""
        lengths = self.tokens.lengths(self.tokens([example.text or "" for example in dataset.examples]))
        length = min(asked or texts.fitting(lengths, self.tokens.length), self.tokens.length)
        return Texts(tokens=self.tokens.limited(length)), texts.length_note(lengths, length)

    def is_batch(self, array: np.ndarray) -> bool:
        return array.ndim > 0

    def read(self, value: Any, name: str | None = None) -> np.ndarray:
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if not isinstance(value, str):
            raise DataError(f"{name or 'the input'} is {type(value).__name__}; expected a text")
        return self.tokens([value])

    def stack(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        return padded(inputs, self.tokens.pad)

    def encoded(self, example: Example) -> bytes:
        return (example.text or "").encode("utf-8", "replace")

    def metadata(self) -> dict[str, str]:
        return {"modality": "text", "max_length": str(self.tokens.length), "pad": str(self.tokens.pad)}


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Sequences of `time` steps of `features` numbers."""

    time: int
    features: int
    modality: str = "sequence"
    noun: str = "sequence"
    endings: frozenset[str] = frozenset({".npy", ".csv"})
    examples: tuple[str, ...] = (".npy", ".csv")

    def materialise(
        self, dataset: Dataset, *, cache_dir: Path | None = None, strict: bool = False, progress: Progress | None = None
    ) -> Store:
        _check(dataset, self.modality)
        return sequences.materialise(dataset, time=self.time, features=self.features)

    def is_batch(self, array: np.ndarray) -> bool:
        return array.ndim == 3

    def read(self, value: Any, name: str | None = None) -> np.ndarray:
        name = name or (str(value) if isinstance(value, str | Path) else "the input")
        if isinstance(value, str | Path):
            value = _load_array(value, name, f"an .npy file, or a CSV of numbers, (time, {self.features})")
        if not hasattr(value, "__array__"):
            raise DataError(f"{name} is {type(value).__name__}; expected a path, or an array (time, {self.features})")
        array = np.asarray(value)
        if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[1] != self.features or not len(array):
            raise DataError(f"{name} has the shape {array.shape}, {array.dtype}; expected numbers (time, {self.features})")
        return sequences.fitted(array.astype("float32"), self.time)[None]

    def stack(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(inputs)

    def encoded(self, example: Example) -> bytes:
        return b""

    def metadata(self) -> dict[str, str]:
        return {"modality": "sequence", "time": str(self.time), "features": str(self.features)}


def of_metadata(metadata: Mapping[str, str], folder: Path) -> Inputs:
    """Returns the inputs that an artifact accepts.

    Args:
        metadata: metadata of its manifest.
        folder: folder of the manifest and, for a text model, the vocabulary.

    Raises:
        DataError: when the metadata is incomplete, as for models of anything but images of a fixed size, texts or sequences.
    """
    try:
        if metadata.get("modality") == "text":
            return texts_of(folder)
        if metadata.get("modality") == "sequence":
            return Sequences(time=int(metadata["time"]), features=int(metadata["features"]))
        size = decode.size_from_text(metadata["image_size"])
        return Pictures(size=size, resize=metadata["resize"], channels=int(metadata.get("channels", 3)))
    except (KeyError, TypeError) as error:
        raise DataError(
            f"the manifest in {str(folder)!r} has no {error.args[0]!r}: its model accepts something other than images of a fixed size, texts or "
            "sequences; call the artifact in its own runtime"
        ) from error


def _load_array(path: str | Path, name: str, expected: str) -> np.ndarray:
    """Reads an .npy file, or numbers separated by commas."""
    path = Path(path)
    try:
        if path.suffix.lower() == ".csv":
            return np.loadtxt(path, delimiter=",", ndmin=2)
        return read_npy(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())[:160]
        raise DataError(f"{name}: {reason}; expected {expected}") from error


def bert_vocabulary(inputs: Inputs) -> tuple[str, ...] | None:
    """Returns the word pieces by id, where the model of texts is one of BERT's kind."""
    if not isinstance(inputs, Texts) or inputs.tokens.kind.name != "word_piece" or inputs.tokens.pad != 0:
        return None
    return tuple(inputs.tokens.tokenizer.get_vocabulary())


def texts_of(folder: Path) -> Texts:
    """Opens the vocabulary beside a model.

    Raises:
        DataError: when it is missing or damaged.
    """
    return Texts(tokens=load_tokens(folder / TOKENIZER))


def _check(dataset: Dataset, modality: str) -> None:
    """Rejects texts for an image model, and vice versa."""
    if dataset.modality != modality:
        ways = {"image": "--backbone efficientnet", "text": "--backbone bert", "sequence": "--backbone rnn"}
        raise DataError(
            f"{dataset.name} contains {dataset.modality} examples and the backbone accepts {modality}; "
            f"use a backbone that accepts them, for example {ways[dataset.modality]}"
        )
