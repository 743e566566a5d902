"""How a command ends when it is asked to: what is done is stored first, and a second request ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

GRACE = 4.0  # seconds from SIGTERM to the end: Kubernetes and SLURM kill soon after, and checkpoints are on disk already
INTERRUPTED, TERMINATED = 130, 143  # exit codes, as shells know them

_received: list[int] = []  # signals that the present command was sent
_timers: list[threading.Timer] = []  # that end it if it does not end by itself


@contextmanager
def handled() -> Iterator[None]:
    """Handles Ctrl-C and SIGTERM while a command runs; does nothing outside the main thread, and where somebody else handles or ignores them."""
    _received.clear()
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for usual_number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            if signal.getsignal(usual_number) is usual:
                before[usual_number] = signal.signal(usual_number, _stop)
    try:
        yield
    finally:
        for timer in _timers:
            timer.cancel()
        _timers.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def code() -> int:
    """Returns the exit code of a command that was stopped."""
    return TERMINATED if signal.SIGTERM in _received else INTERRUPTED


def _stop(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    if len(_received) > 1:  # every file is written aside and renamed: to end now harms none
        _end()
    if number == signal.SIGTERM:
        timer = threading.Timer(GRACE, _end)
        timer.daemon = True
        timer.start()
        _timers.append(timer)
        raise KeyboardInterrupt("stopped by SIGTERM")
    raise KeyboardInterrupt


def _end() -> None:
    sys.stderr.flush()
    os._exit(code())
