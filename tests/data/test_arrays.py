"""Arrays in memory: images and texts, labels of all kinds, and what pandas gives, without pandas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.targets import TARGETS, values
from tlkeras.data.examples import Example, from_arrays, make_dataset
from tlkeras.errors import DataError, UnknownName
from tlkeras.modalities.sources import modality_of, open_source

IMAGES = np.zeros((3, 4, 4), "uint8")


class Series:
    """What pandas' Series and DataFrame have in common with this: `to_numpy` and a length."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def to_numpy(self):
        return self.values

    def __len__(self):
        return len(self.values)


class NAType:
    """As pandas' NA: comparing it gives no truth."""

    def __eq__(self, other):
        return self

    __hash__ = None

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")


TEXTS = ["so good", "so bad", "so so"]


@pytest.mark.parametrize(
    "x",
    [
        TEXTS,
        tuple(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, object),
        Series(np.array(TEXTS, object)),
        Series(np.array(TEXTS, object)[:, None]),
    ],
)
def test_texts_of_every_kind_are_accepted(x):
    dataset = from_arrays(x, ["a", "b", "a"])
    assert modality_of(dataset).name == "text" and [example.text for example in dataset.examples] == TEXTS


@pytest.mark.parametrize("y", [Series(["a", "b", "a"]), Series(np.array([["a"], ["b"], ["a"]])), np.array([[0], [1], [0]])])
def test_a_column_of_labels_is_as_good_as_a_row_of_them(y):
    assert [example.label for example in from_arrays(Series(IMAGES), y).examples] in (["a", "b", "a"], ["0", "1", "0"])


def test_missing_texts_are_reported():
    dataset = from_arrays(["a", None, float("nan"), " ", "b"], [0, 1, 0, 1, 1])
    assert [example.text for example in dataset.examples] == ["a", "b"]
    assert [note.path for note in dataset.notes] == ["arrays/1", "arrays/2", "arrays/3"]


@pytest.mark.parametrize("missing", [None, float("nan"), NAType(), ""])
def test_missing_labels_are_reported_and_no_class(missing):
    dataset = from_arrays(IMAGES, np.array([1.0, 0.0, missing], object))
    assert dataset.labels == ("0", "1") and [example.id for example in dataset.examples] == ["arrays/0", "arrays/1"]
    assert [note.reason for note in dataset.notes] == ["without a label"]


def test_one_hot_labels_are_refused_with_the_way_to_convert_them():
    with pytest.raises(DataError, match=r"shape \(3, 2\).*one-hot: pass y.argmax\(axis=1\)"):
        from_arrays(IMAGES, np.eye(2)[[0, 1, 0]])


@pytest.mark.parametrize("y", [[["a"], ["a", "b"], ["b"]], [{"a"}, {"a", "b"}, {"b"}]])
def test_several_labels_for_an_example_are_no_class(y):
    with pytest.raises(DataError, match="one label for each example"):
        from_arrays(IMAGES, y, kind="class")


def test_numbers_to_be_predicted_are_no_classes():
    with pytest.raises(DataError, match="30 distinct numbers.*--task regression.*kind='numbers'"):
        from_arrays(np.zeros((30, 4, 4), "uint8"), np.linspace(0, 1, 30), kind="class")


FLAGS = np.array([[1, 1], [0, 1], [0, 0]])
SETS = [("0", "1"), ("1",), ()]


@pytest.mark.parametrize("y", [FLAGS, FLAGS.astype("float32"), FLAGS.astype(bool), FLAGS.tolist()])
def test_rows_of_0_and_1_are_sets_of_labels(y):
    dataset = from_arrays(IMAGES, y)
    assert dataset.target.kind == "labels" and [example.label for example in dataset.examples] == SETS


def test_rows_of_0_and_1_are_named_by_the_label_map_in_its_order():
    dataset = from_arrays(IMAGES, FLAGS, labels=["wood", "water"])
    assert dataset.labels == ("wood", "water") and [e.label for e in dataset.examples] == [("wood", "water"), ("water",), ()]


def test_one_hot_rows_are_sets_of_labels_where_that_is_asked_for():
    dataset = from_arrays(IMAGES, np.eye(2)[[0, 1, 0]], kind="labels")
    assert [example.label for example in dataset.examples] == [("0",), ("1",), ("0",)]


WORDS = [["wet", "cold"], ["cold"], []]


@pytest.mark.parametrize("y", [WORDS, [tuple(w) for w in WORDS], [set(w) for w in WORDS], Series(np.array(WORDS, object))])
def test_lists_and_sets_of_labels_are_sets_of_labels(y):
    dataset = from_arrays(IMAGES, y)
    assert dataset.labels == ("cold", "wet") and [e.label for e in dataset.examples] == [("cold", "wet"), ("cold",), ()]


def test_lists_of_indices_point_at_the_label_map():
    assert [e.label for e in from_arrays(IMAGES, [[1, 0], [1], []], labels=["wet", "cold"]).examples] == [("wet", "cold"), ("cold",), ()]


def test_a_label_outside_the_label_map_is_an_error():
    with pytest.raises(DataError, match="'warm'"):
        from_arrays(IMAGES, [["wet"], ["warm"], []], labels=["wet", "cold"])


def test_fractions_are_numbers():
    dataset = from_arrays(np.zeros((30, 4, 4), "uint8"), np.linspace(0, 1, 30))
    assert dataset.target.kind == "numbers" and dataset.examples[-1].label == (1.0,) and dataset.labels == ("value",)


def test_rows_of_numbers_are_numbers_and_missing_ones_are_reported():
    dataset = from_arrays(IMAGES, np.array([[1.5, 2], [float("nan"), 3], [4, 5]]), labels=["x", "y"])
    assert dataset.target.kind == "numbers" and [example.label for example in dataset.examples] == [(1.5, 2.0), (4.0, 5.0)]
    assert [note.path for note in dataset.notes] == ["arrays/1"]


def test_whole_numbers_are_numbers_where_that_is_asked_for():
    assert [e.label for e in from_arrays(IMAGES, [3, 4, 5], kind="numbers").examples] == [(3.0,), (4.0,), (5.0,)]


@pytest.mark.parametrize("y", [[1.0, 1.0, 1.0], [1.0, float("inf"), 2.0], ["a", "b", "c"]])
def test_numbers_that_cannot_be_learnt_are_an_error(y):
    with pytest.raises(DataError, match="in every example|expected a finite number"):
        from_arrays(IMAGES, y, kind="numbers")


def test_a_dict_of_arrays_is_several_targets():
    dataset = from_arrays(IMAGES, {"mood": ["a", "b", "a"], "size": [1.5, 2, 3], "tags": [["x"], [], ["x", "y"]]})
    assert [(part.kind, part.name) for part in dataset.target.parts] == [("class", "mood"), ("numbers", "size"), ("labels", "tags")]
    assert dataset.examples[2].label == ("a", (3.0,), ("x", "y"))


def test_parts_of_different_lengths_are_an_error():
    with pytest.raises(DataError, match="as many in each"):
        from_arrays(IMAGES, {"a": [1, 2, 3], "b": [1, 2]})


class Frame:
    """As a pandas DataFrame."""

    def __init__(self, **columns):
        self.columns, self.values = list(columns), np.array(list(columns.values()), object).T

    def to_numpy(self):
        return self.values

    def __len__(self):
        return len(self.values)


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ({"x": [1.5, 2, 3], "y": [3, 4, 5]}, "numbers"),
        ({"x": [1, 0, 0], "y": [1, 1, 0]}, "labels"),
        ({"x": [1.5, 2, 3], "y": [*"aba"]}, "several"),
    ],
)
def test_a_data_frame_is_read_as_the_columns_of_a_table(columns, kind):
    target = from_arrays(IMAGES, Frame(**columns)).target
    assert target.kind == kind and target.columns == ("x", "y")


def test_an_unknown_kind_of_target_is_an_error_that_lists_the_kinds():
    with pytest.raises(UnknownName, match="kind of target 'label'.*labels"):
        from_arrays(IMAGES, [1, 2, 3], kind="label")


ENTRIES = [1, 0, 2.5, None, float("nan"), "a", "b", b"x", True, ["a"], [], ["a", "b"], {"a"}, (1, 2), [1.5, 2], [None], [["a"]], {"k": 1}]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(ENTRIES), min_size=1, max_size=8),
    st.booleans(),
    st.sampled_from([None, *TARGETS]),
    st.sampled_from([None, ["a", "b"]]),
    st.sampled_from([None, *TARGETS.values()]),
)
def test_whatever_y_holds_it_is_a_dataset_or_an_error_of_one_line(entries, is_dict, kind, labels, target):
    y = {"p": entries, "q": entries[::-1]} if is_dict else entries
    try:
        dataset = from_arrays(["t"] * len(entries), y, kind=kind, labels=labels, target=target)
    except DataError as error:
        assert "\n" not in str(error)
    else:
        rows = [example.label for example in dataset.examples]
        assert len(dataset.target.encode(rows)) == len(dataset.target.strata(rows)) == len(rows)
        assert all(isinstance(dataset.target.text(value), str) for value in rows)


@pytest.mark.parametrize("kind", TARGETS)
def test_a_known_target_gives_the_same_dataset_again(kind):
    first = make_dataset("x", [Example(id=str(i), label=value, text="t") for i, value in enumerate(values(kind, 8))], target=TARGETS[kind])
    again = make_dataset("y", first.examples, target=TARGETS[kind])
    assert again.examples == first.examples and again.target == TARGETS[kind]


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("other", TARGETS)
def test_examples_of_another_kind_of_target_are_an_error(kind, other):
    examples = [Example(id=str(i), label=value, text="t") for i, value in enumerate(values(other, 8))]
    if kind != other:
        with pytest.raises(DataError, match="as the model predicts"):
            make_dataset("x", examples, target=TARGETS[kind])


@pytest.mark.parametrize(("x", "y"), [(IMAGES, ["a", "b"]), (TEXTS, ["a"]), (IMAGES, 3)])
def test_lengths_that_differ_are_an_error(x, y):
    with pytest.raises(DataError, match="expected"):
        from_arrays(x, y)


@pytest.mark.parametrize(
    "x", [[np.zeros((4, 4), "uint8"), np.zeros((5, 4), "uint8"), np.zeros((4, 4), "uint8")], np.zeros((3, 7)), [1, 2, 3]]
)
def test_arrays_that_are_neither_images_nor_texts_are_an_error(x):
    with pytest.raises(DataError, match="x is"):
        from_arrays(x, ["a", "b", "a"])


def test_the_text_of_a_dataset_holds_no_arrays():
    dataset = from_arrays(IMAGES, ["a", "b", "a"])
    assert repr(dataset) == "Dataset('arrays', 3 examples, 2 labels: 'a', 'b', 0 notes)"
    assert "array(" not in repr(dataset.examples[0])


@pytest.mark.parametrize("damage", ["cut", "objects", "changed", "text", "npy"])
def test_a_damaged_npz_is_one_line(tmp_path, damage):
    file = tmp_path / "a.npz"
    np.savez_compressed(file, x=np.arange(192, dtype="uint8").reshape(1, 8, 8, 3), y=[0])
    content = bytearray(file.read_bytes())
    if damage == "changed":
        content[60:90] = b"?" * 30
    file.write_bytes(content[:100] if damage == "cut" else b"no arrays" if damage == "text" else content)
    if damage == "objects":
        np.savez(file, x=np.array([1, None], object), y=[0, 1])
    if damage == "npy":
        with file.open("wb") as opened:
            np.save(opened, np.zeros(3))
    with pytest.raises(DataError, match=r"cannot read '.*a.npz': .+") as error:
        open_source(str(file))
    assert "\n" not in str(error.value)


def test_splits_of_an_npz_are_read_by_the_words_of_folders(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((4, 4, 4, 1), "uint8"), y=[10, 2, 10, 2], split=["TRAIN", "training", "dev", "eval"])
    dataset = open_source(str(tmp_path / "x.npz"))
    assert [example.split for example in dataset.examples] == ["train", "train", "val", "val"] and dataset.labels == ("2", "10")


@pytest.mark.parametrize("shape", [(4, 4, 4, 1), (4, 5, 2)])
@pytest.mark.parametrize(
    ("y", "kind"), [([[0, 1], [1, 1], [0, 0], [1, 0]], "labels"), ([[0.5, 1], [1, 2], [3, 4], [5, 6]], "numbers"), ([0, 1, 0, 1], "class")]
)
def test_the_targets_of_an_npz_are_those_of_arrays(tmp_path, shape, y, kind):
    np.savez(tmp_path / "x.npz", x=np.zeros(shape, "uint8"), y=y)
    dataset = open_source(str(tmp_path / "x.npz"))
    assert dataset.target.kind == kind and len(dataset.examples) == 4
    assert open_source(str(tmp_path / "x.npz"), target=dataset.target).examples[1].label == dataset.examples[1].label


@pytest.mark.parametrize("shape", [(4, 4, 4, 1), (4, 5, 2)])
def test_an_unknown_split_of_an_npz_is_an_error_that_lists_the_words(tmp_path, shape):
    np.savez(tmp_path / "x.npz", x=np.zeros(shape, "uint8"), y=[0, 1, 0, 1], split=["train", "later", "val", "test"])
    with pytest.raises(DataError, match=r"x.npz\[1\] has split 'later'.*validation"):
        open_source(str(tmp_path / "x.npz"))


def test_an_empty_dict_of_targets_is_an_error():
    with pytest.raises(DataError, match="y is an empty dict; expected the name and the values of each target"):
        from_arrays(["x", "y"], {})
