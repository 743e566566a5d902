"""The optimizer that updates all weights as one vector gives the weights of Keras' AdamW."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import pictures, tiny_model
from tlkeras.distribution.strategies import ONE_DEVICE, open_distribution
from tlkeras.training import optimizer as optimizers
from tlkeras.training.optimizer import FlatAdamW, optimizer
from tlkeras.training.recipes.registry import Phase

pytestmark = pytest.mark.usefixtures("graphs")

SECTION = Phase(name="s", unfreeze="all", epochs=1, learning_rate=1e-2, weight_decay=0.1, warmup=0.2)


def fitted(adam, model, x, y):
    model.compile(adam, "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=8, epochs=3, verbose=0, shuffle=False)
    return model.get_weights()


def trained(kind, decay):
    """Returns the weights of a tiny network after training with an optimizer of that class."""
    x, y = pictures(24)
    keras.utils.set_random_seed(2)
    adam = kind(keras.optimizers.schedules.CosineDecay(0.0, 20, warmup_target=1e-2, warmup_steps=4), weight_decay=decay)
    adam.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return fitted(adam, tiny_model()[0], x / np.float32(255), y)


@pytest.fixture(scope="module")
def by_keras():
    """Returns a function: weight decay -> the weights after training with the class of Keras, trained once."""
    return functools.cache(lambda decay: trained(keras.optimizers.AdamW, decay))


# Several groups, with decay; one group of all weights, without. The others only combine these.
GROUPS = [(0.1, 500), (0.0, 1 << 24)]
SLOW_GROUPS = [pytest.param(decay, bucket, marks=pytest.mark.slow) for decay, bucket in ((0.1, 1 << 24), (0.1, 1), (0.0, 500), (0.0, 1))]


@pytest.mark.parametrize(("decay", "bucket"), [*GROUPS, *SLOW_GROUPS])
def test_it_trains_as_adamw_of_keras_does_however_the_weights_are_grouped(decay, bucket, by_keras, monkeypatch):
    monkeypatch.setattr(optimizers, "BUCKET", bucket)
    ours = trained(FlatAdamW, decay)
    for a, b in zip(by_keras(decay), ours, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-4)
    assert any(np.abs(a - b).max() > 1e-2 for a, b in zip(ours, tiny_model()[0].get_weights(), strict=True))


def test_embeddings_train_as_the_product_with_one_hot_rows_though_their_gradient_names_a_row_several_times():
    # Keras' own class squares the parts of such a gradient before it adds them up: another second moment.
    rng = np.random.default_rng(0)
    ids, y = rng.integers(0, 50, (24, 5)), np.arange(24) % 3
    weights = []
    for embedded, kind in ((True, FlatAdamW), (False, keras.optimizers.AdamW)):
        keras.utils.set_random_seed(1)
        inputs = keras.Input((5,), dtype="int32") if embedded else keras.Input((5, 50))
        table = keras.layers.Embedding(50, 8) if embedded else keras.layers.Dense(8, use_bias=False)
        x = keras.layers.GlobalAveragePooling1D()(table(inputs))
        model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
        table.set_weights([np.random.default_rng(1).normal(size=(50, 8))])
        weights.append(fitted(kind(1e-2, weight_decay=0.1), model, ids if embedded else np.eye(50, dtype="float32")[ids], y))
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-4)


def test_a_variable_without_gradient_stays_as_it_is():
    used, unused = keras.Variable([1.0, 2.0]), keras.Variable([3.0])
    adam = FlatAdamW(0.1, weight_decay=0.5)
    adam.build([used, unused])
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        adam.apply([tf.constant([1.0, 1.0]), None], [used, unused])
    assert unused.numpy().tolist() == [3.0] and used.numpy()[0] < 1.0


def test_float16_gradients_are_unscaled_before_the_update():
    weight = keras.Variable([1.0])
    adam = keras.optimizers.LossScaleOptimizer(FlatAdamW(0.1, weight_decay=0.0))
    adam.build([weight])
    adam.apply([tf.constant([float("inf")])], [weight])
    assert weight.numpy() == 1.0
    adam.apply([tf.constant([100.0])], [weight])
    np.testing.assert_allclose(weight.numpy(), 0.9, atol=1e-3)


def test_several_replicas_take_the_class_of_keras_which_adds_up_gradients():
    assert type(optimizer(SECTION, 10, ONE_DEVICE)) is FlatAdamW
    assert type(optimizer(SECTION, 10, open_distribution("mirrored:2"))) is keras.optimizers.AdamW


def test_the_update_of_many_variables_takes_a_few_operations_each():
    variables = [keras.Variable(np.zeros((3, 3), "float32"), name=f"kernel{i}") for i in range(50)]

    def operations(adam):
        adam.build(variables)
        step = tf.function(lambda: adam.apply([tf.ones((3, 3))] * 50, variables), autograph=False)
        graph = step.get_concrete_function().graph
        return len(graph.get_operations())

    assert operations(FlatAdamW(0.1)) < operations(keras.optimizers.AdamW(0.1)) / 3
