"""Turns images that TensorFlow cannot decode into PNG, in a process of its own with bounded memory: `python pillow_worker.py BYTES`.

A decoder that crashes, never ends or fills the memory then costs one image. For each image it reads the reader's name and the file, each behind its
length, and answers with `ok` or `no`, and the PNG or the reason. It imports nothing of tlkeras, so that it starts in a fifth of a second.
"""

from __future__ import annotations

import io
import signal
import struct
import sys
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps

LENGTH = struct.Struct("<Q")
# What one image may take: of processor time, and of memory beyond what the process has. The slowest decoder, lossless JPEG 2000, takes a quarter.
SECONDS, SECONDS_PER_PIXEL = 1.0, 0.5e-6
BYTES, BYTES_PER_PIXEL = 1024**3, 24
OK, NO = b"ok", b"no"
# What decoders raise for broken or strange files; anything else ends this process, which costs one image, too.
ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, RuntimeError, ArithmeticError, TypeError, AttributeError, AssertionError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)


def as_png(data: bytes, reader: str) -> bytes:
    """Returns the first frame of an image as an upright PNG of 8 bits.

    Args:
        data: the file.
        reader: name of a format of Pillow.
    """
    allow(pixels=0)
    with Image.open(io.BytesIO(data), formats=[reader]) as opened:
        allow(opened.width * opened.height)
        opened.load()
        image = ImageOps.exif_transpose(opened)
    return png(eight_bits(image))


def allow(pixels: int) -> None:
    """Limits what is done until the next call to what an image of so many pixels needs: beyond it, the process ends or `MemoryError` is raised.

    `SIGPROF` counts the time of processors, so that a busy machine does not end an image that is well.
    """
    if sys.platform == "win32":
        return
    import resource

    signal.setitimer(signal.ITIMER_PROF, SECONDS + SECONDS_PER_PIXEL * pixels)
    used, (_, most) = Path("/proc/self/statm"), resource.getrlimit(resource.RLIMIT_AS)
    if used.is_file():
        limit = int(used.read_text().split()[0]) * resource.getpagesize() + BYTES + BYTES_PER_PIXEL * pixels
        resource.setrlimit(resource.RLIMIT_AS, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


def rest() -> None:
    """Ends the limit of time: nothing is done until the next image comes."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_PROF, 0)


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


def write(stream: IO[bytes], *parts: bytes) -> None:
    """Writes texts, each behind its length."""
    for part in parts:
        stream.write(LENGTH.pack(len(part)))
        stream.write(part)
    stream.flush()


def read(stream: IO[bytes]) -> bytes:
    """Reads a text behind its length.

    Raises:
        EOFError: at the end of the stream.
    """
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError("the stream ended")
    (count,) = LENGTH.unpack(head)
    content = stream.read(count)
    if len(content) < count:
        raise EOFError("the stream ended")
    return content


def answer(data: bytes, reader: str) -> tuple[bytes, bytes]:
    """Returns `ok` and the PNG, or `no` and the reason."""
    try:
        return OK, as_png(data, reader)
    except MemoryError:
        return NO, b"it does not fit into the memory that an image of its size needs"
    except ERRORS as error:
        return NO, (" ".join(str(error).split())[:160] or type(error).__name__).encode("utf-8", "replace")
    finally:
        rest()


def main() -> None:
    """Answers until standard input ends."""
    if sys.platform != "win32":  # profilers leave the signal ignored or blocked, which is inherited
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):  # Windows; or a lower limit is set already
        pass
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            reader, data = read(source).decode(), read(source)
        except EOFError:
            return
        write(target, *answer(data, reader))


if __name__ == "__main__":
    main()
