"""Use an entry from Python, by any of its artifacts: the same answers from all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.errors import DataError, ZooError
from tlkeras.zoo.card import RUNTIMES
from tlkeras.zoo.store import Entry, Zoo, default_root, verify_files


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer for one picture: label, its score, and the scores of all labels."""

    label: str
    score: float
    scores: dict[str, float] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Model:
    """An entry, opened in one runtime.

    Args:
        entry: what was opened.
        runtime: name and version of what runs it.
        labels: the label map.
        scores: uint8 pictures (n, size, size, 3), or int32 token ids (n, tokens) -> float32 (n, classes).
        tokens: texts -> token ids, for an entry that takes texts.
    """

    entry: Entry
    runtime: str
    labels: tuple[str, ...]
    scores: Callable[[np.ndarray], np.ndarray]
    tokens: Callable[[Sequence[str]], np.ndarray] | None = None

    def predict(self, inputs: Iterable[str | Path | bytes | np.ndarray]) -> list[Prediction]:
        """Predicts pictures or texts.

        Args:
            inputs: pictures: paths, encoded pictures (bytes), or uint8 arrays (height, width, channels) of any size, RGB 0-255;
                texts: strings.

        Returns:
            One prediction each, in their order.

        Raises:
            DataError: naming the input that is no picture or no text.
        """
        given = list(inputs)
        if not given:
            return []
        if self.tokens is not None:
            return [self._named(scores) for scores in self.scores(self.tokens([_text(one, i) for i, one in enumerate(given)]))]
        metadata = self.entry.manifest["metadata"]
        pictures = np.stack([_picture(one, i, _Wanted.of(metadata)) for i, one in enumerate(given)])
        return [self._named(scores) for scores in self.scores(pictures)]

    def _named(self, scores: np.ndarray) -> Prediction:
        best = int(scores.argmax())
        named = {label: float(score) for label, score in zip(self.labels, scores, strict=True)}
        return Prediction(label=self.labels[best], score=float(scores[best]), scores=named)


def load(name: str, *, version: int | str | None = None, runtime: str = "savedmodel", root: str | Path | None = None) -> Model:
    """Opens an entry of the zoo.

    The hashes of all its files are checked first; nothing of it is executed but the model in its runtime.

    Args:
        name: `NAME`, or `NAME/VERSION`.
        version: an integer, `"stable"`, or None for the promoted version, else the newest.
        runtime: `keras`, `savedmodel`, `tflite`, `onnx`, or a format of the entry, for example `tflite-int8`.
        root: folder of the zoo; `TLKERAS_ZOO`, else `zoo/models`, when None.

    Returns:
        The model; `.predict([...])` answers.

    Raises:
        ZooError: when there is no such entry, it is damaged, or has nothing for the runtime.

    Example:
        ```python
        tlkeras.zoo.load("digits").predict(["three.png"])[0].label
        ```
    """
    from tlkeras.startup import load_tensorflow

    entry = Zoo(default_root() if root is None else root).get(name, version)
    wrong = verify_files(entry)
    if wrong:
        raise ZooError(f"{entry} is not as it was published: {wrong[0]}; get it again, or publish it anew")
    if entry.manifest["labels"] is None:
        raise ZooError(f"{entry} has no labels: it is a pretrained network; use it as --backbone zoo:{entry.name}")
    load_tensorflow()
    scores, told = _keras(entry) if runtime == "keras" else _artifact(entry, runtime)
    tokens = _tokens(entry) if entry.manifest["metadata"].get("modality") == "text" else None
    return Model(entry=entry, runtime=told, labels=tuple(entry.manifest["labels"]), scores=scores, tokens=tokens)


def _tokens(entry: Entry) -> Any:
    from tlkeras.backbones.tokens import load

    return load(entry.path / "tokenizer")


def _text(given: Any, place: int) -> str:
    if isinstance(given, bytes):
        return given.decode("utf-8", "replace")
    if not isinstance(given, str):
        raise DataError(f"input {place} is {type(given).__name__}; expected a text")
    return given


def _artifact(entry: Entry, runtime: str) -> tuple[Any, str]:
    from tlkeras.export.read import open_artifact

    there = entry.manifest["artifacts"]
    found = [one for one in RUNTIMES.get(runtime, (runtime,)) if one in there]
    if not found:
        known = [one for one, kinds in RUNTIMES.items() if set(kinds) & set(there)]
        raise ZooError(f"{entry} has nothing for the runtime {runtime!r}; it has {', '.join(['keras', *known, *there])}")
    predictor = open_artifact(entry.artifact(found[0]))
    return predictor.scores, predictor.runtime


def _keras(entry: Entry) -> tuple[Any, str]:
    import keras

    from tlkeras.backbones import contracts  # noqa: F401 - registers the layers of input contracts
    from tlkeras.backbones.weights import read_keras

    path = entry.path / "model.keras"
    if not path.is_file():
        raise ZooError(f"{entry} has no model.keras; use another runtime")
    model = read_keras(path)

    kind = model.inputs[0].dtype

    def scores(inputs: np.ndarray) -> np.ndarray:
        parts = [model.predict_on_batch(np.asarray(inputs[i : i + 32], kind)) for i in range(0, len(inputs), 32)]
        return np.concatenate([np.asarray(part, "float32") for part in parts])

    return scores, f"keras {keras.__version__}"


@dataclass(frozen=True)
class _Wanted:
    """What pictures an entry takes."""

    size: int
    resize: str
    channels: int

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> _Wanted:
        return cls(int(metadata["image_size"]), metadata["resize"], int(metadata.get("channels", 3)))


def _picture(given: str | Path | bytes | np.ndarray, place: int, wanted: _Wanted) -> np.ndarray:
    import tensorflow as tf

    from tlkeras.data import decode
    from tlkeras.data.formats import decodable, read_image_bytes

    if isinstance(given, np.ndarray):
        if given.dtype != np.uint8 or given.ndim not in (2, 3):
            raise DataError(f"input {place} is {given.dtype} of shape {given.shape}; expected uint8 (height, width, channels)")
        if not decode.fits(given, wanted.channels):
            raise DataError(f"input {place} has the shape {given.shape}; the entry takes pictures of {wanted.channels} channels")
        return np.asarray(decode.resize_image(tf.constant(decode.as_channels(given, wanted.channels)), wanted.size, wanted.resize))
    if wanted.channels not in (1, 3):
        raise DataError(f"input {place} is a picture file; the entry takes uint8 arrays (height, width, {wanted.channels})")
    what = f"input {place}" if isinstance(given, bytes) else str(given)
    try:
        content = decodable(given) if isinstance(given, bytes) else read_image_bytes(Path(given))
        return np.asarray(decode.decode_and_resize(tf.constant(content), wanted.size, wanted.resize, wanted.channels))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise DataError(f"{what} is no picture that can be read: {' '.join(str(error).split())[:200]}") from error
