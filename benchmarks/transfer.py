"""What pretraining on one set gives another with few labels: `python benchmarks/transfer.py`.

Two pairs: the digits 0-4, then 5-9; and 10,000 pictures of Fashion-MNIST (the Debian package `dataset-fashion-mnist` where it is installed,
else tensorflow-datasets), then the digits, drawn up to their 28 pixels. Each time 10 examples of each class train, and all others are the
test, 5 seeds each, with the same epochs and settings whether weights are random or pretrained. `rnn` reads a picture row by row. Prints mean
± standard deviation over the seeds, and of the differences from random weights at the same seed, and writes transfer.json.
`--networks` and `--pairs` take some of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from tlkeras.startup import load_tensorflow

SEEDS, FEW = range(5), 10
NETWORKS = ("cnn", "vae", "rnn")
COMMON = {"epochs": 60, "batch_size": 10, "export": "none"}
ALL, FROZEN = {"recipe": "full", "learning_rate": 1e-3}, {"recipe": "feature-extraction", "learning_rate": 1e-2}
STARTS = {
    "random": {"weights": "none", **ALL},
    "pretrained": ALL,
    "random, frozen": {"weights": "none", **FROZEN},
    "pretrained, frozen": FROZEN,
}
BASELINE = {"pretrained": "random", "pretrained, frozen": "random"}
DIGITS, FASHION = "digits 0-4 -> digits 5-9", "Fashion-MNIST -> digits"
PAIRS = {"digits": DIGITS, "fashion": FASHION}
EPOCHS = {DIGITS: {"cnn": 10, "vae": 60, "rnn": 30}, FASHION: {"cnn": 5, "vae": 20, "rnn": 10}}
OPTIONS = {"vae": ("latent=16",)}  # a code of two numbers leaves little to learn from in the layers below it
DEBIAN, LIMIT, SIDE = "/usr/share/datasets/fashion-mnist", 10_000, 28


def digits(pair, network, keep, few=None, seed=0):
    """Returns digits as pictures, or as sequences of rows; with `few`, that many of each class to train on, the rest to test."""
    import tensorflow as tf
    from sklearn.datasets import load_digits

    from tlkeras.data.examples import Example, make_dataset

    loaded = load_digits()
    images = loaded.images * (255 / 16)
    if pair == FASHION:
        images = tf.image.resize(images[..., None], (SIDE, SIDE)).numpy()[..., 0]
    index = np.flatnonzero(np.isin(loaded.target, keep))
    order = np.random.default_rng(seed).permutation(index)
    taken = {int(i) for label in keep for i in order[loaded.target[order] == label][:few]} if few else set()
    found = []
    for i in index:
        array = images[i].astype("float32") if network == "rnn" else np.round(images[i]).astype("uint8")
        split = None if not few else "train" if int(i) in taken else "test"
        found.append(Example(id=str(i), label=str(loaded.target[i]), array=array, split=split))
    return make_dataset(f"digits {keep[0]}-{keep[-1]}", found)


def fashion(network):
    """Returns Fashion-MNIST's training part, or some of it, as pictures or as sequences of rows."""
    from tlkeras.data.subset import subset
    from tlkeras.modalities.sources import open_source

    dataset = open_source(DEBIAN if Path(DEBIAN).is_dir() else "tfds:fashion_mnist")
    kept = dataclasses.replace(dataset, examples=tuple(one for one in dataset.examples if one.split == "train"))
    few = [dataclasses.replace(one, split=None) for one in subset(kept, LIMIT, 0).examples]
    if network == "rnn":
        few = [dataclasses.replace(one, array=np.squeeze(one.array).astype("float32")) for one in few]
    return dataclasses.replace(kept, examples=tuple(few))


def run(pair, network, folder):
    """Returns start -> accuracy for each seed."""
    from tlkeras.config import RunConfig
    from tlkeras.jobs import finetune
    from tlkeras.jobs.api import pretrain
    from tlkeras.zoo.store import Zoo

    name = f"{network}-{list(EPOCHS).index(pair)}"
    source = fashion(network) if pair == FASHION else digits(pair, network, range(5))
    sizes, batch = OPTIONS.get(network, ()), 128 if pair == FASHION else 32
    settings = {"backbone": network, "backbone_options": sizes, "epochs": EPOCHS[pair][network], "batch_size": batch}
    pretrain(source, name=name, zoo=Zoo(folder / "zoo"), **settings)
    keep, found = range(10) if pair == FASHION else range(5, 10), {}
    for start, values in STARTS.items():
        found[start] = []
        for seed in SEEDS:
            told = {"backbone": network if "weights" in values else f"zoo:{name}", **COMMON, **values, "seed": seed}
            config = RunConfig.from_dict({**told, "out": str(folder / f"{name}-{start}-{seed}")})
            result = finetune.finetune(config, dataset=digits(pair, network, keep, FEW, seed))
            found[start].append(result.metrics["test"]["accuracy"])
        gain = np.subtract(found[start], found[BASELINE[start]]) if start in BASELINE else None
        told = "" if gain is None else f"   gain {np.mean(gain):+.3f} ± {np.std(gain, ddof=1):.3f}"
        print(f"{network:<4} {start:<20} {np.mean(found[start]):.3f} ± {np.std(found[start], ddof=1):.3f}{told}", flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--out", type=Path, default=Path("transfer.json"))
    given = parser.parse_args()
    load_tensorflow()
    started, found = time.monotonic(), {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TLKERAS_ZOO"] = str(Path(folder) / "zoo")
        for pair in (PAIRS[name] for name in given.pairs):
            print(pair, flush=True)
            for network in given.networks:
                found |= {f"{pair}, {network}, {start}": scores for start, scores in run(pair, network, Path(folder)).items()}
    found["seconds"] = round(time.monotonic() - started)
    given.out.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
