"""How good the recommended backbone is: `python benchmarks/recommend.py --data FOLDER --record recommend.jsonl`.

For each data set, `tlkeras.recommend` chooses among the backbones whose weights can be had here; then each of them is trained on the same
examples (`--recipe`, with `--max-minutes`) and scored on the test split, which the choice never saw. Printed and written (`--out`):

    within      whether the recommended backbone is within one standard error (of the paired difference) of the best on the test split
    tau         Kendall's tau between the figures on the test split and each score: the probe, LogME, the H-score, ImageNet top-1

FOLDER holds clothing/ and hymenoptera/; `mosaics` and `rotated` are made of clothing/, as `targets.py` makes them; digits need no folder.
`fashion` are 1,500 images of Debian's package dataset-fashion-mnist, where that is installed. Each result is appended to `--record` as it
arrives, and what is there is not computed again. `--limit` is for a small try; `--only-report` makes the table from the record alone.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import targets

from tlkeras.startup import load_tensorflow

SETS = ("hymenoptera", "clothing", "digits", "mosaics", "rotated", "fashion")
FASHION = Path("/usr/share/datasets/fashion-mnist")
FASHION_EXAMPLES = 1500
SCORES = ("probe", "logme", "h_score", "top1")


# === Data ===


def source(name, data, work):
    """Returns the settings of a data set, its folder or table made where it is made of others; None where it is not here."""
    if name == "digits":
        return {}
    if name in ("mosaics", "rotated"):
        folder = work / name
        folder.mkdir(exist_ok=True)
        if not any(folder.glob("*.csv")):
            getattr(targets, name)(data, folder)
        table = next(folder.glob("*.csv"))
        return {"data": str(table), "label_column": "labels" if name == "mosaics" else "degrees"}
    if name == "fashion":
        return {"data": str(fashion(work))} if FASHION.is_dir() else None
    held_out = {"test_split": 0.3} if name == "hymenoptera" else {}  # it has no test split of its own
    return {"data": str(data / name), **held_out} if (data / name).is_dir() else None


def fashion(work):
    """Writes some images of Fashion-MNIST as arrays."""
    path = work / "fashion.npz"
    if not path.exists():
        with gzip.open(FASHION / "train-images-idx3-ubyte.gz") as file:
            images = np.frombuffer(file.read(16 + FASHION_EXAMPLES * 784)[16:], "uint8").reshape(-1, 28, 28)
        with gzip.open(FASHION / "train-labels-idx1-ubyte.gz") as file:
            labels = np.frombuffer(file.read(8 + FASHION_EXAMPLES)[8:], "uint8")
        np.savez(path, x=np.repeat(images[..., None], 3, axis=-1), y=labels.astype(str))
    return path


# === Jobs ===


def recommended(settings, options):
    """Returns the content of a recommendation, without the details of each figure."""
    import tlkeras

    with tempfile.TemporaryDirectory() as folder:
        limit = {"limit": options.limit} if options.limit else {}
        result = tlkeras.recommend(
            out=f"{folder}/out", max_minutes=options.choice_minutes, backbones=options.backbones or (), **limit, **settings
        )
    records = [{key: value for key, value in record.items() if key != "details"} for record in result.ranking]
    return {**result.content, "ranking": records}


def trained(settings, backbone, options):
    """Returns the figure of a backbone on the test split after training, with what each part of the split says of it."""
    import tlkeras
    from tlkeras.evaluation.prediction import keras_scores
    from tlkeras.jobs import evaluate, preflight
    from tlkeras.jobs.opening import open_target
    from tlkeras.selection import probe, race
    from tlkeras.tasks.registry import TARGET

    minutes = {"max_minutes": options.max_minutes} if options.max_minutes is not None else {}
    limit = {"limit": options.limit} if options.limit else {}
    with tempfile.TemporaryDirectory() as folder:
        run = tlkeras.finetune(
            {**settings, **minutes, **limit}, backbone=backbone, recipe=options.recipe, export="none", out=f"{folder}/run", reporter=None
        )
        opened = open_target(f"{folder}/run")
        inputs, known, _ = evaluate.held_out(opened, preflight.to_evaluate(f"{folder}/run", None))
        answers = keras_scores(opened.model, inputs)
    figure = lambda index: probe.figure(opened.task, opened.target, known, answers, index)  # noqa: E731
    own = race.estimate(figure, np.arange(len(known[TARGET])) % 5)
    return {"figure": own.figure, "values": own.values.tolist(), "examples": own.examples, "seconds": run.metrics["timing"]["total"]}


# === The record ===


def read(path):
    """Returns what a record holds: (data set, backbone or "") -> result; a line that was cut off is left out."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        found[entry["dataset"], entry["backbone"]] = entry["result"]
    return found


def append(path, dataset, backbone, result):
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"dataset": dataset, "backbone": backbone, "result": result}) + "\n")


def run(options):
    known = read(options.record)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.sets:
            settings = source(name, options.data, Path(folder))
            if settings is None:
                print(f"{name}: not here", flush=True)
                continue
            if (name, "") not in known:
                started = time.monotonic()
                known[name, ""] = recommended(settings, options)
                append(options.record, name, "", known[name, ""])
                print(f"{name}: {known[name, '']['recommended']} recommended after {time.monotonic() - started:.0f} s", flush=True)
            for record in known[name, ""]["ranking"]:
                backbone = record["backbone"]
                if (name, backbone) not in known:
                    known[name, backbone] = trained(settings, backbone, options)
                    append(options.record, name, backbone, known[name, backbone])
                    print(f"{name}: {backbone} {known[name, backbone]['figure']:.4f} on the test split", flush=True)
    return known


# === The report ===


def compared(known, name):
    """Returns the figures of one data set; None where not all of its backbones were trained."""
    from scipy import stats

    from tlkeras.backbones.registry import BACKBONES

    content = known[name, ""]
    backbones = [record["backbone"] for record in content["ranking"]]
    if not all((name, backbone) in known for backbone in backbones):
        return None
    tests = {backbone: known[name, backbone] for backbone in backbones}
    best = max(tests, key=lambda backbone: tests[backbone]["figure"])
    chosen = content["recommended"]
    apart = np.array(tests[best]["values"]) - np.array(tests[chosen]["values"])
    error = float(apart.std(ddof=1) / np.sqrt(len(apart)))
    scores = {
        "probe": [-record["rank"] for record in content["ranking"]],
        "logme": [record["logme"] for record in content["ranking"]],
        "h_score": [record["h_score"] for record in content["ranking"]],
        "top1": [BACKBONES.get(backbone).top1 if backbone in BACKBONES else None for backbone in backbones],
    }
    figures = [tests[backbone]["figure"] for backbone in backbones]
    tau = {
        score: None if None in values or len(values) < 2 else round(float(stats.kendalltau(values, figures).statistic), 3)
        for score, values in scores.items()
    }
    gap = tests[best]["figure"] - tests[chosen]["figure"]
    return {
        "figure": content["figure"],
        "backbones": {backbone: round(tests[backbone]["figure"], 4) for backbone in backbones},
        "recommended": chosen,
        "best": best,
        "behind": round(gap, 4),
        "standard_error": round(error, 4),
        "within": bool(gap <= error),
        "first_by_logme": max(backbones, key=lambda backbone: scores["logme"][backbones.index(backbone)]),
        "tau": tau,
        "seconds": content["seconds"],
    }


def report(known):
    """Returns the Markdown table and the figures behind it."""
    rows = {name: figures for name in SETS if (name, "") in known and (figures := compared(known, name))}
    head = (
        "| data | figure | recommended | best on the test split | behind (one standard error) | within | first by LogME | tau: "
        + " / ".join(SCORES)
    )
    lines = [f"{head} | seconds |", "|---" * 9 + "|"]
    for name, row in rows.items():
        taus = " / ".join("–" if row["tau"][score] is None else f"{row['tau'][score]:.2f}" for score in SCORES)
        tests = row["backbones"]
        lines.append(
            f"| {name} | {row['figure']} | {row['recommended']} {tests[row['recommended']]:.3f} | {row['best']} {tests[row['best']]:.3f} | "
            f"{row['behind']:.3f} ({row['standard_error']:.3f}) | {'yes' if row['within'] else 'no'} | {row['first_by_logme']} | {taus} | "
            f"{row['seconds']:.0f} |"
        )
    means = {}
    for score in SCORES:
        values = [row["tau"][score] for row in rows.values() if row["tau"][score] is not None]
        means[score] = round(float(np.nanmean(values)), 3) if values else None
    within = sum(row["within"] for row in rows.values())
    lines.append(f"\nWithin one standard error of the best: {within} of {len(rows)}. Mean tau: {means}.")
    return "\n".join(lines), {"datasets": rows, "within": within, "mean_tau": means}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with clothing/ and hymenoptera/")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--backbones", nargs="+", help="some backbones instead of all whose weights can be had")
    parser.add_argument("--recipe", default="auto", help="how each backbone is trained (auto)")
    parser.add_argument(
        "--max-minutes",
        type=float,
        help="of fine-tuning after the head, for auto and lp-ft; without it, auto trains the head only on a CPU",
    )
    parser.add_argument("--choice-minutes", type=float, default=30.0, help="of each recommendation (30)")
    parser.add_argument("--limit", type=int, help="maximum number of examples of each data set")
    parser.add_argument("--record", type=Path, default=Path("recommend.jsonl"))
    parser.add_argument("--out", type=Path, default=Path("recommend-benchmark.json"))
    parser.add_argument("--only-report", action="store_true")
    options = parser.parse_args()
    if options.only_report:
        known = read(options.record)
    else:
        load_tensorflow()
        known = run(options)
    table, figures = report(known)
    print(table)
    options.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
