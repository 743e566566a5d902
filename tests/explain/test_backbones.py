"""Grad-CAM finds the last positions of every image backbone; attention is rolled out where there is any."""

import keras
import numpy as np
import pytest

from tests.backbones.test_backbones import few_layers
from tests.export.helpers import calibrate
from tlkeras import models
from tlkeras.backbones.registry import BACKBONES
from tlkeras.explain.explainer import Explainer
from tlkeras.explain.positions import positions, token_grid
from tlkeras.modalities.images.inputs import Images
from tlkeras.tasks.registry import TASKS

QUICK = ("cnn", "vae", "deit_tiny")
WITHOUT = ("vae",)  # no layer with positions
ATTENDING = ("vit", "deit", "dinov2")  # families with the attention of Keras
IMAGES = [row for row in BACKBONES if row.modality == "image"]
SMALLEST = {row.family: row.name for row in sorted(IMAGES, key=lambda row: -row.params)}
ROWS = [
    row.name if row.name in QUICK else pytest.param(row.name, marks=pytest.mark.slow)
    for row in IMAGES
    if row.name in (*QUICK, *SMALLEST.values())
]


def size_of(row):
    """Returns the smallest side at which the last layer has more than one position."""
    return row.min_size if row.figures and row.options else max(row.min_size, min(row.input_size, 64 // row.step * row.step))


@pytest.mark.parametrize("name", ROWS)
def test_grad_cam_and_rollout_explain_every_backbone_or_say_why_not(name):
    keras.backend.clear_session()
    row = BACKBONES.get(name)
    keras.utils.set_random_seed(0)
    size = size_of(row)
    task = models.build(name, 3, weights="none", image_size=size, options=few_layers(row))
    calibrate(task.model)
    image = np.random.default_rng(0).uniform(0, 255, (1, size, size, 3)).astype("float32")
    options = (task.model, TASKS.get("classification"), task.target, Images(size=size, resize="stretch"))
    assert bool(positions(task.model)) == (name not in WITHOUT)
    for method, works in (("grad-cam", name not in WITHOUT), ("attention-rollout", row.family in ATTENDING)):
        if not works:
            with pytest.raises(Exception, match="methods that can: .*integrated-gradients"):
                Explainer(*options, method=method)
            continue
        explainer = Explainer(*options, method=method)
        found = [explainer.explain([explainer.sample(image, "noise")], np.zeros((1, 3)), label)[0] for label in task.target.labels]
        assert all(one.values.ndim == 2 and one.values.size > 1 and np.isfinite(one.values).all() for one in found)
        assert any(one.values.max() > 0 for one in found)
    del task
    keras.backend.clear_session()


@pytest.mark.parametrize(
    ("tokens", "height", "width", "expected"),
    [
        (197, 14, 14, (14, 14, 1)),
        (201, 14, 14, (14, 14, 5)),  # four registers
        (9, 2, 2, (2, 2, 5)),
        (3136, 56, 56, (56, 56, 0)),
        (784, 56, 56, (28, 28, 0)),
        (32, 16, 8, (8, 4, 0)),
        (50, 56, 56, None),
        (1, 14, 14, None),
    ],
)
def test_the_grid_of_a_row_of_tokens(tokens, height, width, expected):
    assert token_grid(tokens, height, width) == expected
