"""Corruptions of inputs, and what a model loses by them."""

import json

import numpy as np
import pytest

from tests.tasks.test_measures import CASES, measures_of
from tlkeras.data.examples import Example
from tlkeras.evaluation import robustness
from tlkeras.evaluation.robustness import CORRUPTIONS, SEVERITIES
from tlkeras.modalities.registry import MODALITIES

TEXT = "The quick brown fox jumps over the lazy DOG, and nobody knows why it does that every single day"


def smooth_images(channels=3):
    """Returns images with an edge and a gradient, of 32 pixels."""
    ramp = np.tile(np.linspace(20, 180, 32), (4, 32, 1))
    ramp[:, :, 16:] += np.arange(4)[:, None, None] * 10
    return np.repeat(ramp[..., None], channels, axis=-1).astype("uint8")


RAW = {
    "image": lambda: [Example(id=str(at), label="a", array=image) for at, image in enumerate(smooth_images())],
    "text": lambda: [Example(id=str(at), label="a", text=f"{at} {TEXT}") for at in range(6)],
    "sequence": lambda: [
        Example(id=str(at), label="a", array=np.random.default_rng(at).normal(size=(20 + at, 2)).astype("float32")) for at in range(6)
    ],
}


def raw(examples):
    """Returns the examples themselves, as what a model accepts."""
    return [example.text if example.text is not None else example.array for example in examples]


def corrupted(row, severity, seed=0):
    examples = RAW[row.modality]()
    inputs = smooth_images() if row.modality == "image" else None
    return list(robustness.corrupted(row, severity, examples, inputs, raw, seed))


def distance(first, second):
    """Returns how far apart inputs are: mean difference of arrays; words that differ, of texts."""
    pairs = list(zip(first, second, strict=True))
    if isinstance(first[0], str):
        return sum(len(set(a.split()) ^ set(b.split())) for a, b in pairs)
    if len(first[0]) != len(second[0]):
        return sum(len(a) - len(b) for a, b in pairs)
    return float(np.mean([np.abs(a.astype("float64") - b).mean() for a, b in pairs]))


def test_every_modality_has_corruptions():
    assert all(robustness.corruptions_of(name) for name in MODALITIES.names())


@pytest.mark.parametrize("name", CORRUPTIONS.names())
def test_a_corruption_grows_with_its_severity_and_is_equal_for_equal_seeds(name):
    row, clean = CORRUPTIONS.get(name), raw(RAW[CORRUPTIONS.get(name).modality]())
    distances = [distance(clean, corrupted(row, severity)) for severity in SEVERITIES]
    assert 0 < distances[0] < distances[1] < distances[2]
    assert distance(corrupted(row, 2), corrupted(row, 2)) == 0
    assert row.source and len(row.strengths) == len(SEVERITIES)


@pytest.mark.parametrize("name", CORRUPTIONS.names())
def test_corrupted_inputs_are_of_the_same_kind(name):
    row = CORRUPTIONS.get(name)
    for before, after in zip(raw(RAW[row.modality]()), corrupted(row, 3), strict=True):
        assert type(before) is type(after) and len(after) > 0
        if row.modality == "image":
            assert after.dtype == np.uint8 and after.shape == before.shape


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("name", [row.name for row in CORRUPTIONS if row.modality == "image"])
def test_images_of_any_number_of_channels_can_be_corrupted(name, channels):
    images, row = smooth_images(channels), CORRUPTIONS.get(name)
    after = robustness.corrupted(row, 3, [], images, raw, 0)
    assert after.shape == images.shape and distance(images, after) > 0


@pytest.mark.parametrize("text", ["", "a", "!?", "好", "one"])
@pytest.mark.parametrize("name", [row.name for row in CORRUPTIONS if row.modality == "text"])
def test_short_texts_stay_texts(name, text):
    (after,) = robustness.corrupted(CORRUPTIONS.get(name), 3, [Example(id="0", label="a", text=text)], None, raw, 0)
    assert isinstance(after, str) and bool(after) == bool(text)


def test_brighter_images_keep_their_hue():
    image = np.array([[[[100, 50, 0]]]], "uint8")
    after = robustness.corrupted(CORRUPTIONS.get("brighter"), 1, [], image, raw, 0)[0, 0, 0]
    assert after[0] == pytest.approx(125.5, abs=1) and after[1] / after[0] == pytest.approx(0.5, abs=0.02) and after[2] == 0


@pytest.mark.parametrize("task", CASES)
def test_what_is_lost_has_an_interval_and_words(task):
    targets, p, target = CASES[task]()
    worse = p.copy()
    worse[::2] = worse[::-2]
    clean, bad = measures_of(task, targets, p, target), measures_of(task, targets, worse, target)
    found = robustness.summarised(clean, {"noise": [clean, clean, bad], "dropped steps": [bad, bad, bad]})
    kinds = found["kinds"]
    assert kinds["noise"]["values"][0] == found["clean"]["value"] and len(set(kinds["dropped steps"]["values"])) == 1
    assert kinds["noise"]["difference"] == pytest.approx(kinds["dropped steps"]["difference"] / 3)
    assert found["mean"]["difference"] == pytest.approx(kinds["dropped steps"]["difference"] * 2 / 3)
    assert kinds["noise"]["low"] < kinds["noise"]["difference"] < kinds["noise"]["high"] and "worse by" in found["words"]
    json.dumps(found, allow_nan=False)
    title, page = robustness.section({"label": found})
    assert found["words"] in page and "dropped steps" in page and "style=" not in page
    assert any("dropped steps" in line for line in robustness.lines({"label": found}))
