"""How features are scaled while a head is solved, at each strength of its penalty: `python benchmarks/heads.py --data FOLDER`.

Features of frozen EfficientNet-Lite0 of the digits, clothing/ and hymenoptera/ (without `--data`, of the digits alone); six random splits,
three tenths to test. `whole` divides each feature by its standard deviation, `half` by the geometric mean of that and the mean of all, `none`
by the mean of all. Prints accuracy and mean loss on the tests; the strength with the lowest loss is marked. Writes heads.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from targets import frozen
from threadpoolctl import threadpool_limits

from tlkeras.startup import load_tensorflow

SPLITS, TESTED = 6, 0.3
STRENGTHS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)


def scales(deviation):
    usual = deviation.mean()
    floor = np.maximum(deviation, 1e-6 * usual)
    return {"whole": floor, "half": np.sqrt(floor * usual), "none": np.full_like(deviation, usual)}


def head(x, y, strength):
    """Returns the scores of multinomial logistic regression, as a function of features."""
    from sklearn.linear_model import LogisticRegression

    solved = LogisticRegression(C=1 / (strength * len(x)), max_iter=200, tol=1e-5).fit(x, y)
    return solved.predict_proba


def compared(features, y):
    figures = {}
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(len(y))
        test, train = np.split(order, [int(TESTED * len(y))])
        for name, scale in scales(features[train].std(0)).items():
            x = ((features - features[train].mean(0)) / scale).astype("float32")
            for strength in STRENGTHS:
                scores = head(x[train], y[train], strength)(x[test])
                loss = -np.log(np.maximum(scores[np.arange(len(test)), y[test]], 1e-12)).mean()
                figures.setdefault((name, strength), []).append(((scores.argmax(1) == y[test]).mean(), loss))
    return {key: np.mean(values, axis=0) for key, values in figures.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with clothing/ and hymenoptera/")
    options = parser.parse_args()
    load_tensorflow()
    sources = {"digits": None}
    sources |= {name: str(options.data / name) for name in ("clothing", "hymenoptera")} if options.data else {}
    result = {}
    for source, folder in sources.items():
        features, y, *_ = frozen({"backbone": "efficientnet", "export": "none", **({"data": folder} if folder else {})})
        with threadpool_limits(1, "blas"):
            figures = compared(features, y)
        for name in scales(np.ones(1)):
            best = min(STRENGTHS, key=lambda strength, name=name: figures[name, strength][1])
            accuracy, loss = figures[name, best]
            print(f"{source:<12} {name:<6} strength {best:g}: accuracy {accuracy:.4f}, loss {loss:.4f}")
        result[source] = {f"{name} {strength:g}": [round(float(v), 4) for v in values] for (name, strength), values in figures.items()}
    Path("heads.json").write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
