"""Folders of idx files: MNIST, Fashion-MNIST and their kin."""

import gzip
import struct

import numpy as np
import pytest

from tlkeras.errors import DataError
from tlkeras.modalities.sources import modality_of, open_source

PICTURES = np.random.default_rng(0).integers(0, 256, (6, 4, 5), dtype="uint8")
LABELS = np.array([0, 1, 2, 0, 1, 2], "uint8")


def idx(array):
    """The bytes of an idx file."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(folder, part="train", *, pictures=PICTURES, labels=LABELS, packed=True, dot="-"):
    for kind, array in (("images", pictures), ("labels", labels)):
        path = folder / f"{part}-{kind}{dot}idx{array.ndim}-ubyte{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dot", ["-", "."])
def test_pictures_labels_and_splits_are_those_of_the_files(tmp_path, packed, dot):
    write(tmp_path, packed=packed, dot=dot)
    write(tmp_path, "t10k", pictures=255 - PICTURES[:3], labels=LABELS[:3], packed=packed, dot=dot)
    found = open_source(str(tmp_path))
    assert found.labels == ("0", "1", "2") and modality_of(found).name == "image"
    assert [one.split for one in found.examples].count("train") == 6 and [one.split for one in found.examples].count("test") == 3
    train = [one for one in found.examples if one.split == "train"]
    np.testing.assert_array_equal(np.stack([one.array for one in train]), PICTURES)
    assert [one.label for one in train] == ["0", "1", "2"] * 2
    assert len({one.id for one in found.examples}) == 9


def test_one_part_alone_is_split_by_the_run(tmp_path):
    write(tmp_path)
    assert not open_source(str(tmp_path)).has_splits


@pytest.mark.parametrize(("part", "split"), [("t10k", "test"), ("dev", "val"), ("Test_Set", "test"), ("emnist-letters-test", "test")])
def test_parts_are_the_splits_that_their_names_say(tmp_path, part, split):
    write(tmp_path)
    write(tmp_path, part)
    assert {one.split for one in open_source(str(tmp_path)).examples} == {"train", split}


def test_a_part_of_unknown_name_is_an_error_that_lists_the_accepted_words(tmp_path):
    write(tmp_path)
    write(tmp_path, "extra")
    with pytest.raises(DataError, match="has split 'extra'.*validation"):
        open_source(str(tmp_path))


def test_a_file_beside_its_own_archive_is_read_once(tmp_path):
    write(tmp_path, packed=True)
    write(tmp_path, packed=False)
    assert len(open_source(str(tmp_path)).examples) == 6


def test_labels_txt_names_the_classes(tmp_path):
    write(tmp_path)
    (tmp_path / "labels.txt").write_text("shirt\nshoe\nbag\n")
    assert [one.label for one in open_source(str(tmp_path)).examples[:3]] == ["shirt", "shoe", "bag"]


def test_a_folder_of_class_folders_is_none_of_idx_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "images.txt").write_text("x")
    with pytest.raises(DataError, match="one class|no examples|contains no"):
        open_source(str(tmp_path))


def lone(folder):
    write(folder)
    (folder / "train-labels-idx1-ubyte.gz").unlink()


def claims(folder):
    write(folder, packed=False)
    head = bytes([0, 0, 8, 3]) + struct.pack(">3I", 1 << 31, 1 << 15, 1 << 15)
    (folder / "train-images-idx3-ubyte").write_bytes(head)


def damaged(change):
    def make(folder):
        write(folder, packed=False)
        path = folder / "train-images-idx3-ubyte"
        path.write_bytes(change(path.read_bytes()))

    return make


def few_names(folder):
    write(folder)
    (folder / "labels.txt").write_text("a\nb\n")


def cut_archive(folder):
    write(folder)
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-12])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lone, "no file of labels in the same folder"),
        (claims, "states that it contains"),
        (damaged(lambda content: content[:-1]), "fewer than the 120 values"),
        (damaged(lambda content: content + b"x"), "more than the 120 values"),
        (damaged(lambda content: content[:6]), "not an idx file"),
        (damaged(lambda content: b"<html>" + content), "not an idx file"),
        (lambda folder: write(folder, labels=LABELS[:4]), "6 images and 4 labels"),
        (few_names, "the label 2 and labels.txt 2 lines"),
        (cut_archive, "cannot be read"),
    ],
)
def test_files_that_do_not_fit_are_told(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(DataError, match=message):
        open_source(str(tmp_path))
