"""What a backbone costs: size, and latency where it was measured, which is kept by machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkeras import files
from tlkeras.backbones.row import Backbone

FORMAT = 1
BYTES = {"float32": 4, "int8": 1}  # of a parameter
RUNTIME = "ai-edge-litert"  # the package that latencies are measured in


@dataclass(frozen=True, kw_only=True)
class Device:
    """Where a model is to run, and what counts there.

    Args:
        integers: whether size and latency are those of the int8 file.
        price: field of a record by which the cheapest of equally good backbones is chosen.
        measured: whether latencies are measured without being asked for.
        accelerator: whether times are those of an accelerator, where there is one here.
    """

    integers: bool = False
    price: str = "seconds_per_example"
    measured: bool = False
    accelerator: bool = False


# A phone is not here: its latency is that of one thread of this processor, which orders backbones as those of phones do, by and large.
DEVICES: Mapping[str, Device] = {
    "cpu": Device(),
    "gpu": Device(accelerator=True),
    "phone": Device(integers=True, price="latency_int8_ms", measured=True),
    "server": Device(),
}


def sizes(parameters: int) -> dict[str, int]:
    """Returns the size of a file of so many parameters by type, in bytes; what a file has besides is small.

    Example:
        >>> sizes(3_400_000)
        {'float32': 13600000, 'int8': 3400000}
    """
    return {kind: size * parameters for kind, size in BYTES.items()}


def machine() -> str:
    """Returns this computer, as far as latencies depend on it: processor, number of cores, and the runtime."""
    return f"{_processor()}, {os.cpu_count()} cores, {RUNTIME} {importlib.metadata.version(RUNTIME)}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()


def latency_file(row: Backbone, shape: tuple[int | None, ...], threads: int) -> Path:
    """Returns where the latencies of a backbone on this computer are kept.

    Args:
        row: its row.
        shape: of its input.
        threads: that the runtime uses.
    """
    about = [FORMAT, row.name, repr(row.weights), list(shape), threads, machine()]
    digest = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]
    return files.cache_dir() / "latency" / f"{digest}.json"


def read_latency(path: Path) -> dict[str, Any] | None:
    """Returns kept latencies; None where there are none, or the file is damaged."""
    try:
        content = files.read_json(path)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and content.get("format") == FORMAT else None


def write_latency(path: Path, record: Mapping[str, Any]) -> None:
    """Keeps latencies; a cache that cannot be written is left alone."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, {"format": FORMAT, **record})
    except OSError:
        return
