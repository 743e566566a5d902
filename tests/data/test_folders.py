"""Folders as archives and tools leave them: what is a class, what is a split, and what is neither."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.targets import classes
from tlkeras.data.examples import make_dataset
from tlkeras.data.sources.columns import Columns
from tlkeras.data.split_names import WORDS
from tlkeras.errors import DataError
from tlkeras.modalities.sources import open_source


def put(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)


def write(root, **texts):
    for name, text in texts.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".txt").write_text(text, encoding="utf-8")


def listed(dataset):
    return sorted({(example.split, example.label) for example in dataset.examples})


def notes_of(dataset):
    return {(note.kind, note.path) for note in dataset.notes}


def test_an_archive_folder_inside_each_split_of_the_same_name_is_entered(tmp_path):
    put(tmp_path, *(f"{part}/{part}/{label}/1.png" for part in ("training_set", "test_set") for label in ("cats", "dogs")))
    assert listed(open_source(str(tmp_path))) == [("test", "cats"), ("test", "dogs"), ("train", "cats"), ("train", "dogs")]


@pytest.mark.parametrize("inner", ["flowers/flowers", "archive/deep"])
def test_a_lone_folder_around_the_classes_is_entered(tmp_path, inner):
    put(tmp_path, *(f"{inner}/{label}/1.png" for label in ("daisy", "rose")))
    (tmp_path / "readme.md").write_text("x")
    dataset = open_source(str(tmp_path))
    assert dataset.labels == ("daisy", "rose") and ("stray-file", "readme.md") in notes_of(dataset)


def test_a_lone_folder_that_is_a_known_class_stays_a_class(tmp_path):
    put(tmp_path, "cats/batch/1.png")
    assert open_source(str(tmp_path), target=classes("cats", "dogs")).examples[0].label == "cats"


@pytest.mark.parametrize("word", [word for words in WORDS.values() for word in words])
def test_every_accepted_word_is_a_split_in_any_case(tmp_path, word):
    split = next(name for name, words in WORDS.items() if word in words)
    other = "test" if split == "train" else "train"
    folder = word.upper().replace("_", "-")
    put(tmp_path, *(f"{part}/{label}/1.png" for part in (folder, other) for label in "ab"))
    assert {example.split for example in open_source(str(tmp_path)).examples} == {split, other}


def test_a_split_of_loose_images_is_reported_and_no_class(tmp_path):
    put(tmp_path, "train/a/1.png", "train/b/1.png", "test/1.png", "test/2.png")
    dataset = open_source(str(tmp_path))
    assert dataset.labels == ("a", "b") and {example.split for example in dataset.examples} == {"train"}
    assert [(note.kind, note.path, note.action) for note in dataset.notes] == [("unlabelled-split", "test", "ignored")]


def test_a_train_folder_of_loose_images_is_an_error(tmp_path):
    put(tmp_path, "train/1.png", "test/a/1.png", "test/b/1.png")
    with pytest.raises(DataError, match="'train' without class folders"):
        open_source(str(tmp_path))


def test_held_out_splits_alone_are_no_classes_but_can_be_evaluated(tmp_path):
    put(tmp_path, *(f"{part}/{label}/1.png" for part in ("val", "test") for label in "ab"))
    with pytest.raises(DataError, match="expected a train split"):
        open_source(str(tmp_path))
    assert {example.split for example in open_source(str(tmp_path), target=classes("a", "b")).examples} == {"val", "test"}


def test_numeric_class_folders_are_in_numerical_order(tmp_path):
    put(tmp_path, *(f"{number}/1.png" for number in range(11)))
    assert open_source(str(tmp_path)).labels == tuple(map(str, range(11)))


def test_mixed_names_stay_in_lexicographic_order(tmp_path):
    put(tmp_path, "10/1.png", "2/1.png", "b/1.png")
    assert open_source(str(tmp_path)).labels == ("10", "2", "b")


def test_a_label_map_from_a_run_keeps_its_order(tmp_path):
    put(tmp_path, *(f"{number}/1.png" for number in (1, 2, 10)))
    assert open_source(str(tmp_path), target=classes("1", "10", "2")).labels == ("1", "10", "2")


def test_names_and_endings_of_all_kinds_are_used_whole(tmp_path):
    names = ["Ötzi café", "猫 🐱", 'a, "b" & c', "O'Brien; x", "C++ (old)"]
    for name in names:
        put(
            tmp_path / "data", *(f"{name}/été {number}{ending}" for number, ending in enumerate((".JPG", ".WebP", ".jpeg", ".PNG", ".bmp")))
        )
        shutil.copy(tmp_path / "data" / name / "été 0.JPG", tmp_path / "data" / name / "été 5.JFIF")
        (tmp_path / "data" / name / "._été 0.JPG").write_bytes(b"\0\5\x16\7")
        (tmp_path / "data" / name / "Thumbs.db").write_bytes(b"x")
    put(tmp_path, "elsewhere/0.png", "elsewhere/1.png")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    dataset = open_source(str(tmp_path / "data"))
    assert dataset.labels == tuple(sorted([*names, "linked"])) and len(dataset.examples) == 5 * 6 + 2
    assert {kind for kind, _ in notes_of(dataset)} == {"hidden"}


def test_links_pipes_and_devices_among_texts_neither_hang_nor_stop(tmp_path):
    write(tmp_path, a__1="text a", b__1="text b")
    (tmp_path / "a" / "gone.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "a" / "zero.txt").symlink_to("/dev/zero")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "b" / "pipe.txt")
    dataset = open_source(str(tmp_path))
    assert [example.id for example in dataset.examples] == ["a/1.txt", "b/1.txt"]
    assert notes_of(dataset) == {
        ("unreadable", "a/gone.txt"),
        ("not-a-file", "a/zero.txt"),
        ("stray-file", "a/again"),
        ("not-a-file", "b/pipe.txt"),
        ("lost-examples", tmp_path.name),
    }


def test_a_huge_text_file_is_skipped_without_reading_it_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("tlkeras.modalities.texts.reading.LARGEST", 1000)
    write(tmp_path, a__1="x", b__1="y", b__2="z" * 1001)
    dataset = open_source(str(tmp_path))
    assert len(dataset.examples) == 2 and ("too-large", "b/2.txt") in notes_of(dataset)


def test_hidden_texts_and_earlier_runs_are_no_examples(tmp_path):
    write(tmp_path, a__1="x", b__1="y", run__config="x")
    (tmp_path / "a" / ".h.txt").write_text("hidden")
    (tmp_path / "run-1").mkdir()
    (tmp_path / "run-1" / "labels.txt").write_text("a\nb\n")
    (tmp_path / "run" / "labels.txt").write_text("a\nb\n")
    (tmp_path / "run" / "config.yaml").write_text("seed: 0\n")
    dataset = open_source(str(tmp_path))
    assert dataset.labels == ("a", "b") and len(dataset.examples) == 2
    assert {("hidden", "a/.h.txt"), ("not-a-text", "run-1/labels.txt"), ("earlier-run", "run")} <= notes_of(dataset)


def test_text_files_of_another_encoding_are_read_and_reported(tmp_path):
    write(tmp_path, a__1="x", b__1="y")
    (tmp_path / "a" / "2.txt").write_bytes("un café très agréable".encode("cp1252"))
    (tmp_path / "b" / "2.txt").write_bytes("wide".encode("utf-16"))
    dataset = open_source(str(tmp_path))
    assert [example.text for example in dataset.examples] == ["x", "un café très agréable", "y", "wide"]
    assert notes_of(dataset) == {("encoding", "a/2.txt"), ("encoding", "b/2.txt")}


def test_an_encoding_that_is_asked_for_is_used_for_text_files(tmp_path):
    write(tmp_path, b__1="y")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.txt").write_bytes("Привет".encode("cp1251"))
    assert open_source(str(tmp_path), columns=Columns(encoding="cp1251")).examples[0].text == "Привет"


def test_the_text_of_a_dataset_is_short(tmp_path):
    put(tmp_path, *(f"train/class {number:02}/{image}.png" for number in range(12) for image in range(3)))
    text = repr(open_source(str(tmp_path)))
    assert "36 examples, train=36, 12 labels: 'class 00'" in text and len(text) < 400 + len(str(tmp_path))


CODE = """
import sys
from tlkeras.modalities.sources import open_source
for spec in sys.argv[1:]:
    open_source(spec)
sys.exit("tensorflow" in sys.modules or "keras" in sys.modules)
"""


def test_opening_a_source_loads_no_tensorflow(tmp_path):
    put(tmp_path, "images/a/1.png", "images/b/1.png")
    write(tmp_path, texts__a__1="x", texts__b__1="y")
    (tmp_path / "t.csv").write_text("path,label\nimages/a/1.png,a\nimages/b/1.png,b\n")
    (tmp_path / "t.jsonl").write_text('{"text": "x", "label": 0}\n{"text": "y", "label": 1}\n')
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b"], "label": [0, 1]}), tmp_path / "t.parquet")
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 4, 4, 3), "uint8"), y=np.array(["a", "b"]))
    specs = [*(str(tmp_path / name) for name in ("images", "texts", "t.csv", "t.jsonl", "t.parquet", "x.npz")), "digits"]
    done = subprocess.run([sys.executable, "-c", CODE, *specs], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_source_makes_a_dataset_without_something_to_train_on():
    with pytest.raises(DataError, match="no examples"):
        make_dataset("nothing", [])
