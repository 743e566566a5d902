"""What placements cost: one process, two parts of the CPU as devices, two workers, on the same cores.

    python benchmarks/placement.py [--backbone efficientnet] [--image-size 96] [--batch 16] [--steps 12] [--rounds 3] [--out FILE.json]

All layers train, on random images. Each round starts every placement once, in fresh processes, in alternating order; a
process times whole epochs of `--steps` steps and leaves the first one out, which traces. On a machine with a fixed number of
cores, two replicas share what one has alone: the ratio to one process is the overhead, not a gain.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

EPOCHS = 3  # timed, after the one that traces
PLACEMENTS = {"cpu": 1, "mirrored:2": 1, "multiworker": 2}  # name -> processes


def measure(placement: str, backbone: str, size: int, batch: int, steps: int) -> dict[str, float]:
    """Trains here, in this process; returns seconds per step and the bytes that workers exchange for each."""
    from tlkeras.startup import load_tensorflow

    load_tensorflow()
    from tlkeras.distribution.strategies import open_distribution

    distribution = open_distribution(placement)
    import keras
    import numpy as np

    from tlkeras import models
    from tlkeras.data import pipeline
    from tlkeras.distribution import replicas
    from tlkeras.training import freezing

    keras.utils.set_random_seed(0)
    task = models.build(backbone, 10, image_size=size, weights="none")
    freezing.apply(task.model, freezing.parse("all", task.section_names), sections=task.sections)
    twin = None if distribution.strategy is None else replicas.twin(task.model, distribution, task.task.keras_loss)
    model = task.model if twin is None else twin.model
    with distribution.scope():
        model.compile(optimizer=keras.optimizers.AdamW(1e-4), loss=task.task.keras_loss if twin is None else None)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (batch * steps, size, size, 3)).astype("uint8")
    y = rng.integers(0, 10, batch * steps)
    data = distribution.distributed(lambda share: pipeline.batches(x, y, batch_size=batch, shuffle=True, seed=0, share=share))
    ends: list[float] = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))
    counted = {} if twin is None else {"steps_per_epoch": steps}
    model.fit(data, epochs=EPOCHS + 1, verbose=0, shuffle=False, callbacks=[watch], **counted)
    seconds = statistics.median(b - a for a, b in zip(ends, ends[1:], strict=False)) / steps
    gradients = sum(4 * int(np.prod(v.shape)) for v in model.trainable_weights)
    workers = distribution.workers
    distribution.wait()
    return {"seconds_per_step": seconds, "gradient_bytes": gradients, "exchanged_bytes": 2 * (workers - 1) / workers * gradients}


def run(name: str, told: list[str]) -> dict[str, float]:
    """Runs a distribution strategy in processes of its own; returns what the first one measured."""
    from tlkeras.distribution.cluster import Cluster
    from tlkeras.distribution.launch import free_addresses

    count = PLACEMENTS[name]
    addresses = free_addresses(count)
    started = []
    for index in range(count):
        more = {"TF_CONFIG": Cluster(addresses=addresses, index=index).tf_config()} if count > 1 else {}
        command = [sys.executable, __file__, "--child", name, *told]
        started.append(subprocess.Popen(command, env={**os.environ, **more}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
    lines = [one.communicate()[0].strip().splitlines() for one in started]
    if any(one.returncode for one in started):
        raise SystemExit(f"{name} failed; run it alone: {' '.join(command)}")
    return json.loads(lines[0][-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=16, help="examples per step, of all replicas together")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.child:
        print(json.dumps(measure(told.child, told.backbone, told.image_size, told.batch, told.steps)))
        return
    same = ["--backbone", told.backbone, "--image-size", told.image_size, "--batch", told.batch, "--steps", told.steps]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in PLACEMENTS}
    for number in range(told.rounds):
        for name in list(PLACEMENTS)[:: 1 if number % 2 == 0 else -1]:
            found[name].append(run(name, [str(one) for one in same]))
            print(f"round {number + 1} {name:<12} {1 / found[name][-1]['seconds_per_step']:.2f} steps/s", flush=True)
    print(f"{told.backbone} at {told.image_size} pixels, {told.batch} examples per step, {os.cpu_count()} cores")
    for name, several in found.items():
        rate = statistics.median(1 / one["seconds_per_step"] for one in several)
        paired = [a["seconds_per_step"] / b["seconds_per_step"] for a, b in zip(several, found["cpu"], strict=True)]
        print(
            f"{name:<12} {rate:6.2f} steps/s   {statistics.median(paired):.2f} x the time of one process "
            f"({', '.join(f'{one:.2f}' for one in paired)})   {several[0]['exchanged_bytes'] / 1e6:.1f} MB exchanged per worker and step"
        )
    if told.out:
        Path(told.out).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
