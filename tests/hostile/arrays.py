"""Arrays that are damaged, lie about their size, or hold code."""

import gzip
import io
import os
import struct
import zipfile

import numpy as np

from tests.hostile.cases import EITHER, Case, written

X, Y = np.zeros((4, 3, 2)), np.array(["a", "b", "a", "b"])


def header(shape, descr="<f8"):
    text = (descr if isinstance(descr, bytes) else repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()) + b" "
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def members(compression=zipfile.ZIP_STORED, **contents):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def opened(content, name="x.npz"):
    def read(folder):
        from tlkeras.modalities.sources import open_source

        return open_source(str(written(folder, name, content() if callable(content) else content)))

    return read


def good():
    return npz(x=X, y=Y)


def encrypted():
    data = bytearray(good())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = data.find(mark)
        while position >= 0:
            data[position + offset] |= 1
            position = data.find(mark, position + 1)
    return bytes(data)


NPZ = {
    "nothing": b"",
    "one array without a name": lambda: (lambda buffer: (np.save(buffer, X), buffer.getvalue())[1])(io.BytesIO()),
    "no arrays": lambda: npz(),
    "other names": lambda: npz(a=X, b=Y),
    "a lone number for y": lambda: npz(x=X, y=np.array(3)),
    "a lone number for x": lambda: npz(x=np.array(3), y=Y),
    "fewer labels": lambda: npz(x=X, y=Y[:2]),
    "no rows": lambda: npz(x=X[:0], y=Y[:0]),
    "NaN": lambda: npz(x=X * np.nan, y=Y),
    "complex numbers": lambda: npz(x=X.astype("complex64"), y=Y),
    "dates": lambda: npz(x=X, y=np.array(["NaT"] * 4, "datetime64[s]")),
    "5 dimensions": lambda: npz(x=np.zeros((4, 1, 1, 1, 1)), y=Y),
    "a split of another length": lambda: npz(x=X, y=Y, split=np.array(["train"])),
    "an unknown split": lambda: npz(x=X, y=Y, split=np.array(["trian"] * 4)),
    "objects": lambda: npz(x=np.array([{}], object), y=np.array([1])),
    "a pickle that runs": lambda: members(x=header((1,), "|O") + b"cos\nsystem\n(S'touch canary'\ntR.", y=header((1,)) + bytes(8)),
    "members that are no arrays": lambda: members(x=b"junk", y=b"junk"),
    "4 TB": lambda: members(x=header((1 << 39,)), y=header((1 << 39,))),
    "a shape below 0": lambda: members(x=header((-1, 3, 2)), y=header((4,)) + bytes(32)),
    "a shape beyond 64 bits": lambda: members(x=header((1 << 40, 1 << 40)), y=header((4,)) + bytes(32)),
    "a shape that is no tuple": lambda: members(x=header((), b"{'descr': '<f8', 'fortran_order': False, 'shape': 3}"), y=b""),
    "a header that is code": lambda: members(x=header((), b"__import__('os').system('touch canary')"), y=b""),
    "a header of 60,000 brackets": lambda: members(x=header((), b"[" * 60_000), y=b""),
    "a header without an end": lambda: members(x=b"\x93NUMPY\x01\x00\xff\xff{", y=b""),
    "version 9 of the format": lambda: members(x=b"\x93NUMPY\x09\x00\x10\x00" + bytes(16), y=b""),
    "280 MB in 280 kB": lambda: members(zipfile.ZIP_DEFLATED, x=header((35 << 20,)) + bytes(280 << 20), y=header((3,)) + bytes(24)),
    "encrypted": encrypted,
    "an archive of something else": lambda: b"PK\x05\x06" + bytes(18),
    "another end of an archive": lambda: good() + b"PK\x05\x06" + bytes(18),
}


def idx(shape, content, kind=8, zeros=b"\0\0"):
    return zeros + bytes([kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + content


LABELS = idx((2,), b"\0\1")


def of_idx(images, labels=LABELS, names=None, ending=""):
    def read(folder):
        from tlkeras.modalities.sources import open_source

        for name, content in ((f"train-images-idx3-ubyte{ending}", images), ("train-labels-idx1-ubyte", labels), ("labels.txt", names)):
            if callable(content):
                content(folder / name)
            elif content is not None:
                (folder / name).write_bytes(content)
        return open_source(str(folder))

    return read


IMAGES = idx((2, 2, 2), bytes(8))
IDX = {
    "nothing": of_idx(b""),
    "a pipe": of_idx(os.mkfifo),
    "/dev/zero": of_idx(lambda path: path.symlink_to("/dev/zero")),
    "a link to nowhere": of_idx(lambda path: path.symlink_to("/nowhere")),
    "a folder": of_idx(lambda path: path.mkdir()),
    "cut short": of_idx(IMAGES[:-1]),
    "too long": of_idx(IMAGES + b"x"),
    "16 TB": of_idx(idx((1 << 16, 1 << 14, 1 << 14), b"")),
    "beyond 64 bits": of_idx(idx((2**32 - 1,) * 3, b"")),
    "floats": of_idx(idx((2, 2, 2), bytes(8), kind=13)),
    "another mark": of_idx(idx((2, 2, 2), bytes(8), zeros=b"\1\0")),
    "no rows": of_idx(idx((0, 2, 2), b""), idx((0,), b"")),
    "no labels": of_idx(IMAGES, None),
    "labels of another number": of_idx(IMAGES, idx((3,), b"\0\1\2")),
    "labels that are a pipe": of_idx(IMAGES, os.mkfifo),
    "no gzip": of_idx(IMAGES, ending=".gz"),
    "gzip cut short": of_idx(gzip.compress(IMAGES)[:-9], ending=".gz"),
    "1 GB in 1 MB": of_idx(
        lambda path: path.write_bytes(gzip.compress(idx((1 << 16, 1 << 7, 1 << 7), b"") + bytes(1 << 28), 1)), ending=".gz"
    ),
    "names that are no text": of_idx(IMAGES, names=b"\xff\xfe\xfd"),
    "names of 2 MB": of_idx(IMAGES, names=b"a\n" * (1 << 20)),
    "fewer names than labels": of_idx(IMAGES, idx((2,), b"\0\7"), names=b"a\nb\n"),
}


def npy(content, name="x.npy"):
    def read(folder):
        from tlkeras.modalities.inputs import load_array

        path = folder / name
        if callable(content):
            content(path)
        else:
            path.write_bytes(content)
        return load_array(path, name, "an array")

    return read


NPY = {
    "nothing": npy(b""),
    "an archive": npy(good()),
    "a pickle that runs": npy(b"cos\nsystem\n(S'touch canary'\ntR."),
    "a pickle of protocol 4": npy(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch canary\x85R."),
    "4 TB": npy(header((1 << 39,))),
    "cut short": npy(header((9,)) + bytes(8)),
    "a pipe": npy(os.mkfifo),
    "/dev/zero": npy(lambda path: path.symlink_to("/dev/zero")),
    "a folder": npy(lambda path: path.mkdir()),
    "csv of words": npy(b"a,b\nc,d\n", "x.csv"),
    "csv of rows of other lengths": npy(b"1,2\n3\n", "x.csv"),
    "csv that is a pipe": npy(os.mkfifo, "x.csv"),
    "csv of zeros": npy(bytes(100), "x.csv"),
}


def cases():
    yield from (Case("npz", name, opened(content)) for name, content in NPZ.items())
    for percent in range(0, 100, 2):
        yield Case("npz", f"cut at {percent} %", opened(lambda p=percent: good()[: len(good()) * p // 100]), slow=percent % 20 > 0)
    for seed in range(60):

        def flipped(seed=seed):
            data = bytearray(good())
            data[np.random.default_rng(seed).integers(len(data))] ^= 1 << seed % 8
            return bytes(data)

        yield Case("npz", f"a bit changed {seed}", opened(flipped), EITHER, slow=seed >= 6)
    yield from (Case("idx", name, read) for name, read in IDX.items())
    yield from (Case("npy", name, read) for name, read in NPY.items())
