"""Text backbones of KerasHub: token ids -> one vector per token, flat, with their vocabulary; and how its presets are read."""

from __future__ import annotations

import fnmatch
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkeras.backbones import compat
from tlkeras.backbones.row import Backbone, HubPreset, WheelFolder
from tlkeras.errors import ConfigError, WeightsMismatch, WeightsUnavailable
from tlkeras.modalities.texts.tokenizers import TOKENIZERS
from tlkeras.modalities.texts.tokens import Tokens
from tlkeras.weights import loading

TOKEN_IDS = "token_ids"
ENCODER = "encoder_"  # how KerasHub begins the names of an encoder's inputs, where there is a decoder too


@dataclass(frozen=True, kw_only=True)
class TextModel:
    """A text backbone.

    Args:
        model: int32 token ids (batch, tokens, …) -> float32 (batch, tokens, features), or a list of such, one for each layer.
        mask: bool (batch, tokens), a tensor of the model: where a text is.
        tokens: texts -> token ids.
        sections: from input to output, as they are in this network.
    """

    model: keras.Model
    mask: keras.KerasTensor
    tokens: Tokens
    sections: tuple[tuple[str, str], ...]


def text(row: Backbone, choice: str) -> TextModel:
    """Builds a KerasHub backbone with its weights and its vocabulary.

    Args:
        row: its row.
        choice: `pretrained`, `wheel`, `hub`, or a folder in a layout that KerasHub reads: a preset of its own, or what
            Hugging Face calls a model folder (`config.json`, `model.safetensors`, vocabulary).

    Raises:
        WeightsUnavailable: when they are not available; `none` is not possible, because a vocabulary is part of the weights.
        WeightsMismatch: when the folder contains another network.
    """
    with folder(row, choice) as place, warnings_as_noise():
        base = _encoder(read(row, place, "Backbone"))
        tokenizer = read(row, place, "Tokenizer")
    tokens = _tokens(row, tokenizer, base)
    ids = keras.Input((None,), dtype="int32", name=TOKEN_IDS)
    mask = keras.ops.not_equal(ids, tokens.pad)
    given = {"token_ids": ids, "padding_mask": keras.ops.cast(mask, "int32"), "segment_ids": keras.ops.zeros_like(ids)}
    wanted = set(base.input) if isinstance(base.input, dict) else {"token_ids"}
    # Run again, so that its layers become layers of the model around it, not a model inside it.
    out = base.call({name: given[name.removeprefix(ENCODER)] for name in wanted} if isinstance(base.input, dict) else ids)
    sequence = out["sequence_output"] if isinstance(out, dict) else out
    model = keras.Model(ids, sequence, name=row.name.replace(".", "_"))
    return TextModel(model=model, mask=mask, tokens=tokens, sections=sections(row, model))


def _encoder(base: Any) -> Any:
    """Returns the encoder of a network that has a decoder too, as a network of its own; any other network as it is."""
    if not isinstance(base.output, dict) or f"{ENCODER}sequence_output" not in base.output:
        return base
    given = {name: tensor for name, tensor in base.input.items() if name.startswith(ENCODER)}
    return keras.Model(given, base.output[f"{ENCODER}sequence_output"])


def sections(row: Backbone, model: keras.Model) -> tuple[tuple[str, str], ...]:
    """Returns the row's sections, with as many layers as this network has: a folder can hold a smaller one."""
    (first, pattern), (name, block), *_ = row.sections
    names = [layer.name for layer in model.layers]
    found = [(name.replace("0", str(i)), block.replace("0", str(i))) for i in range(len(names))]
    return ((first, pattern), *(one for one in found if fnmatch.filter(names, one[1])))


def _tokens(row: Backbone, tokenizer: Any, base: Any) -> Tokens:
    kind = TOKENIZERS.get(row.tokenizer)
    start, end, pad = (None if name is None else int(getattr(tokenizer, f"{name}_token_id")) for name in row.specials)
    # BERT's own lowercasing goes with the removal of accents; KerasHub forgets the second when it reads such a folder.
    lowercase = bool(getattr(tokenizer, "lowercase", False))
    if hasattr(tokenizer, "lowercase"):
        tokenizer.lowercase, tokenizer.strip_accents = False, lowercase
    length = min(row.input_size, getattr(base, "max_sequence_length", row.input_size) or row.input_size)
    with tempfile.TemporaryDirectory() as folder:
        # As it will be read from a run: without the family's own handling of special tokens, which a text must not spell.
        kind.save(tokenizer, Path(folder))
        plain = kind.load(Path(folder), kind.settings(tokenizer))
    return Tokens(
        kind=kind, tokenizer=plain, start=start, end=end, pad=pad or 0, length=length, lowercase=lowercase, fixed=row.fixed_length
    )


def read(row: Backbone, place: str, what: str, **given: Any) -> Any:
    """Reads a part of a preset.

    Args:
        row: its row.
        place: folder or handle.
        what: `Backbone` or `Tokenizer`.
        given: settings that differ from the preset's.

    Raises:
        WeightsMismatch: when there is none that fits.
    """
    import keras_hub

    try:
        return getattr(keras_hub.models, f"{row.app}{what}").from_preset(place, **given)
    except (ValueError, KeyError, TypeError, OSError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsMismatch(f"{place!r} contains no {what.lower()} for {row.name} that KerasHub can read: {reason}") from error


@contextmanager
def folder(row: Backbone, choice: str) -> Iterator[str]:
    """Yields the folder, or the preset handle, that holds weights (and, for texts, a vocabulary).

    Raises:
        ConfigError, WeightsUnavailable: when there is none.
    """
    if choice == "none":
        raise ConfigError(f"{row.name} cannot be built with --weights none: its vocabulary is part of its weights; {ways(row)}")
    kinds = {source.kind: source for source in row.weights}
    if loading.is_file(choice):
        path = Path(choice).expanduser()
        if path.is_file():
            raise WeightsMismatch(
                f"{path.name!r} is a file; {row.name} needs a folder, because config.json and the vocabulary belong to the weights: "
                f"--weights {str(path.parent)!r}, if they are in the same folder"
            )
        if not path.is_dir():
            raise WeightsUnavailable(
                f"no folder {choice!r}; expected a KerasHub preset, or a folder with config.json and model.safetensors"
            )
        yield str(path.resolve())
        return
    source = row.weights[0] if choice in loading.FIRST else kinds.get(choice)
    if isinstance(source, WheelFolder):
        with loading.wheel_folder(row, source) as path:
            yield str(path)
    elif isinstance(source, HubPreset):
        with _download(row):
            yield source.preset
    else:
        raise WeightsUnavailable(f"{row.name} has no weights of the kind {choice!r}; {ways(row)}")


@contextmanager
def _download(row: Backbone) -> Iterator[None]:
    """Gives up on a silent host after seconds, and names the alternatives."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(loading.PATIENCE)
    try:
        yield
    except Exception as error:  # kagglehub, huggingface_hub and requests raise many kinds
        if isinstance(error, ConfigError):
            raise
        reason = " ".join(str(error).split())[:160]
        raise WeightsUnavailable(f"the weights of {row.name} cannot be downloaded ({reason}); {ways(row)}") from error
    finally:
        socket.setdefaulttimeout(before)


def ways(row: Backbone) -> str:
    """Returns every way to get weights for a row, for the end of a message."""
    return WAYS[row.modality](row)


def _ways_of_texts(row: Backbone) -> str:
    return "instead: " + ", or ".join(
        [
            "--weights FOLDER with a KerasHub preset or a Hugging Face model folder",
            *(f"--backbone {name}, from the package index" for name in ready() if name != row.name),
        ]
    )


WAYS = {"text": _ways_of_texts, "image": loading.ways}


def ready() -> list[str]:
    """Returns the text rows whose weights come from the package index."""
    from tlkeras.backbones.registry import BACKBONES

    return [one.name for one in BACKBONES if any(isinstance(source, WheelFolder) for source in one.weights)]


@contextmanager
def warnings_as_noise() -> Iterator[None]:
    """KerasHub converts with NumPy's old ways; its warnings are about itself."""
    import warnings as python_warnings

    compat.quiet()  # outside: the warning would come again whenever the model is called on symbols
    with python_warnings.catch_warnings(), np.errstate(all="ignore"):
        python_warnings.simplefilter("ignore", DeprecationWarning)
        yield
