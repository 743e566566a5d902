"""TensorFlow with oneDNN against without: `python benchmarks/onednn.py [--rounds 3]`.

Trains all layers of two small backbones in processes of their own, in turns, and prints the seconds per step and the median ratios.
On processors with AVX-512 TensorFlow has oneDNN on by itself; on others tlkeras switches it on for its own process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np

from tlkeras.startup import ONEDNN, load_tensorflow

STEPS = 8
TASKS = {"minilm_l6": "32 texts of 48 tokens", "efficientnet_lite0": "16 images of 96 pixels"}


def measure(name: str) -> dict[str, float]:
    """Returns seconds per step of training and of prediction in this process."""
    load_tensorflow()
    import keras

    from tlkeras import models

    told = {"image_size": 96} if name == "efficientnet_lite0" else {}
    model = models.build(name, 2, **told).model
    model.trainable = True
    model.compile(keras.optimizers.AdamW(1e-5), "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    batch = 16 if told else 32
    shape = (96, 96, 3) if told else (48,)
    x = rng.uniform(0, 255, (batch * STEPS, *shape)).astype("float32") if told else rng.integers(1000, 2000, (batch * STEPS, *shape))
    y = rng.integers(0, 2, len(x))
    took = {}
    for what, run in (
        ("train", lambda n: model.fit(x[:n], y[:n], batch_size=batch, verbose=0)),
        ("predict", lambda n: model.predict(x[:n], batch_size=batch, verbose=0)),
    ):
        run(batch)  # traces
        started = time.monotonic()
        run(len(x))
        took[what] = (time.monotonic() - started) / STEPS
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", choices=TASKS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure)))
        return
    for name, what in TASKS.items():
        ratios: dict[str, list[float]] = {"train": [], "predict": []}
        for _ in range(given.rounds):
            took = {}
            for switch in ("1", "0"):
                command = [sys.executable, __file__, "--measure", name]
                done = subprocess.run(command, env={**os.environ, ONEDNN: switch}, stdout=subprocess.PIPE, text=True, check=True)
                took[switch] = json.loads(done.stdout.splitlines()[-1])
            for part, found in ratios.items():
                found.append(took["0"][part] / took["1"][part])
                print(f"{name} {part:<7} with {took['1'][part]:.3f} s, without {took['0'][part]:.3f} s per step", flush=True)
        for part, found in ratios.items():
            print(
                f"{name} ({what}), {part}: {np.median(found):.2f} x as fast with oneDNN (rounds: {', '.join(f'{one:.2f}' for one in found)})"
            )


if __name__ == "__main__":
    main()
