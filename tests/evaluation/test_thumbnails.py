"""Thumbnails: what each modality shows of an example."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from tests.modalities.test_registry import DATASETS
from tlkeras.data.examples import Example
from tlkeras.modalities.images.inputs import Images
from tlkeras.modalities.images.thumbnail import SIDE, thumbnail
from tlkeras.modalities.sequences.inputs import Sequences
from tlkeras.modalities.sequences.sparkline import STEPS, sparkline
from tlkeras.modalities.texts.inputs import SHOWN, Texts


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 12])
@pytest.mark.parametrize("side", [8, 300])
def test_an_image_of_any_number_of_channels_has_a_small_picture(channels, side):
    array = np.random.default_rng(0).integers(0, 256, (side, side, channels)).astype("uint8")
    html = thumbnail(array, 'a "<b>"')
    image = Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", html)[1])))
    assert max(image.size) == min(side, SIDE) and 'alt="a &quot;&lt;b&gt;&quot;"' in html and len(html) < 14_000


def test_a_long_text_is_cut_and_escaped():
    html = Texts(tokens=None).thumbnail(Example(id="1", label="a", text="<script> " + "long " * 200), np.zeros(3))
    assert "<script>" not in html and len(html) < SHOWN + 60 and html.endswith("…</p>")


@pytest.mark.parametrize(("steps", "features"), [(1, 1), (7, 2), (5000, 9)])
def test_a_sequence_is_a_line_for_each_of_its_first_features(steps, features):
    html = sparkline(np.random.default_rng(0).normal(size=(steps, features)) * 1e6, "x")
    lines = re.findall(r'points="([^"]*)"', html)
    assert len(lines) == min(features, 4) and all(len(line.split()) == min(steps, STEPS) for line in lines)


def test_a_sequence_with_gaps_is_drawn():
    assert "nan" not in Sequences(time=3, features=1).thumbnail(Example(id="1", label="a"), np.array([[np.nan], [1.0], [np.inf]]))


def test_the_thumbnail_of_images_is_what_the_model_receives():
    example = DATASETS["image"]().examples[0]
    assert "<img" in Images(size=16, resize="stretch").thumbnail(example, example.array)
