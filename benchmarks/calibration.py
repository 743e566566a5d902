"""What temperatures bring: `python benchmarks/calibration.py [--floor] [--data FOLDER]`.

`--floor` draws logits that are right, multiplies them to make a model over-confident, and prints by how much the fitted temperature lowers the
loss of 4,000 new examples, by the number of validation examples: mean of 100 draws. This is what `tlkeras.tasks.temperature.FEWEST` rests on.
`--data` fine-tunes on hymenoptera/, clothing/, rt_polarity/ and goemotions/ of the folder, and the digits, with default settings and with
`--recipe full` for images, and prints the calibration error of the test before and after (of hymenoptera/, which has no test, of val). Writes
calibration.json. `--only NAME …` and `--recipes default` leave out what takes long without a GPU.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

SHARPNESS = (1.0, 1.5, 3.0)
EXAMPLES = (20, 30, 50, 100, 200, 500)
DRAWS, NEW = 100, 4_000
SETS = ("digits", "hymenoptera", "clothing", "rt_polarity", "goemotions")


def drawn(rng, n, classes, sharpness):
    """Returns over-confident logits, and the classes."""
    logits = rng.normal(size=(n, classes)) * 2.0
    p = np.exp(logits)
    y = (rng.random((n, 1)) > (p / p.sum(axis=1, keepdims=True)).cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)
    return logits * sharpness, y


def floor():
    from tlkeras.tasks import temperature

    temperature.FEWEST = 0
    for classes in (2, 10):
        for sharpness in SHARPNESS:
            rng, cells = np.random.default_rng(classes), []
            new, true = drawn(rng, NEW, classes, sharpness)
            before = temperature.losses_of_classes(new, true).mean()
            for n in EXAMPLES:
                gains, changed = [], 0
                for _ in range(DRAWS):
                    tempering = temperature.classes(*drawn(rng, n, classes, sharpness))
                    changed += tempering.changes
                    gains.append(before - temperature.losses_of_classes(new / tempering.temperatures[0], true).mean())
                cells.append(f"{n}: {np.mean(gains):+.4f} (worst tenth {np.quantile(gains, 0.1):+.4f}, {changed}% changed)")
            print(f"{classes} classes, temperature {sharpness:g}: " + "  ".join(cells), flush=True)


def runs(folder, only, recipes):
    from tlkeras.jobs import finetune
    from tlkeras.startup import load_tensorflow

    load_tensorflow()
    data = {"digits": None, **{name: folder / name for name in ("hymenoptera", "clothing")}}
    data |= {"rt_polarity": folder / "rt_polarity" / "rt_polarity.csv", "goemotions": folder / "goemotions" / "ekman.csv"}
    result = {}
    for name, source in ((name, data[name]) for name in only):
        of_texts = source is not None and source.suffix == ".csv"
        for recipe in ("default",) if of_texts else recipes:
            settings = {
                "backbone": "minilm" if of_texts else "efficientnet",
                "export": "none",
                **({"recipe": recipe} if recipe != "default" else {}),
            }
            settings |= {"data": str(source)} if source else {}
            with tempfile.TemporaryDirectory() as out:
                metrics = finetune.finetune({**settings, "out": f"{out}/run"}, reporter=None).metrics
            for target, row in metrics["calibration"]["targets"].items():
                split = "test" if "test" in row else "val"  # of hymenoptera/, the examples that a temperature is fitted to
                errors = row[split]["ece"]
                known = (metrics["calibration"]["rejection"] or {}).get(split, {}).get("known")
                result[f"{name} {recipe} {target}"] = {**row, "known": known}
                print(f"{name:<12} {recipe:<8} {errors['before']:.4f} -> {errors['after']:.4f} on {split}  {row['note']}", flush=True)
    Path("calibration.json").write_text(json.dumps(result, indent=2), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--floor", action="store_true", help="simulate by the number of validation examples")
    parser.add_argument("--data", type=Path, help="folder with hymenoptera/, clothing/, rt_polarity/ and goemotions/")
    parser.add_argument("--only", nargs="+", choices=SETS, default=SETS, help="sets to fine-tune on")
    parser.add_argument("--recipes", nargs="+", choices=("default", "full"), default=("default", "full"), help="recipes for images")
    options = parser.parse_args()
    if options.floor:
        floor()
    if options.data:
        runs(options.data, options.only, options.recipes)


if __name__ == "__main__":
    main()
