"""How commands end when they are asked to."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.conftest import ROOT
from tests.faults import fault
from tlkeras import startup
from tlkeras.cli import signals
from tlkeras.errors import ExportError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture(autouse=True)
def ended(monkeypatch):
    """The handlers of a process that was just started; the exit codes with which it would have been ended by force."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    codes, happened = [], threading.Event()
    monkeypatch.setattr(signals, "_end", lambda received, screen: codes.append(signals.code_of(received)) or happened.set())
    monkeypatch.setattr(signals, "GRACE", 3600.0)
    yield codes, happened
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_a_command_with_its_code_and_the_handlers_are_as_before(number, code):
    threads = threading.active_count()
    for _ in range(2):  # a second command in the same process is not taken for a second signal
        with pytest.raises(KeyboardInterrupt), signals.handled():
            os.kill(os.getpid(), number)
            threading.Event().wait(5)
        assert signals.code() == code
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.set_wakeup_fd(-1) == -1 and threading.active_count() == threads


@pytest.mark.parametrize("goes_on", [True, False])
def test_an_error_that_a_library_made_of_a_signal_is_a_stop(goes_on):
    def convert():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(5)
        except KeyboardInterrupt:
            raise ExportError("the converter failed") from None

    expected = "stopped by SIGTERM; `tlkeras finetune --resume run` goes on" if goes_on else "stopped by SIGTERM"
    with pytest.raises(KeyboardInterrupt) as stop, signals.handled():
        with startup.goes_on("tlkeras finetune --resume run") if goes_on else contextlib.nullcontext():
            convert()
    assert str(stop.value) == expected and signals.code() == 143


def test_a_stop_waits_for_a_library_that_must_not_be_stopped():
    done = []
    with pytest.raises(KeyboardInterrupt, match="stopped by SIGTERM"), signals.handled():
        with startup.stop_deferred():
            with startup.stop_deferred():
                os.kill(os.getpid(), signal.SIGTERM)
                threading.Event().wait(0.1)
            done.append("inner")
        done.append("never")
    assert done == ["inner"] and signals.code() == 143 and not startup.defers_stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_that_waits_for_too_long_ends_the_process(number, ended, monkeypatch):
    codes, happened = ended
    monkeypatch.setattr(signals, "GRACE", 0.05)
    with pytest.raises(KeyboardInterrupt), signals.handled(), startup.stop_deferred():
        os.kill(os.getpid(), number)
        assert happened.wait(5)
    assert codes == [130 if number == signal.SIGINT else 143]


def test_an_error_without_a_signal_stays_what_it_is():
    with pytest.raises(ExportError), signals.handled(), startup.goes_on("tlkeras finetune --resume run"):
        raise ExportError("the converter failed")


def test_a_second_signal_ends_a_command_at_once(ended):
    codes, happened = ended
    with signals.handled():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(5)
        os.kill(os.getpid(), signal.SIGINT)
        assert happened.wait(5)
    assert codes == [130]


def test_a_command_that_does_not_end_after_sigterm_is_ended(ended, monkeypatch):
    codes, happened = ended
    monkeypatch.setattr(signals, "GRACE", 0.05)
    with signals.handled():
        with pytest.raises(KeyboardInterrupt, match="stopped by SIGTERM"):
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(5)
        assert happened.wait(5)
    assert codes == [143]


def test_signals_that_somebody_handles_or_ignores_are_left_to_them(ended):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with signals.handled():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


BUSY = """
import hashlib
from tlkeras import startup
from tlkeras.cli import signals

signals.GRACE = 0.5
with signals.handled(), startup.goes_on("tlkeras finetune --resume run"):
    print("computing", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # an hour in a library, which no handler of Python can interrupt
"""


@fault(
    "SIGTERM", "while a library computes, which no handler can interrupt", "one line that says how to go on, exit code 143 within 5 seconds"
)
def test_sigterm_ends_a_command_in_time_while_a_library_computes():
    command = [sys.executable, "-c", BUSY]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "computing\n"
            time.sleep(0.5)  # until it does
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 143 and time.monotonic() - started < 5
    assert errors == "stopped by SIGTERM; `tlkeras finetune --resume run` goes on\n"


def test_the_time_from_sigterm_on_counts_while_a_library_keeps_python_from_running(ended, monkeypatch):
    codes, happened = ended
    monkeypatch.setattr(signals, "GRACE", 1.0)
    monkeypatch.setattr(signals, "BEAT", 0.05)
    interval = sys.getswitchinterval()
    with signals.handled():
        time.sleep(0.2)
        sys.setswitchinterval(60)  # no other thread runs while this one computes, as in a library that holds the lock
        try:
            started = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
                while time.monotonic() - started < 60:
                    pass
            while time.monotonic() - started < 1.3:
                pass
        finally:
            sys.setswitchinterval(interval)
        assert happened.wait(0.5)
    assert codes == [143]


# === How to go on ===


def test_a_stop_says_how_to_go_on_with_the_outermost_work():
    with pytest.raises(KeyboardInterrupt) as stopped, startup.goes_on("first"), startup.goes_on("second"):
        raise KeyboardInterrupt("stopped by SIGTERM")
    assert str(stopped.value) == "stopped by SIGTERM; `first` goes on" and startup.way_on() is None


def test_a_stop_that_leaves_nothing_to_go_on_with_does_not_say_how():
    with pytest.raises(KeyboardInterrupt) as stopped, startup.goes_on("first", lambda: False):
        raise KeyboardInterrupt("stopped")
    assert str(stopped.value) == "stopped"
