"""Layers of KerasHub whose saved form cannot be read back, with what they lack."""

from __future__ import annotations

from typing import Any


def layers() -> dict[str, Any]:
    """Returns registered name -> class, for `keras.saving.custom_object_scope`.

    DeBERTa's `RelativeEmbedding` has no `build`, so that Keras 3.15 takes it for built when it reads a `.keras` file, and then
    finds no place for the weights of the normalisation inside (keras-hub 0.32).
    """
    from keras_hub.src.models.deberta_v3 import relative_embedding

    # The name of the class is part of the paths in the file.
    class RelativeEmbedding(relative_embedding.RelativeEmbedding):  # type: ignore[misc]
        def build(self, input_shape: Any) -> None:
            self.layer_norm.build((1, 2 * self.bucket_size, self.hidden_dim))
            self.built = True

    return {"RelativeEmbedding": RelativeEmbedding}  # it is not registered under the name of its package
