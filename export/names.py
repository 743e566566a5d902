"""Names as graphs and their files have them."""

from __future__ import annotations


def decoded(name: str | bytes) -> str:
    """Returns a name of a protocol buffer or a flatbuffer, which may have bytes; what is not UTF-8 in it is escaped."""
    return name if isinstance(name, str) else name.decode(errors="surrogateescape")


def node_of(name: str) -> str:
    """Returns the node of an input of a node in TensorFlow's graphs: `^node` and `node:1` are of `node`."""
    return name.removeprefix("^").partition(":")[0]
