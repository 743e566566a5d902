"""What a pretraining keeps on disk until it is published, so that one that is stopped or killed goes on to the same network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkeras import __version__, files, startup
from tlkeras import config as configs
from tlkeras.config import PretrainConfig
from tlkeras.errors import ConfigError, DataError, ZooError
from tlkeras.jobs import resume as resuming
from tlkeras.jobs import run_lock
from tlkeras.jobs.run_folder import read_json, write_json

PREFIX = ".pretraining-"  # in the folder of the zoo, where no entry can be


@dataclass(frozen=True, kw_only=True)
class Work:
    """The folder of a pretraining that is not published yet.

    Args:
        root: the folder.
        name: of the entry to be.
    """

    root: Path
    name: str

    @property
    def asked(self) -> Path:
        return self.root / "asked.yaml"

    @property
    def begun(self) -> Path:
        return self.root / "begun.json"

    @property
    def states(self) -> Path:
        return self.root / "states"

    @property
    def run(self) -> Path:
        """Folder of the run, where the objective is to tell labels."""
        return self.root / "run"

    @property
    def unfinished(self) -> bool:
        """Whether there is something to go on with."""
        return self.asked.is_file()


def of(zoo: Path, name: str) -> Work:
    """Returns the folder of the pretraining of an entry, whether or not it is there."""
    return Work(root=zoo / f"{PREFIX}{name}", name=name)


def settings(work: Work, config: Any, values: Mapping[str, Any], *, resume: bool, passed: bool = False) -> PretrainConfig:
    """Returns the settings of a pretraining: those that it was begun with, where it goes on.

    Args:
        work: its folder.
        config: settings that were given now: a config, a mapping of flat keys, or None.
        values: further flat keys, which win.
        resume: whether it is to go on.
        passed: whether examples are passed from Python.

    Raises:
        ZooError: when there is nothing to go on with, or something and `resume` is not set.
        ConfigError: for settings that differ from those that it was begun with.
        DataError: when it was begun with examples from Python, and none are passed.
    """
    if not resume:
        check_free(work)
        return PretrainConfig.merged(config, values)
    if not work.unfinished:
        raise ZooError(f"no pretraining of {work.name!r} was stopped in the zoo {str(work.root.parent)!r}; leave out --resume")
    before = PretrainConfig.from_dict(configs.read_yaml(work.asked))
    now = config.to_dict() if isinstance(config, PretrainConfig) else config or {}
    differing = resuming.differing_keys(before, {**now, **values})
    if differing:
        raise ConfigError(
            f"the pretraining of {work.name!r} was begun with other settings: {', '.join(differing)}; leave them out to go on"
        )
    begun = read_json(work.begun)
    if begun.get("passed") and not passed:
        raise DataError(
            f"the pretraining of {work.name!r} was begun with examples passed from Python; go on there: "
            f"tlkeras.pretrain(dataset, name={work.name!r}, resume=True)"
        )
    return before if before.data is None else before.updated(data=resuming.resolved_source(before.data, begun))


def check_free(work: Work) -> None:
    """Refuses to begin anew where a pretraining was stopped.

    Raises:
        ZooError: saying how to go on.
    """
    if work.unfinished:
        raise ZooError(
            f"the pretraining of {work.name!r} was stopped before it was published; `tlkeras pretrain --name {work.name} --resume` goes on; "
            f"to start anew, delete {str(work.root)!r}"
        )


@contextmanager
def held(work: Work, config: PretrainConfig, *, passed: bool) -> Iterator[None]:
    """Holds the folder for this process, and removes it when the entry is published, or when it failed before it had anything to keep.

    Args:
        work: the folder, which is made where it is not there.
        config: the settings as they were given.
        passed: whether the examples were passed from Python.

    Raises:
        ZooError: when another process works on it.
        KeyboardInterrupt: when it was stopped; it says how to go on.
    """
    work.root.mkdir(parents=True, exist_ok=True)
    if run_lock.hold(work.root) is False:
        raise ZooError(f"another process trains {work.name!r} in the zoo {str(work.root.parent)!r}; wait for it, or choose another --name")
    published = False
    try:
        files.sweep(work.root)
        files.sweep(work.states)
        if not work.unfinished:
            write_json(work.begun, {"tlkeras": __version__, "folder": os.getcwd(), "passed": passed})
            files.write(work.asked, configs.to_yaml(config.to_dict()))
        with startup.goes_on(f"tlkeras pretrain --name {work.name} --resume", lambda: _has_states(work)):
            yield
        published = True
    finally:
        if published or not _has_states(work):
            work.asked.unlink(missing_ok=True)  # first: without it nothing goes on
            shutil.rmtree(work.root, ignore_errors=True)
        run_lock.release(work.root)


def _has_states(work: Work) -> bool:
    return any(work.states.glob("*.state")) or resuming.unfinished(work.run)


def check_examples(work: Work, fingerprint: str) -> None:
    """Refuses to go on with other examples than the pretraining began with; stores their fingerprint the first time.

    Raises:
        DataError: when it is another one.
    """
    note = work.root / "examples.json"
    if not note.is_file():
        write_json(note, {"fingerprint": fingerprint})
    elif read_json(note).get("fingerprint") != fingerprint:
        raise DataError(
            f"the examples have changed since the pretraining of {work.name!r} was begun, so it cannot go on to the same network; "
            f"to start anew, delete {str(work.root)!r}"
        )
