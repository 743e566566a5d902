"""Which processes train together: read from the environment and written for it. Reading this imports no TensorFlow."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from tlkeras.errors import ConfigError

VARIABLE = "TF_CONFIG"
SLURM_PORT = 8888  # of the first task of a node, as TensorFlow has it
JOBS = ("chief", "worker")  # the kinds of task that train; the chief, where there is one, is the first worker
EXPECTED = (
    f'{VARIABLE} is {{"cluster": {{"worker": ["host:port", …]}}, "task": {{"type": "worker", "index": 0}}}}, and `tlkeras launch` writes it'
)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The workers of one training, and which of them this process is.

    Args:
        addresses: `host:port` of each worker. The first is the chief, the only one that writes.
        index: position of this process among them, from 0.
    """

    addresses: tuple[str, ...]
    index: int

    def __post_init__(self) -> None:
        if not self.addresses or len(set(self.addresses)) != len(self.addresses):
            raise ConfigError(
                f"the cluster has the addresses {list(self.addresses)}; expected one host:port for each worker, all different"
            )
        if not 0 <= self.index < len(self.addresses):
            raise ConfigError(f"this process is worker {self.index} of {len(self.addresses)}; expected 0 to {len(self.addresses) - 1}")

    def tf_config(self) -> str:
        """Returns what TensorFlow reads from `TF_CONFIG`."""
        return json.dumps({"cluster": {"worker": list(self.addresses)}, "task": {"type": "worker", "index": self.index}})


def from_environment(environ: Mapping[str, str] = os.environ) -> Cluster | None:
    """Returns the cluster that `TF_CONFIG` names: `tlkeras launch`, Kubeflow's training operator and others write it.

    Returns:
        The cluster, or None if the variable is not set or names no worker.

    Raises:
        ConfigError: when it cannot be parsed, or names tasks that do not train.
    """
    text = environ.get(VARIABLE, "").strip()
    if not text:
        return None
    try:
        value = json.loads(text)
        jobs, task = dict(value.get("cluster") or {}), dict(value.get("task") or {})
        workers = [(job, str(address)) for job in JOBS for address in jobs.get(job, ())]
        kind, index = str(task.get("type", "worker")), int(task.get("index", 0))
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{VARIABLE} cannot be read ({error}); expected: {EXPECTED}") from error
    if not workers:
        return None
    others = sorted(job for job in jobs if job not in JOBS and jobs[job])
    if others or kind not in JOBS:
        raise ConfigError(
            f"{VARIABLE} names {', '.join(map(repr, others)) or repr(kind)} tasks; expected chief and worker tasks only, which train together ({EXPECTED})"
        )
    before = sum(job != kind for job, _ in workers[: _first(workers, kind)])
    return Cluster(addresses=tuple(address for _, address in workers), index=before + index)


def _first(workers: list[tuple[str, str]], kind: str) -> int:
    """Returns where the tasks of a kind begin."""
    return next((index for index, (job, _) in enumerate(workers) if job == kind), len(workers))


def from_slurm(environ: Mapping[str, str] = os.environ) -> Cluster | None:
    """Returns the cluster of a SLURM step with several tasks (`srun`), one worker for each task, or None outside of one."""
    if int(environ.get("SLURM_STEP_NUM_TASKS", "1")) < 2 or "SLURM_PROCID" not in environ:
        return None
    # TensorFlow's own SlurmClusterResolver sorts node10 before node2, which is not the order that SLURM numbers its tasks in.
    from tensorflow.python.distribute.cluster_resolver.slurm_cluster_resolver import expand_hostlist, expand_tasks_per_node

    hosts = expand_hostlist(environ["SLURM_STEP_NODELIST"])
    tasks = expand_tasks_per_node(environ["SLURM_STEP_TASKS_PER_NODE"])
    addresses = [f"{host}:{SLURM_PORT + index}" for host, count in zip(hosts, tasks, strict=True) for index in range(count)]
    return Cluster(addresses=tuple(addresses), index=int(environ["SLURM_PROCID"]))
