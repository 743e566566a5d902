"""Processes that read files with libraries that may crash: started when the first file needs one, and kept for those that follow."""

from __future__ import annotations

import atexit
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tlkeras.data import reader_worker
from tlkeras.errors import printable

WORKER = Path(reader_worker.__file__)
IDLE = 4  # processes that wait for further files; each holds 40 MB


class ReaderError(ValueError):
    """A file could not be read."""


class ReaderEnded(ReaderError):
    """Its reader crashed, took too long or too much memory."""


class _Process:
    """One process."""

    def __init__(self, reader: Path, memory: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-X", "utf8", str(WORKER), str(reader), str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            # NumPy's library reserves memory for a thread of each core, and Arrow's allocator a gigabyte, which count as used.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"},
        )

    def ask(self, kind: str, content: bytes, seconds: float) -> tuple[bytes, bytes]:
        """Returns an answer of the process.

        Raises:
            EOFError, OSError: when the process ended without one.
        """
        timer = threading.Timer(seconds, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            source, target = self._process.stdin, self._process.stdout
            if source is None or target is None:  # both are pipes
                raise EOFError
            reader_worker.write(source, kind.encode(), content)
            return reader_worker.read(target), reader_worker.read(target)
        finally:
            timer.cancel()

    def close(self) -> int:
        """Ends the process and returns its exit code, negative for a signal."""
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:  # what it had not read
                pass
        try:
            return self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


class Reader:
    """Reads files in processes of their own.

    Args:
        path: of a Python file with `answer(kind, content, allow) -> bytes`; see `reader_worker.py`.
        memory: bytes of address space of a process, whatever it reads; 0 for no limit but that of each file.
        seconds: on the clock, for one file.
        name: of what reads, for messages.
    """

    def __init__(self, path: Path, *, memory: int, seconds: float, name: str):
        self.path, self.memory, self.seconds, self._name = path, memory, seconds, name
        self.idle: queue.LifoQueue[_Process] = queue.LifoQueue(IDLE)
        atexit.register(self.close)

    def read(self, kind: str, content: bytes) -> bytes:
        """Returns what the reader answers.

        Args:
            kind: of the file.
            content: of the file, or its path, as the reader wants it.

        Raises:
            ReaderError: when it cannot be read; `ReaderEnded` where its reader crashed, took too long or too much memory.
        """
        while True:
            try:
                process, is_new = self.idle.get_nowait(), False
            except queue.Empty:
                process, is_new = _Process(self.path, self.memory), True
            try:
                verdict, answer = process.ask(kind, content, self.seconds)
                break
            except (EOFError, OSError) as error:
                code = process.close()
                if is_new:
                    raise ReaderEnded(f"{self._name} {self._ending(code)}") from error
                # It may have been ended while it waited, for example by a system that needed its memory: once more in a new process.
        try:
            self.idle.put_nowait(process)
        except queue.Full:
            process.close()
        if verdict == reader_worker.TOO_MUCH:
            raise ReaderEnded("it does not fit into the memory that a file of its size needs")
        if verdict != reader_worker.OK:
            raise ReaderError(printable(answer.decode("utf-8", "replace")))
        return answer

    def _ending(self, code: int) -> str:
        if code == -signal.SIGKILL:
            return f"did not end within {self.seconds:g} s"
        if sys.platform != "win32" and code == -signal.SIGPROF:
            return "took more processor time than a file of its size needs"
        return f"crashed (exit code {code})"

    def close(self) -> None:
        """Ends the processes that wait."""
        while True:
            try:
                self.idle.get_nowait().close()
            except queue.Empty:
                return
