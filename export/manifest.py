"""`manifest.json` beside the artifacts: labels, inputs, and the record of each verification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkeras import __version__, files
from tlkeras.errors import ExportError, printable, reason, shown
from tlkeras.export.checksum import SAVED_MODEL, measure, private_copy
from tlkeras.export.spec import Interface, Tensor

if TYPE_CHECKING:  # both load TensorFlow
    from tlkeras.export.graph import Graph

NAME, LABELS = "manifest.json", "labels.txt"
LONGEST_NAME = 255  # bytes of the name of a file, for common file systems
FORMAT = 1  # of manifests, and of the files beside them
# What readers of a manifest rely on; see `files.misfit`.
SHAPE = {"labels": ([str], None), "metadata": {...: str}, "artifacts": {...: {"path": str, "bytes?": int, "sha256?": str}}}
INTERFACE = {"inputs": [{"name": str, "shape": [(int, None)], "dtype": str}], "outputs": [str], "labels": ([str], None)}


def write_manifest(folder: str | Path, graph: Graph, records: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes `manifest.json`, and `labels.txt` for a classifier, each whole or not at all.

    Args:
        folder: of the artifacts.
        graph: what they were made from.
        records: format -> `Artifact.to_dict()`.
    """
    labels = graph.spec.labels
    content = {
        "format": FORMAT,
        "tlkeras": __version__,
        "labels": None if labels is None else list(labels),
        "inputs": [one.to_dict() for one in graph.inputs],
        "outputs": list(graph.output_names),
        "metadata": {**graph.spec.metadata, **graph.spec.manifest_metadata},
        "artifacts": {name: dict(record) for name, record in records.items()},
    }
    if labels is not None:
        files.write(Path(folder) / LABELS, "".join(f"{label}\n" for label in labels))
    files.write_json(Path(folder) / NAME, content)


def interface_of(content: Mapping[str, Any]) -> Interface:
    """Returns the inputs and outputs of the model of a manifest.

    Raises:
        ExportError: when the manifest does not state them.
    """
    problem = files.misfit(content, INTERFACE, "the manifest")
    if problem:
        raise ExportError(f"the manifest does not describe the model's inputs and outputs: {printable(problem)}; export again")
    inputs = tuple(Tensor(name=one["name"], shape=tuple(one["shape"]), dtype=one["dtype"]) for one in content["inputs"])
    labels = content["labels"]
    return Interface(inputs=inputs, output_names=tuple(content["outputs"]), labels=None if labels is None else tuple(labels))


def earlier_records(folder: Path, interface: Interface) -> dict[str, Any]:
    """Returns the records of the artifacts that are already in a folder: format -> record.

    Raises:
        ExportError: when they were made from a model with other inputs, outputs or labels.
    """
    if not (folder / NAME).exists():
        return {}
    content = read_manifest(folder)
    if interface_of(content) != interface:
        raise ExportError(
            f"{str(folder)!r} contains artifacts of a model with other inputs, outputs or labels; remove them, or choose another folder with --out"
        )
    return {name: record for name, record in content["artifacts"].items() if (folder / record["path"]).exists()}


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Reads the manifest of a folder of artifacts.

    Raises:
        ExportError: when there is none, it is not a manifest, or that of a later tlkeras.
    """
    path = Path(folder) / NAME
    try:
        content = files.read_json(path)
    except FileNotFoundError:
        raise ExportError(f"no {NAME} in {str(folder)!r}; it stores the labels and the resize mode of an artifact") from None
    except (OSError, ValueError) as error:
        raise ExportError(f"cannot read {str(path)!r}: {reason(error)}") from error
    if isinstance(content, dict):
        files.check_format(path, content, ExportError, FORMAT)
    problem = files.misfit(content, SHAPE)
    if problem:
        raise ExportError(f"{str(path)!r} is not a manifest: {printable(problem)}; export again")
    for name, record in content["artifacts"].items():
        where = record["path"]
        if where in ("", "..") or not where.isprintable() or any(sign in where for sign in "/\\") or len(where.encode()) > LONGEST_NAME:
            raise ExportError(
                f"{str(path)!r} says of {shown(name)} that it is at {shown(where)}; expected the name of a file beside it; export again"
            )
    return content


@contextmanager
def unchanged(folder: str | Path, path: str | Path) -> Iterator[Path]:
    """Yields a copy of an artifact that has the hash of its verification or publication; one of which none is recorded passes.

    Args:
        folder: of the manifest.
        path: of the artifact, in that folder; the SavedModel of an entry of the zoo is the folder itself.

    Raises:
        ExportError: when it is another file than the one that was verified.
    """
    folder, path = Path(folder), Path(path)
    content, is_folder = read_manifest(folder), path.resolve() == folder.resolve()
    with private_copy(path if is_folder else path.parent, SAVED_MODEL if is_folder else [path.name]) as copies:
        copy = copies if is_folder else copies / path.name
        for name, record in content["artifacts"].items():
            if (folder / record["path"]).resolve() == path.resolve() and record.get("sha256"):
                size, sha256 = measure(copy)
                if sha256 != record["sha256"]:
                    raise ExportError(
                        f"{str(path)!r} has changed since it was verified as {name} ({size:,} bytes, was {record.get('bytes', 0):,}); export again"
                    )
        published = _published(content)
        for file in copies.rglob("*"):
            name = file.relative_to(copies).as_posix()
            if name in published and measure(file)[1] != published[name]:
                raise ExportError(f"{str(path)!r} has changed since it was published: {name}; download it again, or publish it again")
        yield copy


def _published(content: Mapping[str, Any]) -> dict[str, str]:
    """Returns name of a file -> its sha256, for the manifest of an entry of the zoo; nothing for others."""
    listed = content.get("files")
    records = listed.items() if isinstance(listed, dict) else ()
    return {name: record["sha256"] for name, record in records if isinstance(record, dict) and isinstance(record.get("sha256"), str)}
