"""Which image format some bytes are, and how those that TensorFlow cannot decode become PNG; no TensorFlow here."""

from __future__ import annotations

import re
import threading
from pathlib import Path

from PIL import Image, ImageOps

from tlkeras.data.examples import Dataset
from tlkeras.data.reader_process import ReaderError
from tlkeras.errors import DataError, reason, shown
from tlkeras.files import open_regular, read_regular
from tlkeras.modalities.images import headers, isolated
from tlkeras.modalities.images.pillow_reader import eight_bits, png
from tlkeras.startup import isolates

NATIVE = ("jpeg", "png", "gif", "webp")  # what `decode_and_resize` accepts unchanged
TRANSPARENT = ("png", "webp")  # of these, what TensorFlow decodes with an alpha channel
LARGEST_FILE = 1024**3  # bytes of one image file
_large = threading.Lock()  # one large image at a time
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
_READERS = {kind: kind.upper() for kind in (*NATIVE, "bmp", "tiff", "ppm", "jpeg2000", "ico", "avif")}


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
    return decodable(read_regular(path, LARGEST_FILE))


def unreadable(path: Path) -> str | None:
    """Returns why a file cannot be an image, as far as its first bytes tell, or None."""
    try:
        with open_regular(path) as file:
            head = file.read(32)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero character
        return getattr(error, "strerror", None) or str(error)
    kind = sniff(head)
    return None if kind in _READERS else _not_a_picture(head, kind)


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
        why = unreadable(example.path or Path(example.id)) if example.array is None and example.content is None else None
        if why is None:
            usable.add(example.label)
        else:
            reasons.setdefault(example.label, []).append(f"{shown(example.id, 200)}: {why}")
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
    if kind not in _READERS:
        raise DataError(_not_a_picture(data, kind))
    pixels = headers.check(data, kind)
    if kind not in NATIVE or _is_animated_webp(data) or isolates():
        return _as_png(data, kind)
    if kind in TRANSPARENT and pixels > headers.ALONE // 4:  # to composite them, TensorFlow takes 25 bytes for each pixel
        with _large:
            return _as_png(data, kind)
    return headers.first_frame(data) if kind == "gif" else data


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


def _as_png(data: bytes, kind: str) -> bytes:
    try:
        return isolated.DECODER.read(_READERS[kind], data)
    except ReaderError as error:
        raise DataError(f"the {kind.upper()} image cannot be read: {error}") from error


def encoded_image(image: Image.Image) -> bytes:
    """Returns an image of Pillow as an upright PNG, which is then read as any other file is.

    Raises:
        DataError: when it is damaged, or has pixels of more than 16 bits.
    """
    try:
        image = ImageOps.exif_transpose(image)
        return png(image if image.mode in PNG_MODES else eight_bits(image))
    except Exception as error:  # Pillow reads a file late, and its decoders raise many kinds
        raise DataError(f"the image cannot be read: {reason(error)}") from error


PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
