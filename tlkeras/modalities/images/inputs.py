"""Images as a model accepts them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset, Example, Issue
from tlkeras.data.file_kinds import FileKind
from tlkeras.data.row_cache import RowCache
from tlkeras.data.store import Progress, Store
from tlkeras.errors import DataError
from tlkeras.modalities.images import decode
from tlkeras.modalities.images.file_decoder import DECODE_NOISE, Decoder, decoder
from tlkeras.modalities.images.files import ARRAYS, FILES
from tlkeras.modalities.images.formats import encoded_image
from tlkeras.modalities.images.reading import materialise
from tlkeras.modalities.images.thumbnail import thumbnail
from tlkeras.modalities.inputs import check_modality, load_array
from tlkeras.startup import filtered_stderr

MOST_CHANNELS = 16  # an array whose last side is longer is no single image


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images of `size` pixels, square or (height, width): RGB, grey, or of as many channels as arrays have."""

    size: decode.Size
    resize: str
    channels: int = 3
    modality: str = "image"
    noun: str = "image"

    def materialise(
        self,
        dataset: Dataset,
        *,
        cache_dir: Path | None = None,
        strict: bool = False,
        progress: Progress | None = None,
        cache: RowCache | None = None,
    ) -> Store:
        check_modality(dataset, self.modality)
        self._check_channels(dataset)
        return materialise(
            dataset,
            size=self.size,
            resize=self.resize,
            channels=self.channels,
            cache_dir=cache_dir,
            strict=strict,
            progress=progress,
            cache=cache,
        )

    @cached_property
    def _decoder(self) -> Decoder:
        return decoder(self.size, self.resize, self.channels)

    @property
    def encodable(self) -> bool:
        """Whether image files have these channels; others come as arrays only."""
        return self.channels in (1, 3)

    def _check_channels(self, dataset: Dataset) -> None:
        for example in dataset.examples:
            if example.array is None and not self.encodable:
                raise DataError(
                    f"channels is {self.channels}, and {example.id!r} is an image file, which is grey or RGB; give arrays: "
                    f"an .npz with x uint8 (n, height, width, {self.channels}) and y, or from_arrays(x, y)"
                )
            if example.array is not None and not decode.fits(example.array, self.channels):
                has = example.array.shape[-1]
                raise DataError(
                    f"{example.id} has {has} channels, of shape {example.array.shape}; the model accepts {self.channels}: set channels to {has}"
                )

    @property
    def files(self) -> FileKind:
        return FILES if self.encodable else ARRAYS

    def is_batch(self, array: np.ndarray) -> bool:
        # (n, height, width) is grey images; (height, width, channels) has few channels in the last place, right or wrong.
        return array.ndim == 4 or (array.ndim == 3 and self.encodable and array.shape[-1] > MOST_CHANNELS)

    def read(self, value: Any, name: str | None = None) -> np.ndarray:
        name = name or (str(value) if isinstance(value, str | Path) else "the input")
        image = np.zeros((1, *decode.sides(self.size), self.channels), "uint8")
        example, content = self._example(value, name)
        with filtered_stderr(DECODE_NOISE):
            reading = self._decoder.read(example, image[0], content)
        if reading.bad:
            raise DataError(f"{name}: {reading.bad.reason}")
        return image

    def _example(self, value: Any, name: str) -> tuple[Example, bytes | None]:
        """Returns a value as an example, and its content where it is encoded already."""
        if isinstance(value, Image.Image):
            value = encoded_image(value)
        if isinstance(value, str | Path) and not self.encodable:
            return self._array(load_array(value, name, f"an .npy file of uint8 (height, width, {self.channels})"), name), None
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

    def thumbnail(self, example: Example, array: np.ndarray) -> str:
        return thumbnail(array, example.id)

    def metadata(self) -> dict[str, str]:
        metadata = {"resize": self.resize, "image_size": decode.size_text(self.size)}
        return metadata if self.channels == 3 else {**metadata, "channels": str(self.channels)}

    def settings(self) -> dict[str, Any]:
        return {}

    def save(self, folder: Path) -> None:
        """Images need nothing beside a model."""

    def serving(self) -> dict[str, Any]:
        return {"decode": self.decode}

    def synthetic(self, count: int, label: str) -> list[Example]:
        rng = np.random.default_rng(0)
        shape = (*decode.sides(self.size), self.channels)
        return [Example(id=f"synthetic/{i}", label=label, array=rng.integers(0, 256, shape).astype("uint8")) for i in range(count)]

    @property
    def decode(self) -> Callable[[Any], Any] | None:
        """Encoded image -> uint8 (size, size, channels), in TensorFlow; None where no file has such channels."""
        if not self.encodable:
            return None
        return partial(decode.decode_and_resize, size=self.size, resize=self.resize, channels=self.channels)


def of_task(model: Any, tokens: Any, config: RunConfig, dataset: Dataset) -> tuple[Images, list[Issue]]:
    """See `Modality.of_task`."""
    return of_model(model, config, None), []


def of_model(model: Any, config: RunConfig, folder: Path | None) -> Images:
    """See `Modality.of_model`."""
    _, side, _, channels = model.inputs[0].shape
    return Images(size=int(side), resize=config.data.resize, channels=int(channels))


def of_metadata(metadata: Mapping[str, str], folder: Path) -> Images:
    """See `Modality.of_metadata`."""
    size = decode.size_from_text(metadata["image_size"])
    return Images(size=size, resize=metadata["resize"], channels=int(metadata.get("channels", 3)))
