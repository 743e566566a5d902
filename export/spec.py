"""What the exporters must know in addition to the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

SCORES, FEATURES = "scores", "features"  # names of outputs


def as_array(values: Any, dtype: str) -> np.ndarray:
    """Returns values as an array of a tensor's type; strings are Unicode arrays, which `.npz` files hold without pickle."""
    return np.asarray(values, str if dtype == "string" else dtype)


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """Name, shape (None where free) and dtype of an input or output."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def to_dict(self) -> dict[str, Any]:
        """Returns what the manifest holds."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}


class Judged(Protocol):
    """What a judge says of the scores of an artifact on held-out examples."""

    @property
    def agreement(self) -> float | None:
        """Share of the examples with the same answer as the Keras model."""

    @property
    def accuracy(self) -> float | None:
        """How good the answers are by the targets; larger is better."""

    @property
    def drop(self) -> float | None:
        """How much worse they are than those of the Keras model: what quantised formats have a budget of."""

    @property
    def sentence(self) -> str:
        """What an error states where the drop is too large; continues the name of the format."""


# (scores of the artifact, scores of the Keras model, targets or None) -> verdict; None where the scores cannot be judged.
Judge = Callable[[np.ndarray, np.ndarray, Any], Judged | None]
# (scores, which examples could be read) -> further outputs by name, in TensorFlow.
Signature = Callable[[Any, Any], Mapping[str, Any]]
# (scores, features or None) -> which examples are like those that the model was trained on, bool (n,), in TensorFlow.
Known = Callable[[Any, Any], Any]


@dataclass(frozen=True, kw_only=True)
class Interface:
    """The inputs and outputs of a model: all that is needed to run and compare one of its artifacts.

    Args:
        inputs: in the order of the model.
        output_names: in the order of the model.
        labels: the label map, or None.
        judge, signature, known: see `ExportSpec`; no part of the comparison of two interfaces.
    """

    inputs: tuple[Tensor, ...]
    output_names: tuple[str, ...]
    labels: tuple[str, ...] | None = None
    judge: Judge | None = field(default=None, compare=False, repr=False)
    signature: Signature | None = field(default=None, compare=False, repr=False)
    known: Known | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class ExportSpec:
    """How a model is called and what its answers mean.

    Args:
        labels: what the columns of the scores are called; None where they have no names.
        columns: how the columns of the scores are read, in groups that follow one another; empty where that is not known. Each group is
            what JSON holds of it: `name` (empty for the only group), `columns` (what its columns are called), and `read`: `largest`
            (the largest score is the answer), `thresholds` (every score that reaches its number in `thresholds`), or `values` (each is a
            number by itself).
        judge: judges the scores of an artifact on held-out examples. Quantised formats must be within budget by its figures, instead
            of the tolerance of their format. Without it, artifacts are compared with the model numerically only.
        signature: adds outputs to those of a SavedModel that accepts encoded examples, such as the label of each. They are verified.
        known: which examples are like those that the model was trained on: the output `known` beside those of `signature`, 1 or 0, and -1
            where no example could be read. It is verified.
        decode: encoded image (scalar string tensor) -> uint8 (size, size, 3), in core TensorFlow; traced into the
            SavedModel. None for models that do not accept images.
        tokenise: texts (strings (n,)) -> token ids (n, tokens), in TensorFlow; traced into the SavedModel. None for models that
            do not accept texts.
        tracked: what `tokenise` uses and a SavedModel must keep: tables, for example.
        vocabulary: of a BERT tokeniser, by id: TFLite files then accept `ids`, `mask` and `segment_ids` and contain it, as MediaPipe's
            `TextClassifier` requires.
        assets: writes the files that artifacts without a tokeniser need into a folder; None without any.
        features_layer: layer whose output is the signature `embed`.
        metadata: texts that are stored with the artifacts (resize mode, backbone, …).
        manifest_metadata: further ones that only the manifest of their folder holds.
    """

    labels: tuple[str, ...] | None = None
    columns: Sequence[Mapping[str, Any]] = ()
    judge: Judge | None = None
    signature: Signature | None = None
    known: Known | None = None
    decode: Callable[[Any], Any] | None = None
    tokenise: Callable[[Any], Any] | None = None
    tracked: Sequence[Any] = ()
    vocabulary: tuple[str, ...] | None = None
    assets: Callable[[Any], None] | None = None
    features_layer: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    manifest_metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """What the score of each label must reach for it to hold, where an example may have several labels or none; None elsewhere.

        TFLite files contain them as MediaPipe applies them.
        """
        return self.columns[0].get("thresholds") if self.labels is not None and self.columns else None
