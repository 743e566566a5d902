"""Parquet files that are damaged, hold what Python cannot, or unpack to more than any memory holds."""

import functools
import io
import json
import math

import numpy as np

from tests.hostile.cases import EITHER, REJECTED, Case
from tests.hostile.tables import table


def arrow(columns, features=None):
    """Returns the bytes of a Parquet file: column -> its cells and their type; features as Hugging Face describes them."""

    def make():
        import pyarrow as pa
        import pyarrow.parquet

        table = pa.table({name: pa.array(cells, getattr(pa, kind)()) for name, (cells, kind) in columns.items()})
        return stored(described(table, features))

    return make


def described(table, features):
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}) if features else table


def stored(table):
    import pyarrow.parquet

    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink)
    return sink.getvalue()


def _nested(path):
    """Images as Hugging Face stores them, at places that are no paths."""

    def make():
        import pyarrow as pa

        return stored(pa.table({"image": [{"bytes": None, "path": path}] * 2, "label": ["a", "b"]}))

    return make


def _repeated():
    import pyarrow as pa

    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2000, "int32")), pa.array(["x" * 1_000_000]))
    return stored(pa.table({"text": text, "label": ["a", "b"] * 1000}))


def _pickled():
    import pyarrow as pa

    extension = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": b"cos\nsystem\n(S'touch canary'\ntR."}
    schema = pa.schema([pa.field("text", pa.string(), metadata=extension), pa.field("label", pa.string())])
    return stored(pa.table({"text": ["a", "b"], "label": ["x", "y"]}, schema))


def _typed(make_type, cells, features=None):
    def make():
        import pyarrow as pa

        return stored(described(pa.table({"text": ["a", "b"], "label": pa.array(cells, make_type(pa))}), features))

    return make


def _not_utf8():
    import pyarrow as pa

    offsets, data = pa.py_buffer(np.array([0, 2, 4], "int32")), pa.py_buffer(b"\xff\xfea\xff")
    inner = pa.StringArray.from_buffers(2, offsets, data)
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2], "int32"), inner)
    return stored(pa.table({"text": ["a", "b"], "label": lists}))


CLASSES = {"label": {"names": ["no", "yes"]}}
PARQUET = {
    "a label that is infinite": arrow({"text": (["a", "b"], "string"), "label": ([math.inf, 1.0], "float64")}, CLASSES),
    "a label that is no whole number": arrow({"text": (["a", "b"], "string"), "label": ([0.5, 1.0], "float64")}, CLASSES),
    "labels that are bytes, which is odd": _typed(lambda pa: pa.list_(pa.binary()), [[b"x"], [b"y"]], {"label": [CLASSES["label"]]}),
    "a date beyond the calendar": arrow({"text": (["a", "b"], "string"), "label": ([2**31 - 1, 0], "date32")}),
    "a day of 10^18 milliseconds": arrow({"text": (["a", "b"], "string"), "label": ([10**18, 0], "date64")}),
    "an hour of nanoseconds, which is odd": _typed(lambda pa: pa.time64("ns"), [1, 2]),
    "a time beyond the calendar": _typed(lambda pa: pa.timestamp("s"), [2**40, 0]),
    "a zone of nowhere": _typed(lambda pa: pa.timestamp("s", "Nowhere/Nothing"), [0, 1]),
    "images at a number": _nested(7),
    "lists of texts that are not UTF-8": _not_utf8,
    "two million rows of nothing": arrow({"text": ([None] * 2_000_000, "null")}),
    "2 GB of one text": _repeated,
}


@functools.cache
def good():
    import pyarrow as pa

    return stored(pa.table({"text": ["a", "b"], "label": ["x", "y"]}))


def cases():
    yield Case("Parquet", "nothing", table(b"", "x.parquet"))
    yield Case("Parquet", "only its marks", table(b"PAR1PAR1", "x.parquet"))
    yield Case("Parquet", "a footer of 2 GB", table(b"PAR1" + bytes(10) + b"\xff\xff\xff\x7fPAR1", "x.parquet"))
    yield from (
        Case("Parquet", name, table(content, "x.parquet"), EITHER if "odd" in name else REJECTED) for name, content in PARQUET.items()
    )
    yield Case("Parquet", "a pickle in the metadata (CVE-2023-47248)", table(_pickled, "x.parquet"), EITHER)
    for percent in range(5, 100, 5):
        yield Case(
            "Parquet",
            f"cut at {percent} %",
            table(functools.partial(lambda p: good()[: len(good()) * p // 100], percent), "x.parquet"),
            slow=percent % 25 > 0,
        )
    for seed in range(30):

        def flipped(seed=seed):
            data = bytearray(good())
            data[np.random.default_rng(seed).integers(4, len(data) - 4)] ^= 0xFF
            return bytes(data)

        yield Case("Parquet", f"a byte changed {seed}", table(flipped, "x.parquet"), EITHER, slow=seed >= 4)
