"""How commands end when they are asked to."""

import os
import signal
import sys
import threading

import pytest

from tlkeras.cli import signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture(autouse=True)
def usual(monkeypatch):
    """The handlers of a process that was just started."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    monkeypatch.setattr(signals, "_end", lambda: (_ for _ in ()).throw(SystemExit(signals.code())))
    monkeypatch.setattr(signals, "GRACE", 3600.0)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_a_command_with_its_code_and_the_handlers_are_as_before(number, code):
    for _ in range(2):  # a second command in the same process is not taken for a second signal
        with pytest.raises(KeyboardInterrupt), signals.handled():
            os.kill(os.getpid(), number)
            threading.Event().wait(5)
        assert signals.code() == code
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_second_signal_ends_a_command_at_once():
    with signals.handled():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(5)
        with pytest.raises(SystemExit) as end:
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(5)
    assert end.value.code == 130


def test_signals_that_somebody_handles_or_ignores_are_left_to_them():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with signals.handled():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
