"""From where on more hosts stop paying: a model of 8 to 512 workers, from figures measured here. Writes docs/scaling.md.

    python benchmarks/scaling.py measure [--only NAME,NAME]     # seconds per example of some backbones -> docs/scaling.json
    python benchmarks/scaling.py write                          # docs/scaling.md from docs/scaling.json

A step of W workers on a fixed global batch takes

    B / W * s  +  2 (W - 1) / W * G / bandwidth  +  2 (W - 1) * latency

with s the measured seconds per example (forward and backward, all layers train), G the bytes of the gradients, and the ring
all-reduce of Patarasuk & Yuan 2009 (https://doi.org/10.1016/j.jpdc.2008.09.002), nothing of it overlapped with computing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIGURES, PAGE = ROOT / "docs" / "scaling.json", ROOT / "docs" / "scaling.md"
BATCH = 1024  # examples per step, of all workers
WORKERS = (1, 8, 16, 32, 64, 128, 256, 512)
NETWORKS = {"1 Gbit/s": 1e9 / 8, "10 Gbit/s": 1e10 / 8, "100 Gbit/s": 1e11 / 8}
LATENCY = 50e-6  # seconds for one hop of the ring: an assumption, usual for TCP in one data centre
PAYS = 1.2  # twice the hosts pay while they make a step this much faster
FASTER = 100  # an accelerator against the CPU measured: an assumption
NAMES = (
    "efficientnet_lite0", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "efficientnet_v2_b0", "densenet121", "resnet50",
    "inception_v3", "vgg16", "convnext_tiny", "minilm_l6",
)  # fmt: skip
EXAMPLES, STEPS, TOKENS = 8, 3, 48


def measure(name: str) -> dict[str, float]:
    """Returns seconds per example and gradient bytes of one backbone, all layers trained."""
    import keras
    import numpy as np

    from tlkeras import models
    from tlkeras.backbones.registry import find
    from tlkeras.training import freezing

    row = find(name)
    task = models.build(name, 10, weights="none" if row.modality == "image" else "pretrained")
    freezing.apply(task.model, freezing.parse("all", task.section_names), sections=task.sections)
    task.model.compile(optimizer=keras.optimizers.AdamW(1e-5), loss=task.task.keras_loss)
    (given,) = task.model.inputs
    shape = [TOKENS if side is None else side for side in given.shape[1:]]
    rng = np.random.default_rng(0)
    x = rng.integers(1, 255, (EXAMPLES, *shape)).astype(given.dtype)
    y = rng.integers(0, 10, EXAMPLES)
    took = []
    for _ in range(STEPS + 1):  # the first one traces
        started = time.perf_counter()
        task.model.train_on_batch(x, y)
        took.append(time.perf_counter() - started)
    size = sum(4 * int(np.prod(v.shape)) for v in task.model.trainable_weights)
    keras.backend.clear_session()
    return {"seconds_per_example": statistics.median(took[1:]) / EXAMPLES, "gradient_bytes": size}


def step(workers: int, seconds: float, size: float, bandwidth: float) -> float:
    """Returns the modelled seconds of one step."""
    sent = 0.0 if workers == 1 else 2 * (workers - 1) / workers * size / bandwidth + 2 * (workers - 1) * LATENCY
    return BATCH / workers * seconds + sent


def stops(seconds: float, size: float, bandwidth: float) -> str:
    """Returns the number of workers from which on twice as many no longer pay."""
    for workers in (1, 2, 4, *WORKERS[1:]):
        if step(workers, seconds, size, bandwidth) < PAYS * step(2 * workers, seconds, size, bandwidth):
            return str(workers)
    return "over 512"


def page(figures: dict[str, dict[str, float]]) -> str:
    """Returns docs/scaling.md."""
    by_size = sorted(figures.items(), key=lambda one: one[1]["gradient_bytes"] / one[1]["seconds_per_example"])
    lines = [
        "# How far more hosts help",
        "",
        "Made by `python benchmarks/scaling.py measure` and `… write`. A model, not a measurement of clusters: step times are measured on "
        "2 CPU cores of one machine, bandwidth and latency are assumed, and no GPU, TPU or second host was run.",
        "",
        f"All layers train; every step takes {BATCH:,} examples of all workers together (`--batch-size` is global). A step of W workers takes "
        f"`{BATCH} / W * s + 2 (W - 1) / W * G / bandwidth + 2 (W - 1) * {LATENCY * 1e6:.0f} µs`: the examples of one worker, then a ring "
        "all-reduce of the gradients G, nothing overlapped.",
        "",
        "## From how many hosts on twice as many stop paying",
        "",
        f"Twice the hosts pay while they make a step {PAYS} times as fast. Hosts like the one measured, and hosts with an accelerator "
        f"{FASTER} times as fast (assumed, not run):",
        "",
        "| backbone | s per example | gradients, MB | "
        + " | ".join(NETWORKS)
        + " | "
        + " | ".join(f"{FASTER} x, {one}" for one in NETWORKS)
        + " |",
        "|---|---|---|" + "---|" * (2 * len(NETWORKS)),
    ]
    for name, one in by_size:
        s, size = one["seconds_per_example"], one["gradient_bytes"]
        cells = [stops(s / fast, size, width) for fast in (1, FASTER) for width in NETWORKS.values()]
        lines.append(f"| `{name}` | {s:.3f} | {size / 1e6:.1f} | " + " | ".join(cells) + " |")
    lines += ["", "## Speed-up over one host, 10 Gbit/s", ""]
    for fast, what in ((1, "Hosts like the one measured"), (FASTER, f"Hosts {FASTER} times as fast (assumed)")):
        lines += [
            f"{what}:",
            "",
            "| backbone | " + " | ".join(str(one) for one in WORKERS[1:]) + " |",
            "|---|" + "---|" * (len(WORKERS) - 1),
        ]
        for name, one in by_size:
            s, size, width = one["seconds_per_example"] / fast, one["gradient_bytes"], NETWORKS["10 Gbit/s"]
            cells = [f"{step(1, s, size, width) / step(workers, s, size, width):.1f}" for workers in WORKERS[1:]]
            lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
        lines.append("")
    lines += [
        "## With a frozen backbone",
        "",
        "Each worker computes the features of its part of the examples, once, and the parts are brought together: that scales with the hosts until "
        "sending them takes longer than computing them, which at 5 kB for each image is far off. Training the head afterwards exchanges a few "
        "kB per step and takes milliseconds: more than one host does not help there, and does no harm.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "write"))
    parser.add_argument("--only", default=",".join(NAMES))
    told = parser.parse_args()
    figures = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    if told.what == "write":
        PAGE.write_text(page(figures), encoding="utf-8")
        return
    from tlkeras.startup import load_tensorflow

    load_tensorflow()
    for name in told.only.split(","):
        figures[name] = measure(name)
        print(name, figures[name], flush=True)
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
