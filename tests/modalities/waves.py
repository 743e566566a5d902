"""A throw-away modality: this module, and the row at its end. Files of whitespace-separated numbers, one step on each line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from tlkeras.data.examples import Issue
from tlkeras.data.file_kinds import FileKind
from tlkeras.errors import DataError
from tlkeras.modalities.card import InputCard
from tlkeras.modalities.registry import Modality
from tlkeras.modalities.sequences.inputs import Sequences
from tlkeras.modalities.sequences.inputs import facts as facts_of_sequences

HERE = "tests.modalities.waves"
TENSOR = "wave"
FILES = FileKind(
    noun="waves", endings=frozenset({".wave"}), format="a wave format", other="not-a-wave", examples=(".wave",), read=f"{HERE}:read"
)


def read(path: Path, name: str, columns: Any, notes: list[Issue]) -> dict[str, Any] | Issue:
    try:
        return {"array": np.loadtxt(path, dtype="float32", ndmin=2)}
    except (OSError, ValueError) as error:
        return Issue(kind="not-a-wave", path=name, reason=str(error), action="skipped")


@dataclass(frozen=True, kw_only=True)
class Waves(Sequences):
    modality: str = "wave"
    noun: str = "wave"
    files: FileKind = FILES

    def read(self, value: Any, name: str | None = None) -> np.ndarray:
        if isinstance(value, str | Path):
            content = read(Path(value), str(value), None, [])
            if isinstance(content, Issue):
                raise DataError(f"{name or value}: {content.reason}")
            value = content["array"]
        return super().read(value, name)

    def metadata(self) -> dict[str, str]:
        return {**super().metadata(), "modality": self.modality}


def of_task(model: Any, tokens: Any, config: Any, dataset: Any) -> tuple[Waves, list[Issue]]:
    return of_model(model, config, None), []


def of_model(model: Any, config: Any, folder: Path | None) -> Waves:
    _, time, features = model.inputs[0].shape
    return Waves(time=time, features=features)


def of_metadata(metadata: Mapping[str, str], folder: Path) -> Waves:
    return Waves(time=int(metadata["time"]), features=int(metadata["features"]))


def facts(dataset: Any, config: Any) -> dict[str, Any]:
    return facts_of_sequences(dataset, config)


def card(metadata: Mapping[str, str], config: Mapping[str, Any]) -> InputCard:
    return InputCard(noun="wave", accepts=f"It accepts waves of {metadata['time']} steps.", encoded=None, file="wave.npy")


def samples(config: Any) -> list[str]:
    return ["RECORDING.wave"]


def network(row: Any, told: Mapping[str, Any]) -> keras.Model:
    inputs = keras.Input((told["time"], told["features"]), name=TENSOR)
    return keras.Model(inputs, layers.GRU(row.options["hidden_size"], return_sequences=True, unroll=True, name="rnn0")(inputs))


ROW = Modality(
    name="wave",
    noun="wave",
    plural="waves",
    owns=lambda example: example.id.endswith(".wave"),
    config_keys=("max_length",),
    tensor=TENSOR,
    of_task=f"{HERE}:of_task",
    of_model=f"{HERE}:of_model",
    of_metadata=f"{HERE}:of_metadata",
    facts=f"{HERE}:facts",
    items="tlkeras.modalities.items:files",
    standard_input="tlkeras.modalities.items:files_on_standard_input",
    files=FILES,
    card=f"{HERE}:card",
    samples=f"{HERE}:samples",
    backbone="wave-net",
)


def backbone(rnn: Any) -> Any:
    """Returns the row of a network of waves, made from that of a network of sequences."""
    return replace(rnn, name="wave-net", family="wave-net", modality=ROW.name, builder=f"{HERE}:network", objective=None)
