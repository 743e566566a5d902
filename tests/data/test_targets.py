"""Targets beyond one label in tables and folders: what is unmistakable is inferred, what is asked for wins, the rest is an error."""

import csv
import io
import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.targets import classes
from tlkeras.config import RunConfig
from tlkeras.data.sources.columns import Columns
from tlkeras.data.target import Target
from tlkeras.errors import DataError
from tlkeras.jobs import preflight
from tlkeras.modalities.sources import open_source


@pytest.fixture
def table(tmp_path):
    """Writes rows, the first of which names the columns, and opens them."""

    def write(head, *rows, name="t.csv", target=None, **columns):
        out = io.StringIO()
        csv.writer(out).writerows([head.split(","), *rows])
        (tmp_path / name).write_text(out.getvalue(), encoding="utf-8")
        return open_source(str(tmp_path / name), target=target, columns=Columns(**columns))

    return write


def labels_of(dataset):
    return [example.label for example in dataset.examples]


def texts(n):
    return [f"text {i}" for i in range(n)]


# === Sets of labels ===

NAMES = st.text(st.characters(codec="utf-8", categories=("L", "Nd")), min_size=1, max_size=6).filter(
    lambda name: name.strip().lower() not in {"nan", "none", "null", "na", "n", "nat", "true", "false"}
)
SETS = st.lists(st.sets(st.sampled_from("abcdefgh") | NAMES, max_size=4), min_size=2, max_size=12).filter(
    lambda sets: len({label for one in sets for label in one}) > 1
)


def normal(sets):
    import unicodedata

    return [frozenset(unicodedata.normalize("NFC", label) for label in one) for one in sets]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SETS, st.sampled_from(["|", ";", ",", " ", "_", "::"]))
@example([{"1", "2"}, {"01"}], "|")
def test_sets_of_labels_in_a_cell_are_read_back_with_any_separator(table, sets, separator):
    rows = [(text, separator.join(sorted(one))) for text, one in zip(texts(len(sets)), sets, strict=True)]
    dataset = table("text,kinds", *rows, label="kinds", separator=separator)
    assert dataset.target.kind == "labels" and [frozenset(value) for value in labels_of(dataset)] == normal(sets)
    assert set(dataset.labels) == {label for one in normal(sets) for label in one}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SETS)
def test_lists_of_labels_of_json_lines_are_read_back(tmp_path, sets):
    rows = [{"text": text, "labels": sorted(one)} for text, one in zip(texts(len(sets)), sets, strict=True)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    dataset = open_source(str(tmp_path / "t.jsonl"))
    assert dataset.target.kind == "labels" and [frozenset(value) for value in labels_of(dataset)] == normal(sets)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sets(st.sampled_from("ABCD")), min_size=2, max_size=12).filter(any),
    st.sampled_from([("0", "1"), ("False", "True"), ("0.0", "1.0")]),
)
def test_columns_of_0_and_1_are_read_back(table, sets, words):
    rows = [(text, *(words[label in one] for label in "ABCD")) for text, one in zip(texts(len(sets)), sets, strict=True)]
    dataset = table("text,A,B,C,D", *rows, label="A,B,C,D", kind="labels")
    assert dataset.labels == tuple("ABCD") and [set(value) for value in labels_of(dataset)] == sets
    if any(len(one) != 1 for one in sets):
        assert table("text,A,B,C,D", *rows).examples == dataset.examples


@pytest.mark.parametrize(
    ("cells", "sets"),
    [
        (["joy", "anger", "joy|anger"], [("joy",), ("anger",), ("anger", "joy")]),
        (["joy", "anger", "anger; joy"], [("joy",), ("anger",), ("anger", "joy")]),
        (["joy", "anger", "joy,anger"], [("joy",), ("anger",), ("anger", "joy")]),
        (["['joy']", "[]", "['joy', 'anger']"], [("joy",), (), ("anger", "joy")]),
        (['["joy"]', "[]", '["joy", "anger"]'], [("joy",), (), ("anger", "joy")]),
        (["['joy']", "['anger']", "['joy' 'anger']"], [("joy",), ("anger",), ("anger", "joy")]),
        (["a|b", "b|c", "a|c", "c|b"], [("a", "b"), ("b", "c"), ("a", "c"), ("b", "c")]),
    ],
)
def test_lists_in_a_column_of_labels_are_detected(table, cells, sets):
    dataset = table("text,labels", *zip(texts(9), cells, strict=False))
    assert dataset.target == Target(kind="labels", labels=dataset.labels, name="labels") and labels_of(dataset) == sets


def test_a_detected_separator_is_reported(table):
    (note,) = table("text,labels", ("x", "a"), ("y", "b"), ("z", "a|b")).notes
    assert (note.kind, note.path, note.reason) == ("label-separator", "column 'labels'", "labels are separated by '|'")


def test_labels_that_are_joined_but_come_again_nowhere_are_classes(table):
    assert table("text,label", ("x", "ham, cheese"), ("y", "eggs|ham")).target.kind == "class"


def test_an_empty_cell_is_no_label_in_a_set_and_what_stands_for_a_missing_value_is_missing(table):
    dataset = table("text,labels", ("x", "a|b"), ("y", ""), ("z", "NaN"), ("u", "a"), ("v", "b"))
    assert labels_of(dataset) == [("a", "b"), (), ("a",), ("b",)]
    assert [note.path for note in dataset.notes if note.action == "skipped"] == ["t.csv:4"]


def test_an_empty_cell_among_classes_is_without_a_label(table):
    dataset = table("text,label", ("x", "a"), ("y", ""), ("z", "b"))
    assert labels_of(dataset) == ["a", "b"] and "without a label" in dataset.notes[0].reason


def test_a_null_is_missing_and_an_empty_list_is_no_label(tmp_path):
    rows = [{"text": "x", "label": ["a", "b"]}, {"text": "y", "label": []}, {"text": "z", "label": None}, {"text": "u"}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    dataset = open_source(str(tmp_path / "t.jsonl"))
    assert labels_of(dataset) == [("a", "b"), ()] and len(dataset.notes) == 2


@pytest.mark.parametrize("feature", [{"feature": {"names": ["wet", "dry"]}, "_type": "Sequence"}, [{"names": ["wet", "dry"]}]])
def test_numbers_in_lists_of_a_hugging_face_file_have_names(tmp_path, feature):
    data = pyarrow.table({"text": ["x", "y", "z"], "labels": [[0, 1], [1], []]})
    meta = {"huggingface": json.dumps({"info": {"features": {"labels": feature}}})}
    pyarrow.parquet.write_table(data.replace_schema_metadata(meta), tmp_path / "t.parquet")
    assert labels_of(open_source(str(tmp_path / "t.parquet"))) == [("dry", "wet"), ("dry",), ()]


def test_columns_of_which_each_row_has_exactly_one_1_are_an_error_that_says_what_to_ask_for(table):
    rows = [("x", 1, 0), ("y", 0, 1), ("z", 1, 0)]
    with pytest.raises(DataError, match="wet, dry have exactly one 1 in each row.*--task classification or --task multilabel"):
        table("text,wet,dry", *rows)
    assert labels_of(table("text,wet,dry", *rows, kind="labels")) == [("wet",), ("dry",), ("wet",)]
    assert labels_of(table("text,wet,dry", *rows, kind="class")) == ["wet", "dry", "wet"]


def test_a_cell_that_is_neither_0_nor_1_is_named(table):
    with pytest.raises(DataError, match="t.csv:3 has '2' in column 'dry'"):
        table("text,wet,dry", ("x", 1, 0), ("y", 0, 2), label="wet,dry", kind="labels")


def test_columns_without_a_single_1_are_an_error(table):
    with pytest.raises(DataError, match="no example with any of the labels wet, dry; expected at least one 1"):
        table("text,wet,dry", ("x", 0, 0), ("y", 0, 0))


def test_a_column_of_which_nearly_all_cells_are_0_or_1_is_not_left_out_of_the_labels_silently(table):
    rows = [(text, i % 2, 1, i % 3 == 0) for i, text in enumerate(texts(20))]
    rows[7] = ("x", 2, 0, 0)
    with pytest.raises(DataError, match="has '2' in column 'wet', nearly all of which is 0 or 1, as in dry, old.*--label-column"):
        table("text,wet,dry,old", *[(text, wet, dry, int(old)) for text, wet, dry, old in rows])


@pytest.mark.parametrize("cells", [["a,", "b,", "a,b,"], ["a", "b, ", "a, b"], ["a,a", "b", "a,b"]])
def test_separators_at_the_end_and_labels_that_stand_twice_change_nothing(table, cells):
    assert labels_of(table("text,labels", *zip(texts(3), cells, strict=True))) == [("a",), ("b",), ("a", "b")]


@pytest.mark.parametrize("options", [{}, {"kind": "labels", "separator": ";"}])
def test_labels_whose_parts_come_again_are_classes_or_labels_with_a_note_that_says_how_to_split_them(table, options):
    cells = ["all,a", "all,b", "all,c", "all,a,b", "all,b,c", "x"]
    notes = [note.reason for note in table("text,label", *zip(texts(6), cells, strict=True), **options).notes]
    assert any("5 labels such as 'all,a' contain ',' and consist of 4 parts; --label-separator ','" in note for note in notes)


def test_sets_of_labels_need_two_labels(table):
    with pytest.raises(DataError, match="only one label.*--label-separator"):
        table("text,label", ("x", "a"), ("y", "a"), kind="labels")


def test_labels_are_composed_characters_in_every_kind_of_target(table):
    dataset = table("text,labels", ("x", "fu\u0308r|a"), ("y", "f\u00fcr|a"), separator="|")
    assert dataset.labels == ("a", "f\u00fcr")


def test_a_label_of_the_model_may_contain_the_separator(table):
    known = Target(kind="labels", labels=("ham, cheese", "egg", "tea"), name="labels")
    dataset = table("text,labels", ("x", "ham, cheese"), ("y", "egg,tea"), target=known)
    assert labels_of(dataset) == [("ham, cheese",), ("egg", "tea")]


def test_a_label_that_the_model_does_not_know_is_named_without_its_neighbours(table):
    with pytest.raises(DataError, match="the first is 'wett'; did you mean 'wet'"):
        table("text,labels", ("x", "wet|dry"), ("y", "wett|dry"), target=Target(kind="labels", labels=("wet", "dry")))


# === Numbers ===


def test_columns_of_numbers_are_numbers_named_after_them(table):
    dataset = table("text,V,A,D", ("x", "3", "2.5", "1"), ("y", "1", "2", "4"), label="V,A,D")
    assert dataset.target == Target(kind="numbers", labels=("V", "A", "D")) and labels_of(dataset) == [(3.0, 2.5, 1.0), (1.0, 2.0, 4.0)]


def test_a_column_of_many_fractions_is_numbers(table):
    dataset = table("text,price", *((text, f"{i / 7:.2f}") for i, text in enumerate(texts(30))), label="price")
    assert dataset.target == Target(kind="numbers", labels=("price",), name="price")


def test_ratings_are_classes_and_numbers_where_that_is_asked_for(table):
    rows = [(text, i % 5 + 1) for i, text in enumerate(texts(30))]
    assert table("text,stars", *rows).target.kind == "class"
    assert labels_of(table("text,stars", *rows, kind="numbers"))[:2] == [(1.0,), (2.0,)]


@pytest.mark.parametrize("missing", ["", "NaN", "None"])
def test_a_row_without_one_of_its_numbers_is_skipped_and_its_column_named(table, missing):
    dataset = table("text,V,A", ("x", "1", "2"), ("y", "3", missing), ("z", "5", "6"), label="V,A")
    assert labels_of(dataset) == [(1.0, 2.0), (5.0, 6.0)]
    assert [note.reason for note in dataset.notes if note.path == "t.csv:3"] == ["without a label (column 'A' is empty)"]


@pytest.mark.parametrize("cell", ["much", "inf", "1_000"])
def test_a_cell_that_is_no_number_is_named(table, cell):
    with pytest.raises(DataError, match=f"t.csv:3 has the label '{cell}'; expected a finite number"):
        table("text,price", ("x", "1"), ("y", cell), label="price", kind="numbers")


@pytest.mark.parametrize("written", ["{:,.2f}", "{:.2f} %", "€{:.2f}", "2024-01-{:.2f}"])
def test_numbers_in_another_notation_are_no_classes(table, written):
    rows = [(text, written.format(1000.25 + i)) for i, text in enumerate(texts(30))]
    with pytest.raises(DataError, match="30 distinct labels in 30 examples.*is no number; expected classes.*written like -1234.5"):
        table("text,price", *rows, label="price")


def test_a_number_beyond_those_of_models_is_named(table):
    with pytest.raises(DataError, match="t.csv:3 has the number 1e[+]300; expected at most 3.40282e[+]38, the largest of float32"):
        table("text,price", ("x", "1"), ("y", "1e300"), label="price", kind="numbers")


@pytest.mark.parametrize("cell", ["inf", "-Infinity"])
def test_an_infinite_number_among_numbers_is_named_and_makes_no_classes_of_them(table, cell):
    rows = [(text, cell if i == 1 else i + 0.5) for i, text in enumerate(texts(30))]
    with pytest.raises(DataError, match=f"t.csv:3 has the label '{cell}'; expected a finite number"):
        table("text,price", *rows, label="price")


def test_a_text_among_many_numbers_is_named(table):
    rows = [(text, "cheap" if i == 20 else i + 0.5) for i, text in enumerate(texts(30))]
    with pytest.raises(DataError, match="'cheap' is no number"):
        table("text,price", *rows, label="price")


def test_numbers_that_are_all_equal_are_an_error(table):
    with pytest.raises(DataError, match="has A = 2 in every example"):
        table("text,V,A", ("x", "1", "2"), ("y", "3", "2"), label="V,A")


def test_lists_of_numbers_of_json_lines_are_numbers(tmp_path):
    rows = [{"text": "x", "target": [0.5, 2]}, {"text": "y", "target": [1.5, 3]}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert labels_of(open_source(str(tmp_path / "t.jsonl"))) == [(0.5, 2.0), (1.5, 3.0)]


# === Several ===


def test_columns_of_different_kinds_are_several_targets(table):
    rows = [("x", "pos", "1.5", "a|b"), ("y", "neg", "2", "a"), ("z", "pos", "7.25", "b")]
    target = table("text,mood,price,tags", *rows, label="mood,price,tags").target
    assert [(part.name, part.kind, part.labels) for part in target.parts] == [
        ("mood", "class", ("neg", "pos")),
        ("price", "numbers", ("price",)),
        ("tags", "labels", ("a", "b")),
    ]


def test_a_part_of_many_numbers_is_numbers(table):
    dataset = table("text,mood,price", *((text, "ab"[i % 2], i * 3) for i, text in enumerate(texts(30))), label="mood,price")
    assert [part.kind for part in dataset.target.parts] == ["class", "numbers"] and labels_of(dataset)[1] == ("b", (3.0,))


def test_columns_of_numbers_are_several_targets_where_that_is_asked_for(table):
    rows = [(text, i % 10, i % 2) for i, text in enumerate(texts(30))]
    assert [part.kind for part in table("text,value,parity", *rows, label="value,parity", kind="several").target.parts] == ["class"] * 2
    assert table("text,value,parity", *rows, label="value,parity").target.kind == "numbers"


def test_the_kind_of_each_of_several_targets_can_be_asked_for_behind_its_name(table):
    rows = [(text, "ab"[i % 2], i % 5, "wet|dry") for i, text in enumerate(texts(30))]
    dataset = table("text,mood,stars,sky", *rows, label="mood,stars:numbers,sky:labels")
    assert [(part.name, part.kind) for part in dataset.target.parts] == [("mood", "class"), ("stars", "numbers"), ("sky", "labels")]
    again = table("text,mood,stars,sky", *rows[:1], label="mood,stars:numbers,sky:labels", target=dataset.target)
    assert labels_of(again) == [("a", (0.0,), ("dry", "wet"))]


@pytest.mark.parametrize("label", ["mood,text", "text"])
def test_the_content_cannot_be_predicted(table, label):
    with pytest.raises(DataError, match="column 'text' of .* holds the texts, so it cannot be predicted; choose another --label-column"):
        table("text,mood", ("x", "good"), ("y", "bad"), label=label)


def test_a_kind_that_is_none_behind_the_name_of_a_column_is_named(table):
    with pytest.raises(
        DataError, match="'price:number' asks for the kind 'number' of column 'price'; expected one of class, labels, numbers"
    ):
        table("text,mood,price", ("x", "good", 1), ("y", "bad", 2), label="mood,price:number")


def test_several_targets_need_several_columns(table):
    with pytest.raises(DataError, match="column 'label' .* is one target.*--label-column NAME,NAME"):
        table("text,label", ("x", "a"), ("y", "b"), kind="several")


def test_a_row_without_one_of_its_targets_is_skipped(table):
    dataset = table("text,mood,price", ("x", "a", "1"), ("y", "", "2"), ("z", "b", "3"), label="mood,price", kind="several")
    assert [example.text for example in dataset.examples] == ["x", "z"] and "column 'mood' is empty" in dataset.notes[0].reason


@pytest.mark.parametrize(
    ("head", "rows", "options"),
    [
        ("text,V,A", [("x", 1.5, 2), ("y", 3, 4)], {"label": "V,A"}),
        ("text,wet,dry", [("x", 1, 1), ("y", 0, 1)], {}),
        ("text,mood,price", [("x", "a", 2), ("y", "b", 3)], {"label": "mood,price", "kind": "several"}),
        ("text,labels", [("x", "a"), ("y", "b"), ("z", "a;b")], {}),
        ("text,price", [("x", 1), ("y", 2)], {"label": "price", "kind": "numbers"}),
    ],
)
def test_a_trained_model_finds_the_columns_of_its_target_by_their_names(table, head, rows, options):
    trained = table(head, *rows, **options)
    later = table(head, *rows[:1], target=trained.target)
    assert later.target == trained.target and later.examples == trained.examples[:1]


def test_a_label_of_the_model_without_its_column_is_named_and_not_read_as_0(table):
    target = Target(kind="labels", labels=("dry", "old", "wet"))
    with pytest.raises(DataError, match="has no column 'old'; expected a column for each of dry, old, wet, which the model predicts"):
        table("text,wet,dry", ("x", 1, 1), ("y", 0, 1), target=target)


def test_a_part_that_is_missing_is_named(table):
    trained = table("text,mood,price", ("x", "a", 2), ("y", "b", 3), label="mood,price", kind="several")
    with pytest.raises(DataError, match="the model predicts mood, price, and the data has mood, other; 'price' is missing"):
        table("text,mood,other", ("x", "a", 2), label="mood,other", target=trained.target)


# === Columns ===


def test_a_column_whose_name_has_a_comma_is_one_column(tmp_path):
    (tmp_path / "t.csv").write_text('text,"wet,dry",wet\nx,yes,1\ny,no,2\n')
    assert labels_of(open_source(str(tmp_path / "t.csv"), columns=Columns(label="wet,dry"))) == ["yes", "no"]


def test_columns_by_number_may_be_several(tmp_path):
    (tmp_path / "t.csv").write_text("so good,1.5,2\nso bad,3,4\nso so,1,1\n")
    dataset = open_source(str(tmp_path / "t.csv"), columns=Columns(header=False, text="1", label="2,3"))
    assert dataset.labels == ("2", "3") and labels_of(dataset)[0] == (1.5, 2.0)


@pytest.mark.parametrize(("label", "message"), [("V,V", "names 'V' twice"), ("V,B", "no column 'B'")])
def test_columns_that_are_named_twice_or_missing_are_an_error(table, label, message):
    with pytest.raises(DataError, match=message):
        table("text,V,A", ("x", 1, 2), ("y", 2, 3), label=label)


def test_the_task_and_the_separator_of_a_config_say_how_a_table_is_read():
    columns = preflight.columns(RunConfig(data="t.csv", task="classification", label_separator="_", label_column="a,b"))
    assert (columns.kind, columns.separator, columns.label) == ("class", "_", "a,b")
    assert preflight.columns(RunConfig(data="t.csv")).kind is None


# === Images, sequences, folders ===


def picture(path, colour=(1, 2, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)


@pytest.mark.parametrize(
    ("head", "rows", "options", "kind"),
    [
        ("path,tags", [("0.png", "a|b"), ("1.png", "")], {"label": "tags", "separator": "|"}, "labels"),
        ("path,angle", [("0.png", 10.5), ("1.png", 20)], {"label": "angle", "kind": "numbers"}, "numbers"),
        ("path,mood,angle", [("0.png", "a", 10.5), ("1.png", "b", 20)], {"label": "mood,angle"}, "several"),
    ],
)
def test_images_that_a_table_names_have_targets_of_every_kind(table, tmp_path, head, rows, options, kind):
    for name in ("0.png", "1.png"):
        picture(tmp_path / name)
    dataset = table(head, *rows, **options)
    assert dataset.target.kind == kind and [e.path.name for e in dataset.examples] == ["0.png", "1.png"]


def test_pixels_have_targets_of_every_kind(table):
    head = ",".join(["x", "y", *(f"pixel{i}" for i in range(16))])
    dataset = table(head, (1.5, 2, *range(16)), (3, 4, *range(16)), label="x,y")
    assert labels_of(dataset) == [(1.5, 2.0), (3.0, 4.0)] and dataset.examples[0].array.shape == (4, 4)


def steps(values):
    return [(name, time, 0.5 * time, value) for name, value in values for time in range(3)]


def test_sequences_of_rows_have_targets_of_every_kind(table):
    numbers = table("id,time,speed,load", *steps([("a", 1.5), ("b", 7)]), label="load", kind="numbers")
    assert labels_of(numbers) == [(1.5,), (7.0,)] and numbers.examples[0].array.shape == (3, 1)
    sets = table("id,time,speed,labels", *steps([("a", "hot|wet"), ("b", "hot"), ("c", "wet")]))
    assert labels_of(sets) == [("hot", "wet"), ("hot",), ("wet",)]


def test_the_target_of_a_sequence_must_not_change(table):
    rows = [("a", 0, 1, 5.5), ("a", 1, 1, 6.5)]
    with pytest.raises(DataError, match=r"the sequence 'a' has the label \(6.5,\) here and \(5.5,\) before"):
        table("id,time,speed,load", *rows, label="load", kind="numbers")


def test_the_name_of_a_folder_is_one_label_unless_a_separator_is_set(tmp_path):
    for name in ("red_dress", "blue_dress", "red_shirt"):
        picture(tmp_path / name / "x.png")
    assert open_source(str(tmp_path)).labels == ("blue_dress", "red_dress", "red_shirt")
    dataset = open_source(str(tmp_path), columns=Columns(separator="_"))
    assert dataset.labels == ("blue", "dress", "red", "shirt") and labels_of(dataset)[0] == ("blue", "dress")
    with pytest.raises(DataError, match="no folder has '\\+' in its name, for example 'blue_dress'; leave out --label-separator"):
        open_source(str(tmp_path), columns=Columns(separator="+"))


def test_folders_of_numbers_are_classes_and_numbers_where_that_is_asked_for(tmp_path):
    for name in ("0", "90", "-12.5"):
        picture(tmp_path / name / "x.png")
    assert open_source(str(tmp_path)).target.kind == "class"
    dataset = open_source(str(tmp_path), columns=Columns(kind="numbers"))
    assert sorted(labels_of(dataset)) == [(-12.5,), (0.0,), (90.0,)]


def test_a_folder_that_is_no_number_is_named(tmp_path):
    for name in ("0", "left"):
        picture(tmp_path / name / "x.png")
    with pytest.raises(DataError, match="folder 'left' has the label 'left'; expected a finite number"):
        open_source(str(tmp_path), columns=Columns(kind="numbers"))


def test_folders_of_texts_have_sets_of_labels_too(tmp_path):
    for name in ("red_dress", "red_shirt"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("so nice")
    assert labels_of(open_source(str(tmp_path), columns=Columns(separator="_"))) == [("dress", "red"), ("red", "shirt")]


def test_digits_are_numbers_where_that_is_asked_for():
    dataset = open_source("digits", columns=Columns(kind="numbers"))
    assert dataset.target.kind == "numbers" and {value for (value,) in labels_of(dataset)} == set(map(float, range(10)))


def test_a_model_of_another_kind_is_an_error_that_says_what_it_predicts(table):
    with pytest.raises(DataError, match="expected a finite number"):
        table("text,label", ("x", "a"), ("y", "b"), target=Target(kind="numbers", labels=("price",)))
    assert labels_of(table("text,label", ("x", "a"), target=classes("a", "b"))) == ["a"]


def test_images_without_a_label_that_can_be_read_are_counted_by_label(tmp_path, table):
    from tlkeras.modalities.images.reading import materialise

    rng = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3)).astype("uint8")).save(tmp_path / f"{i}.png")
    (tmp_path / "3.png").write_bytes(b"")
    dataset = table("path,tags", ("0.png", "a|b"), ("1.png", "a"), ("2.png", ""), ("3.png", "a|b"), label="tags", separator="|")
    store = materialise(dataset, size=16)
    assert [note.reason for note in store.notes] == ["1 of 4 files are skipped: 'a' 1 of 3, 'b' 1 of 2"]
    assert store.strata.tolist() == [[1, 1], [1, 0], [0, 0]]
