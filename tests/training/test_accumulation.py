"""A batch that is computed in several parts trains as the whole batch; the norm of a gradient is limited as a whole."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import BLOCKS, pictures, tiny_model
from tests.targets import classes
from tlkeras.backbones.registry import BACKBONES
from tlkeras.config import RunConfig
from tlkeras.distribution.accumulation import AccumulatingModel
from tlkeras.distribution.strategies import ONE_DEVICE, open_distribution
from tlkeras.errors import ConfigError
from tlkeras.jobs import plan
from tlkeras.models import TaskModel
from tlkeras.tasks.registry import TASKS
from tlkeras.training import phases as training
from tlkeras.training.freeze_rules import parse
from tlkeras.training.optimizer import FlatAdamW, optimizer
from tlkeras.training.recipes.registry import Phase

pytestmark = pytest.mark.usefixtures("graphs")

N = 21
PHASE = Phase(name="s", unfreeze="all", epochs=2, learning_rate=1e-2, weight_decay=1e-2, warmup=0.2)


def trained(folder, distribution=ONE_DEVICE, **options):
    """Returns the weights and the losses of the tiny model, trained without dropout."""
    keras.utils.set_random_seed(5)
    model, sections = tiny_model()
    model.get_layer("conv_s0").kernel.assign(model.get_layer("conv_s0").kernel / 100)
    task = TaskModel(
        model=model,
        backbone=BACKBONES.get("cnn"),
        task=TASKS.get("classification"),
        target=classes("a", "b"),
        sections=sections,
        section_names=list(BLOCKS),
    )
    x, y = pictures(N + 6)
    parts = {name: training.Examples(inputs=x[rows], y=y[rows]) for name, rows in (("train", slice(N)), ("val", slice(N, None)))}
    weights = {0: 2.0, 1: 0.5, 2: 1.0}
    settings = training.Options(checkpoints=folder, distribution=distribution, class_weights=weights, **options)
    result = training.run(task, [(PHASE, parse("all", list(BLOCKS)))], parts | {"test": parts["val"]}, settings)
    rows = [[row[name] for name in ("loss", "accuracy", "val_loss")] for row in result.phases[0].history]
    return model.get_weights(), rows


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("whole"), batch_size=16, clip_norm=0.5)


@pytest.mark.parametrize("placement", [None, "mirrored:2"])
def test_parts_of_a_batch_train_as_the_batch_does_however_it_divides(whole, placement, tmp_path):
    distribution = open_distribution(placement) if placement else ONE_DEVICE
    weights, rows = trained(tmp_path, distribution, batch_size=2, accumulate=8, clip_norm=0.5)  # the last batch has 5 examples
    np.testing.assert_allclose(rows, whole[1], rtol=1e-4)
    for a, b in zip(weights, whole[0], strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


def test_parts_train_with_a_scaled_loss_in_half_precision():
    x = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
    weights = []
    for make in (keras.Model, lambda *tensors: AccumulatingModel(*tensors, parts=3)):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4,))
        model = make(inputs, keras.layers.Dense(1, dtype="mixed_float16")(inputs))
        adam = keras.optimizers.LossScaleOptimizer(FlatAdamW(1e-2, weight_decay=0.0, global_clipnorm=0.1), initial_scale=1024.0)
        model.compile(adam, "mean_squared_error")
        model.fit(x, x.sum(axis=1), batch_size=8, epochs=2, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_statistics_of_batchnorm_that_replicas_exchange_do_not_go_with_parts(tmp_path):
    with pytest.raises(ConfigError, match="accumulate is 2, and BatchNorm trains on 2 replicas"):
        trained(tmp_path, open_distribution("mirrored:2"), batch_size=4, accumulate=2, batch_norm="train")


def test_a_long_gradient_is_scaled_down_to_the_norm_and_a_short_one_stays():
    def step(*gradients):
        variables = [keras.Variable(np.zeros(len(gradient), "float32")) for gradient in gradients]
        adam = FlatAdamW(1.0, weight_decay=0.0, global_clipnorm=1.0)
        adam.build(variables)
        adam.apply([tf.constant(gradient, tf.float32) for gradient in gradients], variables)
        return np.asarray(adam._buckets[0][1]) / (1 - adam.beta_1)

    np.testing.assert_allclose(step([3.0], [0.0, 4.0]), [0.6, 0.0, 0.8], rtol=1e-5)
    np.testing.assert_allclose(step([0.3], [0.0, 0.4]), [0.3, 0.0, 0.4], rtol=1e-5)
    assert optimizer(PHASE, 10, ONE_DEVICE, clip_norm=2.0).global_clipnorm == 2.0


def test_learning_rates_grow_with_the_examples_of_a_step():
    resolved = plan.resolve(RunConfig(batch_size=16, accumulate=8, scale_learning_rate="linear", learning_rate=1e-3))
    (phase, _) = plan.phases(resolved, ["block1"])[-1]
    assert phase.learning_rate == pytest.approx(4e-3)
