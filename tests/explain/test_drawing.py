"""Maps as images: their colours, their scale, their size. None of this needs Keras."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tlkeras.explain.drawing import image, overlay, scaled, sequence, visible
from tlkeras.explain.explanation import Explanation, Sample, resized, rounded


def explanation(values, signed=True, modality="image"):
    fields = {
        "file": "a",
        "modality": modality,
        "method": "occlusion",
        "signed": signed,
        "output": "",
        "label": "$x_1$ 日本",
        "scale": "log-odds",
    }
    return Explanation(**fields, score=0.9, number=2.0, values=values)


def size(content):
    return Image.open(io.BytesIO(content)).size


def test_what_speaks_for_an_answer_is_red_and_what_speaks_against_it_is_blue():
    values = np.zeros((8, 8))
    values[0, 0], values[7, 7] = 1.0, -1.0
    over = overlay(np.full((256, 256, 3), 128), np.kron(values, np.ones((32, 32))), signed=True).astype(int)
    assert over[4, 4, 0] > over[4, 4, 2] + 50 and over[250, 250, 2] > over[250, 250, 0] + 50
    np.testing.assert_array_equal(over[128, 128], 128)


def test_a_single_pixel_does_not_hide_all_others():
    values = np.ones((100, 100))
    values[0, 0] = 1e6
    levels, end = scaled(values)
    assert end == 1.0 and levels.min() == 1.0


@pytest.mark.parametrize("values", [np.zeros((4, 4)), np.zeros((0,))])
def test_a_map_of_nothing_has_a_scale(values):
    levels, end = scaled(values)
    assert end == 1.0 and levels.shape == values.shape


def test_small_images_are_enlarged_and_other_channels_are_grey():
    assert visible(np.zeros((28, 28, 1))).shape == (224, 224, 3)
    assert visible(np.zeros((10, 20, 5))).shape == (120, 240, 3)
    assert visible(np.zeros((300, 400, 3))).shape == (300, 400, 3)


@pytest.mark.parametrize("signed", [True, False])
def test_an_image_is_drawn_beside_its_map(signed):
    drawn = image(explanation(np.random.default_rng(0).random((7, 7)), signed), Sample(name="a", array=np.zeros((1, 28, 28, 3), "uint8")))
    assert size(drawn[".overlay.png"]) == (224, 224) and size(drawn[".png"])[0] == 960


@pytest.mark.parametrize("shape", [(30,), (30, 2), (30, 12)])
def test_a_sequence_is_drawn_above_its_map(shape):
    sample = Sample(name="a", array=np.random.default_rng(0).random((1, 30, shape[-1] if len(shape) > 1 else 3)))
    drawn = sequence(explanation(np.ones(shape), modality="sequence"), sample)
    assert size(drawn[".png"]) == (800, 400)


def test_maps_are_resized_between_their_positions():
    assert resized(np.array([[0.0, 1.0]]), 2, 4).tolist() == [[0.0, 0.25, 0.75, 1.0]] * 2


def test_json_has_five_digits():
    assert rounded(np.array([[1 / 3, 1e-9], [123456.0, 0.0]])) == [[0.33333, 1e-9], [123460.0, 0.0]]


def test_drawing_loads_no_keras():
    code = (
        "import sys, tlkeras.explain.drawing, tlkeras.explain.text_pages; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
