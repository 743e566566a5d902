"""Layers of KerasHub whose saved form cannot be read back, with what they lack."""

from __future__ import annotations

import warnings
from typing import Any

# T5's attention is given its mask as an argument, and uses it; Keras takes it for one that is lost (keras-hub 0.32).
NO_LOSS = r"Layer '\w+' \(of type T5MultiHeadAttention\) was passed an input with a mask attached to it"


def quiet() -> None:
    """Silences one warning that would come with every model of T5, and says nothing that is true."""
    warnings.filterwarnings("ignore", message=NO_LOSS, category=UserWarning)


def layers() -> dict[str, Any]:
    """Returns registered name -> class, for `keras.saving.custom_object_scope`.

    DeBERTa's `RelativeEmbedding` and T5's layers have no `build`, so that Keras 3.15 takes them for built when it reads a `.keras`
    file, and then finds no place for the weights inside (keras-hub 0.32).
    """
    from keras_hub.src.models.deberta_v3 import relative_embedding
    from keras_hub.src.models.t5 import t5_transformer_layer

    # The names of the classes are part of the paths in the file.
    class RelativeEmbedding(relative_embedding.RelativeEmbedding):  # type: ignore[misc]
        def build(self, input_shape: Any) -> None:
            self.layer_norm.build((1, 2 * self.bucket_size, self.hidden_dim))
            self.built = True

    class T5TransformerLayer(t5_transformer_layer.T5TransformerLayer):  # type: ignore[misc]
        """A layer of the encoder: tlkeras takes nothing of the decoder."""

        def build(self, input_shape: Any) -> None:
            shape, attention = tuple(input_shape), self.self_attention
            given = [attention.query_projector, attention.key_projector, attention.value_projector, self.input_projector]
            for layer in [*given, *([self.gate_projector] if self.use_gated_activation else [])]:
                layer.build(shape)
            attention.output_projector.build((*shape[:-1], attention.inner_dim))
            self.output_projector.build((*shape[:-1], self.input_projector.units))
            for norm in (self.self_attention_layer_norm, self.layer_norm):
                norm.build(shape)
            self.built = attention.built = True

    # They are not registered under the name of their package.
    return {"RelativeEmbedding": RelativeEmbedding, "T5TransformerLayer": T5TransformerLayer}
