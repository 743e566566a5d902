"""Networks trained from scratch: a small CNN, a recurrent network, the encoder of a variational autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers

from tlkeras.backbones.row import Backbone
from tlkeras.errors import ConfigError

CELLS = {"rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}
SEQUENCE = "sequence"  # name of the input of recurrent networks


def cnn(row: Backbone, size: int) -> keras.Model:
    """Builds LeCun's pattern: convolution, pooling, convolution, pooling, dense.

    LeCun et al. 1998, Gradient-based learning applied to document recognition, https://doi.org/10.1109/5.726791.
    Options: `filters1`, `filters2`, `dense`.
    """
    options = row.options
    inputs = x = keras.Input((size, size, 3), name="image")
    for number, filters in enumerate((options["filters1"], options["filters2"]), 1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{number}")(x)
        x = layers.MaxPooling2D(name=f"pool{number}")(x)
    x = layers.Flatten(name="flatten")(x)
    return keras.Model(inputs, layers.Dense(options["dense"], activation="relu", name="dense")(x))


def vae_encoder(row: Backbone, size: int) -> keras.Model:
    """Builds the encoder of `vae`, up to its last hidden layer, on grey pixels 0-1.

    Kingma & Welling 2013, Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114. Options: `hidden1`, `hidden2`,
    `latent`. A code of two numbers, the default, can be drawn as a plane, but leaves little in the layer below it: on the digits 5-9, 10 of each, a linear
    classifier on it has 0.77 after training on 0-4, and 0.89 where codes are 16 numbers.
    """
    inputs = keras.Input((size, size, 3), name="image")
    # One channel, of equal parts: the decoder that pretraining adds draws grey images.
    x = layers.Flatten(name="flatten")(keras.ops.mean(inputs, axis=-1, keepdims=True))
    for number, width in enumerate((row.options["hidden1"], row.options["hidden2"]), 1):
        x = layers.Dense(width, activation="relu", name=f"encoder{number}")(x)
    return keras.Model(inputs, x)


def rnn(row: Backbone, statistics: Mapping[str, Any]) -> keras.Model:
    """Builds stacked recurrent layers: float32 (batch, time, features) -> (batch, time, hidden), the inputs standardised.

    Elman 1990, Finding structure in time; Hochreiter & Schmidhuber 1997, Long short-term memory; Cho et al. 2014,
    https://arxiv.org/abs/1406.1078. Options: `cell` (rnn, lstm or gru), `num_layers`, `hidden_size`.

    Args:
        row: its row.
        statistics: `time` and `features` of the data, `mean` and `std` of each feature in training.
    """
    options = row.options
    if options["cell"] not in CELLS:
        raise ConfigError(f"cell is {options['cell']!r}; expected {', '.join(CELLS)}")
    inputs = keras.Input((statistics["time"], statistics["features"]), name=SEQUENCE)
    scale = [1 / std for std in statistics["std"]]
    offset = [-mean / std for mean, std in zip(statistics["mean"], statistics["std"], strict=True)]
    x = layers.Rescaling(scale, offset=offset, name="contract_standardise")(inputs)
    for index in range(options["num_layers"]):
        # Unrolled: TFLite and ONNX have no loops that hold lists of tensors.
        x = CELLS[options["cell"]](options["hidden_size"], return_sequences=True, unroll=True, name=f"rnn{index}")(x)
    return keras.Model(inputs, x)
