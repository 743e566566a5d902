"""The random operations of TrivialAugment and RandAugment, and random erasing."""

import numpy as np
import pytest
import tensorflow as tf

from tlkeras.modalities.images.operations import OPERATIONS, erased, operate

IMAGE = np.random.default_rng(0).integers(40, 200, (1, 12, 12, 3)).astype("float32")


def operated(name, strength, image=IMAGE):
    choice = (OPERATIONS.index(name) + 0.5) / len(OPERATIONS) * 2 - 1
    return operate(tf.constant(image), tf.constant([choice], tf.float32), tf.constant([strength], tf.float32)).numpy()


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_changes_an_image_in_its_range_and_only_identity_does_not(name):
    changed = operated(name, 0.7)
    assert changed.shape == IMAGE.shape and changed.min() >= 0 and changed.max() <= 255
    assert np.array_equal(changed, IMAGE) == (name == "identity")


def test_operations_do_what_their_names_say():
    np.testing.assert_allclose(operated("brightness", -1.0), IMAGE * 0.01, atol=1e-3)
    assert operated("colour", -1.0).std(axis=-1).max() < 0.011 * IMAGE.std(axis=-1).max()
    assert operated("contrast", -1.0).std() < 0.011 * IMAGE.std()
    assert np.array_equal(operated("posterize", 0.5), IMAGE // 8 * 8)
    assert np.array_equal(operated("solarize", 0.5), np.where(IMAGE >= 127.5, 255 - IMAGE, IMAGE))
    stretched = operated("autocontrast", 0.1)
    np.testing.assert_allclose([stretched.min(axis=(0, 1, 2)), stretched.max(axis=(0, 1, 2))], [[0] * 3, [255] * 3], atol=1e-3)
    turned = operated("rotate", 90 / 135)
    np.testing.assert_allclose(turned, np.rot90(IMAGE, 1, (1, 2)), atol=0.1)


def test_the_largest_number_still_chooses_an_operation():
    image = tf.constant(IMAGE)
    assert np.isfinite(operate(image, tf.constant([1.0]), tf.constant([0.5])).numpy()).all()


def test_random_erasing_replaces_one_rectangle_by_the_mean_colour():
    image = tf.constant(np.repeat(IMAGE, 2, axis=0))
    numbers = tf.constant([[-1.0, 0.5, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0, 0.0]])
    out = erased(image, numbers, 0.5).numpy()
    assert np.array_equal(out[1], IMAGE[0])  # its number is above the probability
    changed = (out[0] != IMAGE[0]).any(axis=-1)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert changed.sum() == len(rows) * len(columns) and 0.1 < changed.mean() < 0.5
    np.testing.assert_allclose(out[0][changed], np.broadcast_to(IMAGE[0].mean((0, 1)), out[0][changed].shape), atol=1e-3)
