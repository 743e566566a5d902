"""Repairs layers of KerasHub whose saved form cannot be read back.

`tests/test_patches.py` reports which of these repairs KerasHub no longer needs.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

import keras

HUB = "keras_hub.src.models"

# Layers of images whose `get_config` has arguments that their constructor refuses, or lacks some that it needs: class -> argument -> where
# the layer keeps it, or how it is found. keras-hub 0.32; not reported upstream when written (keras-team/keras-hub#3118 is of backbones).
CONFIGS: Mapping[str, Mapping[str, str | Callable[[Any], Any]]] = {
    "vit.vit_layers:ViTPatchingAndEmbedding": {
        "image_size": "image_size",
        "patch_size": "patch_size",
        "hidden_dim": "hidden_dim",
        "num_channels": "num_channels",
        "use_class_token": "use_class_token",
        "use_patch_bias": "use_patch_bias",
    },
    "vit.vit_layers:ViTEncoderBlock": {
        "num_heads": "num_heads",
        "hidden_dim": "hidden_dim",
        "mlp_dim": "mlp_dim",
        "use_mha_bias": "use_mha_bias",
        "use_mlp_bias": "use_mlp_bias",
        "dropout_rate": "dropout_rate",
        "attention_dropout": "attention_dropout",
        "layer_norm_epsilon": "layer_norm_epsilon",
    },
    "deit.deit_layers:DeiTEmbeddings": {
        "image_size": "image_size",
        "patch_size": "patch_size",
        "hidden_dim": "hidden_dim",
        "num_channels": "num_channels",
        "use_mask_token": "use_mask_token",
        "dropout_rate": "dropout_rate",
    },
    "mit.mit_layers:HierarchicalTransformerEncoder": {
        "project_dim": "project_dim",
        "num_heads": "num_heads",
        "sr_ratio": "attn.sr_ratio",
        "drop_prob": "drop_prop",
        "layer_norm_epsilon": "norm1.epsilon",
    },
    "swin_transformer.swin_transformer_layers:SwinTransformerBlock": {
        "dim": "dim",
        "input_resolution": "input_resolution",
        "num_heads": "num_heads",
        "window_size": "window_size",
        "shift_size": "shift_size",
        "mlp_ratio": "mlp_ratio",
        "qkv_bias": "attn.qkv_bias",
        "drop_path": lambda block: getattr(block.drop_path, "drop_prob", 0.0),  # the first block has none
    },
}


def complete_configs() -> None:
    """Makes those layers of KerasHub include all constructor arguments in their configuration, in this process.

    Saved models then load wherever KerasHub is installed, without tlkeras.
    """
    for path, arguments in CONFIGS.items():
        module, _, name = path.partition(":")
        layer = getattr(importlib.import_module(f"{HUB}.{module}"), name)
        if not hasattr(layer.get_config, "__wrapped__"):  # once in a process
            layer.get_config = _complete(layer.get_config, arguments)


def _complete(original: Any, arguments: Mapping[str, str | Callable[[Any], Any]]) -> Any:
    getters = {name: attrgetter(place) if isinstance(place, str) else place for name, place in arguments.items()}

    @functools.wraps(original)
    def get_config(self: Any) -> dict[str, Any]:
        return {**keras.layers.Layer.get_config(self), **{name: getter(self) for name, getter in getters.items()}}

    return get_config


# The attention of T5 and Swin is given its mask as an argument, and uses it; Keras reports it as lost: keras-team/keras-hub#2141.
NO_LOSS = r"Layer '\w+' \(of type (T5MultiHeadAttention|WindowAttention)\) was passed an input with a mask attached to it"


def ignore_mask_warning() -> None:
    """Silences a false warning about every model of T5 and Swin."""
    warnings.filterwarnings("ignore", message=NO_LOSS, category=UserWarning)


def buildable_layers() -> dict[str, Any]:
    """Returns registered name -> class, for `keras.saving.custom_object_scope`.

    They have no `build`, so Keras 3.15 assumes that they are built when it reads a `.keras` file: it finds no place for the weights
    inside DeBERTa's `RelativeEmbedding` and T5's layers, and warns of it for those of Swin and MiT. keras-hub 0.32; not reported upstream for
    these layers when written, for those of SAM: keras-team/keras#23018.
    """
    from keras_hub.src.models.deberta_v3 import relative_embedding
    from keras_hub.src.models.mit import mit_layers
    from keras_hub.src.models.swin_transformer import swin_transformer_layers as swin_layers
    from keras_hub.src.models.t5 import t5_transformer_layer

    # The names of the classes are part of the paths in the file.
    class RelativeEmbedding(relative_embedding.RelativeEmbedding):  # type: ignore[misc]
        def build(self, input_shape: Any) -> None:
            self.layer_norm.build((1, 2 * self.bucket_size, self.hidden_dim))
            self.built = True

    class T5TransformerLayer(t5_transformer_layer.T5TransformerLayer):  # type: ignore[misc]
        """A layer of the encoder: tlkeras does not use the decoder."""

        def build(self, input_shape: Any) -> None:
            shape, attention = tuple(input_shape), self.self_attention
            projectors = [attention.query_projector, attention.key_projector, attention.value_projector, self.input_projector]
            for layer in [*projectors, *([self.gate_projector] if self.use_gated_activation else [])]:
                layer.build(shape)
            attention.output_projector.build((*shape[:-1], attention.inner_dim))
            self.output_projector.build((*shape[:-1], self.input_projector.units))
            for norm in (self.self_attention_layer_norm, self.layer_norm):
                norm.build(shape)
            self.built = attention.built = True

    class OverlappingPatchingAndEmbedding(mit_layers.OverlappingPatchingAndEmbedding):  # type: ignore[misc]
        def build(self, input_shape: Any) -> None:
            self.proj.build((None, None, None, input_shape[-1]))
            self.norm.build((None, None, self.project_dim))
            self.built = True

    class SwinTransformerBlock(swin_layers.SwinTransformerBlock):  # type: ignore[misc]
        def build(self, input_shape: Any) -> None:
            shape = (None, None, self.dim)
            self.attn.build(shape)  # makes its layers
            for layer in (self.norm1, self.attn.qkv, self.attn.proj, self.norm2, self.mlp.fc1):
                layer.build(shape)
            self.mlp.fc2.build((None, None, self.mlp.hidden_features))
            self.built = self.mlp.built = True

    class PatchMerging(swin_layers.PatchMerging):  # type: ignore[misc]
        def build(self, input_shape: Any) -> None:
            for layer in (self.norm, self.reduction):
                layer.build((None, None, None, 4 * self.dim))  # each place with its neighbours right and below
            self.built = True

    # They are not registered under the name of their package.
    known = (RelativeEmbedding, T5TransformerLayer, OverlappingPatchingAndEmbedding, SwinTransformerBlock, PatchMerging)
    return {kind.__name__: kind for kind in known}
