"""Texts from tables and folders: columns, kinds of files, what is odd about them."""

import json

import numpy as np
import pytest

from tlkeras.data.audit import audit
from tlkeras.data.sources.columns import Columns
from tlkeras.data.split import split
from tlkeras.errors import DataError
from tlkeras.modalities.sources import modality_of, open_source
from tlkeras.modalities.texts import materialise as texts

ROWS = [("so good", "pos"), ("so bad, really", "neg"), ('a "quoted"\nline', "pos"), ("grün 蓝", "neg")]


def write(folder, kind):
    path = folder / f"t.{kind}"
    if kind == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({"text": [x for x, _ in ROWS], "label": [y for _, y in ROWS]}), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps({"text": x, "label": y}) + "\n" for x, y in ROWS), encoding="utf-8")
    else:
        import csv

        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter="\t" if kind == "tsv" else ",").writerows([("text", "label"), *ROWS])
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_every_kind_of_table_gives_the_same_texts(tmp_path, kind):
    dataset = open_source(str(write(tmp_path, kind)))
    assert modality_of(dataset).name == "text" and [(one.text, one.label) for one in dataset.examples] == ROWS


@pytest.mark.parametrize("head", ["Review,Sentiment", "sentence,class"])
def test_usual_names_of_columns_are_found(tmp_path, head):
    (tmp_path / "t.csv").write_text(f"{head}\nx y,a\nz,b\n")
    assert [one.text for one in open_source(str(tmp_path / "t.csv")).examples] == ["x y", "z"]


def test_columns_can_be_named_and_splits_are_kept(tmp_path):
    (tmp_path / "t.csv").write_text("words,kind,text,split\nx,a,-,train\nz,b,-,test\n")
    dataset = open_source(str(tmp_path / "t.csv"), columns=Columns(text="words", label="kind"))
    assert [(one.text, one.label, one.split) for one in dataset.examples] == [("x", "a", "train"), ("z", "b", "test")]


@pytest.mark.parametrize(("columns", "message"), [(Columns(text="wrods"), "wrods.*words"), (Columns(label="x"), "no column 'x'")])
def test_a_column_that_is_not_there_is_told_with_near_names(tmp_path, columns, message):
    (tmp_path / "t.csv").write_text("words,label\nx,a\n")
    with pytest.raises(DataError, match=message):
        open_source(str(tmp_path / "t.csv"), columns=columns)


def test_empty_texts_and_bad_utf8_are_left_out_with_their_lines(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"text,label\ngood,a\n  ,a\nb\xe4d,b\nfine \xc3\xa4,b\n,\n")
    dataset = open_source(str(tmp_path / "t.csv"))
    assert [one.text for one in dataset.examples] == ["good", "fine ä"]
    assert {(one.kind, one.path) for one in dataset.notes if one.action == "skipped"} == {
        ("empty-text", "t.csv:3"),
        ("bad-utf8", "t.csv:4"),
        ("bad-row", "t.csv:6"),
    }


def test_a_line_that_is_no_json_is_told(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"text": "a", "label": "b"}\nnope\n')
    with pytest.raises(DataError, match="t.jsonl:2"):
        open_source(str(tmp_path / "t.jsonl"))


@pytest.mark.parametrize("splits", [False, True])
def test_a_folder_of_class_folders_of_texts(tmp_path, splits):
    parts = ["train", "test"] if splits else [""]
    for part in parts:
        for label in ("a", "b"):
            folder = tmp_path / "d" / part / label
            folder.mkdir(parents=True)
            (folder / "1.txt").write_text(f"text of {label}", encoding="utf-8")
    (tmp_path / "d" / parts[0] / "a" / "bad.txt").write_bytes(b"fine\n\xff\xfe")
    dataset = open_source(str(tmp_path / "d"))
    assert modality_of(dataset).name == "text" and dataset.has_splits == splits and len(dataset.examples) == 2 * len(parts)
    assert [one.path.endswith("bad.txt:2") for one in dataset.notes if one.kind == "bad-utf8"] == [True]


def test_the_audit_tells_of_copies_contradictions_leaks_and_near_duplicates(tmp_path):
    lines = [
        "text,label,split",
        "same,a,train",
        "same,a,test",
        "odd,a,train",
        "odd,b,train",
        "So GOOD!,b,train",
        "so good,b,test",
        "x,a,train",
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    dataset = open_source(str(tmp_path / "t.csv"))
    store = texts.materialise(dataset, encode=lambda given: np.ones((len(given), 3), "int32"), lengths=lambda ids: np.full(len(ids), 3))
    splits = split(store.sha256, store.strata, [one.split for one in store.examples])
    counts = audit(store, splits).counts
    assert counts["duplicate-across-splits"] == counts["contradicting-labels"] == counts["near-duplicate-across-splits"] == 1


def test_the_length_leaves_95_percent_of_the_texts_whole():
    lengths = np.arange(1, 101)
    assert texts.fitting(lengths, 512) == 96 and texts.fitting(lengths, 50) == 50
    assert "4 of 100 are cut at 96" in texts.length_note(lengths, 96).reason
