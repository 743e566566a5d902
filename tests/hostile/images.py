"""Images that are damaged, lie about their size, are something else, or have odd names."""

import functools
import io
import os
import random
import socket
import struct
import zlib

import numpy as np
from PIL import Image

from tests.hostile.cases import EITHER, READ, Case, written
from tlkeras.errors import is_obeyed

FORMATS = {
    "jpeg": {"format": "JPEG", "quality": 90},
    "progressive jpeg": {"format": "JPEG", "progressive": True},
    "png": {"format": "PNG"},
    "gif": {"format": "GIF"},
    "webp": {"format": "WEBP"},
    "lossless webp": {"format": "WEBP", "lossless": True},
    "bmp": {"format": "BMP"},
    "tiff": {"format": "TIFF", "compression": "tiff_lzw"},
    "ppm": {"format": "PPM"},
    "jpeg2000": {"format": "JPEG2000"},
    "ico": {"format": "ICO"},
    "avif": {"format": "AVIF"},
}


@functools.cache
def image(name: str, size: tuple[int, int] = (40, 30)) -> bytes:
    rng = np.random.default_rng(0)
    pixels = Image.fromarray(rng.integers(0, 256, (*size[::-1], 3)).astype("uint8"))
    buffer = io.BytesIO()
    pixels.save(buffer, **FORMATS[name])
    return buffer.getvalue()


@functools.cache
def _inputs():
    from tlkeras.modalities.images.inputs import Images

    return Images(size=8, resize="stretch")


def predicted(content, name="x.jpg"):
    """Returns what reads a file of this content as `predict` does."""

    def read(folder):
        data = content() if callable(content) else content
        return _inputs().read(written(folder, name, data))

    return read


def listed(make):
    """Returns what lists a folder of two classes, with what `make` adds, and decodes it as `finetune` does."""

    def read(folder):
        from tlkeras.modalities.sources import open_source

        for label in ("cat", "dog"):
            (folder / label).mkdir()
            (folder / label / "good.png").write_bytes(image("png"))
        make(folder)
        dataset = open_source(str(folder))
        into = np.zeros((8, 8, 3), "uint8")
        readings = [(example, _inputs()._decoder.read(example, into)) for example in dataset.examples]
        notes = [*dataset.notes, *(reading.bad for _, reading in readings if reading.bad)]
        texts = [*(note.path + note.reason for note in notes), *(example.id for example in dataset.examples)]
        assert not any(map(is_obeyed, "".join(texts))), texts
        good = [example for example, reading in readings if not reading.bad]
        assert {example.label for example in good} == {"cat", "dog"}
        return good

    return read


def _cut(content, percent):
    return content[: len(content) * percent // 100]


def _flipped(content, seed):
    """Flips a few bits, most of them in the first bytes, where the headers are."""
    rng = random.Random(seed)
    data = bytearray(content)
    for _ in range(rng.choice([1, 2, 8])):
        index = rng.randrange(min(64, len(data))) if rng.random() < 0.5 else rng.randrange(len(data))
        data[index] ^= 1 << rng.randrange(8)
    return bytes(data)


def damaged():
    for name in FORMATS:
        for percent in range(100):
            # What is missing at the end of some formats are pixels that decoders leave grey, or checksums.
            expect = "rejected" if percent <= 10 and name not in ("gif",) else EITHER
            case = predicted(functools.partial(lambda name, percent: _cut(image(name), percent), name, percent))
            yield Case("image cut short", f"{name} at {percent} %", case, expect, slow=percent not in (0, 5, 50, 95))
        for seed in range(60):
            case = predicted(functools.partial(lambda name, seed: _flipped(image(name), seed), name, seed))
            yield Case("image with bits flipped", f"{name} {seed}", case, EITHER, slow=seed >= 4)


# === Bombs ===


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width, height, depth=8, colour=2, *more, data=b""):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def riff(*chunks):
    body = b"WEBP" + b"".join(name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2) for name, content in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg_of(width, height):
    data = bytearray(image("jpeg"))
    position = data.index(b"\xff\xc0")
    data[position + 5 : position + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def gif(frames, screen=(40, 30), size=(40, 30)):
    pixels = bytes([2, 2, 0x4C, 0x01, 0])  # minimum code size 2; clear, end
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, *size, 0) + pixels
    return b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + bytes(6) + frame * frames + b"\x3b"


def tiff(width, height):
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 5), (262, 3, 1, 1), (273, 4, 1, 8), (278, 4, 1, height)]
    entries += [(279, 4, 1, 10)]
    ifd = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 20) + bytes(12) + ifd


BOMBS = {
    "png of 60,000 x 60,000": lambda: png(60_000, 60_000),
    "png of 2^31 x 2^31": lambda: png(2**31 - 1, 2**31 - 1),
    "png of 0 x 0": lambda: png(0, 0),
    "webp of 16,383 x 16,383 (VP8L)": lambda: riff((b"VP8L", b"\x2f" + struct.pack("<I", 16382 | 16382 << 14) + bytes(8))),
    "webp of 16,383 x 16,383 (VP8)": lambda: riff((b"VP8 ", b"\x10\x00\x00\x9d\x01\x2a" + struct.pack("<HH", 16383, 16383) + bytes(8))),
    "webp of 2^24 x 2^24 (VP8X)": lambda: riff((b"VP8X", bytes(4) + b"\xff" * 6), (b"VP8 ", bytes(10))),
    "small canvas, large webp": lambda: riff(
        (b"VP8X", bytes(4) + bytes(6)), (b"VP8L", b"\x2f" + struct.pack("<I", 16382 | 16382 << 14) + bytes(8))
    ),
    "animated webp of 16,383 x 16,383": lambda: riff((b"VP8X", b"\x02\0\0\0" + b"\xfe\x3f\0" * 2), (b"ANIM", bytes(6))),
    "jpeg of 20,000 x 20,000": lambda: jpeg_of(20_000, 20_000),
    "jpeg of 65,535 x 65,535": lambda: jpeg_of(65_535, 65_535),
    "jpeg without a size": lambda: b"\xff\xd8" + b"\xff\x01" * 200_000 + b"\xff\xd9",
    "jpeg of 2,000 passes": lambda: image("progressive jpeg")[:-2] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" * 2000 + b"\xff\xd9",
    "gif of 60,000 x 60,000": lambda: gif(1, screen=(60_000, 60_000)),
    "small gif with a frame of 60,000 x 60,000": lambda: gif(1, screen=(1, 1), size=(60_000, 60_000)),
    "gif of 5 million blocks": lambda: gif(1)[:-1] + b"\x21\xfe" + b"\x01a" * 4_100_000 + b"\0\x3b",
    "gif whose later frames are larger, and many": lambda: (
        gif(1)[:-1] + gif(1, size=(9000, 9000))[19:-1] + gif(100, size=(8000, 8000))[19:]
    ),
    "tiff of 60,000 x 60,000": lambda: tiff(60_000, 60_000),
    "bmp of 60,000 x 60,000": lambda: b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
    "ppm of 60,000 x 60,000": lambda: b"P6\n60000 60000\n255\n",
    "ico of a png of 60,000 x 60,000": lambda: (
        b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, 200, 22) + png(60_000, 60_000).ljust(200, b"\0")
    ),
}
# Images that are odd, not wrong.
ODD = {
    "one pixel": lambda: png(1, 1, data=b"\0\xff\0\0"),
    "60,000 x 1": lambda: png(60_000, 1, data=b"\0" + bytes(180_000)),
    "1 x 60,000": lambda: png(1, 60_000, data=b"\0\0\0\0" * 60_000),
    "gif of 20,000 frames": lambda: image("gif")[:-1] + gif(20_000)[19:],
    "a profile that is none": lambda: png(1, 1, 8, 2, chunk(b"iCCP", b"x\0\0" + zlib.compress(b"junk")), data=b"\0\xff\0\0"),
    "a profile that unpacks to 50 MB": lambda: png(
        1, 1, 8, 2, chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(50_000_000), 9)), data=b"\0\xff\0\0"
    ),
    "a text that unpacks to 50 MB": lambda: png(
        1, 1, 8, 2, chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(50_000_000), 9)), data=b"\0\xff\0\0"
    ),
    "1,000 texts": lambda: png(1, 1, 8, 2, *[chunk(b"tEXt", b"x\0y")] * 1000, data=b"\0\xff\0\0"),
    "an archive behind it": lambda: image("png") + b"PK\x03\x04" + bytes(100),
    "a page behind it": lambda: image("gif") + b"<script>alert(1)</script>",
}


def _exif(block):
    return image("jpeg")[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block + image("jpeg")[2:]


EXIF = {
    "a directory that refers to itself": b"II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0",
    "65,535 entries": b"MM\0*\0\0\0\x08\xff\xff",
    "orientation 99": b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0",
    "a directory far behind the end": b"II*\0\xff\xff\xff\xff",
    "nothing": b"",
}
OTHERS = {
    "nothing": b"",
    "one byte": b"\xff",
    "a web page": b"<!doctype html><html><body>Sign in</body></html>",
    "svg with an external entity": b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg xmlns="http://www.w3.org/2000/svg">&x;</svg>',
    "PostScript that runs a program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%pipe%touch canary (w) file\n",
    "pdf": b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj",
    "a pickle": b"cos\nsystem\n(S'touch canary'\ntR.",
    "a shell script": b"#!/bin/sh\ntouch canary\n",
    "ImageMagick's own language": b"push graphic-context\nviewbox 0 0 640 480\nfill 'url(https://x/|touch canary)'\npop graphic-context",
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50),
    "photoshop": b"8BPS\0\1" + bytes(100),
    "fli": struct.pack("<IHH", 128, 0xAF11, 60_000) + bytes(120),
    "pcx": b"\x0a\5\1\x08" + b"\xff" * 100,
    "tga": bytes(2) + b"\x0a" + bytes(9) + b"\xff\xff\xff\xff\x20\0",
    "an archive": b"PK\x03\x04" + bytes(100),
    "avif of nothing but a brand": b"\0\0\0\x18ftypavif\0\0\0\0avifmif1",
    "jpeg2000 of nothing but a mark": b"\0\0\0\x0cjP  \r\n\x87\n",
    "a codestream of nothing but a mark": b"\xff\x4f\xff\x51",
    "ico of 65,535 images": b"\0\0\1\0\xff\xff" + bytes(40),
    "ico that points at itself": b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 1, 1, 0, 0, 1, 32, 22, 0),
    "riff without a webp": b"RIFF\xff\xff\xff\xffWAVEfmt ",
    "webp without chunks": b"RIFF\x04\0\0\0WEBP",
}


def contents():
    yield from (Case("image that lies", name, predicted(make)) for name, make in BOMBS.items() if "gif" not in name or "60,000" in name)
    # TensorFlow reads what is left of these.
    yield from (
        Case("image that lies", name, predicted(make), EITHER) for name, make in BOMBS.items() if "gif" in name and "60,000" not in name
    )
    yield from (
        Case("image that is odd", name, predicted(make), READ if "profile" not in name and "text" not in name else EITHER)
        for name, make in ODD.items()
    )
    yield from (
        Case("image that is odd", f"Exif: {name}", predicted(lambda block=block: _exif(block)), READ) for name, block in EXIF.items()
    )
    yield from (Case("image that is none", name, predicted(content)) for name, content in OTHERS.items())
    modes = {"CMYK": "TIFF", "YCbCr": "TIFF", "LAB": "TIFF", "I;16": "TIFF", "1": "BMP", "P": "TIFF", "LA": "PNG", "I": "TIFF"}
    for mode, kind in modes.items():
        yield Case("image that is odd", f"{kind} of {mode}", predicted(functools.partial(_of_mode, mode, kind)), READ)
    yield Case("image that is odd", "TIFF of F", predicted(functools.partial(_of_mode, "F", "TIFF")))


def _of_mode(mode, kind):
    buffer = io.BytesIO()
    picture = Image.new(mode, (9, 9)) if mode in ("I;16", "LAB", "F", "I") else Image.new("RGB", (9, 9)).convert(mode)
    picture.save(buffer, kind)
    return buffer.getvalue()


# === Files and names ===

NAMES = {
    "Arabic": "قطة",
    "Chinese": "猫",
    "emoji with a joiner": "👩‍🔬",
    "combining": "e\u0301",
    "spaces": "  a  b  ",
    "a newline": "a\nerror: all is lost\n",
    "an escape": "a\x1b[2J\x1b[31mred",
    "a carriage return": "a\rb",
    "half a character": "a\udcffb",
    "right to left": "gpj.\u202egnp",
    "markup": "<img src=x onerror=alert(1)>",
    "a formula": "=cmd|'!A0",
    "a shell's words": "$(touch canary);`touch canary`",
    "long": "n" * 240,
    "dashes": "--out=canary",
    "a pattern": "[ab]*?",
    "percent": "%s%n%00",
    "braces": "{0.__class__}",
}


def names():
    for name, text in NAMES.items():
        yield Case("name of a file", name, listed(functools.partial(_with_name, text)), READ)
        yield Case("name of a folder", name, listed(functools.partial(_with_folder, text)), READ)


def _with_name(text, folder):
    written(folder / "cat", f"{text}.png".replace("/", "_"), image("png"))


def _with_folder(text, folder):
    inner = folder / "cat" / text.replace("/", "_")
    inner.mkdir()
    written(inner, "a.png", image("png"))


def _socket(folder):
    old = os.getcwd()
    os.chdir(folder / "cat")  # the path of a socket has at most 108 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("x.png")
    os.chdir(old)


def _chain(folder):
    """Two links from each folder to the next: 2^30 paths."""
    for index in range(30):
        (folder / "cat" / f"f{index}").mkdir()
    for index in range(30):
        for link in ("a", "b"):
            (folder / "cat" / f"f{index}" / link).symlink_to(folder / "cat" / f"f{(index + 1) % 30}")


def _deep(folder):
    old = os.getcwd()
    os.chdir(folder / "cat")
    for _ in range(900):
        os.mkdir("n")
        os.chdir("n")
    os.chdir(old)


SPECIAL = {
    "a pipe": lambda folder: os.mkfifo(folder / "cat" / "x.png"),
    "a pipe beside the classes": lambda folder: os.mkfifo(folder / "x.png"),
    "a socket": _socket,
    "/dev/zero": lambda folder: (folder / "cat" / "x.png").symlink_to("/dev/zero"),
    "/dev/stdin": lambda folder: (folder / "cat" / "x.png").symlink_to("/dev/stdin"),
    "a link to nowhere": lambda folder: (folder / "cat" / "x.png").symlink_to("/nowhere"),
    # Found by `pytest -m fuzz` in "/": what the system does not even let be looked at, as in a folder that can be listed but not entered.
    "a link to what is forbidden": lambda folder: (folder / "cat" / "x.png").symlink_to("/proc/1/exe"),
    "a link beside the classes to what is forbidden": lambda folder: (folder / "x").symlink_to("/proc/1/cwd"),
    "a link to itself": lambda folder: (folder / "cat" / "x.png").symlink_to("x.png"),
    "a folder with the name of an image": lambda folder: (folder / "cat" / "x.png").mkdir(),
    "a link to the folder itself": lambda folder: (folder / "cat" / "x").symlink_to("."),
    "a link to the source": lambda folder: (folder / "cat" / "x").symlink_to(folder),
    "a link to the other class": lambda folder: (folder / "cat" / "x").symlink_to(folder / "dog"),
    "links between the classes": lambda folder: [
        (folder / "cat" / "x").symlink_to(folder / "dog"),
        (folder / "dog" / "x").symlink_to(folder / "cat"),
    ],
    "2^30 paths": _chain,
    "900 folders inside each other": _deep,
    "a class that is a link to another": lambda folder: (folder / "puppy").symlink_to(folder / "dog"),
    "a class that is a link to the source": lambda folder: (folder / "all").symlink_to(folder),
    "an earlier run": lambda folder: [
        (folder / "run-1").mkdir(),
        *(written(folder / "run-1", name, "x") for name in ("config.yaml", "labels.txt")),
    ],
    "what systems leave": lambda folder: [(folder / name).mkdir() for name in ("__MACOSX", ".git", "@eaDir")],
    "a hidden file": lambda folder: written(folder / "cat", "._x.png", b"junk"),
    "a file of 2 GB that holds nothing": lambda folder: os.truncate(written(folder / "cat", "x.png", b""), 2 * 1024**3),
}


def cases():
    yield from damaged()
    yield from contents()
    yield from names()
    yield from (Case("file of a folder of images", name, listed(make), READ) for name, make in SPECIAL.items())
