"""A model with further tensors of it behind its scores."""

import keras
import numpy as np
from keras import layers, ops

from tlkeras.training.observed import with_features


def test_a_stored_model_whose_operations_have_names_that_keras_gives_out_again_is_extended():
    keras.utils.clear_session()  # Keras numbers from the start, as in a new process
    inputs = keras.Input((4,), dtype="int32")
    halves = ops.concatenate([ops.cast(inputs, "float32"), ops.cast(inputs, "float32")], axis=1)
    features = layers.Dense(3, name="features")(halves)
    model = keras.Model(inputs, layers.Dense(2, name="scores")(features))
    assert {"cast", "concatenate"} <= {operation.name for operation in model.operations}
    keras.utils.clear_session()
    x = np.arange(8, dtype="int32").reshape(2, 4)
    wide = with_features(model).predict_on_batch(x)
    np.testing.assert_allclose(wide[:, :2], model(x), rtol=1e-6)
    assert wide.shape == (2, 5)
    again = with_features(with_features(model))  # a model that was extended before
    np.testing.assert_allclose(again.predict_on_batch(x)[:, :5], wide, rtol=1e-6)
