"""Tables as people have them: dialects, encodings, headers, contents and labels of all kinds; nothing is misread or lost in silence."""

import io
import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.targets import classes
from tlkeras.data.sources.columns import Columns
from tlkeras.data.target import KINDS
from tlkeras.errors import DataError
from tlkeras.modalities.sources import modality_of, open_source


@pytest.fixture
def table(tmp_path):
    """Writes a table and opens it."""

    def make(content, name="t.csv", labels=None, **columns):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return open_source(str(path), target=labels and classes(*labels), columns=Columns(**columns))

    return make


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / name)


def rows(dataset):
    return [(example.text, example.label) for example in dataset.examples]


def reasons(dataset, kind):
    return [f"{note.path}: {note.reason}" for note in dataset.notes if note.kind == kind]


# === Dialect ===

PAIR = [("gut, gern; wieder", "pos"), ("nie", "neg")]


@pytest.mark.parametrize(("separator", "title"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")])
def test_the_separator_is_detected_and_reported(table, separator, title):
    lines = ["text" + separator + "label", *(f'"{text}"{separator}{label}' for text, label in PAIR)]
    dataset = table("\r\n".join([*lines, ""]))
    assert rows(dataset) == PAIR and reasons(dataset, "dialect") == [f"t.csv: separated by {title}"]


def test_the_line_of_excel_that_names_the_separator_is_no_header(table):
    assert rows(table('\ufeffsep=;\r\ntext;label\r\n"a;b";x\r\nc;y\r\n')) == [("a;b", "x"), ("c", "y")]


def test_a_plain_csv_has_no_note(table):
    assert table('text,label\n"a, b",x\nc,y\n').notes == ()


def test_blanks_after_a_separator_do_not_hide_a_quotation_mark(table):
    assert rows(table('label, text\nx, "a, b"\ny, "c, d"\n')) == [("a, b", "x"), ("c, d", "y")]


def test_quotation_marks_of_a_table_without_quoting_are_characters(table):
    lines = ["label\ttext", 'ham\t"Hello he said', "spam\twin", 'ham\tand "bye"', 'spam\t"free" now']
    dataset = table("\n".join(lines) + "\n", "t.tsv")
    assert [text for text, _ in rows(dataset)] == ['"Hello he said', "win", 'and "bye"', '"free" now']
    assert "quotation marks are ordinary characters" in reasons(dataset, "dialect")[0]


# === Rows that do not fit ===


def test_a_row_with_too_many_or_too_few_cells_is_reported_by_its_line(table):
    dataset = table("text,label\nfine,pos\nbad,neg\ngood, but long,pos\nalone\n")
    assert rows(dataset) == [("fine", "pos"), ("bad", "neg")]
    assert [reason[:20] for reason in reasons(dataset, "bad-row")] == ["t.csv:4: 3 cells, ex", "t.csv:5: 1 cell, exp"]
    assert reasons(dataset, "lost-examples") == ["t.csv: 2 of 4 rows are skipped: 2 of unknown class"]


def test_a_table_of_ragged_rows_only_is_an_error_that_names_the_first(table):
    with pytest.raises(DataError, match=r"no usable row; 4 are skipped, the first is t.csv:2: 3 cells, expected 2"):
        table("label,text\n" + "pos,I came, and saw\nneg,so, so\n" * 2)


def test_separators_at_the_end_of_a_line_are_no_cells(table):
    assert rows(table("text,label\na,x,,\nb,y\n")) == [("a", "x"), ("b", "y")]


def test_an_unclosed_quote_costs_its_own_line_only(table):
    dataset = table('text,label\nfine,pos\nbad,neg\n"never closed,pos\n' + "more,neg\n" * 20 + "last,pos\n")
    assert len(dataset.examples) == 23 and dataset.examples[-1].text == "last"
    assert reasons(dataset, "bad-row") == ["t.csv:4: a quotation mark opens here and is not closed"]


def test_an_unclosed_quote_that_a_later_quote_closes_swallows_no_rows(table):
    dataset = table('text,label\n"fine, really",pos\nbad,neg\n"open,pos\nmore,neg\nmuch more,pos\nsaid so",neg\nlast,pos\n')
    assert [text for text, _ in rows(dataset)] == ["fine, really", "bad", "more", "much more", 'said so"', "last"]
    assert reasons(dataset, "bad-row") == ["t.csv:4: a quotation mark opens here and is not closed before line 7"]


def test_a_text_of_several_lines_is_one_row(table):
    dataset = table('text,label\n"Dear all,\n\nthanks, bye\n",pos\nbad,neg\n')
    assert rows(dataset) == [("Dear all,\n\nthanks, bye\n", "pos"), ("bad", "neg")] and dataset.notes == ()


def test_a_row_of_very_many_lines_is_kept_and_reported(table):
    dataset = table('text,label\n"' + "a line\n" * 60 + '",pos\nbad,neg\n')
    assert len(dataset.examples) == 2
    assert reasons(dataset, "long-row") == ["t.csv:2: the row spans 61 lines, to line 62; check its quotation marks"]


def test_a_quote_that_is_never_closed_costs_one_line_of_thousands(table):
    dataset = table('text,label\n"open,pos\n' + '"good, really",pos\nbad,neg\n' * 3000)
    assert len(dataset.examples) == 6000 and len(reasons(dataset, "bad-row")) == 1


def test_a_header_that_stands_twice_is_an_error(table):
    with pytest.raises(DataError, match="2 columns 'label'"):
        table("text,label,label\na,x,y\nb,y,x\n")


# === Encoding ===


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"])
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_the_encoding_is_detected(table, encoding, name):
    pairs = [("ein schöner Tag, für £5", "gut"), ("nothing special here", "naja")]
    text = "text,label\n" + "".join(f'"{text}",{label}\n' for text, label in pairs)
    if name == "t.jsonl":
        text = "".join(json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n" for text, label in pairs)
    dataset = table(text.encode(encoding), name)
    assert rows(dataset) == pairs
    assert len(reasons(dataset, "encoding")) == (encoding != "utf-8-sig")


def test_an_encoding_that_is_asked_for_wins(table):
    content = "text,label\nПривет,a\nпока,b\n".encode("cp1251")
    assert rows(table(content, encoding="cp1251")) == [("Привет", "a"), ("пока", "b")]


@pytest.mark.parametrize("content", ["text,label\nПривет,a\nпока,b\n".encode("cp1251"), b"text,label\n\x81\x8d,a\nb,b\n"])
def test_bytes_that_are_unlikely_to_be_cp1252_are_an_error_that_names_the_flag(table, content):
    with pytest.raises(DataError, match="neither UTF-8 nor likely cp1252.*--encoding"):
        table(content)


def test_an_unknown_encoding_is_an_error(table):
    with pytest.raises(DataError, match="no encoding 'utf-99'"):
        table("text,label\na,x\nb,y\n", encoding="utf-99")


def test_rows_lost_to_bad_bytes_are_counted_by_class(table):
    content = "text,label\n" + "ça va,ham\n" * 4 + "fine,spam\n" * 3
    dataset = table(content.encode() + b"\xa3100,spam\n" * 2 + b"caf\xe9,ham\n")
    assert len(dataset.examples) == 7
    assert reasons(dataset, "lost-examples") == ["t.csv: 3 of 10 rows are skipped: 'spam' 2 of 5, 'ham' 1 of 5"]


def test_a_class_that_loses_all_its_rows_is_an_error(table):
    with pytest.raises(DataError, match="no row of class 'spam' that can be used .2 are skipped.*t.csv:4: the line is not UTF-8"):
        table("text,label\nça,ham\nfine,news\n".encode() + b"\xa3100,spam\n" * 2)


def test_half_a_character_becomes_a_replacement_character(table):
    dataset = table("".join(json.dumps({"text": f"cut {label} \ud83d", "label": label}) + "\n" for label in "ab"), "t.jsonl")
    assert rows(dataset) == [("cut a \ufffd", "a"), ("cut b \ufffd", "b")]
    assert reasons(dataset, "lone-surrogate")[0].startswith("t.jsonl: 2 rows")


# === Header ===

HEADLESS = "".join(f"{'spam' if i % 3 == 0 else 'ham'}\tmessage number {i}\n" for i in range(9))


@pytest.mark.parametrize("name", ["t.tsv", "SMSSpamCollection", "t.txt"])
@pytest.mark.parametrize("columns", [{}, {"text": "message number 0"}, {"text": "message number 0", "label": "spam"}])
def test_a_first_line_that_looks_like_data_is_an_error_that_names_the_columns(table, name, columns):
    with pytest.raises(DataError, match=r"looks like data \('spam', 'message number 0'\).*--no-header --text-column 2 --label-column 1"):
        table(HEADLESS, name, **columns)


@pytest.mark.parametrize("header", [None, False])
def test_columns_by_number_read_a_table_without_header_whole(table, header):
    dataset = table(HEADLESS, "t.tsv", text="2", label="1", header=header)
    assert len(dataset.examples) == 9 and rows(dataset)[0] == ("message number 0", "spam")


def test_without_header_and_without_columns_the_error_suggests_numbers(table):
    with pytest.raises(DataError, match="no header and 2 columns.*--label-column 1"):
        table(HEADLESS, "t.tsv", header=False)


def test_a_line_that_is_said_to_be_the_header_is_one(table):
    dataset = table("spam,words\nspam,win\nham,hello\n", text="words", label="spam", header=True)
    assert rows(dataset) == [("win", "spam"), ("hello", "ham")]


def test_a_column_of_a_table_with_header_may_be_given_by_number(table):
    assert rows(table("kind,words\nx,a\ny,b\n", text="2", label="1")) == [("a", "x"), ("b", "y")]


def test_a_file_without_columns_is_no_table(table):
    with pytest.raises(DataError, match="is a file but not a table"):
        table("some words\nand more\n", "notes.txt")


# === Contents: files ===


@pytest.mark.parametrize("name", ["path", "File", "filename", "FilePath", "image", "IMG", "file name"])
def test_usual_names_of_paths_are_found_in_any_case(table, tmp_path, name):
    put(tmp_path, "March 29/a.JPG", "March 29/b.JPG")
    dataset = table(f"{name},Label\nMarch 29/a.JPG,ok\nMarch 29/b.JPG,nok\n")
    assert dataset.labels == ("nok", "ok") and all(example.path.is_file() for example in dataset.examples)


def test_the_column_of_paths_can_be_named(table, tmp_path):
    put(tmp_path, "a.png", "b.png")
    dataset = table("where,text,label\na.png,-,x\nb.png,-,y\n", path="where")
    assert [example.path.name for example in dataset.examples] == ["a.png", "b.png"]


def test_a_table_of_texts_may_name_the_files_that_they_are_from(table):
    assert rows(table("filename,text,label\ndoc-1,a,x\ndoc-2,b,y\n")) == [("a", "x"), ("b", "y")]


def test_backslashes_are_read_as_separators_and_reported(table, tmp_path):
    put(tmp_path, "images/WIN_0.jpg", "images/WIN_1.jpg")
    dataset = table("path,label\nimages\\WIN_0.jpg,a\nimages\\WIN_1.jpg,b\n")
    assert [example.id for example in dataset.examples] == ["images/WIN_0.jpg", "images/WIN_1.jpg"]
    assert all(example.path.is_file() for example in dataset.examples)
    assert reasons(dataset, "backslashes") == ["t.csv: 2 paths in column 'path' have backslashes, which are read as /"]


@pytest.mark.parametrize("column", ["id", "image_id"])
def test_ids_without_ending_are_those_of_files_in_a_folder_beside_the_table(table, tmp_path, column):
    put(tmp_path, "elsewhere/0a1.png", "elsewhere/0b2.jpg", "elsewhere/0c3.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data")
    dataset = table(f"{column},label\n0a1,cat\n0b2,dog\n", "data/t.csv")
    assert [example.path.name for example in dataset.examples] == ["0a1.png", "0b2.jpg"] and modality_of(dataset).name == "image"
    assert reasons(dataset, "matched-files") == [f"t.csv: 2 names in column '{column}' refer to files in 'train'"]


@pytest.mark.parametrize("fact", ["{0}", "a note", "http://x/{0}"])
def test_facts_about_images_beside_an_id_make_no_sequences(table, tmp_path, fact):
    put(tmp_path, "train/a1.png", "train/b2.png")
    dataset = table("id,label,fact\n" + "".join(f"{name},{label},{fact.format(7)}\n" for name, label in (("a1", "x"), ("b2", "y"))))
    assert [example.path.name for example in dataset.examples] == ["a1.png", "b2.png"]


def test_ids_without_files_and_features_are_an_error_that_names_the_flags(table):
    with pytest.raises(DataError, match="--path-column.*--text-column"):
        table("id,label\n1,cat\n2,dog\n")


def test_a_name_that_several_files_have_is_reported_and_not_guessed(table, tmp_path):
    put(tmp_path, "one/a.png", "two/a.png", "one/b.png", "one/c.png")
    dataset = table("id,label\na,cat\nb,dog\nc,cat\n")
    assert len(dataset.examples) == 2 and "2 files match 'a': one/a.png and two/a.png" in reasons(dataset, "bad-row")[0]


# === Contents: pixels and encoded images ===


@pytest.mark.parametrize("name", ["pixel{}", "Pixel_{}"])
def test_pixels_in_columns_are_square_grey_images(table, name):
    order = list(reversed(range(16)))  # columns may stand in any order
    head = ",".join(["label", *(name.format(number + 1) for number in order)])
    lines = [",".join(map(str, [label, *(number * 10 + label for number in order)])) for label in (0, 1)]
    dataset = table("\n".join([head, *lines, ""]))
    expected = np.arange(16).reshape(4, 4) * 10
    assert [example.array.tolist() for example in dataset.examples] == [expected.tolist(), (expected + 1).tolist()]
    assert dataset.examples[0].array.dtype == np.uint8 and dataset.labels == ("0", "1")


def test_pixels_without_header_are_read_when_the_label_is_given_by_number(table):
    lines = "".join(f"{label}," + ",".join([str(100 + label)] * 16) + "\n" for label in (5, 6))
    with pytest.raises(DataError, match="looks like data.*--no-header --label-column 1"):
        table(lines)
    assert table(lines, label="1", header=False).examples[1].array.tolist() == [[106] * 4] * 4


@pytest.mark.parametrize("bad", ["0.5", "300", "x"])
def test_a_row_with_a_pixel_out_of_range_is_reported(table, bad):
    head = ",".join(["label", *(f"pixel{number}" for number in range(16))])
    good = "".join(f"{label}" + ",7" * 16 + "\n" for label in (0, 1))
    dataset = table(f"{head}\n{good}1,{bad}" + ",7" * 15 + "\n")
    assert len(dataset.examples) == 2 and "pixel" in reasons(dataset, "bad-row")[0]


def test_pixels_that_make_no_square_are_an_error(table):
    with pytest.raises(DataError, match="17 columns of pixels, which is not a square"):
        table(",".join(["label", *(f"pixel{number}" for number in range(17))]) + "\n" + "1" + ",7" * 17 + "\n0" + ",7" * 17 + "\n")


def png(colour):
    out = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(out, "PNG")
    return out.getvalue()


def hugging_face(path, columns, **features):
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pyarrow.parquet.write_table(pyarrow.table(columns).replace_schema_metadata(metadata), path)
    return str(path)


NAMED = {"names": ["daisy", "rose"], "_type": "ClassLabel"}


@pytest.mark.parametrize("struct", [True, False])
def test_images_of_a_hugging_face_file_are_decoded_and_its_classes_have_names(tmp_path, struct):
    from tlkeras.modalities.images.reading import materialise

    images = [png((200, 0, 0)), png((0, 0, 200)), png((200, 0, 0))]
    cells = [{"bytes": image, "path": f"{i}.png"} for i, image in enumerate(images)] if struct else images
    spec = hugging_face(tmp_path / "t.parquet", {"image": cells, "label": [1, 0, -1]}, image={"_type": "Image"}, label=NAMED)
    dataset = open_source(spec)
    assert [example.label for example in dataset.examples] == ["rose", "daisy"] and dataset.labels == ("daisy", "rose")
    assert materialise(dataset, size=8).inputs[:, 0, 0].tolist() == [[200, 0, 0], [0, 0, 200]]
    assert [note.reason[:15] for note in dataset.notes if note.kind == "bad-row"] == ["without a label"]


def test_texts_of_a_hugging_face_file_have_the_names_of_its_classes(tmp_path):
    spec = hugging_face(tmp_path / "t.parquet", {"text": ["a", "b"], "label": [0, 1]}, label=NAMED)
    assert rows(open_source(spec)) == [("a", "daisy"), ("b", "rose")]


def test_texts_of_parquet_that_are_not_utf8_are_reported_by_row(tmp_path):
    texts = pyarrow.array([b"fine", b"caf\xe9", b"good"]).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": texts, "label": ["a", "b", "b"]}), tmp_path / "t.parquet")
    dataset = open_source(str(tmp_path / "t.parquet"))
    assert rows(dataset) == [("fine", "a"), ("good", "b")] and "t.parquet:2" in reasons(dataset, "bad-utf8")[0]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet"])
def test_a_damaged_parquet_file_is_an_error(table, content):
    with pytest.raises(DataError, match="cannot read .* as PARQUET"):
        table(content, "t.parquet")


# === Labels ===


@pytest.mark.parametrize("missing", ["", "nan", "NaN", "None", "<NA>", "NULL"])
def test_missing_labels_of_a_csv_are_reported_and_no_class(table, missing):
    dataset = table(f"text,label\na,0.0\nb,1.0\nc,{missing}\n")
    assert rows(dataset) == [("a", "0"), ("b", "1")]
    assert reasons(dataset, "bad-row") == ["t.csv:4: without a label (column 'label' is empty)"]


@pytest.mark.parametrize("values", [[0.0, 1.0, float("nan")], [0, 1, None], ["0", "1", None], [True, False, None]])
def test_missing_labels_of_parquet_are_reported_and_no_class(tmp_path, values):
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b", "c"], "label": values}), tmp_path / "t.parquet")
    dataset = open_source(str(tmp_path / "t.parquet"))
    assert dataset.labels in (("0", "1"), ("False", "True")) and len(dataset.examples) == 2
    assert "without a label" in reasons(dataset, "bad-row")[0]


def test_a_label_map_with_floats_keeps_them(table):
    assert table("text,label\na,0.0\nb,1.0\n", labels=["0.0", "1.0"]).examples[0].label == "0.0"


def test_numeric_labels_are_in_numerical_order(table):
    assert table("text,label\n" + "".join(f"t{i},{i % 11}\n" for i in range(33))).labels == tuple(map(str, range(11)))


@pytest.mark.parametrize("label", [["a", "b"], ["a"], {"a": 1}])
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_lists_of_labels_are_no_classes(tmp_path, label, kind):
    path = tmp_path / f"t.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps({"text": "x", "label": label}) + "\n" for _ in range(2)))
    else:
        pyarrow.parquet.write_table(pyarrow.table({"text": ["x", "y"], "label": [label, label]}), path)
    with pytest.raises(DataError, match=r"t.\w+:1 has the label .*one label for each example.*--task multilabel"):
        open_source(str(path), columns=Columns(kind="class"))


@pytest.mark.parametrize(
    "labels", [("joy", "anger", "joy|anger"), ("joy", "anger", '"joy, anger"'), ("['joy']", "[]", "\"['joy', 'anger']\"")]
)
def test_lists_of_labels_in_a_text_are_no_classes(table, labels):
    with pytest.raises(DataError, match=r"column 'labels' .* has lists of labels, for example .*--task multilabel"):
        table("text,labels\n" + "".join(f"t{i},{label}\n" for i, label in enumerate(labels)), kind="class")


def test_a_class_whose_name_has_a_separator_is_a_class(table):
    assert table('text,label\na,"ham, cheese"\nb,eggs|ham\n').labels == ("eggs|ham", "ham, cheese")


def test_several_columns_of_0_and_1_are_no_class(table):
    with pytest.raises(DataError, match=r"t.csv:3 has 2 labels; expected one label.*--task multilabel"):
        table("id,text,toxic,insult\n1,a,0,1\n2,b,1,1\n", kind="class")


def test_columns_of_0_and_1_beside_a_label_are_ignored(table):
    assert rows(table("text,toxic,insult,label\na,0,1,x\nb,1,1,y\n")) == [("a", "x"), ("b", "y")]


@pytest.mark.parametrize(("value", "kind"), [("{}", None), ("{}e3", None), ("{}", "class"), ("{}.5", "class"), ("{}e3", "class")])
def test_a_column_of_many_numbers_is_no_class(table, value, kind):
    with pytest.raises(DataError, match="column 'label' .* has 30 distinct numbers in 30 examples.*--task regression"):
        table("text,label\n" + "".join(f"t{i},{value.format(i)}\n" for i in range(30)), kind=kind)


@pytest.mark.parametrize("values", [["1", "2", "3", "4", "5"] * 6, ["0.5", "1", "1.5"] * 10, [str(i % 40) for i in range(200)]])
def test_a_column_of_few_numbers_is_classes(table, values):
    assert len(table("text,label\n" + "".join(f"t{i},{value}\n" for i, value in enumerate(values))).labels) == len(set(values))


# === Splits ===


@pytest.mark.parametrize(
    ("words", "splits"), [("train train dev test", "train train val test"), ("TRAIN Training VALIDATION Eval", "train train val val")]
)
def test_split_words_of_a_column_are_those_of_folders(table, words, splits):
    dataset = table("text,label,Split\n" + "".join(f"{i},{'ab'[i % 2]},{word}\n" for i, word in enumerate(words.split())))
    assert [example.split for example in dataset.examples] == splits.split()


def test_an_unknown_split_word_is_an_error_that_lists_the_accepted_ones(table):
    with pytest.raises(DataError, match="t.csv:3 has split 'UNASSIGNED'.*training_set.*dev.*test"):
        table("text,label,split\na,x,TRAIN\nb,y,UNASSIGNED\n")


# === Anything ===

PIECES = [
    "text",
    "label",
    "path",
    "id",
    "split",
    '"',
    '""',
    ",",
    ";",
    "\t",
    "\n",
    "\r\n",
    " ",
    "a",
    "1",
    "2.0",
    "nan",
    "é",
    "\0",
    "\\",
    "[1]",
    "|",
    "a|1",
    "0",
]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    st.sampled_from(["", "text,label\na,x\nb,y\n", "id,label,v\n1,x,1\n", '{"text": "a", "label": "b"}\n']),
    st.sampled_from(["utf-8", "utf-16", "cp1252"]),
    st.sampled_from(["t.csv", "t.tsv", "t.jsonl", "t.parquet", "t"]),
    st.sampled_from([{}, {"header": False}, {"text": "2", "label": "1"}, {"encoding": "utf-8"}, {"label": "label,v"}]),
    st.sampled_from([None, *KINDS.names()]),
)
def test_whatever_a_file_holds_it_is_a_dataset_or_an_error_of_one_line(table, tail, head, encoding, name, columns, kind):
    try:
        dataset = table((head + tail).encode(encoding), name, kind=kind, **columns)
    except DataError as error:
        message = str(error)
        assert "\n" not in message and message.encode()
    else:
        assert all((example.id + dataset.target.text(example.label) + (example.text or "")).encode() for example in dataset.examples)
        assert all((note.path + note.reason).encode() for note in dataset.notes)


# === The command ===


def test_config_init_reads_a_table_by_the_flags_and_writes_them(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from tlkeras.cli.main import app

    (tmp_path / "t.tsv").write_bytes(HEADLESS.encode("utf-16"))
    monkeypatch.chdir(tmp_path)
    flags = ["--no-header", "--text-column", "2", "--label-column", "1", "--encoding", "utf-16"]
    done = CliRunner().invoke(app, ["config", "init", "--data", "t.tsv", *flags])
    assert done.exit_code == 0, done.output
    written = (tmp_path / "tlkeras.yaml").read_text()
    assert written.startswith("# 9 examples of 2 classes: ham, spam\n")
    assert all(line in written for line in ("header: false", 'text_column: "2"', 'encoding: "utf-16"'))


def test_a_config_file_may_give_a_column_as_a_number():
    from tlkeras.config import RunConfig

    assert RunConfig.from_dict({"text_column": 2, "label_column": 1, "header": False}).to_dict()["text_column"] == "2"
