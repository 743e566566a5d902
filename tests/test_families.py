"""One network of every family: built, frozen by stage, saved, exported to every format and verified in its runtime."""

import keras
import numpy as np
import pytest

from tests.export.helpers import calibrate
from tlkeras import freezing, models
from tlkeras.backbones.registry import BACKBONES
from tlkeras.export.export import export
from tlkeras.export.formats import FORMATS
from tlkeras.export.parity import BATCHES, Samples
from tlkeras.export.spec import ExportSpec

SMALLEST = {}
for _row in (row for row in BACKBONES if row.modality == "image"):
    if _row.family not in SMALLEST or _row.params < SMALLEST[_row.family].params:
        SMALLEST[_row.family] = _row

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=sorted(SMALLEST))
def task(request):
    keras.backend.clear_session()
    row = SMALLEST[request.param]
    keras.utils.set_random_seed(0)
    built = models.build(row.name, 3, image_size=row.min_size, weights="none")
    calibrate(built.model)
    return built


def pictures(task, n=4):
    size = task.model.input_shape[1]
    return np.random.default_rng(0).integers(0, 255, (n, size, size, 3)).astype("float32")


def test_T5_every_family_is_exported_to_every_format_and_verified_at_batch_1_2_and_3(task, tmp_path):
    assert BATCHES == (1, 2, 3)
    spec = ExportSpec(labels=("a", "b", "c"), features_layer=models.FEATURES)
    samples = Samples(inputs={"image": pictures(task)})
    floats = [row.name for row in FORMATS if not row.quantised]  # of the others docs/exports.md tells
    artifacts = export(task.model, spec, tmp_path, samples, formats=floats)
    assert [one.format for one in artifacts] == floats
    assert all(one.verdict.relative_diff <= 1e-3 for one in artifacts)


def test_what_is_saved_loads_equal(task, tmp_path):
    task.model.save(tmp_path / "m.keras")
    x = pictures(task)
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "m.keras").predict(x, verbose=0), task.model.predict(x, verbose=0))


def test_every_stage_can_be_unfrozen_and_nothing_below_it_trains(task):
    names = task.stage_names
    order = {name: place for place, name in enumerate([*names, "head"])}
    counts = []
    for stage in names:
        report = freezing.apply(task.model, freezing.parse(f"from:{stage}", names), stages=task.stages)
        trained = {row.stage for row in report.layers if row.trainable and row.parameters}
        assert all(order[one] >= order[stage] for one in trained)
        assert not any(row.trainable for row in report.layers if row.batch_norm)
        counts.append(report.trainable_parameters)
    assert counts == sorted(counts, reverse=True) and counts[-1] > 0
