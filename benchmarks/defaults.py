"""What a run computes about itself without being asked, as a share of its time: `python benchmarks/defaults.py [finetune settings as KEY=VALUE]`.

Times the functions that make calibration, rejection, galleries, map and page, inside one `tlkeras.finetune` with default settings (the digits with
EfficientNet-Lite0). `observe` is the pass over the held-out examples that any scoring needs; it is listed because it computes logits and features, too.
The sum counts it in full, so the share is an upper bound. Caches are used as found: pass `cache=false` for a run as on a fresh computer.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

TIMED = {
    "observe": ("tlkeras.training.observed", "observe"),
    "calibrate": ("tlkeras.evaluation.calibration", "calibrate"),
    "score": ("tlkeras.jobs.outcome", "score"),
    "thumbnails and map": ("tlkeras.jobs.report_run", "keep"),
    "page": ("tlkeras.jobs.report_run", "write"),
}


def timed(name, seconds):
    """Replaces a function by itself with a clock."""
    import importlib

    module, function = TIMED[name]
    module = importlib.import_module(module)
    inner = getattr(module, function)

    def outer(*args, **settings):
        started = time.perf_counter()
        result = inner(*args, **settings)
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started
        return result

    setattr(module, function, outer)


def main():
    from tlkeras.startup import load_tensorflow

    load_tensorflow()
    import tlkeras

    settings = dict(text.split("=", 1) for text in sys.argv[1:])
    settings = {key: {"true": True, "false": False}.get(value, value) for key, value in settings.items()}
    seconds: dict[str, float] = {}
    for name in TIMED:
        timed(name, seconds)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        result = tlkeras.finetune({"backbone": "efficientnet", "out": f"{folder}/run", **settings}, reporter=None)
        total = time.perf_counter() - started
    for name, value in seconds.items():
        print(f"{name:<20} {value:6.2f} s  {value / total:6.1%}")
    print(f"{'together':<20} {sum(seconds.values()):6.2f} s  {sum(seconds.values()) / total:6.1%} of {total:.1f} s")
    Path("defaults.json").write_text(
        json.dumps({"total": total, "seconds": seconds, "timing": result.metrics["timing"]}, indent=2), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
