"""The record of one exported file or folder, and of its verification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlkeras.export.parity import Verdict


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One exported file or folder, with the record of how it was verified.

    Args:
        format: name of its format.
        path: path of the file or folder.
        bytes: its size.
        sha256: of the file; of a folder, over the sorted names and hashes of its files.
        verdict: the result in its own runtime; None for a file that cannot be run here (TFLite with Flex).
        also: other runtimes that gave the same answers.
        options: how it was made: quantisation, calibration, opset.
        tried: for a format with several attempts, each attempt with its figures; the last one was used.
    """

    format: str
    path: Path
    bytes: int
    sha256: str
    verdict: Verdict | None
    also: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    tried: tuple[Mapping[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns what `metrics.json` and the manifest hold."""
        verdict = self.verdict
        return {
            "path": self.path.name,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "verified": verdict is not None,
            "runtime": verdict.runtime if verdict else None,
            "also": list(self.also),
            "max_abs_diff": verdict.max_abs_diff if verdict else None,
            "relative_diff": verdict.relative_diff if verdict else None,
            "agreement": verdict.agreement if verdict else None,
            "accuracy": verdict.accuracy if verdict else None,
            "drop": verdict.drop if verdict else None,
            "latency_ms": verdict.latency_ms if verdict else None,
            "options": dict(self.options),
            "tried": [dict(one) for one in self.tried],
        }
