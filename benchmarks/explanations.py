"""Whether the maps of each method mean something: `python benchmarks/explanations.py --data FOLDER [--examples N] [--sets NAMES]`.

hymenoptera/ with EfficientNet-Lite0 and rt_polarity/ with MiniLM-L6, both frozen with a new head; N held-out examples of each, the predicted label.
`deletion` is the mean probability while the parts that a map ranks highest are taken away, a 14th of all at a time (squares of an image take its mean colour,
words go), `insertion` while they are put into an empty input. Both are given as differences from the mean of three random maps on the same example, with the
standard error over the examples: deletion should be below 0, insertion above. `random weights` is the rank correlation of the map with that of the
same network with shuffled weights: near 0 is good. Prints tables and writes explanations.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from tlkeras.startup import load_tensorflow

SETS = {
    "hymenoptera": ("hymenoptera", {"backbone": "efficientnet_lite0"}),
    "rt_polarity": ("rt_polarity/rt_polarity.csv", {"backbone": "minilm_l6", "limit": 2000}),
}
CHANCE, SHUFFLED = 3, 4  # random maps of each example; examples whose maps are compared with those of shuffled weights


def trained(source, settings, folder):
    import tlkeras

    values = {"recipe": "linear-probe", "export": "none", "out": str(folder / "run"), **settings}
    return tlkeras.finetune(str(source), reporter=None, **values).run.root


def held_out(root, count):
    """Returns the opened run and the first held-out inputs as (array, text), classes in turns as they come."""
    from tlkeras.jobs.opening import load
    from tlkeras.jobs.preflight import to_evaluate

    opened, chosen = load(root), to_evaluate(root, None)
    store = opened.inputs.materialise(chosen.dataset)
    own = chosen.own
    splits = store.split(val_split=own.data.val_split, test_split=own.data.test_split, seed=own.seed)
    index = splits.test if len(splits.test) else splits.val
    index = np.random.default_rng(0).permutation(index)[:count]
    if opened.inputs.modality == "text":
        texts = [store.examples[i].text for i in index]
        return opened, [(opened.inputs.read(text), text) for text in texts]
    return opened, [(np.asarray(store.inputs[i])[None], "") for i in index]


def correlation(network, sample, first, second):
    """Returns the rank correlation of two maps, by the parts that curves delete."""
    from scipy.stats import spearmanr

    from tlkeras.explain.faithfulness import ranked

    ranks = [ranked(network, sample, values)[1] for values in (first, second)]
    return float(spearmanr(*ranks).statistic) if len(ranks[0]) > 2 else float("nan")


def compared(root, count):
    """Returns method -> its figures."""
    from tlkeras.errors import ConfigError
    from tlkeras.explain.explainer import Explainer
    from tlkeras.explain.faithfulness import curves, random_map, randomised
    from tlkeras.explain.registry import methods_for

    opened, inputs = held_out(root, count)
    chance, figures = {}, {}
    for row in methods_for(opened.inputs.modality):
        try:
            explainer = Explainer(opened.model, opened.task, opened.target, opened.inputs, method=row.name)
        except ConfigError as error:
            print(f"  {error}")
            continue
        network, records, seconds = explainer.network, [], []
        for index, (array, text) in enumerate(inputs):
            sample, scores = explainer.sample(array, f"{index}", text), opened.scores(array)
            column = explainer.answers.best(scores[0])[0]
            if index not in chance:
                maps = [random_map(network, sample, seed) for seed in range(CHANCE)]
                found = [curves(network, sample, column, values) for values in maps]
                chance[index] = np.mean([(one.deleted, one.inserted) for one in found], axis=0)
            started = time.monotonic()
            (explanation,) = explainer.explain([sample], scores)
            seconds.append(time.monotonic() - started)
            own = curves(network, sample, column, explanation.values)
            record = {"deletion": own.deleted - chance[index][0], "insertion": own.inserted - chance[index][1]}
            record["gap"] = explanation.details.get("completeness", {}).get("gap", np.nan)
            record["points"] = explanation.details.get("completeness", {}).get("points", np.nan)
            if index < SHUFFLED:
                with randomised(opened.model, seed=index):
                    (other,) = explainer.explain([sample], scores, explanation.label)
                record["random weights"] = correlation(network, sample, explanation.values, other.values)
            records.append(record)
        figures[row.name] = summary(records, float(np.median(seconds)))
        print(line(row.name, figures[row.name]), flush=True)
    figures["random"] = {"deletion": mean([one[0] for one in chance.values()]), "insertion": mean([one[1] for one in chance.values()])}
    return figures


def mean(values):
    known = [value for value in values if value is not None and np.isfinite(value)]
    if not known:
        return None
    error = np.std(known, ddof=1) / np.sqrt(len(known)) if len(known) > 1 else 0.0
    return [round(float(np.mean(known)), 4), round(float(error), 4)]


def summary(records, seconds):
    figures = {
        name: mean([record.get(name) for record in records]) for name in ("deletion", "insertion", "gap", "points", "random weights")
    }
    return {**figures, "seconds": round(seconds, 3), "n": len(records)}


def line(name, figures):
    cells = [f"{name:<22}"]
    for key in ("deletion", "insertion", "random weights", "gap", "points"):
        pair = figures[key]
        cells.append(f"{key} {pair[0]:+.3f} ± {pair[1]:.3f}" if pair else f"{key} –")
    return "  ".join([*cells, f"{figures['seconds']:.2f} s"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with hymenoptera/ and rt_polarity/")
    parser.add_argument("--examples", type=int, default=24)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--limit", type=int, help="examples to train on and to choose from; 2,000 texts, all images")
    parser.add_argument("--runs", type=Path, help="folder of runs that are kept: a run NAME there is used again")
    options = parser.parse_args()
    load_tensorflow()
    result = {}
    for name in options.sets.split(","):
        source, settings = SETS[name]
        settings = {**settings, "limit": options.limit} if options.limit else settings
        with tempfile.TemporaryDirectory() as folder:
            kept = options.runs / name if options.runs else None
            root = kept if kept and kept.is_dir() else trained(options.data / source, settings, Path(folder))
            print(f"{name}, {settings['backbone']}, {options.examples} examples", flush=True)
            result[name] = compared(root, options.examples)
    Path("explanations.json").write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
