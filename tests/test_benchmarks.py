"""What the benchmarks of recipes rest on: tables that keep the test apart, and figures of a record."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import tables

    yield tables
    for name in ("tables", "report", "opponents", "opponents.protocol"):
        sys.modules.pop(name, None)


def texts(count, **more):
    return [{"text": str(i), "label": "ab"[i % 2], "split": "", **more} for i in range(count)]


def test_each_example_is_in_the_test_of_exactly_one_fold(tables):
    tested = [row["text"] for fold in range(5) for row in tables.fold_of(texts(40), fold, 5) if row["split"] == "test"]
    assert sorted(tested) == sorted(row["text"] for row in texts(40))


def test_few_examples_of_each_class_are_never_of_the_test(tables):
    rows = tables.held_out(texts(100), seed=1)
    few = tables.few_of_each(rows, 3, seed=2)
    split = {name: {row["text"] for row in few if row["split"] == name} for name in ("train", "val", "test")}
    assert len(split["train"]) == 6 and not split["val"] and not split["train"] & split["test"]
    assert split["test"] == {row["text"] for row in rows if row["split"] == "test"}


def test_a_record_that_was_cut_off_gives_mean_and_deviation_of_what_it_has(tables, tmp_path):
    import report

    job = {"suite": "splits", "dataset": "clothing", "metric": "accuracy", "few": None, "limit": None}
    results = [
        {"job": {**job, "method": method, "seed": seed}, "score": score + seed / 10, "tested": 100, "warm": False}
        | {"seconds": seconds, "train_seconds": 1, "cpu_seconds": 1, "memory_gb": 1}
        for method, score, seconds in (("auto", 0.8, 10), ("full", 0.7, 40), ("sklearn", 0.75, 20))
        for seed in range(2)
    ]
    record = tmp_path / "record.jsonl"
    record.write_text("\n".join(map(json.dumps, results)) + '\n{"job": {"sui')
    (comparison,) = report.comparisons(report.read(record))
    assert [method["method"] for method in comparison["methods"]] == ["auto", "sklearn", "full"]
    assert comparison["methods"][0]["mean"] == pytest.approx(0.85) and comparison["methods"][0]["sd"] == pytest.approx(0.1 / 2**0.5)
    assert comparison["default"]["recipe"]["gain"] == pytest.approx(0.1) and comparison["default"]["other"]["seconds_to_ours"] == 2
