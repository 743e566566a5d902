"""Decoders that may crash run in processes of their own, which are started when the first image needs one and serve those that follow."""

from __future__ import annotations

import atexit
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tlkeras.errors import DataError, printable
from tlkeras.modalities.images import pillow_worker

WORKER = Path(pillow_worker.__file__)
# For any image; the worker allows each one less, by its pixels.
MEMORY = 4 * 1024**3  # bytes of address space of a process: the largest image accepted, its copy of 8 bits, the libraries
SECONDS = 60.0  # on the clock; the largest JPEG 2000 take 20
IDLE = 4  # processes that wait for further images; each holds 40 MB


class _Worker:
    """One process."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-X", "utf8", str(WORKER), str(MEMORY)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            # NumPy's library reserves memory for a thread of each core, which counts as used.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )

    def ask(self, data: bytes, reader: str) -> tuple[bytes, bytes]:
        """Returns an answer of the process.

        Raises:
            EOFError, OSError: when the process ended without one.
        """
        timer = threading.Timer(SECONDS, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            source, target = self._process.stdin, self._process.stdout
            if source is None or target is None:  # both are pipes
                raise EOFError
            pillow_worker.write(source, reader.encode(), data)
            return pillow_worker.read(target), pillow_worker.read(target)
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


_idle: queue.LifoQueue[_Worker] = queue.LifoQueue(IDLE)


def png(data: bytes, reader: str) -> bytes:
    """Returns an image that TensorFlow cannot decode as PNG.

    Args:
        data: the file.
        reader: name of a format of Pillow.

    Raises:
        DataError: when it cannot be decoded, also because its decoder crashed, took too long or too much memory.
    """
    while True:
        try:
            worker, is_new = _idle.get_nowait(), False
        except queue.Empty:
            worker, is_new = _Worker(), True
        try:
            verdict, content = worker.ask(data, reader)
            break
        except (EOFError, OSError) as error:
            code = worker.close()
            if is_new:
                raise DataError(f"its decoder {_ending(code)}") from error
            # It may have been ended while it waited, for example by a system that needed its memory: once more in a new process.
    try:
        _idle.put_nowait(worker)
    except queue.Full:
        worker.close()
    if verdict != pillow_worker.OK:
        raise DataError(printable(content.decode("utf-8", "replace")))
    return content


def _ending(code: int) -> str:
    if code == -signal.SIGKILL:
        return f"did not end within {SECONDS:g} s"
    if sys.platform != "win32" and code == -signal.SIGPROF:
        return "took more processor time than an image of its size needs"
    return f"crashed (exit code {code})"


@atexit.register
def close() -> None:
    """Ends the processes that wait."""
    while True:
        try:
            _idle.get_nowait().close()
        except queue.Empty:
            return
