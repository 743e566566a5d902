"""Batches of similar length against batches of one length: `python benchmarks/buckets.py [TABLE]`.

Trains all layers of MiniLM-L6 on the same texts, in turns, and prints the seconds of each pass and the median ratio.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from tlkeras.startup import load_tensorflow

TEXTS, BATCH, ROUNDS = 1280, 32, 3
TABLE = Path(__file__).resolve().parents[2] / "shared" / "data" / "rt_polarity" / "rt_polarity.csv"


def main():
    load_tensorflow()
    import keras

    from tlkeras import models
    from tlkeras.data import pipeline
    from tlkeras.data.subset import subset
    from tlkeras.modalities.sources import open_source
    from tlkeras.modalities.texts.inputs import Texts

    dataset = subset(open_source(sys.argv[1] if len(sys.argv) > 1 else str(TABLE)), TEXTS, 0)
    task = models.build("bert", len(dataset.labels))
    inputs, note = Texts(tokens=task.tokens).fitted(dataset, None)
    store = inputs.materialise(dataset)
    task.model.compile(optimizer=keras.optimizers.AdamW(5e-5), loss="sparse_categorical_crossentropy")
    print(note.reason)
    took = {"similar": [], "fixed": []}
    for round in range(ROUNDS + 1):  # the first one traces
        for name, lengths in (("similar", store.lengths), ("fixed", None)):
            data = pipeline.batches(store.inputs, store.strata, batch_size=BATCH, shuffle=True, seed=round, lengths=lengths)
            started = time.monotonic()
            task.model.fit(data, epochs=1, verbose=0, shuffle=False)
            if round:
                took[name].append(time.monotonic() - started)
                print(f"{name:<8} {took[name][-1]:.1f} s", flush=True)
    ratios = np.array(took["fixed"]) / np.array(took["similar"])
    print(f"batches of similar length are {np.median(ratios):.2f} x as fast (rounds: {', '.join(f'{one:.2f}' for one in ratios)})")


if __name__ == "__main__":
    main()
