"""Keras' AdamW against the one that updates all weights as one vector, on full training of EfficientNet-Lite0, in turns.

    python benchmarks/optimizer.py --rounds 3 --pixels 64

Prints processor seconds until the first epoch ended (most of them trace and compile the step) and milliseconds per step afterwards.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from tlkeras.startup import load_tensorflow

load_tensorflow()

import keras  # noqa: E402

from tlkeras import models  # noqa: E402
from tlkeras.data import pipeline  # noqa: E402
from tlkeras.training import freezing  # noqa: E402
from tlkeras.training.optimizer import FlatAdamW  # noqa: E402

KINDS = {"keras": keras.optimizers.AdamW, "flat": FlatAdamW}


class Clock(keras.callbacks.Callback):
    """Takes the processor seconds of the first epoch and the seconds of the others."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.others = 0.0, []

    def on_epoch_begin(self, epoch, logs=None):
        self._began, self._processor = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        if epoch:
            self.others.append(time.perf_counter() - self._began)
        else:
            self.first = time.process_time() - self._processor


def measure(kind: str, x: np.ndarray, y: np.ndarray, batch: int) -> tuple[float, float]:
    """Trains for three epochs; returns processor seconds of the first and milliseconds per step of the fastest other one."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    task = models.build("efficientnet_lite0", 2, image_size=x.shape[1], weights="none")
    freezing.apply(task.model, freezing.parse("all", task.section_names), sections=task.sections)
    task.model.compile(KINDS[kind](1e-4, weight_decay=1e-2), "sparse_categorical_crossentropy")
    clock = Clock()
    task.model.fit(pipeline.batches(x, y, batch_size=batch, shuffle=True, seed=0), epochs=3, verbose=0, shuffle=False, callbacks=[clock])
    return clock.first, 1000 * min(clock.others) / -(-len(y) // batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (options.images, options.pixels, options.pixels, 3), dtype="uint8")
    y = (np.arange(options.images) % 2).astype("int32")
    ratios = []
    for turn in range(options.rounds):
        seconds = {}
        for kind in KINDS:
            seconds[kind], step = measure(kind, x, y, options.batch_size)
            print(
                f"round {turn + 1} {kind}: {seconds[kind]:.1f} s of the processor until the first epoch ended, then {step:.0f} ms per step"
            )
        ratios.append(seconds["keras"] / seconds["flat"])
    print(f"ratio of processor seconds: {', '.join(f'{ratio:.2f}' for ratio in ratios)} (median {np.median(ratios):.2f})")


if __name__ == "__main__":
    main()
