"""What pretraining on one set gives another with few labels: `python benchmarks/transfer.py`.

The digits 0-4 train a network; then 10 examples of each of 5-9 train its head and layers, from those weights and from random ones, with
the same settings, 5 seeds each. The other 5-9 are the test. Prints a table and writes transfer.json.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from tlkeras.startup import load_tensorflow

SEEDS, FEW = range(5), 10
NETWORKS = ("cnn", "vae", "rnn")
COMMON = {"epochs": 60, "batch_size": 10, "export": "none"}
STARTS = {
    "random": {"weights": "none", "recipe": "full", "learning_rate": 1e-3},
    "pretrained": {"recipe": "full", "learning_rate": 1e-3},
    "pretrained, frozen": {"recipe": "feature-extraction", "learning_rate": 1e-2},
}
EPOCHS = {"cnn": 10, "vae": 60, "rnn": 30}


def examples(network, keep, few=None, seed=0):
    """Returns digits as pictures, or as sequences of rows; with `few`, that many of each class to train on, the rest to test."""
    from sklearn.datasets import load_digits

    from tlkeras.data.examples import Example, make_dataset

    digits = load_digits()
    index = np.flatnonzero(np.isin(digits.target, keep))
    order = np.random.default_rng(seed).permutation(index)
    taken = {int(i) for label in keep for i in order[digits.target[order] == label][:few]} if few else set()
    found = []
    for i in index:
        array = digits.images[i].astype("float32") if network == "rnn" else np.round(digits.images[i] * (255 / 16)).astype("uint8")
        split = None if not few else "train" if int(i) in taken else "test"
        found.append(Example(id=str(i), label=str(digits.target[i]), array=array, split=split))
    return make_dataset(f"digits {keep[0]}-{keep[-1]}", found)


def main():
    load_tensorflow()
    from tlkeras import workflow
    from tlkeras.config import RunConfig
    from tlkeras.pretraining import Options, pretrain
    from tlkeras.zoo.store import Zoo

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TLKERAS_ZOO"] = str(Path(folder) / "zoo")
        for network in NETWORKS:
            pretrain(
                Options(backbone=network, epochs=EPOCHS[network], batch_size=32),
                examples(network, range(5)),
                network,
                Zoo(Path(folder) / "zoo"),
            )
            for start, values in STARTS.items():
                told = {"backbone": f"zoo:{network}" if "weights" not in values else network, **COMMON, **values}
                scores = []
                for seed in SEEDS:
                    config = RunConfig.from_dict({**told, "seed": seed, "out": str(Path(folder) / f"{network}-{start}-{seed}")})
                    result = workflow.finetune(config, dataset=examples(network, range(5, 10), FEW, seed))
                    scores.append(result.metrics["test"]["accuracy"])
                found[f"{network}, {start}"] = scores
                print(f"{network:<4} {start:<20} {np.mean(scores):.3f} ± {np.std(scores, ddof=1):.3f}", flush=True)
    Path(sys.argv[1] if len(sys.argv) > 1 else "transfer.json").write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
