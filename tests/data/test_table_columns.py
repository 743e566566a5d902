"""Further columns of a table, by the ids of its examples."""

import numpy as np
import pytest
from PIL import Image

from tlkeras.data.sources import table_columns
from tlkeras.data.sources.columns import Columns
from tlkeras.modalities.registry import MODALITIES
from tlkeras.modalities.sources import open_source

KINDS = [row.files for row in MODALITIES if row.files is not None]


def cells_of(path, name):
    """Returns the examples of a table and the cell of a column that each has."""
    dataset = open_source(str(path))
    cells = table_columns.read(str(path), [name], Columns(), KINDS)
    return [(example, cells[example.id][name]) for example in dataset.examples]


def test_texts_have_the_cells_of_their_rows(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text("text,label,site\nso good,pos,north\n,pos,lost\nso bad,neg,south\nnever,,lost\nquite good,pos,\nvery bad,neg,south\n")
    assert table_columns.names(str(path)) == ("text", "label", "site")
    assert [(example.text, cell) for example, cell in cells_of(path, "site")] == [
        ("so good", "north"), ("so bad", "south"), ("quite good", None), ("very bad", "south"),
    ]  # fmt: skip


def test_images_have_the_cells_of_their_rows_where_a_path_stands_twice_or_is_skipped(tmp_path):
    (tmp_path / "images").mkdir()
    for at in range(4):
        Image.fromarray(np.full((8, 8, 3), at * 40, "uint8")).save(tmp_path / "images" / f"{at}.png")
    rows = ["0.png,a,1", "1.png,,2", "1.png,b,3", "1.png,a,4", "2.png,a,5", "3.png,b,6"]
    (tmp_path / "table.csv").write_text("\n".join(["path,label,site", *rows, ""]))
    found = cells_of(tmp_path / "table.csv", "site")
    assert [(example.id, example.label, cell) for example, cell in found] == [
        ("0.png", "a", "1"), ("1.png", "b", "3"), ("1.png#5", "a", "4"), ("2.png", "a", "5"), ("3.png", "b", "6"),
    ]  # fmt: skip


def test_sequences_have_the_cells_of_their_first_rows(tmp_path):
    lines = [f"{name},{label},{step},{step},{place}" for name, label, place in (("p", "up", 1), ("q", "down", 2)) for step in range(3)]
    (tmp_path / "steps.csv").write_text("\n".join(["id,label,time,value,place", *lines, ""]))
    assert [(example.id, cell) for example, cell in cells_of(tmp_path / "steps.csv", "place")] == [("p", "1"), ("q", "2")]


def test_a_sequence_whose_name_cannot_be_printed_has_its_cells(tmp_path):
    lines = [f"{name},{label},{step},{step},{place}" for name, label, place in (("p", "up", 1), ("q\x1b", "down", 2)) for step in range(3)]
    (tmp_path / "steps.csv").write_text("\n".join(["id,label,time,value,place", *lines, ""]))
    assert [(example.id, cell) for example, cell in cells_of(tmp_path / "steps.csv", "place")] == [("p", "1"), ("q\\x1b", "2")]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_typed_tables_keep_the_types_of_their_cells(tmp_path, ending):
    import pyarrow as pa
    import pyarrow.parquet

    rows = [{"text": f"text {at}", "label": "ab"[at % 2], "age": at if at else None} for at in range(4)]
    path = tmp_path / f"table.{ending}"
    if ending == "jsonl":
        import json

        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
    assert [cell for _, cell in cells_of(path, "age")] == [None, 1, 2, 3]
