"""Text backbones of KerasHub: token ids -> one vector per token, flat, with their vocabulary."""

from __future__ import annotations

import fnmatch
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from tlkeras.backbones import alternatives
from tlkeras.backbones.row import Backbone
from tlkeras.modalities.texts.tokenizers import TOKENIZERS
from tlkeras.modalities.texts.tokens import Tokens
from tlkeras.weights import preset_check, presets

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
    with presets.folder(row, choice, alternatives=alternatives.ways(row)) as preset, presets.without_warnings():
        network = presets.read(row, preset, "Backbone")
        tokenizer = presets.read(row, preset, "Tokenizer")
        preset_check.check_vocabulary(preset, int(tokenizer.vocabulary_size()), network)
        base = _encoder(network)
    tokens = _tokens(row, tokenizer, base)
    ids = keras.Input((None,), dtype="int32", name=TOKEN_IDS)
    mask = keras.ops.not_equal(ids, tokens.pad)
    inputs = {"token_ids": ids, "padding_mask": keras.ops.cast(mask, "int32"), "segment_ids": keras.ops.zeros_like(ids)}
    # Run again, so that its layers become layers of the model around it, not a model inside it.
    out = base.call({name: inputs[name.removeprefix(ENCODER)] for name in base.input} if isinstance(base.input, dict) else ids)
    sequence = out["sequence_output"] if isinstance(out, dict) else out
    model = keras.Model(ids, sequence, name=row.name.replace(".", "_"))
    return TextModel(model=model, mask=mask, tokens=tokens, sections=sections(row, model))


def _encoder(base: Any) -> Any:
    """Returns the encoder of a network that has a decoder too, as a network of its own; any other network as it is."""
    if not isinstance(base.output, dict) or f"{ENCODER}sequence_output" not in base.output:
        return base
    inputs = {name: tensor for name, tensor in base.input.items() if name.startswith(ENCODER)}
    return keras.Model(inputs, base.output[f"{ENCODER}sequence_output"])


def sections(row: Backbone, model: keras.Model) -> tuple[tuple[str, str], ...]:
    """Returns the row's sections, with as many layers as this network has: a folder can hold a smaller one."""
    (first, pattern), (name, block), *_ = row.sections
    names = [layer.name for layer in model.layers]
    candidates = [(name.replace("0", str(i)), block.replace("0", str(i))) for i in range(len(names))]
    return ((first, pattern), *(section for section in candidates if fnmatch.filter(names, section[1])))


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
