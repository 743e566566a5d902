"""What the headers of encoded images state, read before anything is decoded: sizes, frames, passes."""

from __future__ import annotations

from collections.abc import Callable

from tlkeras.errors import DataError

# Pixels of the largest image that is decoded: as many as Pillow admits before it speaks of a decompression bomb.
LARGEST = 2 * 89_478_485
# Passes over a progressive JPEG, and pixels in all of them: encoders make 10, and each takes as long as a whole image (libjpeg-turbo's fuzzers
# stop at as many).
SCANS, SCANNED = 500, 12 * LARGEST
ALONE = 2**26  # pixels of an image, above which it is decoded while no other is: it takes 200 MB and more
Size = tuple[int, int]
NONE: Size = (0, 0)
SEGMENTS = 65_536  # of a header; files have dozens, photos with large profiles hundreds
BLOCKS = 4_000_000  # of a GIF, 255 bytes each: more than the largest file has, unless it is made to take long
# JPEG: markers that state the size (SOF, without DHT, JPG and DAC), and those without a length (ITU T.81, table B.1).
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE = frozenset({0x01, *range(0xD0, 0xDA)})
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B  # GIF89a, appendix A


def check(data: bytes, kind: str) -> int:
    """Rejects an image whose header states more pixels than are decoded, or more passes than an encoder makes.

    Returns:
        The pixels that it states; 0 where the header is not read here.

    Raises:
        DataError: with what it states.
    """
    width, height = SIZES[kind](data) if kind in SIZES else NONE
    if width * height > LARGEST:
        raise DataError(f"the image header states {width} x {height} pixels; expected at most {LARGEST // 10**6} million: reduce it")
    most = min(SCANS, SCANNED // max(1, width * height))
    if kind == "jpeg" and (scans := data.count(b"\xff\xda")) > most:
        raise DataError(f"the JPEG image of {width} x {height} pixels has {scans:,} passes; expected at most {most}: save it again")
    return width * height


def _png(data: bytes) -> Size:
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _jpeg(data: bytes) -> Size:
    position = 2
    for _ in range(SEGMENTS):
        if position + 9 > len(data):
            return NONE
        if data[position] != 0xFF:  # damaged; decoders go on at the next marker
            position = data.find(b"\xff", position)
            if position < 0:
                return NONE
            continue
        marker = data[position + 1]
        if marker in _SIZES:
            return int.from_bytes(data[position + 7 : position + 9], "big"), int.from_bytes(data[position + 5 : position + 7], "big")
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in _BARE or marker == 0:
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise DataError(f"the JPEG image states no size in its first {SEGMENTS:,} segments")


def _webp(data: bytes) -> Size:
    """The largest of the canvas and of the first bitstream, each of which states its own (RFC 9649, 2.5 to 2.7; RFC 6386, 9.1)."""
    width = height = 0
    position = 12
    for _ in range(SEGMENTS):
        if position + 8 > len(data):
            return width, height
        name, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        content = data[position + 8 : position + 18]
        size = NONE
        if name == b"VP8X" and len(content) == 10:
            size = 1 + int.from_bytes(content[4:7], "little"), 1 + int.from_bytes(content[7:10], "little")
        elif name == b"VP8L" and len(content) >= 5:
            bits = int.from_bytes(content[1:5], "little")
            size = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        elif name == b"VP8 " and len(content) == 10:
            size = int.from_bytes(content[6:8], "little") & 0x3FFF, int.from_bytes(content[8:10], "little") & 0x3FFF
        width, height = max(width, size[0]), max(height, size[1])
        position += 8 + length + length % 2
    raise DataError(f"the WEBP image has more than {SEGMENTS:,} chunks")


def _gif(data: bytes) -> Size:
    """The largest sides of its canvas and of its frames."""
    sizes = [(int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")), *(size for size, _ in _frames(data))]
    return max(width for width, _ in sizes), max(height for _, height in sizes)


SIZES: dict[str, Callable[[bytes], Size]] = {"png": _png, "jpeg": _jpeg, "webp": _webp, "gif": _gif}


# === Frames of GIF ===


def _frames(data: bytes) -> list[tuple[Size, int]]:
    """Returns the size of each frame of a GIF, and where it ends; those of a damaged file up to where it is."""
    frames: list[tuple[Size, int]] = []
    position, left = 13 + _table(data[10:11]), BLOCKS
    while position + 10 < len(data) and data[position] in (_EXTENSION, _IMAGE):
        is_frame = data[position] == _IMAGE
        size = int.from_bytes(data[position + 5 : position + 7], "little"), int.from_bytes(data[position + 7 : position + 9], "little")
        position += 11 + _table(data[position + 9 : position + 10]) if is_frame else 2
        while position < len(data) and data[position]:  # blocks, each of which begins with its length, 0 for the last
            position += 1 + data[position]
            left -= 1
            if left < 0:
                raise DataError(f"the GIF has more than {BLOCKS:,} blocks")
        position += 1
        if is_frame:
            frames.append((size, position))
    return frames


def _table(flags: bytes) -> int:
    """Returns the bytes of a colour table that flags state."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def first_frame(data: bytes) -> bytes:
    """Returns a GIF without the frames behind the first, all of which TensorFlow would decode.

    It makes the image as large as the largest frame, so a GIF whose first frame is smaller stays whole, within the limit of pixels.

    Raises:
        DataError: when such a GIF has too many pixels.
    """
    frames = _frames(data)
    if len(frames) < 2:
        return data
    (first, end), *others = frames
    if all(width <= first[0] and height <= first[1] for (width, height), _ in others):
        return data[:end] + bytes([_TRAILER])
    pixels = sum(width * height for (width, height), _ in frames)
    if pixels > LARGEST:
        raise DataError(
            f"the {len(frames):,} frames of the GIF have {pixels:,} pixels; expected at most {LARGEST // 10**6} million: reduce it"
        )
    return data
