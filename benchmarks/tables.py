"""The data sets of `recipes.py`, each written as one table that every method reads: `path` or `text`, targets, `split`.

Splits of a source's own stay. Where it has none for the test or validation, they are drawn by the seed. hymenoptera's `val` is the test:
nothing may be chosen on it.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from opponents.protocol import TABLE

HELD_OUT = 0.15  # fraction of the examples for each held-out split that a source lacks
IMAGES = {".jpg", ".jpeg", ".png"}

Row = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set.

    Args:
        read: (folder with the data sets, folder to write into) -> its rows; `split` is empty where the source says nothing.
        modality: `image` or `text`; the column of its inputs is `path` or `text`.
        targets: names of its columns of targets.
        metric: figure of the test split that methods are compared by, as tlkeras names it.
    """

    read: Callable[[Path, Path], list[Row]]
    modality: str
    targets: tuple[str, ...] = ("label",)
    metric: str = "accuracy"


def folders(name: str, splits: dict[str, str]) -> Callable[[Path, Path], list[Row]]:
    """Reads a folder SPLIT/CLASS/FILE; `splits` maps its split folders to the splits here."""

    def read(data: Path, out: Path) -> list[Row]:
        files = sorted(file for file in (data / name).rglob("*") if file.suffix.lower() in IMAGES)
        return [
            {"path": str(file.resolve()), "label": file.parent.name, "split": splits[file.parent.parent.name]}
            for file in files
            if file.parent.parent.name in splits
        ]

    return read


def table(path: str) -> Callable[[Path, Path], list[Row]]:
    """Reads a CSV."""

    def read(data: Path, out: Path) -> list[Row]:
        with open(data / path, encoding="utf-8", newline="") as file:
            return [{"split": "", **row} for row in csv.DictReader(file)]

    return read


def digits(data: Path, out: Path) -> list[Row]:
    """Writes scikit-learn's 1,797 digits as PNG files."""
    from PIL import Image
    from sklearn.datasets import load_digits

    loaded, rows = load_digits(), []
    out.mkdir(parents=True, exist_ok=True)
    for number, (grey, label) in enumerate(zip(loaded.images, loaded.target, strict=True)):
        file = out.resolve() / f"{number:04}.png"
        if not file.exists():
            Image.fromarray((grey * (255 / 16)).round().astype("uint8")).convert("RGB").save(file)
        rows.append({"path": str(file), "label": str(label), "split": ""})
    return rows


SOURCES = {
    "clothing": Source(read=folders("clothing", {"train": "train", "val": "val", "test": "test"}), modality="image"),
    "hymenoptera": Source(read=folders("hymenoptera", {"train": "train", "val": "test"}), modality="image"),
    "rt_polarity": Source(read=table("rt_polarity/rt_polarity.csv"), modality="text"),
    "digits": Source(read=digits, modality="image"),
    "goemotions": Source(read=table("goemotions/ekman.csv"), modality="text", targets=("labels",), metric="macro_f1"),
    "emobank": Source(read=table("emobank/emobank.csv"), modality="text", targets=("V", "A", "D"), metric="pearson"),
}


# === Choosing examples ===


def held_out(rows: list[Row], seed: int) -> list[Row]:
    """Returns the rows with the splits that the source lacks, drawn evenly from each class by the seed."""
    present = {row["split"] for row in rows}
    lacking = [split for split in ("test", "val") if split not in present]
    for members in _by_class(rows, ("", "train")):
        order = iter(np.random.default_rng(seed).permutation(len(members)))
        for split in lacking:
            for _ in range(round(HELD_OUT * len(members))):
                members[next(order)]["split"] = split
    return [{**row, "split": row["split"] or "train"} for row in rows]


def limited(rows: list[Row], limit: int | None) -> list[Row]:
    """Returns at most about `limit` rows, the same share of each class and split, and at least two of each."""
    if limit is None or limit >= len(rows):
        return rows
    kept: list[Row] = []
    for split in ("train", "val", "test"):
        for members in _by_class(rows, (split,)):
            order = np.random.default_rng(0).permutation(len(members))
            kept += [members[i] for i in order[: max(2, round(len(members) * limit / len(rows)))]]
    return kept


def few_of_each(rows: list[Row], count: int, seed: int) -> list[Row]:
    """Returns `count` labelled rows of each class, drawn by the seed from those not of the test, and the test. Nothing is for validation."""
    train: list[Row] = []
    for members in _by_class(rows, ("train", "val")):
        order = np.random.default_rng(seed).permutation(len(members))
        train += [{**members[i], "split": "train"} for i in order[:count]]
    return [*train, *(row for row in rows if row["split"] == "test")]


def fold_of(rows: list[Row], fold: int, folds: int) -> list[Row]:
    """Returns the rows with one of several disjoint parts as the test, and a tenth of the others for validation."""
    for members in _by_class(rows):
        for position, i in enumerate(np.random.default_rng(0).permutation(len(members))):
            test = position % folds == fold
            members[i]["split"] = "test" if test else "val" if (position // folds) % 10 == fold % 10 else "train"
    return rows


def _by_class(rows: Iterable[Row], splits: tuple[str, ...] = ()) -> list[list[Row]]:
    """Returns the rows of some splits, or of all, by class; rows with other targets than one label are of one class."""
    classes: dict[str, list[Row]] = {}
    for row in rows:
        if not splits or row["split"] in splits:
            classes.setdefault(row.get("label", ""), []).append(row)
    return list(classes.values())


def write(name: str, data: Path | None, out: Path, *, seed: int, limit: int | None, few: int | None, fold: int | None, folds: int) -> Path:
    """Writes the table of a data set and returns its folder.

    Args:
        name: key of `SOURCES`.
        data: folder with the data sets.
        out: folder for tables.
        seed: of the splits that the source lacks, and of the few examples.
        limit: maximum number of examples.
        few: examples of each class to train on; all when None.
        fold, folds: which part of how many is the test; splits as above when `fold` is None.
    """
    source = SOURCES[name]
    rows = source.read(data or Path(), out / name)
    if fold is not None:
        rows = fold_of(rows, fold, folds)
    rows = limited(held_out(rows, seed), limit)
    if few is not None:
        rows = few_of_each(rows, few, seed)
    folder = out / "-".join([name, str(seed), *(f"{key}{value}" for key, value in (("few", few), ("fold", fold)) if value is not None)])
    folder.mkdir(parents=True, exist_ok=True)
    columns = ["path" if source.modality == "image" else "text", *source.targets, "split"]
    with open(folder / TABLE, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return folder
