"""Which image format some bytes are, and how those that TensorFlow cannot decode become PNG; no TensorFlow here."""

from __future__ import annotations

import io
import re
import stat
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tlkeras.data.examples import Dataset
from tlkeras.errors import DataError

NATIVE = ("jpeg", "png", "gif", "webp")  # what `decode_and_resize` accepts unchanged
# Pixels of the largest image that is decoded: as many as Pillow admits before it speaks of a decompression bomb.
LARGEST = 2 * 89_478_485
_HEADS = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"P5", "ppm"),
    (b"P6", "ppm"),
    (b"\x00\x00\x00\x0cjP  \r\n", "jpeg2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000"),
    (b"\x00\x00\x01\x00", "ico"),
)
_BRANDS = {b"avif": "avif", b"avis": "avif", **dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "heic")}
# Formats that Pillow may read: listed, because some of its other readers run programs or admit any bytes.
_READERS = {"bmp": "BMP", "tiff": "TIFF", "ppm": "PPM", "jpeg2000": "JPEG2000", "ico": "ICO", "avif": "AVIF", "webp": "WEBP"}


def sniff(data: bytes) -> str | None:
    """Returns the format according to the first bytes, whatever the file name, or None."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12])
    return next((kind for head, kind in _HEADS if data.startswith(head)), None)


def read_image_bytes(path: str | Path) -> bytes:
    """Returns an image file as bytes that `decode_and_resize` accepts.

    Args:
        path: JPEG, PNG, GIF and still WebP come as they are; animated WebP (first frame), BMP, TIFF (first page), PPM,
            JPEG 2000, ICO and AVIF come as upright PNG of the same pixels.

    Raises:
        DataError: when the file is empty, not an image, truncated, or of a format that cannot be read.
        OSError: when the file cannot be opened.
    """
    return decodable(Path(path).read_bytes())


def unreadable(path: Path) -> str | None:
    """Returns why a file cannot be an image, as far as its first bytes tell, or None."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device: reading it could wait for ever
            return "no regular file"
        with path.open("rb") as file:
            head = file.read(32)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero character
        return getattr(error, "strerror", None) or str(error)
    kind = sniff(head)
    return None if kind in NATIVE or kind in _READERS else _not_a_picture(head, kind)


def check_files(dataset: Dataset) -> None:
    """Checks that each class has a file that can be an image. Of a class, files are opened up to the first such one.

    Raises:
        DataError: when a class has none.
    """
    usable: set[str] = set()
    reasons: dict[str, list[str]] = {}
    for example in dataset.examples:
        if example.label in usable:
            continue
        reason = unreadable(example.path or Path(example.id)) if example.array is None and example.content is None else None
        if reason is None:
            usable.add(example.label)
        else:
            reasons.setdefault(example.label, []).append(f"{example.id!r}: {reason}")
    lost = [label for label in reasons if label not in usable]
    if lost:
        first = reasons[lost[0]]
        others = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
        raise DataError(
            f"no image of class {lost[0]!r}{others} can be read; the first of its {len(first):,} files is {first[0]}; "
            "correct the paths or the files, or remove the class"
        )


def decodable(data: bytes) -> bytes:
    """Returns an encoded image as bytes that `decode_and_resize` accepts; see `read_image_bytes`."""
    kind = sniff(data)
    if kind is None or kind not in NATIVE and kind not in _READERS:
        raise DataError(_not_a_picture(data, kind))
    if kind not in NATIVE or _is_animated_webp(data):
        return _as_png(data, kind)
    width, height = _declared(data, kind)
    if width * height > LARGEST:
        raise DataError(f"the image header states {width} x {height} pixels; expected at most {LARGEST // 10**6} million: reduce it")
    return data


_GIF_CONTROL = re.compile(rb"\x21\xf9\x04(.)..(.)\x00", re.DOTALL)  # GIF89a, 23: flags, delay, transparent index


def has_gif_transparency(data: bytes) -> bool:
    """Whether the first frame of a GIF declares a transparent colour."""
    control = _GIF_CONTROL.search(data) if data.startswith(b"GIF8") else None
    return control is not None and bool(control[1][0] & 1)


def _is_animated_webp(data: bytes) -> bool:
    """TensorFlow 2.21 cannot decode these (flag bit 1 of the VP8X header; WebP container specification)."""
    return data[8:16] == b"WEBPVP8X" and bool(data[20:21] > b"" and data[20] & 2)


def _not_a_picture(data: bytes, kind: str | None) -> str:
    if not data:
        return "the file is empty (0 bytes)"
    if kind == "heic":
        return "HEIC images are not supported; convert the file to JPEG (on a phone: Camera, Formats, Most Compatible)"
    return "the content is not an image (expected JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, JPEG 2000, ICO or AVIF)"


def _declared(data: bytes, kind: str) -> tuple[int, int]:
    """Width and height as the header says, to refuse a decompression bomb; (0, 0) where it is not simply there.

    JPEG is left out: at most 65,535 a side, and its data must really be as long as it says.
    """
    if kind == "png":
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if kind == "gif":
        return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    if kind == "webp" and data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    return 0, 0


def _as_png(data: bytes, kind: str) -> bytes:
    try:
        with Image.open(io.BytesIO(data), formats=[_READERS[kind]]) as opened:
            opened.load()
            image = ImageOps.exif_transpose(opened)
    # What Pillow raises for broken or strange files; NotImplementedError and KeyError for compressions it does not know.
    except (OSError, SyntaxError, ValueError, EOFError, NotImplementedError, KeyError, Image.DecompressionBombError) as error:
        raise DataError(f"the {kind.upper()} image cannot be read: {' '.join(str(error).split())[:160]}") from error
    buffer = io.BytesIO()
    _eight_bits(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def encoded_image(image: Image.Image) -> bytes:
    """Returns an image of Pillow as an upright PNG, which is then read as any other file is."""
    image = ImageOps.exif_transpose(image)
    buffer = io.BytesIO()
    (image if image.mode in PNG_MODES else _eight_bits(image)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def _eight_bits(image: Image.Image) -> Image.Image:
    """RGB or RGBA of 8 bits; 16-bit grey is scaled as TensorFlow scales 16-bit PNG (its upper byte), where Pillow would clip."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype("uint16") >> 8).astype("uint8"))
    if image.mode in ("I", "F"):
        array = np.asarray(image, dtype="float64")
        if array.min() < 0 or array.max() > 65535 or image.mode == "F":
            raise DataError(f"pixels are {image.mode!r} numbers from {array.min():g} to {array.max():g}; expected 8 or 16 bits: convert it")
        return Image.fromarray((array.astype("uint16") >> 8).astype("uint8"))
    has_alpha = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    return image.convert("RGBA" if has_alpha else "RGB")
