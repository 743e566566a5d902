"""Where the work runs: devices of this machine, or several machines, as `tf.distribute` strategies.

Only training opens a scope: builders, recipes and exporters use plain models (see `replicas.py`).
Strategies for GPUs and TPUs are tested with parts of a CPU that act as devices; one NVIDIA GPU was run by hand, a TPU never.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf

from tlkeras.data.pipeline import Share
from tlkeras.distribution import registry
from tlkeras.distribution.cluster import VARIABLE, Cluster, from_environment, from_slurm
from tlkeras.errors import ConfigError, TrainingError
from tlkeras.registry import load_function
from tlkeras.startup import restore_handler

COMMON = 4  # numbers of each worker that `common` compares
CHUNK = 16 * 1024**2  # bytes that each worker sends at a time when results are brought together


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Where the work runs.

    Args:
        name: requested or chosen name.
        strategy: the `tf.distribute` strategy; None for the one device that TensorFlow chooses by itself.
        devices: names of the devices of this process that compute; None: the one that TensorFlow chooses by itself, the first GPU where
            there is one. Never `""`, which means the CPU once TensorFlow computes eagerly.
        workers: how many processes train together.
        worker: which of them this is; the first one is the chief.
    """

    name: str
    strategy: Any = None
    devices: tuple[str | None, ...] = (None,)
    workers: int = 1
    worker: int = 0

    @property
    def chief(self) -> bool:
        """Whether this process writes: the run folder, checkpoints, artifacts."""
        return self.worker == 0

    @property
    def replicas(self) -> int:
        """How many copies of the model compute at a time, in all workers."""
        return 1 if self.strategy is None else int(self.strategy.num_replicas_in_sync)

    @property
    def share(self) -> Share | None:
        """Which parts of every global batch this process computes; None where there is only one part and one device."""
        if self.strategy is None:
            return None
        here = self.replicas // self.workers
        return Share(parts=self.replicas, first=self.worker * here, count=here)

    def scope(self) -> AbstractContextManager[Any]:
        """The scope in which variables are made for every replica."""
        return nullcontext() if self.strategy is None else self.strategy.scope()

    def distributed(self, make: Callable[[Share | None], tf.data.Dataset]) -> Any:
        """Returns a dataset of global batches, whose parts go to the replicas.

        Args:
            make: `Share` -> the parts of this process, one after the other; None -> whole batches.
        """
        if self.strategy is None:
            return make(None)
        # Batches are sent ahead to accelerators; between parts of a CPU there is nothing to send.
        ahead = tf.distribute.InputOptions(experimental_fetch_to_device=not all("cpu" in (device or "").lower() for device in self.devices))
        return self.strategy.distribute_datasets_from_function(lambda _: make(self.share), options=ahead)

    def describe(self) -> str:
        """Returns one line of text."""
        replicas = f"{self.replicas} replica{'s' * (self.replicas > 1)}"
        return f"{self.name}: {replicas}" + (f" in {self.workers} workers, this is worker {self.worker}" if self.workers > 1 else "")

    # === What workers do for each other ===

    def rows(self, count: int) -> slice:
        """Returns which of `count` examples this worker computes; together the workers have each exactly once."""
        edges = np.linspace(0, count, self.workers + 1).astype(int)
        return slice(int(edges[self.worker]), int(edges[self.worker + 1]))

    def together(self, part: np.ndarray, count: int, into: np.ndarray | None = None) -> np.ndarray:
        """Brings together what every worker computed of its `rows`.

        Args:
            part: of this worker, (rows, …).
            count: rows of all workers.
            into: array (count, …) to fill, for example a memory map; a new one when None.

        Returns:
            The whole, equal on every worker.
        """
        if self.workers == 1:
            return part
        whole = np.empty((count, *part.shape[1:]), part.dtype) if into is None else into
        edges = np.linspace(0, count, self.workers + 1).astype(int)
        sizes = np.diff(edges)
        step = max(1, CHUNK // max(1, math.prod(part.shape[1:]) * part.dtype.itemsize))
        for start in range(0, int(sizes.max(initial=0)), step):
            rows = self._gather(part[start : start + step])
            read = 0
            for edge, size in zip(edges[:-1], np.clip(sizes - start, 0, step), strict=True):
                whole[edge + start : edge + start + size] = rows[read : read + size]
                read += size
        return whole

    def _gather(self, rows: np.ndarray) -> np.ndarray:
        """Returns the rows of all workers, in their order; the first device of each sends them."""
        width = math.prod(rows.shape[1:]) * rows.dtype.itemsize
        # As int32 numbers, whatever they are: one kind of array is one trace, and collective operations do not take all types.
        words = np.zeros((len(rows), -(-width // 4) * 4), "uint8")
        words[:, :width] = np.ascontiguousarray(rows).view("uint8").reshape(len(rows), width)
        here = self.replicas // self.workers
        parts = [words.view("int32"), *(words[:0].view("int32") for _ in range(here - 1))]
        value = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group % here])
        )
        gathered = np.asarray(_gatherer(self.strategy)(value))
        return np.ascontiguousarray(gathered.view("uint8")[:, :width]).view(rows.dtype).reshape(len(gathered), *rows.shape[1:])

    def agree(self, what: str, describe: Callable[[], str]) -> None:
        """Makes sure that all workers agree on something that they must share.

        Args:
            what: its name in messages.
            describe: returns the value of this worker as text; not called for a single worker.

        Raises:
            TrainingError: naming the workers that differ from the chief.
        """
        if self.workers == 1:
            return
        digest = np.frombuffer(hashlib.sha256(describe().encode()).digest(), "uint8")[None]
        every = self._gather(digest)
        others = [str(index) for index, digest in enumerate(every) if not np.array_equal(digest, every[0])]
        if others:
            raise TrainingError(
                f"the workers do not have the same {what}: worker {', '.join(others)} differs from worker 0; "
                "start all of them with the same command, on the same data and the same weights"
            )

    def common(self, numbers: Sequence[int]) -> list[int]:
        """Returns which numbers all workers have, of the largest few of each; none is negative."""
        if self.workers == 1:
            return list(numbers)
        largest = sorted(numbers)[-COMMON:]
        own = np.array([[*largest, *[-1] * (COMMON - len(largest))]], "int64")
        every = [set(row[row >= 0].tolist()) for row in self._gather(own)]
        return sorted(set.intersection(*every))

    def wait(self) -> None:
        """Returns when every worker got here: one that leaves early would look like one that died."""
        if self.workers > 1:
            self._gather(np.zeros((1, 1), "int32"))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Says in a line when another worker was lost."""
        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError, tf.errors.InternalError) as error:
            if self.workers == 1:
                raise
            reason = " ".join(str(error.message).split())[:160]
            raise TrainingError(
                f"worker {self.worker} lost another worker of {self.workers} ({reason}); see the logs of the other workers for the cause"
            ) from error


@lru_cache
def _gatherer(strategy: Any) -> Callable[[Any], Any]:
    """Returns `strategy.gather` as one function, which TensorFlow traces once for each kind of array, not once for each call."""
    return tf.function(lambda value: strategy.gather(value, axis=0), reduce_retracing=True, autograph=False)


ONE_DEVICE = Distribution(name="cpu")


def open_distribution(text: str) -> Distribution:
    """Opens a distribution strategy; several workers wait here for each other.

    Call it before anything is computed: TensorFlow fixes devices and connections with its first operation.

    Args:
        text: `NAME` or `NAME:N`, see `registry.PLACEMENTS`.

    Raises:
        UnknownName, ConfigError: when there is no such device, or no cluster is defined.
    """
    kind, number = registry.parse(text)
    opened: Distribution = load_function(kind.open)(number)
    return opened


# === One function for each row ===


def open_auto(number: int | None) -> Distribution:
    """Several workers where the environment names them, else the GPUs, else the CPU."""
    cluster = _cluster()
    if cluster is not None and len(cluster.addresses) > 1:
        return open_multiworker(None)
    gpus = len(tf.config.list_physical_devices("GPU"))
    if gpus > 1:
        return open_mirrored(None)
    return open_gpu(None) if gpus else open_cpu(None)


def open_cpu(number: int | None) -> Distribution:
    """The CPU. GPUs are hidden from this process, so that not even their memory is touched."""
    if tf.config.get_visible_devices("GPU"):
        try:
            tf.config.set_visible_devices([], "GPU")
        except RuntimeError:  # TensorFlow computes with the GPU already
            return _one_device("/cpu:0", "cpu")
    return Distribution(name="cpu", devices=("/cpu:0",))


def open_gpu(number: int | None) -> Distribution:
    """One GPU."""
    gpus = len(tf.config.list_physical_devices("GPU"))
    index = number or 0
    if index >= gpus:
        available = f"TensorFlow finds {gpus} GPU{'s' * (gpus > 1)}" if gpus else "TensorFlow finds no GPU"
        raise ConfigError(
            f"placement is 'gpu:{index}' and {available} here; use --placement auto, or install a TensorFlow with GPU support"
        )
    device = f"/gpu:{index}"
    return Distribution(name=f"gpu:{index}", devices=(device,)) if index == 0 else _one_device(device, f"gpu:{index}")


def _one_device(device: str, name: str) -> Distribution:
    return Distribution(name=name, strategy=tf.distribute.OneDeviceStrategy(device), devices=(device,))


def open_mirrored(number: int | None) -> Distribution:
    """All GPUs of this machine or some; without GPUs, parts of the CPU."""
    gpus = tf.config.list_physical_devices("GPU")
    if number == 0 or (gpus and number is not None and number > len(gpus)):
        raise ConfigError(f"placement is 'mirrored:{number}'; expected 1 to {len(gpus) or 'any number of parts of the CPU'}")
    kind, count = ("gpu", number or len(gpus)) if gpus else ("cpu", number or 1)
    if not gpus:
        _split_cpu(count)
    return _mirrored(kind, count)


@lru_cache  # one strategy for the same devices: collective operations are numbered anew in each
def _mirrored(kind: str, count: int) -> Distribution:
    devices = tuple(f"/{kind}:{index}" for index in range(count))
    # GPUs add up gradients by NCCL; collective operations between parts of a CPU allow one group of devices in a process.
    add_up = tf.distribute.ReductionToOneDevice() if kind == "cpu" else None
    strategy = tf.distribute.MirroredStrategy(list(devices), cross_device_ops=add_up)
    return Distribution(name=f"mirrored:{count}", strategy=strategy, devices=devices)


def _split_cpu(count: int) -> None:
    """Makes the CPU act as several devices, where TensorFlow has not begun to compute yet."""
    (cpu, *_) = tf.config.list_physical_devices("CPU")
    devices = tf.config.get_logical_device_configuration(cpu) or [None]
    if len(devices) >= count:
        return
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:
        raise ConfigError(
            f"placement is 'mirrored:{count}' and TensorFlow computes with {len(devices)} CPU devices already; "
            "open the placement before any other TensorFlow work in the process"
        ) from error


def _cluster() -> Cluster | None:
    return from_environment() or from_slurm()


def open_multiworker(number: int | None) -> Distribution:
    """The workers that the environment names."""
    cluster = _cluster()
    if cluster is None:
        raise ConfigError(
            "placement is 'multiworker' and no cluster is defined: TF_CONFIG is not set and this is not a SLURM step of several tasks; "
            "`tlkeras launch --workers 2 finetune …` starts two workers here"
        )
    if len(cluster.addresses) == 1:
        return dataclasses.replace(open_gpu(None) if tf.config.list_physical_devices("GPU") else open_cpu(None), name="multiworker:1")
    os.environ[VARIABLE] = cluster.tf_config()  # where SLURM named it, TensorFlow reads it here all the same
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise ConfigError(f"placement 'multiworker' must be opened before TensorFlow computes anything in this process: {error}") from error
    restore_handler(signal.SIGTERM)
    devices: Sequence[str] = strategy.extended.worker_devices
    return Distribution(
        name=f"multiworker:{len(cluster.addresses)}",
        strategy=strategy,
        devices=tuple(devices),
        workers=len(cluster.addresses),
        worker=cluster.index,
    )


def open_tpu(number: int | None) -> Distribution:
    """The TPU of this machine, or the one that `TPU_NAME` names."""
    if not os.environ.get("TPU_NAME") and not tf.config.list_physical_devices("TPU"):
        raise ConfigError("placement is 'tpu' and this machine has no TPU: no TPU device and no TPU_NAME; use --placement auto")
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=os.environ.get("TPU_NAME", "local"))
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    # What is computed once per example runs on the host, whose TensorFlow functions the TPU does not take unchanged.
    return Distribution(name="tpu", strategy=tf.distribute.TPUStrategy(resolver), devices=("/cpu:0",))
