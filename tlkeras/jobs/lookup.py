"""Resolves the name of a run, an artifact or an entry of the zoo, without loading TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkeras.errors import DataError, ExportError, ZooError, close_names, shown
from tlkeras.export import manifest as manifests
from tlkeras.export.formats import ENDINGS, SERVING
from tlkeras.export.runtimes import KERAS, available, choose, plain
from tlkeras.files import open_regular
from tlkeras.jobs import run_folder
from tlkeras.jobs.run_folder import Run
from tlkeras.modalities.images.formats import sniff
from tlkeras.zoo.names import NAME
from tlkeras.zoo.network import PREFIX
from tlkeras.zoo.store import Zoo, default_root

ZIP, HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"  # how Keras files begin
TFLITE = b"TFL3"  # from byte 4 on
IN_ZOO = "NAME or NAME/VERSION of the zoo"
EXPECTED = f"the folder of a run, a .keras model of a run, a SavedModel folder, a .tflite or .onnx file, or {IN_ZOO}"
MODEL = "the folder of a run, a .keras or .h5 file of a whole model, or a SavedModel folder"
WHOLE = f"the folder of a run, or {IN_ZOO}"
SHOWN = 5  # names listed in a message


@dataclass(frozen=True, kw_only=True)
class Located:
    """What a name means.

    Args:
        path: of a run or an artifact; for an entry, where its name would be.
        entry: name of an entry of the zoo, with its version where one was named.
        root: folder of that zoo; None for the default.
    """

    path: Path
    entry: str | None = None
    root: Path | None = None


def find(target: str | Path, zoo: str | Path | None = None, expected: str = EXPECTED) -> Located:
    """Finds a run, an artifact or an entry.

    Args:
        target: a path; or `NAME`, `NAME/VERSION`, `zoo:NAME` of an entry. An existing path takes precedence.
        zoo: folder of the zoo; `TLKERAS_ZOO`, else `zoo/models`, when None.
        expected: for the message.

    Raises:
        DataError: naming what was found and what was expected.
    """
    if not isinstance(target, str | Path) or not str(target).strip():
        raise DataError(f"received {target!r}; expected {expected}")
    name, path = str(target), _path(target, expected)
    root = None if zoo is None else Path(zoo)
    if name.startswith(PREFIX):
        return Located(path=path, entry=name.removeprefix(PREFIX), root=root)
    if _can_be_opened(path):
        return Located(path=path)
    names = Zoo(default_root() if root is None else root).names()
    if name.partition("/")[0] in names:
        return Located(path=path, entry=name, root=root)
    if _is_entry(path):
        return Located(path=path, entry=path.name, root=path.parent)
    raise DataError(not_a_target(path, expected) if path.exists() else no_target(name, names, expected))


def _path(target: str | Path, expected: str) -> Path:
    """Returns a path that may be looked at.

    Raises:
        DataError: when it can be none: too long, with a zero character or half a character, of an unknown user.
    """
    try:
        path = Path(target).expanduser()
        path.exists()
        os.fsencode(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{shown(str(target))} can be no path ({getattr(error, 'strerror', None) or error}); expected {expected}"
        ) from error
    return path


def find_whole(target: str | Path, zoo: str | Path | None = None) -> Located:
    """Finds a run or an entry; see `find`.

    Raises:
        DataError: also for a part of a run.
    """
    located = find(target, zoo, WHOLE)
    run = None if located.entry else run_folder.of(located.path)
    if located.entry is None and (run is None or located.path.resolve() not in (run.root, run.exports)):
        raise DataError(not_a_target(located.path, f"the folder of its run, {str(run.root)!r}" if run else WHOLE))
    if run:
        _check_exported(run)
    return located


def artifact_of(folder: Path, run: Run | None, runtime: str | None) -> tuple[Path, str]:
    """Chooses one of the artifacts of a folder.

    Args:
        folder: of the artifacts.
        run: that they belong to, if any.
        runtime: a runtime or a format; the first artifact when None.

    Returns:
        Path and reader of the artifact.

    Raises:
        ExportError: naming what there is.
    """
    artifacts = manifests.read_manifest(folder)["artifacts"] if (folder / manifests.NAME).is_file() else {}
    has_keras, what = run is not None and run.model.is_file(), str(run.root if run else folder)
    if not artifacts:
        raise ExportError(f"{what!r} has no artifacts, so nothing for the runtime {runtime!r}; {available('', (), keras=has_keras)}")
    name, reader = choose(next(iter(artifacts)) if runtime is None else runtime, artifacts, of=repr(what), keras=has_keras)
    return folder / artifacts[name]["path"], reader


def check_runtime(located: Located, runtime: str | None) -> None:
    """Checks that a run has something for a runtime; what else can be opened is checked when it is.

    Raises:
        ExportError: naming what there is.
    """
    run = run_folder.of(located.path) if located.entry is None else None
    if runtime is not None and run and located.path.resolve() == run.root and plain(runtime) != KERAS:
        artifact_of(run.exports, run, runtime)


def to_publish(target: str | Path) -> tuple[Run, dict[str, Any]]:
    """Finds a run that can be published.

    Returns:
        The run, and the manifest of its artifacts.

    Raises:
        DataError: when it is not a finished run.
        ZooError: when its artifacts cannot be an entry.
    """
    run = run_folder.of(Path(target).expanduser())
    if run is None or not run.metrics.is_file() or not run.model.is_file():
        raise DataError(f"{str(target)!r} is not a finished run; expected a folder written by `tlkeras finetune`")
    _check_exported(run)
    exported = manifests.read_manifest(run.exports)
    missing = [one["path"] for one in exported["artifacts"].values() if not (run.exports / one["path"]).exists()]
    if missing:
        raise ZooError(f"{', '.join(missing)} of the run are gone; export again")
    if SERVING.name not in exported["artifacts"]:
        raise ZooError(
            f"the run has no {SERVING.name}, which is what an entry is; `tlkeras export {run.root} --formats {SERVING.name}` adds it"
        )
    return run, exported


def _check_exported(run: Run) -> None:
    if not (run.exports / manifests.NAME).is_file():
        raise DataError(f"{str(run.root)!r} has no artifacts; `tlkeras export {run.root} --formats saved_model,tflite,onnx` writes them")


def _can_be_opened(path: Path) -> bool:
    """Whether a path looks like something that can be opened, judging by file names."""
    if path.is_dir():
        run = run_folder.of(path)
        return (run is not None and path.resolve() == run.root) or any(
            (path / name).is_file() for name in ("saved_model.pb", manifests.NAME)
        )
    return path.is_file() and (path.suffix in (".keras", *ENDINGS) or _head(path)[4:8] == TFLITE)


def _head(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(32)
    except OSError as error:
        raise ExportError(f"cannot read {str(path)!r}: {error.strerror or error}; expected {MODEL}") from error


def _is_entry(path: Path) -> bool:
    """Whether a folder is that of an entry of a zoo: it holds versions."""
    return NAME.fullmatch(path.name) is not None and bool(Zoo(path.parent).versions(path.name))


def model_kind(path: Path) -> str:
    """Returns what a model file or folder is, whatever its name: that of the format `SERVING`, `zip` (Keras 3) or `hdf5` (Keras 2).

    Raises:
        ExportError: when a path is none of these.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return SERVING.name
        text = " in text form" if (path / "saved_model.pbtxt").is_file() else ""
        raise ExportError(
            f"cannot read {str(path)!r}: the folder has no saved_model.pb{text and ' but a saved_model.pbtxt'}; expected {MODEL}"
        )
    head = _head(path)
    if head.startswith(ZIP):
        return "zip"
    if head.startswith(HDF5):
        return "hdf5"
    what = "an empty file" if not head else "a TFLite file, made from a model" if head[4:8] == TFLITE else "not a Keras model"
    raise ExportError(f"cannot read {str(path)!r}: it is {what}; expected {MODEL}")


# === Messages ===


def no_target(name: str, entries: Iterable[str], expected: str = EXPECTED) -> str:
    """Returns the message for a name that is nothing at all, with the near names of the zoo."""
    near_names = close_names(name.partition("/")[0], entries)
    hint = f"; did you mean the entry {near_names[0]!r}?" if near_names else ""
    return f"no run, artifact or entry {name!r}; expected {expected}{hint}"


def not_a_target(path: Path, expected: str = EXPECTED) -> str:
    """Returns the message for a path that is there, and is no run, artifact or entry: what it is, what was expected."""
    return f"{str(path)!r} is {_described(path)}; expected {expected}"


def _described(path: Path) -> str:
    if path.is_dir():
        return _described_folder(path)
    if not path.is_file():
        return "neither a folder nor a regular file"
    head = _head(path)
    image = sniff(head)
    if not head:
        return "an empty file"
    if image:
        return f"an image ({image.upper()})"
    return KINDS.get(path.suffix.lower(), f"a {path.suffix} file" if path.suffix else "a file")


KINDS = {
    **dict.fromkeys((".h5", ".pth", ".pt", ".safetensors"), "a file of weights"),
    **dict.fromkeys((".zip", ".gz", ".tar"), "an archive; unpack it first"),
}


def _described_folder(path: Path) -> str:
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    if not entries:
        return "an empty folder"
    folders = [entry for entry in entries if entry.is_dir() and run_folder.of(entry) and run_folder.of(entry) == Run(entry.resolve())]
    if folders:
        return f"not a run itself but contains {'the run' if len(folders) == 1 else f'{len(folders)} runs:'} {_names(folders)}"
    zoo = Zoo(path)
    if zoo.names():
        return f"a zoo with the entries {', '.join(zoo.names()[:SHOWN])}: pass --zoo {path} and the name of one"
    if run_folder.Run(path).config.is_file():
        return "the folder of a run that did not finish (it has no labels.txt)"
    if any(entry.suffix == ".keras" or entry.name == SERVING.path for entry in entries):
        return f"a folder without config.yaml and manifest.json that contains {_names(entries)}"
    return f"a folder that contains {_names(entries)}"


def _names(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths[:SHOWN]) + (", …" if len(paths) > SHOWN else "")
