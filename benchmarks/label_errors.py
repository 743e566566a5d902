"""Label errors that are found: precision and recall of the flags where labels were flipped on purpose: `python benchmarks/label_errors.py --data FOLDER`.

5 % of the labels of hymenoptera/ (train and val), the digits and rt_polarity/ are replaced by another class at random. Labels are then judged as
`tlkeras review` does: by the scores of 5 folds of a linear probe of the pretrained features. Precision is the share of the flags that were flipped:
wrong labels that the sets have anyway count against it. Recall is the share of the flipped labels that are flagged; both also among as many of the
most suspicious flags as labels were flipped. Writes label_errors.json. `--only digits` leaves out the others, `--seeds` repeats.
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

SHARE, FOLDS = 0.05, 5
SETS = {
    "hymenoptera": ("hymenoptera", {"backbone": "efficientnet"}),
    "digits": (None, {"backbone": "efficientnet"}),
    "rt_polarity": ("rt_polarity/rt_polarity.csv", {"backbone": "minilm_l6"}),
}


def flipped(dataset, seed):
    """Returns the examples with wrong labels, and which they are."""
    rng, count = np.random.default_rng(seed), len(dataset.examples)
    wrong = np.sort(rng.choice(count, round(SHARE * count), replace=False))
    examples = list(dataset.examples)
    for index in wrong:
        others = [label for label in dataset.labels if label != examples[index].label]
        examples[index] = replace(examples[index], label=others[rng.integers(len(others))])
    return replace(dataset, examples=tuple(examples)), {examples[index].id for index in wrong}


def suspects(dataset, settings, seed):
    """Returns the ids of the flagged examples, the most suspicious first, and the accuracy of the folds against the labels as they are."""
    from tlkeras.config import RunConfig
    from tlkeras.jobs import plan as planning
    from tlkeras.jobs import preflight, review
    from tlkeras.jobs.run_folder import Run
    from tlkeras.progress import SILENT
    from tlkeras.registry import load_function

    config = RunConfig.from_dict({**settings, "recipe": "linear-probe", "export": "none", "cross_validate": FOLDS, "seed": seed})
    plan = planning.resolve(config)
    plan = planning.for_examples(plan, preflight.open_examples(plan, dataset))
    with tempfile.TemporaryDirectory() as folder:
        folded = review.cross_validate(Run(Path(folder)), plan, dataset, probe=True, reporter=SILENT)
    store, scores = folded.data.store, folded.result.scores
    targets = folded.task.targets_of(store.examples, store.target)
    flags = load_function(folded.task.label_errors)(store.values, targets, scores, store.target)
    return [store.examples[flag.index].id for flag in flags], folded.result.content["figures"]["accuracy"]["mean"]


def measured(source, settings, seed):
    from tlkeras.modalities.sources import open_source

    dataset, wrong = flipped(open_source(source), seed)
    started = time.process_time()
    flags, accuracy = suspects(dataset, settings, seed)
    first = flags[: len(wrong)]
    return {
        "examples": len(dataset.examples),
        "flipped": len(wrong),
        "flagged": len(flags),
        "precision": len(wrong & set(flags)) / max(1, len(flags)),
        "recall": len(wrong & set(flags)) / len(wrong),
        "precision_of_first": len(wrong & set(first)) / max(1, len(first)),
        "recall_of_first": len(wrong & set(first)) / len(wrong),
        "accuracy_of_folds": accuracy,
        "processor_seconds": round(time.process_time() - started, 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with hymenoptera/ and rt_polarity/; only the digits without it")
    parser.add_argument("--only", choices=SETS, help="one of the sets")
    parser.add_argument("--seeds", type=int, default=1, help="how often labels are flipped")
    options = parser.parse_args()
    load_tensorflow()
    result = {}
    for name, (path, settings) in SETS.items():
        if options.only not in (None, name) or (path is not None and options.data is None):
            continue
        runs = [measured(None if path is None else str(options.data / path), settings, seed) for seed in range(options.seeds)]
        result[name] = {key: round(float(np.mean([run[key] for run in runs])), 4) for key in runs[0]}
        row = result[name]
        print(
            f"{name:<12} {row['flipped']:.0f} of {row['examples']:.0f} flipped, {row['flagged']:.0f} flagged: "
            f"precision {row['precision']:.3f}, recall {row['recall']:.3f}; of the first {row['flipped']:.0f}: {row['precision_of_first']:.3f}; "
            f"{row['processor_seconds']:.0f} s"
        )
    Path("label_errors.json").write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
