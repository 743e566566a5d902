"""Arrays in memory: images and texts, labels of all kinds, and what pandas gives, without pandas."""

import numpy as np
import pytest

from tlkeras.data.examples import from_arrays
from tlkeras.errors import DataError
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


@pytest.mark.parametrize("y", [np.array([[1, 1], [0, 1], [0, 0]]), [["a"], ["a", "b"], ["b"]]])
def test_several_labels_for_an_example_are_refused(y):
    with pytest.raises(DataError, match="one label for each example"):
        from_arrays(IMAGES, y)


def test_numbers_to_be_predicted_are_refused():
    with pytest.raises(DataError, match="30 distinct numbers.*regression"):
        from_arrays(np.zeros((30, 4, 4), "uint8"), np.linspace(0, 1, 30))


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
def test_an_unknown_split_of_an_npz_is_an_error_that_lists_the_words(tmp_path, shape):
    np.savez(tmp_path / "x.npz", x=np.zeros(shape, "uint8"), y=[0, 1, 0, 1], split=["train", "later", "val", "test"])
    with pytest.raises(DataError, match=r"x.npz\[1\] has split 'later'.*validation"):
        open_source(str(tmp_path / "x.npz"))
