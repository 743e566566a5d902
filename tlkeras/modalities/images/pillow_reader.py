"""Turns images that TensorFlow cannot decode into PNG, in a process of its own; see `data/reader_worker.py`."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

# What one image may take: of processor time, and of memory beyond what the process has. The slowest decoder, lossless JPEG 2000, takes a quarter.
SECONDS, SECONDS_PER_PIXEL = 1.0, 0.5e-6
BYTES, BYTES_PER_PIXEL = 1024**3, 24
PART = 2**20  # pixels that are composited at a time


def answer(reader: str, data: bytes, allow: Callable[[float, float], None]) -> bytes:
    """Returns the first frame of an image as an upright PNG of 8 bits, on white where it is transparent.

    Args:
        reader: name of a format of Pillow.
        data: the file.
        allow: limits what is done from now on.
    """
    allow(SECONDS, BYTES)
    try:
        image = _opened(data, reader, allow)
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    return png(on_white(eight_bits(image)))


def _opened(data: bytes, reader: str, allow: Callable[[float, float], None]) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=[reader]) as opened:
        pixels = opened.width * opened.height
        allow(SECONDS + SECONDS_PER_PIXEL * pixels, BYTES + BYTES_PER_PIXEL * pixels)
        opened.load()
        return ImageOps.exif_transpose(opened)


def on_white(image: Image.Image) -> Image.Image:
    """Composites RGBA on white, some rows at a time: as exact as `decode.decode_and_resize` does it, in an eighth of the memory."""
    if image.mode != "RGBA":
        return image
    pixels = np.asarray(image)
    result = np.empty((*pixels.shape[:2], 3), "uint8")
    step = max(1, PART // image.width)
    for start in range(0, image.height, step):
        colour, alpha = np.split(pixels[start : start + step].astype("int32"), [3], axis=-1)
        result[start : start + step] = (colour * alpha + 255 * (255 - alpha) + 127) // 255
    return Image.fromarray(result)


def png(image: Image.Image) -> bytes:
    """Returns an image as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def eight_bits(image: Image.Image) -> Image.Image:
    """RGB or RGBA of 8 bits; 16-bit grey is scaled as TensorFlow scales 16-bit PNG (its upper byte), where Pillow would clip.

    Raises:
        ValueError: for pixels of more than 16 bits.
    """
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype("uint16") >> 8).astype("uint8"))
    if image.mode in ("I", "F"):
        array = np.asarray(image, dtype="float64")
        if not (array.min() >= 0 and array.max() <= 65535) or image.mode == "F":
            raise ValueError(
                f"pixels are {image.mode!r} numbers from {array.min():g} to {array.max():g}; expected 8 or 16 bits: convert it"
            )
        return Image.fromarray((array.astype("uint16") >> 8).astype("uint8"))
    has_alpha = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    return image.convert("RGBA" if has_alpha else "RGB")
