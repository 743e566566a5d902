"""A Keras model whose `fit`, `evaluate` and `predict` work under MultiWorkerMirroredStrategy on Keras 3.

They do not in Keras itself (keras-team/keras#20585, seen in 3.15.1), for two reasons, both in
keras/src/backend/tensorflow/trainer.py; docs/multiworker.md has a reproduction of 25 lines:

- `_maybe_symbolic_build` reduces a batch over all replicas to learn its shapes, but the replicas of other workers hold no
  tensor here;
- `reduce_per_replica` reduces the logs of a step along `axis=0`, which scalars do not have.

The methods with the two faults are overridden here, in a subclass: nothing of Keras is patched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tlkeras.errors import TrainingError

OVERRIDDEN = ("_maybe_symbolic_build", "_symbolic_build", "_make_function", "_autoconvert_optionals")


class DistributedModel(keras.Model):
    """A `keras.Model` that trains under any `tf.distribute` strategy, several workers included.

    Make it of inputs and outputs, or subclass it, inside `strategy.scope()`; the data are `tf.data` datasets, of global batches
    or distributed by the strategy. Arrays work too, sharded by Keras.

    Raises:
        TrainingError: when this Keras no longer has the overridden methods.

    Example:
        ```python
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        with strategy.scope():
            inputs = keras.Input((8,))
            model = DistributedModel(inputs, keras.layers.Dense(1)(inputs))
            model.compile("sgd", "mse")
        model.fit(dataset)
        ```
    """

    def __init__(self, *args: Any, **kwargs: Any):
        missing = [name for name in OVERRIDDEN if not hasattr(keras.Model, name)]
        if missing:
            raise TrainingError(
                f"Keras {keras.__version__} has no {missing[0]}, which tlkeras overrides to train on several workers; "
                "use keras 3.15, or a newer tlkeras"
            )
        super().__init__(*args, **kwargs)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        if iterator is not None:
            for _, _, batches in iterator:
                data_batch = next(batches)
                break
        with self.distribute_strategy.scope():
            # Shapes are all that building needs: those of the first replica of this worker.
            self._symbolic_build(data_batch=keras.tree.map_structure(self._of_first_replica, data_batch))

    def _of_first_replica(self, value: Any) -> Any:
        return self.distribute_strategy.experimental_local_results(value)[0]

    def _make_function(self, step_function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Returns a function of an iterator that runs one step on every replica and returns the mean of their logs."""
        strategy = self.distribute_strategy

        def on_all(data: Any) -> Any:
            logs = strategy.run(step_function, args=(data,))
            return keras.tree.map_structure(lambda value: strategy.reduce("MEAN", value, axis=None), logs)

        if not self.run_eagerly:
            on_all = tf.function(on_all, reduce_retracing=True, jit_compile=self.jit_compile, autograph=False)
        on_batch = self._autoconvert_optionals(on_all)

        def on_iterator(iterator: Any) -> Any:
            return on_batch(next(iterator))

        if self.run_eagerly:
            return on_iterator
        traced = tf.function(on_iterator, reduce_retracing=True, autograph=False)

        def function(iterator: Any) -> Any:
            distributed = isinstance(iterator, (tf.data.Iterator, tf.distribute.DistributedIterator))
            return traced(iterator) if distributed else on_iterator(iter(iterator))

        return function
