"""Files of weights in HDF5 that are damaged, or that lie: `.weights.h5` of Keras 3, `.h5` of Keras 1 and 2."""

import functools
import tempfile
from pathlib import Path

import h5py
import numpy as np

from tests.hostile.cases import EITHER, REJECTED, Case, written


@functools.cache
def _network():
    from tlkeras.backbones import load as loading

    return loading.load("cnn", image_size=8, weights="none", options={"filters1": 2, "filters2": 2, "dense": 2}).model


@functools.cache
def stored(ending):
    import warnings

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        path = Path(folder) / f"x{ending}"
        (_network().save_weights if ending == ".weights.h5" else _network().save)(path)
        return path.read_bytes()


def filled(ending, change):
    """Returns what fills a network from a file of weights that a function changes."""

    def read(folder):
        from tlkeras.backbones.registry import BACKBONES
        from tlkeras.weights import formats

        path = written(folder, f"x{ending}", stored(ending))
        change(path)
        return formats.load_file(BACKBONES.get("cnn"), _network(), str(path))

    return read


def h5(change):
    def changed(path):
        with h5py.File(path, "r+") as file:
            change(file)

    return changed


def first(file):
    """Returns the group and the name of the first array."""
    names = []
    file.visititems(lambda name, entry: names.append(name) if isinstance(entry, h5py.Dataset) else None)
    parent, _, name = names[0].rpartition("/")
    return (file[parent] if parent else file), name


def replaced(make):
    def change(file):
        group, name = first(file)
        shape, dtype = group[name].shape, group[name].dtype
        del group[name]
        make(group, name, shape, dtype)

    return h5(change)


def _bomb(size):
    return lambda group, name, shape, dtype: group.create_dataset(name, (size,), "f4", chunks=(1 << 20,))


def _two_links(file):
    """40 groups, each with two links to the next, are 2^40 paths."""
    group = file.create_group("layers2")
    for _ in range(40):
        inner = group.create_group("a")
        group["b"] = inner
        group = inner


def one_group(file):
    """1,000 layers with one group, which has as many arrays as all of them have names."""
    root = file.get("model_weights", file)
    root.attrs["layer_names"] = [root.attrs["layer_names"][0]] * 1000


def _virtual(group, name, shape, dtype):
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource("/etc/passwd", "x", shape, dtype)
    group.create_virtual_dataset(name, layout)


HDF5 = {
    "nothing": lambda path: path.write_bytes(b""),
    "a web page": lambda path: path.write_text("<html>"),
    "only a mark": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"),
    "a link out of it": replaced(lambda group, name, shape, dtype: group.__setitem__(name, h5py.ExternalLink("/etc/passwd", "/x"))),
    "a link inside it": replaced(lambda group, name, shape, dtype: group.__setitem__(name, h5py.SoftLink("/"))),
    "a link to itself": replaced(lambda group, name, shape, dtype: group.__setitem__(name, h5py.SoftLink(f"{group.name}/{name}"))),
    "values in another file (CVE-2026-1669)": replaced(
        lambda group, name, shape, dtype: group.create_dataset(name, shape, dtype, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])
    ),
    "a virtual data set": replaced(_virtual),
    "4 TB without content (CVE-2026-0897)": replaced(_bomb(1 << 40)),
    "3.6 GB without content": replaced(_bomb(900_000_000)),
    "texts": replaced(lambda group, name, shape, dtype: group.create_dataset(name, shape, h5py.string_dtype())),
    "a structure": replaced(lambda group, name, shape, dtype: group.create_dataset(name, shape, [("a", "f4")])),
    "a group in its place": replaced(lambda group, name, shape, dtype: group.create_group(name)),
    "another shape": replaced(lambda group, name, shape, dtype: group.create_dataset(name, (9, 9), "f4")),
    "an array missing": replaced(lambda group, name, shape, dtype: None),
    "1,000 groups inside each other": h5(lambda file: functools.reduce(lambda group, _: group.create_group("g"), range(1000), file)),
    "40 groups with two links to the next": h5(_two_links),
    "a group that contains itself": h5(lambda file: file.create_group("layers2").__setitem__("loop", file["/"])),
}
# Groups that no layer has: Keras and the old format never look at them.
BESIDE = ("1,000 groups", "a group that contains", "40 groups")


def byte(seed, path):
    data = bytearray(path.read_bytes())
    data[int(np.random.default_rng(seed).integers(len(data)))] ^= 0xFF
    path.write_bytes(data)


def cases():
    for ending in (".weights.h5", ".h5"):
        for name, change in HDF5.items():
            odd = name.startswith(BESIDE) and not (name.startswith("40") and ending == ".weights.h5")
            yield Case(f"HDF5 ({ending})", name, filled(ending, change), EITHER if odd else REJECTED)
        for percent in range(0, 100, 1):
            cut = functools.partial(lambda p, path: path.write_bytes(path.read_bytes()[: path.stat().st_size * p // 100]), percent)
            yield Case(f"HDF5 ({ending})", f"cut at {percent} %", filled(ending, cut), slow=percent % 20 > 0)
        for seed in range(100):
            yield Case(f"HDF5 ({ending})", f"a byte changed {seed}", filled(ending, functools.partial(byte, seed)), EITHER, slow=seed >= 3)
    yield Case("HDF5 (.h5)", "1,000 layers with one group", filled(".h5", h5(one_group)))
