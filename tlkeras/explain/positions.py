"""Which tensors of a network have positions of an image: those of convolutions, and rows of tokens that are a grid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

TRIED = 16  # tensors of a transformer that are looked at from its end
SMALLEST_PATCH = 4  # pixels; convolutions with smaller strides do not cut an image into patches


@dataclass(frozen=True, kw_only=True)
class Positions:
    """A tensor of a model with positions.

    Args:
        tensor: (batch, height, width, channels), or (batch, tokens, channels).
        height, width: of its grid.
        before: tokens before those of the grid, such as the class token; 0 for convolutions.
        name: of the operation that gives it.
    """

    tensor: Any
    height: int
    width: int
    before: int
    name: str

    @property
    def is_row(self) -> bool:
        """Whether it is a row of tokens."""
        return self.tensor.ndim == 3

    def grid(self, values: np.ndarray) -> np.ndarray:
        """Returns values of the tensor as (batch, height, width, channels), without the tokens before."""
        if not self.is_row:
            return values
        tokens = values[:, self.before : self.before + self.height * self.width]
        return tokens.reshape(len(values), self.height, self.width, values.shape[-1])


def positions(model: keras.Model) -> list[Positions]:
    """Returns the tensors with positions that are the nearest to the output: the last one of a convolutional network, the last ones of a transformer."""
    rows_of_tokens: list[Positions] = []
    for candidate in _candidates(model):
        if not candidate.is_row:
            return rows_of_tokens or [candidate]
        rows_of_tokens.append(candidate)
        if len(rows_of_tokens) == TRIED:
            break
    return rows_of_tokens


def _candidates(model: keras.Model) -> Iterator[Positions]:
    """Yields tensors with positions, from output to input."""
    if model.inputs[0].ndim != 4:
        return
    _, rows, columns, _ = model.inputs[0].shape
    patch, learnt = patch_size(model), _above_weights(model)
    for depth in sorted(model._nodes_by_depth):
        for node in model._nodes_by_depth[depth]:
            if id(node) not in learnt:
                continue
            for tensor in node.output_tensors:
                grid = _grid(tensor, rows, columns, patch)
                if grid:
                    height, width, before = grid
                    yield Positions(tensor=tensor, height=height, width=width, before=before, name=node.operation.name)


def _above_weights(model: keras.Model) -> set[int]:
    """Returns the ids of the nodes whose tensors depend on weights: the image and its input contract have positions, and say nothing of the network."""
    nodes: set[int] = set()
    tensors: set[int] = set()
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            has_weights = isinstance(node.operation, keras.layers.Layer) and bool(node.operation.weights)
            if has_weights or any(id(tensor) in tensors for tensor in node.input_tensors):
                nodes.add(id(node))
                tensors |= {id(tensor) for tensor in node.output_tensors}
    return nodes


def _grid(tensor: Any, rows: int, columns: int, patch: int | None) -> tuple[int, int, int] | None:
    """Returns height, width and tokens before the grid of a tensor, or None where it has no positions."""
    shape = tensor.shape
    if None in shape[1:] or "float" not in str(tensor.dtype):
        return None
    if len(shape) == 4 and shape[1] * shape[2] > 1:
        return shape[1], shape[2], 0
    if len(shape) != 3 or patch is None:
        return None
    return token_grid(shape[1], rows // patch, columns // patch)


def token_grid(tokens: int, height: int, width: int) -> tuple[int, int, int] | None:
    """Returns the grid of a row of tokens: (height, width, tokens before it), or None where it is none.

    Args:
        tokens: in the row.
        height, width: of the image, in patches.

    Example:
        >>> token_grid(198, 14, 14)  # a class token and a distillation token
        (14, 14, 2)
        >>> token_grid(49, 56, 56)  # patches that were merged three times
        (7, 7, 0)
    """
    if tokens >= height * width > 1:
        return height, width, tokens - height * width
    merged = math.isqrt(height * width // tokens) if tokens > 1 else 0
    if merged > 1 and height % merged == 0 and width % merged == 0 and height * width == tokens * merged**2:
        return height // merged, width // merged, 0
    return None


def patch_size(model: keras.Model) -> int | None:
    """Returns the side of the patches that a transformer cuts an image into, in pixels; None where there is no such layer."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Conv2D):
            stride, kernel = layer.strides[0], layer.kernel_size[0]
            return int(stride) if stride == kernel and stride >= SMALLEST_PATCH else None
    return None
