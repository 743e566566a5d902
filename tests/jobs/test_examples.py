"""The examples in docstrings run as they stand, in a folder that has what they name."""

import inspect
import shutil

import keras
import pytest

import tlkeras
import tlkeras.export
import tlkeras.zoo
from tests.test_docstrings import BLOCKS, blocks_of

EXAMPLES = {
    f"{package.__name__}.{name}": block
    for package in (tlkeras, tlkeras.export, tlkeras.zoo)
    for name in package.__all__
    if name[0] != "_"
    for block in blocks_of(inspect.getdoc(package.__getattr__(name)) or "")
}
PUBLISH, OPEN_ENTRY = "tlkeras.publish", "tlkeras.zoo.load"
# They train a pretrained network, or several networks.
SLOW = ("tlkeras.cross_validate", "tlkeras.finetune", "tlkeras.pretrain", "tlkeras.recommend", "tlkeras.review")
NOT_RUN = {"tlkeras.distribution.multiworker": "its strategy has to be made before TensorFlow computes anything in the process"}


@pytest.fixture(scope="module")
def prepared(run_of_photos, tmp_path_factory):
    """A folder with photos, a Keras model, and three copies of a finished run."""
    result, photos = run_of_photos
    folder = tmp_path_factory.mktemp("examples")
    for name in ("photos", "more-photos", "labelled", "unlabelled"):
        shutil.copytree(photos, folder / name)
    (folder / "holiday").mkdir()
    for name in ("3.jpg", "5.jpg"):
        shutil.copy(photos / "green" / name, folder / "holiday")
    for name in ("photos", "photos-full", "older"):
        shutil.copytree(result.run.root, folder / "runs" / name)
    inputs = keras.Input((4,), name="x")
    keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="scores")(inputs)).save(folder / "model.h5")
    return folder


@pytest.fixture(scope="module")
def published(prepared, tmp_path_factory):
    """The folder after the example of `publish`."""
    folder = tmp_path_factory.mktemp("published") / "work"
    shutil.copytree(prepared, folder)
    with pytest.MonkeyPatch.context() as patch:
        execute(PUBLISH, folder, patch)
    return folder


def execute(name, folder, patch):
    patch.chdir(folder)
    patch.delenv("TLKERAS_ZOO", raising=False)
    exec(compile(EXAMPLES[name], name, "exec"), {"tlkeras": tlkeras})


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in EXAMPLES if name not in (PUBLISH, OPEN_ENTRY)],
)
def test_an_example_runs(name, prepared, tmp_path, monkeypatch):
    folder = shutil.copytree(prepared, tmp_path / "work")
    if name == "tlkeras.finetune":  # it writes the run that the others look at
        shutil.rmtree(folder / "runs")
    execute(name, folder, monkeypatch)


def test_the_entry_of_an_example_is_opened_by_another_one(published, monkeypatch):
    execute(OPEN_ENTRY, published, monkeypatch)
    assert (published / "zoo" / "models" / "photos" / "1" / "saved_model.pb").is_file()


def test_every_example_runs_or_it_is_said_why_not():
    stated = {block for name, block in (parameter.values for parameter in BLOCKS) if name not in NOT_RUN}
    assert stated == set(EXAMPLES.values())
