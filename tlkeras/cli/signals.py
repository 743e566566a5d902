"""How a command ends when it is asked to: what is done is stored first, and a second request ends it at once."""

from __future__ import annotations

import math
import os
import signal
import socket
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any

from tlkeras import startup

GRACE = 4.0  # seconds from SIGTERM to the end: Kubernetes and SLURM kill soon after, and checkpoints are on disk already
BEAT = 0.5  # seconds after which the thread that ends a command notes that it runs
INTERRUPTED, TERMINATED = 130, 143  # exit codes, as shells know them

_received: list[int] = []  # signals that the last command was sent


@contextmanager
def handled() -> Iterator[None]:
    """Handles Ctrl-C and SIGTERM while a command runs; does nothing outside the main thread, and where somebody else handles or ignores them."""
    _received.clear()
    startup.asked_to_stop.clear()
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for usual_number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            if signal.getsignal(usual_number) is usual:
                before[usual_number] = signal.signal(usual_number, _stop)
    try:
        with _watched(set(before)) if before else nullcontext():
            yield
    except Exception as error:
        if startup.asked_to_stop:  # see `startup.goes_on`
            raise KeyboardInterrupt(startup.stop_reason()) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received.extend(startup.asked_to_stop)
        startup.asked_to_stop.clear()  # what comes after the command was not asked to stop


def terminated() -> bool:
    """Whether the present command was sent SIGTERM."""
    return signal.SIGTERM in startup.asked_to_stop


def code() -> int:
    """Returns the exit code of a command that was stopped, once it has ended."""
    return code_of(_received)


def code_of(received: Sequence[int]) -> int:
    """Returns the exit code of a process that was sent some signals."""
    return TERMINATED if signal.SIGTERM in received else INTERRUPTED


def _stop(number: int, frame: FrameType | None) -> None:
    startup.asked_to_stop.append(number)
    if not startup.defers_stop() and len(startup.asked_to_stop) == 1:  # after a second one `_watch` ends the process
        raise KeyboardInterrupt(startup.stop_reason())


@contextmanager
def _watched(numbers: Collection[int]) -> Iterator[None]:
    """Ends the process from a thread of its own: Python's handlers wait until a library returns, which a long computation does not."""
    source, sent = socket.socketpair()
    sent.setblocking(False)
    screen = _screen()
    before = signal.set_wakeup_fd(sent.fileno(), warn_on_full_buffer=False)
    watching = threading.Thread(target=_watch, args=(source, numbers, screen), daemon=True)
    watching.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        sent.close()
        watching.join()
        source.close()
        if screen is not None:
            os.close(screen)


def _screen() -> int | None:
    """Returns a handle of standard error as it is now: later, what libraries print there may be held back."""
    try:
        return os.dup(2)
    except OSError:  # there is none
        return None


def _watch(source: socket.socket, numbers: Collection[int], screen: int | None) -> None:
    """Ends the process at its second signal, or when the time from SIGTERM on, or of a stop that must wait, is over; returns when the command has ended.

    A library that holds Python's lock keeps this thread waiting too: then the time counts from when it last ran, which was before the signal.
    """
    received: list[int] = []
    ran, deadline = time.monotonic(), math.inf
    while True:
        source.settimeout(max(0.001, min(BEAT, deadline - ran)))
        try:
            content = source.recv(64)
        except TimeoutError:
            content = None
        if content == b"":
            return
        received += [number for number in content or () if number in numbers]
        if signal.SIGTERM in received or received and startup.defers_stop():
            deadline = min(deadline, ran + GRACE)
        ran = time.monotonic()
        if len(received) > 1 or ran >= deadline:
            _end(received, screen)
            return


def _end(received: Sequence[int], screen: int | None) -> None:
    """Ends the process now. Every file is written aside and renamed, so this harms none."""
    line = startup.with_way_on(startup.stop_reason(received))
    try:
        if screen is not None:  # not by `sys.stderr`, which another thread may hold
            os.write(screen, f"{line}\n".encode("utf-8", "backslashreplace"))
    finally:
        os._exit(code_of(received))
