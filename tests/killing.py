"""A `tlkeras` command that kills itself: `python tests/killing.py finetune …`. For tests only.

The process ends by SIGKILL when it passes the moment that `TLKERAS_TEST_KILL_AT` names. `TLKERAS_TEST_MOMENTS` names a file that receives
the moments in their order, each once. With either, or with `TLKERAS_TEST_EAGER`, states and rows are written however fast they are made.
Nothing of it is in the product: its steps, progress and writes of files are watched from here.
"""

import contextlib
import functools
import os
import re
import signal

KILL_AT, LISTED, EAGER = "TLKERAS_TEST_KILL_AT", "TLKERAS_TEST_MOMENTS", "TLKERAS_TEST_EAGER"

_passed: set[str] = set()


def passes(moment: str) -> None:
    """Ends this process if it is to be killed at a moment; the second time that a moment comes is another one."""
    number = 1
    while (name := moment if number == 1 else f"{moment} #{number}") in _passed:
        number += 1
    _passed.add(name)
    if LISTED in os.environ:
        with open(os.environ[LISTED], "a", encoding="utf-8") as file:
            file.write(f"{name}\n")
    if os.environ.get(KILL_AT) == name:
        os.kill(os.getpid(), signal.SIGKILL)


def once(moment: str) -> None:
    """As `passes`, for what goes on for a while: only the first time."""
    if moment not in _passed:
        passes(moment)


def _before(function, moment):
    @functools.wraps(function)
    def watched(*arguments, **named):
        passes(moment)
        return function(*arguments, **named)

    return watched


def watch() -> None:
    """Watches the steps of jobs, their progress, and every file that is renamed into place."""
    from tlkeras import files, progress
    from tlkeras.startup import load_tensorflow

    load_tensorflow()
    from tlkeras.data import row_cache
    from tlkeras.training import averaging, states
    from tlkeras.training.callbacks import Progress

    if any(name in os.environ for name in (KILL_AT, LISTED, EAGER)):
        # A state at the end of every epoch, rows in the cache, however fast they are: moments come in every run.
        states.SHARE, row_cache.WORTH = 1.0, 0.0
    part, put, batch_begins = progress.Clock.part, files.put, Progress.on_train_batch_begin

    @contextlib.contextmanager
    def timed(self, name):
        passes(f"begins {name}")
        with part(self, name):
            yield
        passes(f"ends {name}")

    def placed(temporary, path):
        name = re.sub(r"^[0-9a-f]{32}$", "rows of the cache", os.path.basename(path))
        passes(f"writes {name}")
        put(temporary, path)
        passes(f"wrote {name}")

    def batch(self, number, logs=None):
        if number:
            once(f"in epoch {self._epoch + 1}")
        batch_begins(self, number, logs)

    def advance(method):
        def watched(self, phase, done, total, text=""):
            method(self, phase, done, total, text)
            if done and phase in ("decode", "features"):
                once(f"in {phase}")

        return watched

    def piece(method):
        def watched(self, phase, number, total, name):
            method(self, phase, number, total, name)
            passes(f"{phase}: {name}")

        return watched

    progress.Clock.part, files.put, Progress.on_train_batch_begin = timed, placed, batch
    for reporter in (progress.Reporter, progress.Screen):
        reporter.progress, reporter.piece = advance(reporter.progress), piece(reporter.piece)
    for name in ("greedy_soup", "interpolated"):
        setattr(averaging, name, _before(getattr(averaging, name), f"averages: {name}"))


if __name__ == "__main__":
    from tlkeras.cli.main import main

    watch()
    main()
