"""Reads files in a process of its own with bounded time and memory: `python -P reader_worker.py READER BYTES`.

READER is a Python file with a function `answer(kind, content, allow) -> bytes`; BYTES bounds the address space whatever is read, 0 does not.
A library that crashes, never ends or fills the memory then costs one file. For each file the process reads what kind it is and its content, each
behind its length, and answers as `answered` does. It imports nothing of tlkeras, so that it
starts in a fifth of a second.
"""

from __future__ import annotations

import importlib.util
import signal
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

LENGTH = struct.Struct("<Q")
OK, NO, TOO_MUCH = b"ok", b"no", b"much"
# What libraries raise for broken or strange files; anything else ends this process, which costs one file, too.
ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, RuntimeError, ArithmeticError, TypeError, AttributeError, AssertionError),
    *(struct.error, zlib.error),
)
Allow = Callable[[float, float], None]
Answer = Callable[[str, bytes, Allow], bytes]


def allow(seconds: float, memory: float) -> None:
    """Limits what is done for this file from now on: beyond it, the process ends or `MemoryError` is raised.

    Args:
        seconds: of processor time. `SIGPROF` counts it, so that a busy machine does not end the reading of a file that is well.
        memory: bytes beyond what the process has now.
    """
    if sys.platform == "win32":
        return
    import resource

    signal.setitimer(signal.ITIMER_PROF, seconds)
    used, (_, most) = Path("/proc/self/statm"), resource.getrlimit(resource.RLIMIT_AS)
    if used.is_file():
        limit = int(used.read_text().split()[0]) * resource.getpagesize() + int(memory)
        resource.setrlimit(resource.RLIMIT_AS, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


def rest() -> None:
    """Ends the limit of time: nothing is done until the next file comes."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_PROF, 0)


def write(stream: IO[bytes], *parts: bytes) -> None:
    """Writes texts, each behind its length."""
    for part in parts:
        stream.write(LENGTH.pack(len(part)))
        stream.write(part)
    stream.flush()


def read(stream: IO[bytes]) -> bytes:
    """Reads a text behind its length.

    Raises:
        EOFError: at the end of the stream.
    """
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError("the stream ended")
    (count,) = LENGTH.unpack(head)
    content = stream.read(count)
    if len(content) < count:
        raise EOFError("the stream ended")
    return content


def answered(answer: Answer, kind: bytes, content: bytes) -> tuple[bytes, bytes]:
    """Returns `ok` and what a reader returns, `no` and what it raised, or `much` where it needs more memory than it may have."""
    try:
        return OK, answer(kind.decode(), content, allow)
    except MemoryError:
        return TOO_MUCH, b""
    except ERRORS as error:
        return NO, (" ".join(str(error).split())[:160] or type(error).__name__).encode("utf-8", "replace")
    finally:
        rest()


def function_of(reader: str) -> Answer:
    """Returns the function `answer` of a Python file."""
    spec = importlib.util.spec_from_file_location("reader", reader)
    if spec is None or spec.loader is None:
        raise ImportError(f"{reader!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    answer: Answer = module.answer
    return answer


def main() -> None:
    """Answers until standard input ends."""
    if sys.platform != "win32":  # profilers leave the signal ignored or blocked, which is inherited
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    try:
        import resource

        if int(sys.argv[2]):
            resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):  # Windows; or a lower limit is set already
        pass
    answer, source, target = function_of(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            kind, content = read(source), read(source)
        except EOFError:
            return
        write(target, *answered(answer, kind, content))


if __name__ == "__main__":
    main()
