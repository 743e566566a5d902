"""Heads for few examples of each class, on the same frozen features: `python benchmarks/few_shot.py --data FOLDER`.

Features of frozen EfficientNet-Lite0 of the digits and of hymenoptera/ (without `--data`, of the digits alone). Of each class 1 to 20 examples, five
draws; the others are the test. `penalty S` is multinomial logistic regression with an L2 penalty of S times half the squared weights on the mean
loss, features scaled as in `tlkeras.training.exact`; `prototypes` is the nearest class mean of these features, a linear head; `sixth less` has a
penalty of 0.1 and a sixth fewer examples, as where these are held out for validation. Prints mean accuracy and mean loss. Writes few_shot.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from heads import head
from targets import frozen
from threadpoolctl import threadpool_limits

from tlkeras.startup import load_tensorflow

SHOTS = (1, 2, 3, 4, 5, 10, 20)
DRAWS = 5
STRENGTHS = (1.0, 0.3, 0.1, 0.03, 0.01)


def scale_of(x, power=0.5):
    deviation = x.std(0)
    usual = deviation.mean() or 1.0
    return np.maximum(deviation, 1e-6 * usual) ** power * usual ** (1 - power)


def prototypes(x, y):
    """Returns the scores by the distance to class means, as a function of features; the temperature is the mean squared distance within classes."""
    classes = np.unique(y)
    means = np.stack([x[y == label].mean(0) for label in classes])
    own = np.square(x - means[np.searchsorted(classes, y)]).sum(1).mean()
    between = np.square(means[:, None] - means[None]).sum(-1)[~np.eye(len(classes), dtype=bool)].mean()
    width = own if own > 0 else between / 2

    def scores(features):
        logits = (features @ means.T - np.square(means).sum(1) / 2) / width * len(means)
        logits -= logits.max(1, keepdims=True)
        return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)

    return scores


def judged(scores, y):
    return (scores.argmax(1) == y).mean(), -np.log(np.maximum(scores[np.arange(len(y)), y], 1e-12)).mean()


def compared(features, y, shots):
    figures = {}
    for seed in range(DRAWS):
        order = np.random.default_rng(seed).permutation(len(y))
        train = np.concatenate([order[y[order] == label][:shots] for label in np.unique(y)])
        test = np.setdiff1d(order, train)
        few = np.concatenate([order[y[order] == label][: shots - max(1, round(shots / 6))] for label in np.unique(y)])
        ways = {f"penalty {strength:g}": (train, 0.5, lambda x, y, s=strength: head(x, y, s)) for strength in STRENGTHS}
        ways["prototypes"] = (train, 0.5, prototypes)
        ways["prototypes, unscaled"] = (train, 0.0, prototypes)
        if shots > 1:
            ways["sixth less"] = (few, 0.5, lambda x, y: head(x, y, 0.1))
        for name, (rows, power, solve) in ways.items():
            mean, scale = features[rows].mean(0), scale_of(features[rows], power)
            x = ((features - mean) / scale).astype("float32")
            figures.setdefault(name, []).append(judged(solve(x[rows], y[rows])(x[test]), y[test]))
    return {name: np.mean(values, axis=0) for name, values in figures.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with hymenoptera/")
    parser.add_argument("--limit", type=int, help="examples of a source")
    options = parser.parse_args()
    load_tensorflow()
    sources = {"digits": {}} | ({"hymenoptera": {"data": str(options.data / "hymenoptera")}} if options.data else {})
    result = {}
    for source, settings in sources.items():
        settings |= {"limit": options.limit} if options.limit else {}
        features, y, *_ = frozen({"backbone": "efficientnet", "export": "none", **settings})
        with threadpool_limits(1, "blas"):
            figures = {shots: compared(features, y, shots) for shots in SHOTS}
        names = list(figures[SHOTS[-1]])
        print(f"{source}, examples of each class: accuracy (loss)")
        print(f"{'':<22}" + "".join(f"{shots:>15}" for shots in SHOTS))
        for name in names:
            cells = [f"{figures[s][name][0]:.3f} ({figures[s][name][1]:.2f})" if name in figures[s] else "" for s in SHOTS]
            print(f"{name:<22}" + "".join(f"{cell:>15}" for cell in cells))
        result[source] = {s: {name: [round(float(v), 4) for v in pair] for name, pair in rows.items()} for s, rows in figures.items()}
    Path("few_shot.json").write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
