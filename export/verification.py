"""`verification.npz`: the samples on which the artifacts were compared, and the answers of each.

With it an artifact can be verified again at any time, without the data and without the Keras model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlkeras import files
from tlkeras.errors import ExportError
from tlkeras.export.artifact import Artifact
from tlkeras.export.parity import Reference, Samples
from tlkeras.export.spec import Interface, as_array
from tlkeras.files import read_npz

NAME = "verification.npz"
ENCODED = 3  # encoded images that are kept: enough to try a batch, few enough to be small


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The samples and answers that artifacts were compared on.

    Args:
        samples: the inputs, and encoded images of the first of them.
        expected: outputs of the Keras model.
        answers: format -> output -> values of the artifact.
    """

    samples: Samples
    expected: Reference
    answers: Mapping[str, Mapping[str, np.ndarray]]


def write(
    folder: Path, interface: Interface, samples: Samples, expected: Reference, artifacts: Sequence[Artifact], formats: Iterable[str] = ()
) -> None:
    """Writes samples and answers beside the artifacts, whole or not at all.

    Args:
        folder: of the artifacts.
        interface: of their model.
        samples, expected: what they were compared on.
        artifacts: those that are new.
        formats: all that stand in the folder; of those that are not new, the answers to the same samples are kept.
    """
    arrays = {f"inputs/{one.name}": _small(as_array(samples.inputs[one.name], one.dtype)) for one in interface.inputs}
    arrays |= {f"pictures/{i}": np.frombuffer(content, "uint8") for i, content in enumerate(samples.encoded[:ENCODED])}
    arrays |= {f"expected/{name}": value for name, value in expected.outputs.items()}
    if (folder / NAME).exists():
        arrays |= _answers_kept(folder, interface, samples, set(formats) - {artifact.format for artifact in artifacts})
    for artifact in artifacts:
        if artifact.verdict:
            arrays |= {f"answers/{artifact.format}/{name}": value for name, value in artifact.verdict.answers.items()}
    files.write_npz(folder / NAME, arrays)


def _answers_kept(folder: Path, interface: Interface, samples: Samples, formats: set[str]) -> dict[str, np.ndarray]:
    """Returns what earlier artifacts answered, where they were asked the same; of others, the model's answers count."""
    before = read(folder, interface)
    if not all(np.array_equal(before.samples.inputs[one.name], as_array(samples.inputs[one.name], one.dtype)) for one in interface.inputs):
        return {}
    return {f"answers/{name}/{output}": value for name in formats for output, value in before.answers.get(name, {}).items()}


def _small(array: np.ndarray) -> np.ndarray:
    """Returns images of whole numbers 0-255 as bytes: a quarter of the size."""
    if array.dtype == "float32" and array.size and np.array_equal(array, array.astype("uint8")):
        return array.astype("uint8")
    return array


def read(folder: str | Path, interface: Interface) -> Verification:
    """Reads the samples and answers of a folder of artifacts.

    Raises:
        ExportError: when there is none, or it is damaged.
    """
    path = Path(folder) / NAME
    try:
        held = read_npz(path)
    except FileNotFoundError:
        raise ExportError(f"no {NAME} in {str(folder)!r}; it stores the samples to verify on; export again") from None
    except (OSError, ValueError, EOFError) as error:
        raise ExportError(f"cannot read {str(path)!r}: {error}") from error
    missing = [one.name for one in interface.inputs if f"inputs/{one.name}" not in held]
    if missing:
        raise ExportError(f"{str(path)!r} has no samples of {', '.join(missing)}; export again")
    inputs = {one.name: as_array(held[f"inputs/{one.name}"], one.dtype) for one in interface.inputs}
    answers: dict[str, dict[str, np.ndarray]] = {}
    for key, value in _under(held, "answers").items():
        name, output = key.split("/", 1)
        answers.setdefault(name, {})[output] = value
    encoded = _under(held, "pictures")
    return Verification(
        samples=Samples(inputs=inputs, encoded=[encoded[str(i)].tobytes() for i in range(len(encoded))]),
        expected=Reference(outputs=_under(held, "expected"), score=None),
        answers=answers,
    )


def _under(held: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(f"{prefix}/"): value for key, value in held.items() if key.startswith(f"{prefix}/")}
