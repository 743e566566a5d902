"""Files and folders appear whole under their names, or not at all."""

import csv
import io
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlkeras import files
from tlkeras.data import sheets


class Stopped(Exception):
    """What ends a write in the middle."""


@pytest.mark.parametrize("before", [None, "old"])
def test_a_write_that_is_stopped_leaves_what_was_there(tmp_path, before):
    path = tmp_path / "metrics.json"
    if before is not None:
        path.write_text(before)
    with pytest.raises(Stopped), files.aside(path) as temporary:
        temporary.write_text("half")
        raise Stopped
    assert [entry.name for entry in tmp_path.iterdir()] == ([] if before is None else [path.name])
    assert before is None or path.read_text() == before


def test_a_file_takes_the_place_of_an_older_one_and_leaves_nothing_beside_it(tmp_path):
    for text in ("first", "second"):
        files.write(tmp_path / "labels.txt", text)
    assert (tmp_path / "labels.txt").read_text() == "second" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_takes_the_place_of_an_older_one_as_a_whole(tmp_path):
    for name in ("old.txt", "new.txt"):
        with files.aside(tmp_path / "tokenizer") as folder:
            folder.mkdir()
            (folder / name).write_text(name)
    assert [entry.name for entry in (tmp_path / "tokenizer").iterdir()] == ["new.txt"] and len(list(tmp_path.iterdir())) == 1


def test_the_temporary_name_has_the_ending_of_the_final_one(tmp_path):
    with files.aside(tmp_path / "verification.npz") as path:
        np.savez(path, x=np.arange(3))
    assert files.read_npz(tmp_path / "verification.npz")["x"].tolist() == [0, 1, 2]


def test_what_is_written_can_be_read_by_others(tmp_path):
    files.write(tmp_path / "labels.txt", "cat\n")
    (tmp_path / "plain.txt").write_text("cat\n")
    assert (tmp_path / "labels.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


def test_json_without_numbers_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "metrics.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_rows_have_the_columns_of_all_rows(tmp_path):
    sheets.write_rows(tmp_path / "history.csv", [{"epoch": 1}, {"epoch": 2, "loss": "a,b"}])
    assert (tmp_path / "history.csv").read_bytes() == b'epoch,loss\r\n1,\r\n2,"a,b"\r\n'
    files.write_json(tmp_path / "a.json", {"é": 1})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"é": 1}


# === Tables that spreadsheets open ===


def test_cells_that_are_formulas_are_texts_in_a_spreadsheet_and_come_back(tmp_path):
    cells = ["=cmd|'/C calc'!A0", "+1+1", "@SUM(1)", "-2+3", "'=x", "''=x", "'quoted'", "\tx", "-0.5", "plain", "", "a,b", "=a\nb"]
    sheets.write_rows(tmp_path / "x.csv", [{"=label": cell, "n": 1} for cell in cells])
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["'=label", "n"]
    assert all(row[0][:1] not in ("=", "+", "@", "\t") for row in rows)
    assert [row[0] for row in rows if row[0].startswith("-")] == ["-0.5"]  # a number stays one
    assert [row["=label"] for row in sheets.read_rows(tmp_path / "x.csv")] == cells


# === Regular files ===


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        files.read_regular(tmp_path / "pipe", 10)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    (tmp_path / "x").write_bytes(b"12345")
    assert files.read_regular(tmp_path / "x", 5) == b"12345"
    with pytest.raises(OSError, match="5 bytes; expected at most 4"):
        files.read_regular(tmp_path / "x", 4)


# === Sheets ===


@given(st.lists(st.text(), min_size=1, max_size=4), st.lists(st.text(), min_size=1, max_size=4))
def test_a_sheet_is_read_as_it_was_written_and_no_cell_of_it_is_a_formula(names, cells):
    names = [f"c{index}{''.join(name.split())}" for index, name in enumerate(names)]
    row = dict(zip(names, cells * len(names), strict=False))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sheet.csv"
        sheets.write_sheet(path, [{**row, "figure": -1.5}])
        read = sheets.read_sheet(path)
        content = path.read_bytes().decode("utf-8-sig")
    assert read == [{**row, "figure": "-1.5"}]
    assert all(
        not sheets.FORMULA.match(cell) or cell[0] == "'" or sheets._is_number(cell)
        for line in csv.reader(io.StringIO(content, newline=""))
        for cell in line
    )


def test_a_sheet_that_a_spreadsheet_saved_with_semicolons_is_read(tmp_path):
    (tmp_path / "s.csv").write_bytes("\ufeffexample;corrected\r\n'=a;cat\r\n;\r\n".encode())
    assert sheets.read_sheet(tmp_path / "s.csv") == [{"example": "=a", "corrected": "cat"}]


def test_a_name_that_is_not_utf_8_is_spelled_out_in_a_sheet(tmp_path):
    sheets.write_sheet(tmp_path / "s.csv", [{"example": "caf\udce9.png", "label": "café"}])
    assert sheets.read_sheet(tmp_path / "s.csv") == [{"example": "caf\\udce9.png", "label": "café"}]


SHAPE = {"n": int, "loss?": (float, None), "labels": [str], "parts?": {...: {"bytes": int}}}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"n": 1, "labels": []}, None),
        ({"n": 1, "labels": ["a"], "loss": 1, "parts": {"x": {"bytes": 2}}, "more": [1]}, None),
        ({"n": 1, "labels": [], "loss": None}, None),
        ({"labels": []}, "it has no 'n'"),
        ({"n": True, "labels": []}, "it.n is True; expected int"),
        ({"n": 1.0, "labels": []}, "it.n is 1.0; expected int"),
        ({"n": 10**400, "labels": []}, "it.n is 1000"),
        ({"n": 1, "labels": ["a", 2]}, "it.labels.1 is 2; expected str"),
        ({"n": 1, "labels": "a"}, "it.labels is 'a'; expected list"),
        ({"n": 1, "labels": [], "loss": "x"}, "it.loss is 'x'; expected float"),
        ({"n": 1, "labels": [], "parts": {"x": {}}}, "it.parts.x has no 'bytes'"),
        ({"n": 1, "labels": [], "parts": 3}, "it.parts is 3; expected object"),
        ([], "it is []; expected object"),
    ],
)
def test_a_value_of_another_shape_is_named(value, problem):
    found = files.misfit(value, SHAPE)
    assert found is None if problem is None else found.startswith(problem)
