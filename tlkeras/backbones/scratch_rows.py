"""Networks to train first by oneself: one row each. Reading this table imports no Keras."""

from __future__ import annotations

from tlkeras.backbones.row import Backbone

SCRATCH = [
    Backbone(
        name="cnn",
        family="cnn",
        builder="tlkeras.backbones.scratch:cnn",
        contract="zero_one",
        input_size=28,
        min_size=8,
        features=512,
        pooling="vector",
        stages=(("conv1", "pool1"), ("conv2", "pool2"), ("dense", "dense")),
        params=1_625_536,
        top1=None,
        options={"filters1": 32, "filters2": 64, "dense": 512},
        weights=(),
        license="Apache-2.0",
        source="https://doi.org/10.1109/5.726791",
    ),
    Backbone(
        name="vae",
        family="vae",
        builder="tlkeras.backbones.scratch:vae_encoder",
        contract="zero_one",
        input_size=28,
        min_size=8,
        features=300,
        pooling="vector",
        stages=(("encoder1", "encoder1"), ("encoder2", "encoder2")),
        params=434_300,
        top1=None,
        options={"hidden1": 400, "hidden2": 300, "latent": 2},
        weights=(),
        license="Apache-2.0",
        source="https://arxiv.org/abs/1312.6114",
    ),
    Backbone(
        name="rnn",
        family="rnn",
        modality="sequence",
        builder="tlkeras.backbones.scratch:rnn",
        input_size=128,
        min_size=1,
        features=64,
        pooling="last_step",
        stages=(("rnn", "rnn*"),),
        params=0,
        top1=None,
        options={"cell": "gru", "num_layers": 1, "hidden_size": 64},
        weights=(),
        license="Apache-2.0",
        source="https://arxiv.org/abs/1406.1078",
    ),
]
