"""Every row of pictures and sequences: built, frozen by section, saved, exported to every format and verified in its runtime.

Transformers have two blocks here, each as wide as it is. tests/texts has the rows of texts.
"""

from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import keras
import numpy as np
import pytest

from tests.backbones.test_backbones import tiny_preset
from tests.export.helpers import calibrate
from tests.helpers import outputs
from tlkeras import config as configs
from tlkeras import models
from tlkeras.backbones.registry import BACKBONES
from tlkeras.errors import ConfigError
from tlkeras.export.export import export
from tlkeras.export.formats import FORMATS
from tlkeras.export.parity import BATCHES, Samples
from tlkeras.export.spec import ExportSpec
from tlkeras.jobs import plan
from tlkeras.training import freezing
from tlkeras.weights.keras_file import read_keras

QUICK = ("cnn", "deit_tiny", "mobilenet_v5_300m")
CONVERTED = ("cnn", "deit_tiny")  # convolutions and attention; every converter takes long for the many kinds of blocks of the third
# One of each kind of block, and narrow: converting the whole network takes more memory than many machines have.
NARROW = ("mobilenet_v5_300m",)
ROWS = [row for row in BACKBONES if row.modality != "text"]
FLOATS = [row.name for row in FORMATS if not row.quantised]  # of the others docs/exports.md tells
SEQUENCES = {"time": 5, "features": 2, "mean": [0.0, 1.0], "std": [1.0, 2.0]}


def rows(quick):
    """Returns all names: those that are quick by default, the smallest of each family among the slow tests, its other sizes in the sweep."""
    smallest = {row.family: row.name for row in sorted(ROWS, key=lambda row: -row.params)}
    marks = {row.name: pytest.mark.slow if smallest[row.family] == row.name else pytest.mark.sweep for row in ROWS}
    return [row.name if row.name in quick else pytest.param(row.name, marks=marks[row.name]) for row in ROWS]


@pytest.fixture(scope="module", params=rows(QUICK))
def task(request, tmp_path_factory):
    return built_task(request.param, tmp_path_factory.mktemp("preset"))


def built_task(name, folder):
    """Returns the task model of a row, with random weights; `folder` is for those of a narrow one."""
    keras.backend.clear_session()
    row = BACKBONES.get(name)
    keras.utils.set_random_seed(0)
    told = {"data": SEQUENCES} if row.modality == "sequence" else {"image_size": row.min_size}
    options = {"num_layers": 2} if row.figures and row.options else {}
    weights = "none"
    if row.name in NARROW:
        weights = str(folder / "preset")
        tiny_preset(weights, row.name)
    built = models.build(row.name, 3, weights=weights, options=options, **told)
    calibrate(built.model)
    return built


def inputs(task, n=4):
    shape = (n, *task.model.input_shape[1:])
    return np.random.default_rng(0).uniform(0, 255 if task.backbone.modality == "image" else 1, shape).astype("float32")


@pytest.mark.parametrize("name", rows(CONVERTED))
def test_T5_every_row_is_exported_to_every_format_and_verified_at_batch_1_2_and_3_or_says_why_not(name, tmp_path, tmp_path_factory):
    assert BATCHES == (1, 2, 3)
    if name in CONVERTED:
        formats, differences = exported(name, tmp_path)
    else:  # TensorFlow's converter keeps memory, several times the weights, until its process ends
        with alone(tmp_path_factory), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            formats, differences = process.submit(exported, name, tmp_path).result()
    row = BACKBONES.get(name)
    assert formats == [format for format in FLOATS if format not in row.refuses]
    assert all(difference <= 1e-3 for difference in differences)
    for format, reason in row.refuses.items():
        with pytest.raises(ConfigError) as caught:
            plan.effective(configs.RunConfig.from_dict({"backbone": name, "export": format}))
        assert reason in str(caught.value)


@contextmanager
def alone(tmp_path_factory):
    """Waits until no other process of tests converts a large network: each takes up to 7 GB."""
    fcntl = pytest.importorskip("fcntl", reason="processes of tests wait for each other with POSIX locks")
    with (tmp_path_factory.getbasetemp().parent / "large-network.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def exported(name, folder):
    """Exports a row to every float format that it does not refuse; returns the formats written, and their largest relative differences."""
    task = built_task(name, folder)
    (tensor,) = task.model.inputs
    spec = ExportSpec(labels=("a", "b", "c"), features_layer=models.FEATURES)
    samples = Samples(inputs={tensor.name: inputs(task)})
    formats = [format for format in FLOATS if format not in task.backbone.refuses]
    artifacts = export(task.model, spec, folder / "exports", samples, formats=formats)
    return [artifact.format for artifact in artifacts], [artifact.verdict.relative_diff for artifact in artifacts]


def test_the_features_are_as_wide_as_the_row_says(task):
    assert task.model.get_layer(models.FEATURES).output.shape == (None, task.backbone.features)


def test_what_is_saved_loads_equal(task, tmp_path):
    task.model.save(tmp_path / "m.keras")
    x = inputs(task)
    np.testing.assert_array_equal(outputs(read_keras(tmp_path / "m.keras"), x), outputs(task.model, x))


def test_every_section_can_be_unfrozen_and_nothing_below_it_trains(task):
    names = task.section_names
    order = {name: place for place, name in enumerate([*names, "head"])}
    counts = []
    for section in names:
        report = freezing.apply(task.model, freezing.parse(f"from:{section}", names), sections=task.sections)
        trained = {row.section for row in report.layers if row.trainable and row.parameters}
        assert all(order[one] >= order[section] for one in trained)
        assert not any(row.trainable for row in report.layers if row.batch_norm)
        counts.append(report.trainable_parameters)
    assert counts == sorted(counts, reverse=True) and counts[-1] > 0
