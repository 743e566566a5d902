"""Folders, tables, arrays, digits, TFDS: what is listed, what is left out and said, what is refused."""

import socket

import numpy as np
import pytest
from PIL import Image

from tests.targets import classes
from tlkeras.data.examples import from_arrays
from tlkeras.data.sources.columns import Columns
from tlkeras.data.subset import subset
from tlkeras.errors import DataError
from tlkeras.modalities.sources import open_source


def picture(path, colour=(10, 20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)


def test_a_folder_of_class_folders_is_listed_in_a_fixed_order(tmp_path):
    for name in ("b/2.png", "a/1.jpg", "a/deep/0.png"):
        picture(tmp_path / name)
    dataset = open_source(str(tmp_path))
    assert [(e.id, e.label) for e in dataset.examples] == [("a/1.jpg", "a"), ("a/deep/0.png", "a"), ("b/2.png", "b")]
    assert dataset.labels == ("a", "b") and not dataset.has_splits


def test_train_val_test_folders_are_splits(tmp_path):
    for split in ("train", "valid", "test"):
        for label in ("a", "b"):
            picture(tmp_path / split / label / "1.png")
    assert {(e.split, e.label) for e in open_source(str(tmp_path)).examples} == {(s, c) for s in ("train", "val", "test") for c in "ab"}


def test_T10_system_folders_and_empty_folders_are_no_classes(tmp_path):
    picture(tmp_path / "a" / "1.png")
    picture(tmp_path / "b" / "1.png")
    picture(tmp_path / "__MACOSX" / "a" / "1.png")
    picture(tmp_path / ".ipynb_checkpoints" / "1.png")
    (tmp_path / "c_empty").mkdir()
    (tmp_path / "b" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "b" / "._1.png").write_bytes(b"x")
    (tmp_path / "b" / "notes.txt").write_text("x")
    dataset = open_source(str(tmp_path))
    assert dataset.labels == ("a", "b") and len(dataset.examples) == 2
    assert {(note.kind, note.path) for note in dataset.notes} == {
        ("hidden", "__MACOSX"),
        ("hidden", ".ipynb_checkpoints"),
        ("empty-class", "c_empty"),
        ("hidden", "b/Thumbs.db"),
        ("hidden", "b/._1.png"),
        ("not-an-image", "b/notes.txt"),
    }


def test_T11_a_test_folder_without_a_class_keeps_the_indices_of_training(tmp_path):
    for label in ("1", "2", "10"):
        picture(tmp_path / "train" / label / "x.png")
    for label in ("1", "2"):
        picture(tmp_path / "later" / label / "x.png")
    trained = open_source(str(tmp_path / "train"))
    later = open_source(str(tmp_path / "later"), target=classes(*trained.labels))
    assert trained.labels == ("1", "2", "10") and later.labels == trained.labels


def test_a_class_the_model_does_not_know_is_an_error_that_names_near_ones(tmp_path):
    picture(tmp_path / "ants" / "x.png")
    with pytest.raises(DataError, match="'ants'.*'ant'"):
        open_source(str(tmp_path), target=classes("ant", "bee"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "is empty"),
        (lambda p: picture(p / "a" / "1.png"), "only one class"),
        (lambda p: picture(p / "1.png"), "no class folders"),
        (lambda p: (p / "a").mkdir(), "no examples"),
    ],
)
def test_a_folder_with_nothing_to_learn_is_an_error(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(DataError, match=message):
        open_source(str(tmp_path))


def test_a_missing_folder_names_its_near_siblings(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match="did you mean 'photos'"):
        open_source(str(tmp_path / "photo"))


def test_a_csv_lists_paths_labels_and_splits(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("path,label,split\na.png,x,train\nb.png,y,test\n,y,train\nc.png,,train\n")
    dataset = open_source(str(table))
    assert [(e.path.name, e.label, e.split) for e in dataset.examples] == [("a.png", "x", "train"), ("b.png", "y", "test")]
    assert [note.path for note in dataset.notes if note.action == "skipped"] == ["t.csv:4", "t.csv:5"]


@pytest.mark.parametrize(
    ("text", "message"), [("name,class\na,b\n", "expected path or text"), ("path,label,split\na,b,later\n", "t.csv:2"), ("", "no examples")]
)
def test_a_csv_that_is_no_table_of_pictures_is_an_error(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        open_source(str(tmp_path / "t.csv"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.zip", b"PK", "unpack it"),
        ("t.TAR", b"x", "unpack it"),
        ("t.xlsx", b"PK", "save the sheet as CSV"),
        ("t.json", b"[]", "as .jsonl"),
        ("t.pkl", b"x", "tlkeras.from_arrays"),
        ("t.jpg", b"\xff\xd8\xff", "it is an image: name a folder"),
        ("t.doc", b"x", "expected .*a folder of class folders"),
    ],
)
def test_another_file_is_an_error_that_says_what_to_do_with_it(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"is a file but not a table; .*{message}"):
        open_source(str(tmp_path / name))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("digit", "did you mean 'digits'"),
        ("photo", "did you mean 'photos'"),
        ("gone/photos", "the folder 'gone' is missing too"),
        ("empty/photos", "is empty"),
        ("https://example.com/photos.zip", "download it"),
    ],
)
def test_a_source_that_is_not_here_is_an_error_that_says_what_was_probably_meant(tmp_path, monkeypatch, value, message):
    (tmp_path / "photos").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / ".photo").mkdir()  # hidden, and so not what was meant
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"no folder, table or source .*; .*{message}") as error:
        open_source(value)
    assert "'.photo'" not in str(error.value)


def test_the_digits_are_the_default():
    dataset = open_source(None)
    assert len(dataset.examples) == 1797 and dataset.labels == tuple("0123456789")
    assert dataset.examples[0].array.max() <= 255 and dataset.examples[0].array.dtype == np.uint8


def test_arrays_take_names_or_indices_as_labels():
    x = np.zeros((3, 8, 8), "uint8")
    assert from_arrays(x, ["b", "a", "b"]).labels == ("a", "b")
    assert [e.label for e in from_arrays(x, [1, 0, 1], labels=["cat", "dog"]).examples] == ["dog", "cat", "dog"]


@pytest.mark.parametrize("x", [np.zeros((2, 8, 8)), np.zeros((2, 8), "uint8"), np.zeros((3, 8, 8), "uint8")])
def test_arrays_of_another_kind_are_an_error_that_names_type_and_shape(x):
    with pytest.raises(DataError, match="expected"):
        from_arrays(x, ["a", "b"])


def test_a_limit_keeps_the_mixture_and_does_not_depend_on_order():
    whole = open_source(None)
    small = subset(whole, 100, seed=1)
    counts = [sum(e.label == label for e in small.examples) for label in whole.labels]
    assert len(small.examples) <= 100 and min(counts) >= 9
    assert {e.id for e in subset(whole, 100, seed=1).examples} == {e.id for e in small.examples}
    assert {e.id for e in subset(whole, 100, seed=2).examples} != {e.id for e in small.examples}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A small data set prepared by tensorflow-datasets in a local folder."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class TinyShapes(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": tfds.features.Image(shape=(8, 8, 3)), "label": tfds.features.ClassLabel(names=["disc", "square"])}
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._make(6), "test": self._make(4)}

        def _make(self, n):
            for i in range(n):
                yield i, {"image": np.full((8, 8, 3), 10 * i, "uint8"), "label": i % 2}
            yield n, {"image": np.zeros((8, 8, 3), "uint8"), "label": -1}  # tensorflow-datasets' way to say that there is no label

        def _generate_examples(self):
            yield from ()

    folder = tmp_path_factory.mktemp("tfds")
    TinyShapes(data_dir=folder).download_and_prepare()
    return folder


@pytest.mark.filterwarnings("ignore")
def test_tfds_reads_what_is_prepared_locally_without_a_socket(prepared, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    dataset = open_source("tfds:tiny_shapes", data_dir=str(prepared))
    assert dataset.labels == ("disc", "square")
    assert [sum(e.split == s for e in dataset.examples) for s in ("train", "test")] == [6, 4]
    assert [note.reason for note in dataset.notes] == ["without a label"] * 2


@pytest.mark.filterwarnings("ignore")
def test_tfds_that_cannot_be_had_says_so_and_names_the_alternatives(tmp_path):
    with pytest.raises(DataError, match="is not available.*--data-dir"):
        open_source("tfds:no_such_data_set_anywhere", data_dir=str(tmp_path))


@pytest.fixture(scope="module")
def prepared_weather(tmp_path_factory):
    """A set with a sequence of labels and a number for each text."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class TinyWeather(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "text": tfds.features.Text(),
                "labels": tfds.features.Sequence(tfds.features.ClassLabel(names=["wet", "cold", "dark"])),
                "degrees": tfds.features.Scalar(np.float32),
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._make()}

        def _make(self):
            for i, labels in enumerate(([0, 1], [2], [], [1])):
                yield i, {"text": f"day {i}", "labels": labels, "degrees": 0.5 + i}

        def _generate_examples(self):
            yield from ()

    folder = tmp_path_factory.mktemp("tfds")
    TinyWeather(data_dir=folder).download_and_prepare()
    return str(folder)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("columns", "kind", "expected"),
    [
        (Columns(), "labels", [("wet", "cold"), ("dark",), (), ("cold",)]),
        (Columns(label="degrees", kind="numbers"), "numbers", [(0.5,), (1.5,), (2.5,), (3.5,)]),
        (Columns(label="labels,degrees"), "several", [(("wet", "cold"), (0.5,)), (("dark",), (1.5,)), ((), (2.5,)), (("cold",), (3.5,))]),
    ],
)
def test_tfds_has_targets_of_every_kind(prepared_weather, columns, kind, expected):
    dataset = open_source("tfds:tiny_weather", data_dir=prepared_weather, columns=columns)
    values = {example.text: example.label for example in dataset.examples}
    assert dataset.target.kind == kind
    assert dataset.target.encode([values[f"day {i}"] for i in range(4)]).tolist() == dataset.target.encode(expected).tolist()
