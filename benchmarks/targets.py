"""Sets of labels, numbers and several targets, beside what simpler methods reach: `python benchmarks/targets.py goemotions emobank …`.

    goemotions  sets of emotions of texts           emobank   three numbers for each text
    mosaics     two photos of clothes side by side, their classes as the set
    rotated     photos of clothes, turned by -45 to 45 degrees, the angle as the number
    digits      value and parity of digits            clothes   class of clothes and where they are worn: at once and alone, 5 seeds

The first four train on the source's own split. Beside the fine-tuned model stand a logistic (ridge) regression on the frozen features of
the same backbone, whose strength and thresholds are chosen on the validation split, and the best constant answer. All are scored on the test
split by the same code. `--data` is the folder with goemotions/, emobank/ and clothing/. Writes targets.json; `--only-one-seed` is quicker.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from tlkeras.startup import load_tensorflow

SEEDS = range(5)
TEXTS = {"backbone": "minilm_l6", "recipe": "full", "learning_rate": 1e-4, "epochs": 3, "export": "none"}
PHOTOS = {"backbone": "efficientnet", "recipe": "full", "export": "none"}
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # of logistic regression, C
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)  # of ridge regression
SIDE = 160  # pixels of half a mosaic, and of a turned photo
MOSAICS = {"train": 1500, "val": 400, "test": 400}
MOST = 45  # degrees
WORN = {
    "dress": "body", "hat": "head", "longsleeve": "top", "outwear": "top", "pants": "legs", "shirt": "top", "shoes": "feet",
    "shorts": "legs", "skirt": "legs", "t-shirt": "top",
}  # fmt: skip


# === Data ===


def photos(folder, split):
    return [(path, path.parent.name) for path in sorted((folder / "clothing" / split).rglob("*.jpg"))]


def mosaics(folder, out):
    """Writes pairs of photos side by side, of one class or two, and the table of their classes."""
    from PIL import Image, ImageOps

    rows = ["path,labels,split"]
    for split, count in MOSAICS.items():
        source, rng = photos(folder, split), np.random.default_rng(len(split))
        for number in range(count):
            pair = [source[i] for i in rng.integers(0, len(source), 2)]
            image = Image.new("RGB", (2 * SIDE, SIDE))
            for place, (path, _) in enumerate(pair):
                image.paste(ImageOps.fit(Image.open(path).convert("RGB"), (SIDE, SIDE)), (place * SIDE, 0))
            image.save(out / f"{split}{number}.jpg", quality=90)
            rows.append(f"{split}{number}.jpg,{'|'.join(sorted({label for _, label in pair}))},{split}")
    (out / "mosaics.csv").write_text("\n".join(rows) + "\n")
    return out / "mosaics.csv"


def rotated(folder, out):
    """Writes photos turned by a known angle, cut so that no corner gives it away, and the table of the angles."""
    from PIL import Image, ImageOps

    rows, inner = ["path,degrees,split"], int(2 * SIDE / 2**0.5)
    for split, views in (("train", 2), ("val", 1), ("test", 1)):
        rng = np.random.default_rng(len(split))
        for number, (path, _) in enumerate(photos(folder, split) * views):
            angle = rng.uniform(-MOST, MOST)
            image = ImageOps.fit(Image.open(path).convert("RGB"), (2 * SIDE, 2 * SIDE)).rotate(angle, Image.Resampling.BICUBIC)
            low = (2 * SIDE - inner) // 2
            image.crop((low, low, low + inner, low + inner)).save(out / f"{split}{number}.jpg", quality=90)
            rows.append(f"{split}{number}.jpg,{angle:.2f},{split}")
    (out / "rotated.csv").write_text("\n".join(rows) + "\n")
    return out / "rotated.csv"


# === The same features for simpler methods ===


def prepared(settings):
    """Returns the task model that tlkeras would train with these settings, and its examples in the form that the model accepts."""
    from tlkeras.jobs import finetune_request, preflight, run_folder
    from tlkeras.jobs import plan as planning
    from tlkeras.jobs.examples import build, prepare
    from tlkeras.progress import SILENT, Clock

    config, _ = finetune_request.settings(None, None, settings)
    plan = planning.resolve(config)
    dataset = preflight.open_examples(plan)
    plan = planning.for_examples(plan, dataset)
    task = build(plan, dataset.target, dataset)
    with tempfile.TemporaryDirectory() as folder:
        run = run_folder.create(str(Path(folder) / "run"), backbone="features", data=None)
        data = prepare(plan.config, dataset, task, run, Clock(SILENT), SILENT)
        return task, replace(data, store=replace(data.store, inputs=np.array(data.store.inputs)))


def features_model(task):
    """Returns the network of a task model up to the features below its head."""
    import keras

    from tlkeras.models import FEATURES

    return keras.Model(task.model.input, task.model.get_layer(FEATURES).output)


def frozen(settings):
    """Returns the features (n, width) of the pretrained backbone, the targets, the splits, the target and the task."""
    from tlkeras.tasks.registry import TARGET

    task, data = prepared(settings)
    features = features_model(task).predict(data.store.inputs, batch_size=64, verbose=0)
    return features, data.targets[TARGET], data.splits, data.target, task.task


def scored(task, target, y, scores):
    from tlkeras.registry import load_function
    from tlkeras.tasks.registry import TARGET

    return load_function(task.score)({TARGET: y}, scores, target)


def logistic(features, y, splits):
    """Returns the scores of all examples by one logistic regression for each label; the strength is chosen on validation by its loss."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.preprocessing import StandardScaler

    x, scores = StandardScaler().fit(features[splits.train]).transform(features), np.zeros(y.shape, "float32")
    for column in range(y.shape[1]):
        fits = [LogisticRegression(C=strength / 100, max_iter=300).fit(x[splits.train], y[splits.train, column]) for strength in STRENGTHS]
        losses = [log_loss(y[splits.val, column], fit.predict_proba(x[splits.val])[:, 1], labels=[0, 1]) for fit in fits]
        scores[:, column] = fits[int(np.argmin(losses))].predict_proba(x)[:, 1]
    return scores


def ridge(features, y, splits):
    """Returns the answers for all examples by ridge regression; the penalty is chosen on validation."""
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    x = StandardScaler().fit(features[splits.train]).transform(features)
    fits = [Ridge(penalty).fit(x[splits.train], y[splits.train]) for penalty in PENALTIES]
    errors = [float(np.square(fit.predict(x[splits.val]) - y[splits.val]).mean()) for fit in fits]
    return fits[int(np.argmin(errors))].predict(x).reshape(y.shape).astype("float32")


def constants(task, y, splits):
    """Returns the best answer that is the same for every example: the mean, or the set of labels with the best micro-F1 in training."""
    rates = y[splits.train].mean(axis=0)
    if task.class_weights:  # sets: the most frequent labels, as many as serve micro-F1 best
        order = np.argsort(-rates)
        best = max(range(1, len(rates) + 1), key=lambda k: 2 * rates[order[:k]].sum() / (k + rates.sum()))
        return np.tile(np.isin(np.arange(len(rates)), order[:best]).astype("float32"), (len(y), 1))
    return np.tile(rates.astype("float32"), (len(y), 1))


def beside(name, settings, simpler):
    """Fine-tunes and scores the simpler methods on the same split; returns name of the method -> record of the test split."""
    import tlkeras
    from tlkeras.tasks.registry import TARGET

    began = time.perf_counter()
    features, y, splits, target, task = frozen(settings)
    baseline = simpler(features, y, splits)
    calibrated = task.calibrated(target, {TARGET: y[splits.val]}, baseline[splits.val])
    found = {
        "constant": scored(task, target, y[splits.test], constants(task, y, splits)[splits.test]).to_dict(),
        simpler.__name__: scored(task, calibrated, y[splits.test], baseline[splits.test]).to_dict(),
    }
    print(f"{name}: {simpler.__name__} done after {time.perf_counter() - began:.0f} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        found["fine-tuned"] = tlkeras.finetune({**settings, "out": f"{folder}/run"}, reporter=None).metrics["test"]
    print(f"{name}: fine-tuned after {time.perf_counter() - began:.0f} s", flush=True)
    return found


# === Several at once, and each alone ===


def several(source, seeds):
    """Returns for each way (alone, together, weighed by uncertainty) and target the test accuracies over the seeds."""
    import tlkeras

    settings, dataset = source
    found = {}
    for seed in seeds:
        for way, weights in (("together", None), ("uncertainty", "uncertainty")):
            with tempfile.TemporaryDirectory() as folder:
                config = {**settings, "seed": seed, "out": f"{folder}/run", "target_weights": weights, "compare_single": weights is None}
                metrics = tlkeras.finetune(replace(dataset), reporter=None, **config).metrics
            for part, figures in metrics["test"]["targets"].items():
                found.setdefault(f"{part}, {way}", []).append(figures["accuracy"])
            for part, splits in metrics.get("single", {}).items():
                found.setdefault(f"{part}, alone", []).append(splits["test"]["alone"]["accuracy"])
        print(f"seed {seed}: {json.dumps({key: round(values[-1], 4) for key, values in found.items()})}", flush=True)
    return {key: {"mean": float(np.mean(values)), "std": float(np.std(values)), "values": values} for key, values in found.items()}


def digits_source():
    """Digits with their value and their parity; 300 to train on, the rest to test, so that there is something to gain."""
    from sklearn.datasets import load_digits

    import tlkeras

    loaded = load_digits()
    x = np.repeat(np.repeat((loaded.images * 15.9).astype("uint8"), 2, axis=1), 2, axis=2)
    y = {"value": [str(v) for v in loaded.target], "parity": ["odd" if v % 2 else "even" for v in loaded.target]}
    settings = {"backbone": "cnn", "weights": "none", "channels": 1, "image_size": 16, "recipe": "full", "epochs": 40, "export": "none"}
    return {**settings, "learning_rate": 1e-3, "limit": 600, "test_split": 0.5, "val_split": 0.1}, tlkeras.from_arrays(x, y, name="digits")


def clothes_source(folder, out):
    """Photos of clothes with their class, and where they are worn."""
    from tlkeras.modalities.sources import open_source

    rows = ["path,kind,worn,split"]
    for split in ("train", "val", "test"):
        rows += [f"{path.resolve()},{label},{WORN[label]},{split}" for path, label in photos(folder, split)]
    (out / "clothes.csv").write_text("\n".join(rows) + "\n")
    from tlkeras.data.sources.columns import Columns

    return {**PHOTOS, "recipe": "feature-extraction"}, open_source(str(out / "clothes.csv"), columns=Columns(label="kind,worn"))


# === The program ===


def measured(what, data, out, seeds):
    """Returns method -> figures of one comparison; `out` is an empty folder for what it makes."""
    comparisons = {
        "goemotions": lambda: beside(what, {**TEXTS, "data": str(data / "goemotions/ekman.csv"), "label_column": "labels"}, logistic),
        "emobank": lambda: beside(what, {**TEXTS, "data": str(data / "emobank/emobank.csv"), "label_column": "V,A,D"}, ridge),
        "mosaics": lambda: beside(what, {**PHOTOS, "data": str(mosaics(data, out)), "label_column": "labels"}, logistic),
        "rotated": lambda: beside(what, {**PHOTOS, "data": str(rotated(data, out)), "label_column": "degrees"}, ridge),
        "digits": lambda: several(digits_source(), seeds),
        "clothes": lambda: several(clothes_source(data, out), seeds),
    }
    return comparisons[what]()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=("goemotions", "emobank", "mosaics", "rotated", "digits", "clothes"))
    parser.add_argument("--data", type=Path, required=True, help="folder with goemotions/, emobank/ and clothing/")
    parser.add_argument("--out", type=Path, default=Path("targets.json"), help="where the figures are written")
    parser.add_argument("--only-one-seed", action="store_true", help="one seed instead of five where there are several")
    told = parser.parse_args()
    load_tensorflow()
    seeds = SEEDS[:1] if told.only_one_seed else SEEDS
    found = {}
    for what in told.what:
        with tempfile.TemporaryDirectory() as folder:
            found[what] = measured(what, told.data, Path(folder), seeds)
        for method, figures in found[what].items():
            shown = {key: round(value, 4) for key, value in figures.items() if isinstance(value, float)}
            print(f"{what} | {method} | {json.dumps(shown)}", flush=True)
        told.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
