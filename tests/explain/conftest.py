"""A small network that finds a planted patch, and what the tests of explanations share."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers

from tests.targets import classes
from tlkeras.explain.explainer import Explainer
from tlkeras.modalities.images.inputs import Images
from tlkeras.tasks import classification
from tlkeras.tasks.registry import TASKS

SIDE, PATCH = 24, 6  # pixels
TARGET = classes("green", "red")


def planted(n, seed):
    """Returns n noisy images with a green or a red patch, their classes, and where the patch is, bool (n, height, width)."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = rng.integers(0, 120, (n, SIDE, SIDE, 3))
    where = np.zeros((n, SIDE, SIDE), bool)
    for image, mask, label, (top, left) in zip(x, where, y, rng.integers(0, SIDE - PATCH, (n, 2)), strict=True):
        mask[top : top + PATCH, left : left + PATCH] = True
        image[mask, :] = 20
        image[mask, 1 - label] = 250
    return x.astype("uint8"), y, where


@pytest.fixture(scope="session")
def finder():
    """A trained network, and images that it has not seen, with their patches."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIDE, SIDE, 3), name="image")
    x = layers.Rescaling(1 / 255, name="contract_zero_one")(inputs)
    for index, filters in enumerate((8, 16, 16)):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{index}")(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    model = keras.Model(inputs, classification.build_head(x, TARGET, 0.0), name="finder")
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    images, labels, _ = planted(256, seed=1)
    model.fit(images.astype("float32"), labels, epochs=8, batch_size=32, verbose=0)
    unseen, answers, where = planted(8, seed=2)
    assert (model.predict(unseen.astype("float32"), verbose=0).argmax(1) == answers).all()
    return SimpleNamespace(model=model, images=unseen, labels=answers, where=where)


@pytest.fixture
def explainer_of(finder):
    """Returns a function: method -> an explainer of that network."""

    def explainer(method=None, **options):
        inputs = Images(size=SIDE, resize="stretch")
        return Explainer(finder.model, TASKS.get("classification"), TARGET, inputs, method=method, **options)

    return explainer


def explained(explainer, arrays, labels=None):
    """Returns one explanation for each input, of the label that is named for it."""
    found, model = [], explainer.network.model
    for index, (array, label) in enumerate(zip(arrays, labels or [None] * len(arrays), strict=True)):
        sample = explainer.sample(array[None], f"input {index}")
        scores = np.asarray(model.predict_on_batch(np.asarray(sample.array, model.inputs[0].dtype)), "float32")
        found += explainer.explain([sample], scores, label)
    return found
