"""How well examples of another data set are told from new ones of the own: `python benchmarks/rejection.py --data FOLDER`.

Frozen features of up to 500 photos of clothing/ and hymenoptera/ and of the digits (EfficientNet-Lite0), and of up to 900 texts of rt_polarity/ and
goemotions/ (MiniLM-L6). For each data set a logistic regression is fitted on the training split; what is familiar is judged on its validation
and test splits against all examples of every other set of the same modality. Prints the area under the ROC curve (AUROC) of each measure for each
pair, means, and how many of the others are rejected where 95 % of the own are known. Writes rejection.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

IMAGES, TEXTS = 500, 900
COMPONENTS, SHRINKAGE = 32, 0.1
KNOWN = 0.95


def collected(folder):
    """Returns name -> features, targets and splits."""
    from targets import frozen

    from tlkeras.jobs import preflight
    from tlkeras.startup import load_tensorflow

    load_tensorflow()
    whole = preflight.open_examples
    preflight.open_examples = lambda plan, *rest: preflight.limited(plan.config, whole(plan, *rest))
    sources = {
        ("image", "clothing"): folder / "clothing",
        ("image", "digits"): None,
        ("image", "hymenoptera"): folder / "hymenoptera",
        ("text", "goemotions"): folder / "goemotions" / "ekman.csv",
        ("text", "rt_polarity"): folder / "rt_polarity" / "rt_polarity.csv",
    }
    examples = {}
    for (modality, name), source in sources.items():
        settings = {"backbone": "efficientnet", "limit": IMAGES} if modality == "image" else {"backbone": "minilm", "limit": TEXTS}
        features, y, splits, *_ = frozen({**settings, "export": "none", **({"data": str(source)} if source else {})})
        examples[modality, name] = (features, y, splits)
    return examples


def logits_of(x, y):
    """Returns the logits of logistic regression, one for each label of sets, as a function of features."""
    from sklearn.linear_model import LogisticRegression

    mean, scale = x.mean(0), np.sqrt(x.std(0) * x.std(0).mean() + 1e-9)
    columns = [y] if y.ndim == 1 else list(y.T)
    fits = [LogisticRegression(C=0.1, max_iter=300).fit((x - mean) / scale, column) for column in columns]

    def logits(features):
        values = [fit.decision_function((features - mean) / scale) for fit in fits]
        if y.ndim > 1:
            return np.stack(values, axis=1)
        return values[0] if values[0].ndim > 1 else np.stack([-values[0] / 2, values[0] / 2], axis=1)

    return logits


def measures(x, y, seed=0):
    """Returns name -> function of features that is larger for familiar examples."""
    from tlkeras.tasks import rejection

    logits, sets = logits_of(x, y), y.ndim > 1

    def largest(features):
        z = logits(features)
        return (1 / (1 + np.exp(-z)) if sets else np.exp(z - np.logaddexp.reduce(z, axis=1)[:, None])).max(1)

    def energy(features):
        z = logits(features)
        return np.logaddexp(0, z).sum(1) if sets else np.logaddexp.reduce(z, axis=1)

    rows = rejection.chosen(y, x.shape[1], seed)
    fact = rejection.fit_distance(x[rows], x[:100], 0.5)
    mahalanobis, whole = _mahalanobis(x, np.zeros(len(x), int) if sets else y)
    return {
        "largest score": largest,
        "energy": energy,
        "cosine": lambda features: np.asarray(rejection._cosine(features, fact["reference"])),
        "Mahalanobis, 32 components": mahalanobis,
        "Mahalanobis and the rest": whole,
    }


def _mahalanobis(x, y):
    """Returns two functions: class-conditional with shrinkage in the first components, and with what lies outside of them."""
    mean = x.mean(0)
    basis = np.linalg.svd(x - mean, full_matrices=False)[2][:COMPONENTS].T
    means = np.stack([x[y == label].mean(0) for label in np.unique(y)])
    inside = (x - means[np.searchsorted(np.unique(y), y)]) @ basis
    covariance = inside.T @ inside / len(x)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / COMPONENTS * np.eye(COMPONENTS)
    whitening = basis @ np.linalg.cholesky(np.linalg.inv(covariance))
    centres = (means - mean) @ whitening
    rest = lambda z: ((z - mean) ** 2).sum(1) - (((z - mean) @ basis) ** 2).sum(1)  # noqa: E731
    usual = rest(x).mean() / (x.shape[1] - COMPONENTS)
    inner = lambda z: -((((z - mean) @ whitening)[:, None] - centres) ** 2).sum(2).min(1)  # noqa: E731
    return inner, lambda z: inner(z) - rest(z) / max(usual, 1e-9)


def compared(examples):
    from sklearn.metrics import roc_auc_score

    result = {}
    for (modality, name), (x, y, splits) in examples.items():
        own = x[np.concatenate([splits.val, splits.test])]
        for measure, function in measures(x[splits.train], y[splits.train]).items():
            familiar = function(own)
            for (other_modality, other), (z, *_) in examples.items():
                if other_modality == modality and other != name:
                    unfamiliar = function(z)
                    truth = np.r_[np.ones(len(familiar)), np.zeros(len(unfamiliar))]
                    area = roc_auc_score(truth, np.r_[familiar, unfamiliar])
                    rejected = (unfamiliar < np.quantile(familiar, 1 - KNOWN)).mean()
                    result.setdefault(measure, {})[f"{name} / {other}"] = (float(area), float(rejected))
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with clothing/, hymenoptera/, goemotions/ and rt_polarity/")
    options = parser.parse_args()
    examples = collected(options.data)
    with threadpool_limits(1, "blas"):
        result = compared(examples)
    for measure, pairs in result.items():
        areas, rejected = np.array(list(pairs.values())).T
        cells = "  ".join(f"{pair} {area:.3f}" for pair, (area, _) in pairs.items())
        print(f"{measure:<28} AUROC {areas.mean():.3f}, rejects {rejected.mean():.3f}   {cells}")
    Path("rejection.json").write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
