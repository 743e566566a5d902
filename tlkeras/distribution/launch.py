"""Start the workers of one training on this machine, watch them, and stop all when one fails. Reading this imports no TensorFlow."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tlkeras.distribution.cluster import VARIABLE, Cluster
from tlkeras.errors import ConfigError, TrainingError

GRACE = 5.0  # seconds that the others have to end by themselves once one worker failed
# What the workers are sent, and the seconds that they then have. Twice at SIGTERM: a second one ends a worker at once, and all is to end in five seconds.
INTERRUPT: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGINT, 2 * GRACE),)
TERMINATE: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 2.5), (signal.SIGTERM, 0.7))
POLL = 0.1
TAIL = 12  # lines of the failed worker's log that are looked through for its reason
# What TensorFlow says of every generator of batches; the log keeps it.
NOISE = re.compile(r"GeneratorDatasetOp::Dataset will not be optimized")
RANKS = ("JOB_COMPLETION_INDEX", "SLURM_PROCID")  # where Kubernetes' indexed jobs and SLURM say which one a process is


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One worker that runs here.

    Args:
        cluster: which one of whom it is.
        log: what it prints.
        process: that it is.
        copying: writes its log.
    """

    cluster: Cluster
    log: Path
    process: subprocess.Popen[bytes]
    copying: threading.Thread

    @property
    def name(self) -> str:
        return f"worker {self.cluster.index}"


def free_addresses(count: int) -> tuple[str, ...]:
    """Returns addresses of this machine whose ports are free now, as many as asked for."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return tuple(f"127.0.0.1:{listener.getsockname()[1]}" for listener in sockets)


def rank(hosts: Sequence[str], asked: int | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Returns which of the hosts this machine is.

    Args:
        hosts: `host:port` of every worker.
        asked: index from the user, if any.
        environ: environment whose `JOB_COMPLETION_INDEX` (Kubernetes) or `SLURM_PROCID` give it otherwise.

    Raises:
        ConfigError: when the index cannot be determined.
    """
    index = next((int(environ[name]) for name in RANKS if environ.get(name, "").isdecimal()), None) if asked is None else asked
    if index is None:
        own = {socket.gethostname(), socket.getfqdn()}
        matching = [position for position, host in enumerate(hosts) if host.rpartition(":")[0] in own]
        if len(matching) != 1:
            raise ConfigError(
                f"none of --hosts {','.join(hosts)} is this machine ({', '.join(sorted(own))}); pass its position, from 0, with --index N"
            )
        (index,) = matching
    if not 0 <= index < len(hosts):
        raise ConfigError(f"this is worker {index} of {len(hosts)} hosts; expected 0 to {len(hosts) - 1}")
    return index


def run(
    clusters: Sequence[Cluster],
    command: Sequence[str],
    logs: Path,
    tell: Callable[[str], None],
    *,
    terminated: Callable[[], bool] = lambda: False,
) -> None:
    """Runs a command once for each cluster given, and returns when all ended well.

    Args:
        clusters: one for each worker to start here.
        command: what every worker runs, with its arguments; `python -u`, so that lines arrive when they are printed.
        logs: folder for one log for each worker.
        tell: called with every line that the first worker here prints.
        terminated: whether it was SIGTERM that stopped this process, and there are five seconds to end.

    Raises:
        TrainingError: when a worker fails, with its reason. All other workers are stopped first.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, which the workers also receive; it says how the first one goes on.
    """
    logs.mkdir(parents=True, exist_ok=True)
    workers: list[Worker] = []
    scratch = tempfile.mkdtemp(prefix="tlkeras-launch-")  # a worker that is killed cannot tidy up what it left
    try:
        for index, cluster in enumerate(clusters):
            workers.append(_start(cluster, command, logs, scratch, tell if index == 0 else None))
        _watch(workers)
    except KeyboardInterrupt as stopped:
        for how, seconds in TERMINATE if terminated() else INTERRUPT:
            _ask(workers, how, seconds)
        _kill(workers)
        raise KeyboardInterrupt(_said(workers) or str(stopped)) from stopped
    finally:
        _ask(workers, signal.SIGTERM, GRACE)
        _kill(workers)
        shutil.rmtree(scratch, ignore_errors=True)


def _said(workers: Sequence[Worker]) -> str:
    """Returns what the worker that writes the run said of its stop: where the weights are, and how to go on; nothing where it runs elsewhere."""
    lines = _last_lines(workers[0]) if workers and workers[0].cluster.index == 0 else []
    return next((line for line in reversed(lines) if line.startswith("stopped")), "")


def _start(cluster: Cluster, command: Sequence[str], logs: Path, scratch: str, tell: Callable[[str], None] | None) -> Worker:
    log = logs / f"worker-{cluster.index}.log"
    file = log.open("wb")
    process = subprocess.Popen(
        command,
        env={**os.environ, VARIABLE: cluster.tf_config(), "TMPDIR": scratch},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a group of its own, so that what it started ends with it
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )
    copying = threading.Thread(target=_copy, args=(process.stdout, file, tell), daemon=True)
    copying.start()
    return Worker(cluster=cluster, log=log, process=process, copying=copying)


def _die_with_parent() -> None:
    """Asks Linux to end this process when its parent is gone, however that ended (prctl, PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _copy(source: IO[bytes], log: IO[bytes], tell: Callable[[str], None] | None) -> None:
    with source, log:
        for line in source:
            log.write(line)
            log.flush()
            text = line.decode(errors="replace").rstrip("\n")
            if tell and not NOISE.search(text):
                tell(text)


def _watch(workers: Sequence[Worker]) -> None:
    """Returns when all workers ended well; raises when one did not."""
    while True:
        codes = [worker.process.poll() for worker in workers]
        failed = [worker for worker, code in zip(workers, codes, strict=True) if code]
        if failed:
            raise TrainingError(_reason(_first(failed)))
        if all(code == 0 for code in codes):
            return
        time.sleep(POLL)


def _first(failed: Sequence[Worker]) -> Worker:
    """Returns the one that failed by itself: the others say that they lost a worker."""
    return next(
        (worker for worker in failed if (worker.process.returncode or 0) < 0 or "lost another worker" not in _last_line(worker)), failed[0]
    )


def _reason(worker: Worker) -> str:
    code = worker.process.returncode
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    error = "" if code < 0 else f": {_last_line(worker)}"
    return f"{worker.name} {how}{error}; all other workers were stopped; its log: {worker.log}"


def _last_lines(worker: Worker) -> list[str]:
    """Returns the last lines that a worker printed."""
    time.sleep(POLL)  # they may still be on their way
    return [line for line in worker.log.read_text(errors="replace").splitlines()[-TAIL:] if line.strip()]


def _last_line(worker: Worker) -> str:
    """Returns the worker's own error, or the last line that it printed."""
    lines = _last_lines(worker)
    return next(
        (line for line in reversed(lines) if line.startswith("error: ")), lines[-1] if lines else "it printed nothing"
    ).removeprefix("error: ")


def _ask(workers: Sequence[Worker], how: signal.Signals, grace: float) -> None:
    """Asks what still runs to end, and waits for that, but not longer than it has."""
    running = [worker for worker in workers if worker.process.poll() is None]
    for worker in running:
        _signal(worker, how)
    deadline = time.monotonic() + grace
    while any(worker.process.poll() is None for worker in running) and time.monotonic() < deadline:
        time.sleep(POLL)


def _kill(workers: Sequence[Worker]) -> None:
    """Ends what still runs; afterwards no process of the workers' groups is left, and their logs are whole."""
    for worker in workers:
        _signal(worker, signal.SIGKILL)
        worker.process.wait()
        worker.copying.join(3 * POLL)


def _signal(worker: Worker, how: signal.Signals) -> None:
    try:
        os.killpg(worker.process.pid, how)  # its group has its number
    except ProcessLookupError:
        return
