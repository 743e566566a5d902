"""What a model takes, by modality: how a source becomes a store of it, and how one thing from a user becomes an input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tlkeras.backbones.tokens import Tokens
from tlkeras.backbones.tokens import load as load_tokens
from tlkeras.data import decode, sequences, texts
from tlkeras.data.examples import Dataset, Example
from tlkeras.data.store import DECODE_NOISE, Decoder, Progress, Store, materialise
from tlkeras.errors import DataError
from tlkeras.startup import filtered_stderr

TOKENIZER = "tokenizer"  # folder of the vocabulary, in a run and beside artifacts


class Inputs(Protocol):
    """What a model takes."""

    @property
    def modality(self) -> str:
        """`"image"`, `"text"` or `"sequence"`."""

    def materialise(
        self, dataset: Dataset, *, cache_dir: Path | None = None, strict: bool = False, progress: Progress | None = None
    ) -> Store:
        """Turns every example of a source into what the model takes."""

    def read(self, given: str) -> np.ndarray:
        """Returns one input, (1, …), of what a user gave: a file, or a text.

        Raises:
            DataError: when it cannot be read.
        """

    def encoded(self, example: Example) -> bytes:
        """Returns an example as clients send it: an encoded picture, or a text in UTF-8."""

    def metadata(self) -> dict[str, str]:
        """Returns what travels with the artifacts."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Pictures of `size` pixels, square or (height, width): RGB, grey, or of as many channels as arrays have."""

    size: decode.Size
    resize: str
    channels: int = 3
    modality: str = "image"

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
        """Whether picture files have these channels; others come as arrays only."""
        return self.channels in (1, 3)

    def _check_channels(self, dataset: Dataset) -> None:
        for one in dataset.examples:
            if one.array is None and not self.encodable:
                raise DataError(
                    f"channels is {self.channels}, and {one.id!r} is a picture file, which is grey or RGB; give arrays: "
                    f"an .npz with x uint8 (n, height, width, {self.channels}) and y, or from_arrays(x, y)"
                )
            if one.array is not None and not decode.fits(one.array, self.channels):
                has = one.array.shape[-1]
                raise DataError(
                    f"{one.id} has {has} channels, of shape {one.array.shape}; the model takes {self.channels}: set channels to {has}"
                )

    def read(self, given: str) -> np.ndarray:
        picture = np.zeros((1, *decode.sides(self.size), self.channels), "uint8")
        example = Example(id=given, label="", path=Path(given)) if self.encodable else self._array(given)
        with filtered_stderr(DECODE_NOISE):
            reading = self._decoder.read(example, picture[0])
        if reading.bad:
            raise DataError(f"{given}: {reading.bad.reason}")
        return picture

    def _array(self, given: str) -> Example:
        try:
            array = np.load(given, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"{given}: {error}; expected an .npy file of uint8 (height, width, {self.channels})") from error
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != self.channels:
            raise DataError(f"{given} is {array.dtype} of shape {array.shape}; expected uint8 (height, width, {self.channels})")
        return Example(id=given, label="", array=array)

    def encoded(self, example: Example) -> bytes:
        return decode.encode_png(example.array) if example.array is not None else decode.read_image_bytes(example.path or example.id)

    def metadata(self) -> dict[str, str]:
        told = {"resize": self.resize, "image_size": decode.size_text(self.size)}
        return told if self.channels == 3 else {**told, "channels": str(self.channels)}

    @property
    def decode(self) -> Callable[[Any], Any] | None:
        """Encoded picture -> uint8 (size, size, channels), in TensorFlow; None where no file has such channels."""
        if not self.encodable:
            return None
        return partial(decode.decode_and_resize, size=self.size, resize=self.resize, channels=self.channels)


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Texts as token ids."""

    tokens: Tokens
    modality: str = "text"

    def materialise(
        self, dataset: Dataset, *, cache_dir: Path | None = None, strict: bool = False, progress: Progress | None = None
    ) -> Store:
        _check(dataset, self.modality)
        bad = [note for note in dataset.notes if note.action == "skipped"]
        if strict and bad:
            raise DataError(f"{len(bad)} texts cannot be used, the first is {bad[0].path}: {bad[0].reason}; mend it, or leave --strict out")
        store = texts.materialise(dataset, encode=self.tokens, lengths=None if self.tokens.fixed else self.tokens.lengths)
        if progress:
            progress(len(store), len(store))
        return store

    def fitted(self, dataset: Dataset, asked: int | None) -> tuple[Texts, Any]:
        """Returns the same with a length that fits the data (or the one asked for), and the table of lengths as a note."""
        lengths = self.tokens.lengths(self.tokens([example.text or "" for example in dataset.examples]))
        length = min(asked or texts.fitting(lengths, self.tokens.length), self.tokens.length)
        return Texts(tokens=self.tokens.limited(length)), texts.length_note(lengths, length)

    def read(self, given: str) -> np.ndarray:
        return self.tokens([given])

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

    def materialise(
        self, dataset: Dataset, *, cache_dir: Path | None = None, strict: bool = False, progress: Progress | None = None
    ) -> Store:
        _check(dataset, self.modality)
        return sequences.materialise(dataset, time=self.time, features=self.features)

    def read(self, given: str) -> np.ndarray:
        try:
            array = np.load(given, allow_pickle=False) if given.endswith(".npy") else np.loadtxt(given, delimiter=",", ndmin=2)
        except (OSError, ValueError) as error:
            raise DataError(f"{given}: {error}; expected an .npy file, or a CSV of numbers, (time, {self.features})") from error
        if array.ndim != 2 or array.shape[1] != self.features:
            raise DataError(f"{given} has the shape {array.shape}; expected (time, {self.features})")
        return sequences.fitted(array.astype("float32"), self.time)[None]

    def encoded(self, example: Example) -> bytes:
        return b""

    def metadata(self) -> dict[str, str]:
        return {"modality": "sequence", "time": str(self.time), "features": str(self.features)}


def bert_vocabulary(inputs: Inputs) -> tuple[str, ...] | None:
    """Returns the word pieces by id, where the model of texts is one of BERT's kind."""
    if not isinstance(inputs, Texts) or inputs.tokens.kind.name != "word_piece" or inputs.tokens.pad != 0:
        return None
    return tuple(inputs.tokens.tokenizer.get_vocabulary())


def texts_of(folder: Path) -> Texts:
    """Opens the vocabulary beside a model.

    Raises:
        DataError: when it is not there or damaged.
    """
    return Texts(tokens=load_tokens(folder / TOKENIZER))


def _check(dataset: Dataset, modality: str) -> None:
    """Refuses texts for a model of pictures, and the other way round."""
    if dataset.modality != modality:
        ways = {"image": "--backbone efficientnet", "text": "--backbone bert", "sequence": "--backbone rnn"}
        raise DataError(
            f"{dataset.name} holds {dataset.modality} examples and the backbone takes {modality}; "
            f"use a backbone for them, for example {ways[dataset.modality]}"
        )
