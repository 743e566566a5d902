"""The runtimes in which artifacts can be opened, and the names people know them by. Reading this loads none of them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from tlkeras.errors import ExportError, close_names
from tlkeras.export.formats import FORMATS, PACKAGES
from tlkeras.registry import Registry

KERAS = "keras"  # the Keras model itself, which is no artifact


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """One runtime.

    Args:
        name: how it is asked for.
        reader: what `runner.py` calls its reader.
        windows: whether it runs on Windows too.
    """

    name: str
    reader: str
    windows: bool = True

    def formats(self, artifacts: Iterable[str]) -> list[str]:
        """Returns the formats it can open, those closest to the Keras model first."""
        rows = [FORMATS.get(name) for name in artifacts if name in FORMATS]
        fits = [row for row in rows if self.reader in (row.reader, *row.also)]
        return [row.name for row in sorted(fits, key=lambda row: row.tolerance)]


RUNTIMES: Registry[Runtime] = Registry(
    "runtime",
    [
        Runtime(name="tensorflow", reader="saved_model"),
        Runtime(name="litert", reader="tflite"),
        Runtime(name="onnxruntime", reader="onnx"),
        Runtime(name="openvino", reader="openvino"),
        Runtime(name="c_api", reader="c_api", windows=False),
    ],
    {
        **dict.fromkeys(("saved_model", "savedmodel", "tf", "tensorflow_serving"), "tensorflow"),
        **dict.fromkeys(("tflite", "ai_edge_litert", "tensorflow_lite", "lite"), "litert"),
        **dict.fromkeys(("onnx", "onnx_runtime", "ort"), "onnxruntime"),
        **dict.fromkeys(("tensorflow's_c_api", "tensorflow_c_api"), "c_api"),
    },
)


def is_here(reader: str) -> bool:
    """Whether artifacts can be opened by a reader: its package is installed, and it runs on this system."""
    row = next(row for row in RUNTIMES if row.reader == reader)
    return importlib.util.find_spec(PACKAGES[reader]) is not None and (row.windows or sys.platform != "win32")


def plain(name: str) -> str:
    """Returns a name of a runtime as the table has it: `ai-edge-litert 2.1` is `ai_edge_litert`."""
    words = [word for word in name.lower().replace("-", "_").split() if not word[:1].isdigit()]
    return "_".join(words)


def choose(name: str, artifacts: Iterable[str], *, of: str, keras: bool = True) -> tuple[str, str]:
    """Returns (format, reader) for a runtime or a format that somebody asked for.

    Args:
        name: of a runtime, or of a format.
        artifacts: the formats there are.
        of: what has them, for the message.
        keras: whether there is a Keras model too, for the message.

    Raises:
        ExportError: naming what there is, each once.
    """
    artifacts = list(artifacts)
    if name in artifacts:
        return name, FORMATS.get(name).reader
    if plain(name) in RUNTIMES:
        runtime = RUNTIMES.get(plain(name))
        formats = runtime.formats(artifacts)
        if formats:
            return formats[0], runtime.reader
    raise ExportError(f"{of} has no artifact for the runtime {name!r}; {available(name, artifacts, keras=keras)}")


def available(name: str, artifacts: Iterable[str], *, keras: bool) -> str:
    """Returns what there is instead, for the end of a message: each runtime and each format once."""
    artifacts = list(artifacts)
    rows = [(row.name, row.formats(artifacts)) for row in RUNTIMES if row.reader in {FORMATS.get(name).reader for name in artifacts}]
    shown = [KERAS] * keras + [f"{runtime} ({', '.join(formats)})" for runtime, formats in rows if formats]
    near = close_names(plain(name), [*RUNTIMES.names(), *RUNTIMES.aliases()])
    hint = f"did you mean {near[0]!r}? " if near and plain(name) not in RUNTIMES and name not in FORMATS else ""
    return f"{hint}it has {', '.join(shown) or 'no artifacts'}"
