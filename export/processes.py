"""Processes that hold artifacts open and answer questions about them, one line of JSON each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tlkeras.startup import verification_environment

RUNNER = Path(__file__).with_name("runner.py")
PARALLEL = min(4, os.cpu_count() or 1)  # runtimes that work at a time: each needs a processor, and memory for the model
TIMEOUT = 600  # seconds for one artifact


class Process:
    """A process that answers each line of JSON on its standard input with one on its standard output.

    Args:
        command: what to run.
        environment: its variables.
        errors: file of its standard error.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], errors: Path):
        self.command = tuple(command)
        self._errors, self._read = errors, 0  # characters of it that belong to earlier questions
        with errors.open("w") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=dict(environment),
                start_new_session=True,  # so that what it starts ends with it
            )
        threading.Thread(target=self._reap, daemon=True).start()

    def _reap(self) -> None:
        """Ends what the process leaves behind: its pipes would stay open, and whoever waits for an answer would wait on."""
        self._process.wait()
        self._end()

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def ask(self, question: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
        """Returns the answer to a question; `{"error": …}` where the process ended, or was ended after `timeout` seconds, without one."""
        started = time.monotonic()
        timer = threading.Timer(timeout or threading.TIMEOUT_MAX, self.kill)
        timer.daemon = True
        timer.start()
        try:
            line = self._exchanged(json.dumps(question))
        finally:
            timer.cancel()
        if line:
            self._read = len(self._written())
            answer: dict[str, Any] = json.loads(line)
            return answer
        if timeout and time.monotonic() - started >= timeout:
            return {"error": f"it did not answer within {timeout:g} s"}
        return {"error": self._last_words()}

    def _exchanged(self, line: str) -> str:
        if self._process.stdin is None or self._process.stdout is None:  # both are pipes
            return ""
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            return self._process.stdout.readline()
        except (OSError, ValueError):  # it has ended, or `close` was called
            return ""

    def _last_words(self) -> str:
        code, text = self._process.wait(), self._written()[self._read :]
        lines = [line for line in text.splitlines() if line.strip()]
        return f"it exited with code {code}" + (f": {lines[-1]}" if lines else " without a message")

    def _written(self) -> str:
        return self._errors.read_text(errors="replace")

    def kill(self) -> None:
        """Ends the process; whoever waits for its answer gets an error."""
        if self._process.poll() is None:
            self._end()

    def _end(self) -> None:
        if os.name != "posix":
            self._process.kill()
            return
        with suppress(ProcessLookupError, PermissionError):  # all have ended
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Ends the process and waits for its end."""
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was written to it and not read any more
                    pipe.close()


class Kept:
    """Processes of runtimes that wait for the next export; see `kept`.

    Args:
        folder: for what they write to standard error.
        exports: after so many a process is not used again: runtimes do not give back all memory.
    """

    def __init__(self, folder: Path, exports: int):
        self.folder, self._exports = folder, exports
        self._waiting: dict[tuple[str, ...], list[Process]] = {}
        self._used: dict[Process, int] = {}

    def take(self, command: Sequence[str]) -> Process | None:
        """Returns a process that a command started, if one waits."""
        waiting = self._waiting.get(tuple(command), [])
        while waiting:
            process = waiting.pop()
            if process.alive:
                return process
            process.close()
        return None

    def give(self, process: Process) -> None:
        """Takes back a process that has answered everything."""
        self._used[process] = self._used.get(process, 0) + 1
        if self._used[process] >= self._exports or "error" in process.ask({"do": "forget"}, TIMEOUT):
            del self._used[process]
            process.close()
        else:
            self._waiting.setdefault(process.command, []).append(process)

    def close(self) -> None:
        """Ends the processes that wait."""
        for processes in self._waiting.values():
            for process in processes:
                process.close()
        self._waiting.clear()


_kept: Kept | None = None


@contextmanager
def kept(exports: int = 20) -> Iterator[None]:
    """While it is open, runtimes that have answered one export answer the next: for many small exports, as in a sweep.

    To start TensorFlow, LiteRT and ONNX Runtime takes 6 seconds of processor time; by default each export starts them anew.
    """
    global _kept
    before = _kept
    with tempfile.TemporaryDirectory() as folder:
        mine = _kept = Kept(Path(folder), exports)
        try:
            yield
        finally:
            _kept = before
            mine.close()


class Processes:
    """One process of `runner.py` for each runtime, which does all jobs of that runtime; after an error the next job has a new one.

    Args:
        readers: names in `runner.READERS` whose processes start now, so that their runtimes are loaded when the first job comes.
        folder: for what they write to standard error.
    """

    def __init__(self, readers: Iterable[str], folder: Path):
        self._kept = _kept
        self._folder = folder if self._kept is None else Path(tempfile.mkdtemp(dir=self._kept.folder))
        self._environment = {**verification_environment(), "TF_CPP_MIN_LOG_LEVEL": "2"}
        self._running: dict[str, Process] = {}
        self._queues: dict[str, ThreadPoolExecutor] = {}
        self._busy: set[str] = set()  # runtimes that have a job now, or were stopped in one
        self._slots, self._lock, self._closed, self._count = threading.Semaphore(PARALLEL), threading.Lock(), False, 0
        for reader in dict.fromkeys(readers):
            self._process(reader)

    def submit(self, reader: str, job: Mapping[str, Any]) -> Future[dict[str, Any]]:
        """Queues a job for a runtime; the result is the answer, with an `error` where it failed."""
        if reader not in self._queues:
            self._queues[reader] = ThreadPoolExecutor(1)
        return self._queues[reader].submit(self._done, reader, job)

    def _done(self, reader: str, job: Mapping[str, Any]) -> dict[str, Any]:
        with self._slots:
            process = self._process(reader)
            self._busy.add(reader)
            answer = process.ask(job, TIMEOUT)
        if "error" in answer:
            with self._lock:
                self._running.pop(reader).close()
        self._busy.discard(reader)
        return answer

    def _process(self, reader: str) -> Process:
        with self._lock:
            if self._closed:
                raise RuntimeError("the processes have ended")
            if reader not in self._running:
                self._count += 1
                command = [sys.executable, "-I", str(RUNNER), reader]
                waiting = self._kept.take(command) if self._kept is not None else None
                self._running[reader] = waiting or Process(command, self._environment, self._folder / f"{reader}-{self._count}.err")
            return self._running[reader]

    def close(self) -> None:
        """Ends all processes; jobs that still run fail, and those that wait are dropped."""
        with self._lock:
            self._closed = True
            for reader, process in self._running.items():
                if self._kept is None or reader in self._busy:
                    process.kill()
        for queue in self._queues.values():
            queue.shutdown(cancel_futures=True)
        for reader, process in self._running.items():
            if self._kept is None or reader in self._busy:
                process.close()
            else:
                self._kept.give(process)
