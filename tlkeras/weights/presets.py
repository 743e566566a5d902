"""Presets of KerasHub, and the folders that it reads: which one holds the weights, and its parts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkeras.errors import ConfigError, WeightsMismatch, WeightsUnavailable, reason
from tlkeras.registry import load_function
from tlkeras.weights import compat, downloads, preset_check
from tlkeras.weights.keras_file import check_safe_mode
from tlkeras.weights.sources import FIRST, HubPreset, Row, chosen_source, has_preset, is_path


def is_preset(row: Row, choice: str) -> bool:
    """Whether a `--weights` value means a preset of KerasHub: the row's own, or a folder."""
    return has_preset(row) and (choice in (*FIRST, "hub") or (is_path(choice) and Path(choice).expanduser().is_dir()))


@contextmanager
def folder(row: Row, choice: str, *, alternatives: str) -> Iterator[str]:
    """Yields the folder, or the preset handle, that holds weights (and, for texts, a vocabulary).

    Args:
        row: its row.
        choice: a `--weights` value.
        alternatives: other ways to get weights, for the end of a message.

    Raises:
        ConfigError, WeightsUnavailable: when there is none.
    """
    if choice == "none":
        raise ConfigError(f"{row.name} cannot be built with --weights none: its vocabulary is part of its weights; {alternatives}")
    if is_path(choice):
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
    source = chosen_source(row, choice)
    if source is None or not source.opens:
        raise WeightsUnavailable(f"{row.name} has no weights of the kind {choice!r}; {alternatives}")
    with load_function(source.opens)(row, source, alternatives=alternatives) as opened:
        yield str(opened)


@contextmanager
def handle(row: Row, source: HubPreset, *, alternatives: str) -> Iterator[str]:
    """Yields the handle of a preset, which KerasHub downloads; see `WeightsSource.opens`."""
    with downloads.with_alternatives(f"the weights of {row.name}", alternatives):
        yield source.preset


def read(row: Row, preset: str, what: str, **settings: Any) -> Any:
    """Reads a part of a preset.

    Args:
        row: its row.
        preset: folder or handle.
        what: `Backbone` or `Tokenizer`.
        settings: those that differ from the preset's.

    Raises:
        WeightsMismatch: when there is none that fits.
    """
    import keras_hub

    check_safe_mode(f"the preset {preset!r}")
    folder = Path(preset) if Path(preset).is_dir() else None
    if folder is not None:
        preset_check.check_files(folder)
    try:
        with preset_check.recorded() as used, preset_check.bounded_by(folder):
            part = getattr(keras_hub.models, f"{row.app}{what}").from_preset(preset, **settings)
        if folder is not None and isinstance(part, keras.Model):
            preset_check.check_weights(folder, part, used)
        return part
    except WeightsMismatch:
        raise
    except (ValueError, KeyError, TypeError, OSError, AttributeError, RuntimeError) as error:
        raise WeightsMismatch(f"{preset!r} contains no {what.lower()} for {row.name} that KerasHub can read: {reason(error)}") from error


@contextmanager
def without_warnings() -> Iterator[None]:
    """KerasHub converts with NumPy's old ways; its warnings are about itself."""
    compat.ignore_mask_warning()  # outside: the warning would come again whenever the model is called on symbols
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
