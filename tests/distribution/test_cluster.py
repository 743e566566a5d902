"""Which workers train together is read from what the environment says."""

import json

import pytest

from tlkeras.distribution import cluster, launch
from tlkeras.distribution.cluster import Cluster
from tlkeras.errors import ConfigError


def environment(workers, index, kind="worker", **others):
    jobs = {"worker": workers, **others}
    return {"TF_CONFIG": json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}})}


def test_what_is_written_is_read_again():
    one = Cluster(addresses=("a:1", "b:2", "c:3"), index=2)
    assert cluster.from_environment({"TF_CONFIG": one.tf_config()}) == one


@pytest.mark.parametrize(("kind", "index", "place"), [("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2)])
def test_a_chief_is_the_first_worker_as_kubeflow_has_it(kind, index, place):
    told = cluster.from_environment(environment(["b:1", "c:1"], index, kind, chief=["a:1"]))
    assert told == Cluster(addresses=("a:1", "b:1", "c:1"), index=place)


@pytest.mark.parametrize("environ", [{}, {"TF_CONFIG": " "}, {"TF_CONFIG": '{"cluster": {}}'}])
def test_no_worker_is_no_cluster(environ):
    assert cluster.from_environment(environ) is None


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"TF_CONFIG": "{"}, "cannot be read"),
        ({"TF_CONFIG": '["a"]'}, "cannot be read"),
        (environment(["a:1"], 0, ps=["b:1"]), "names 'ps' tasks"),
        (environment(["a:1"], 0, kind="evaluator"), "names 'evaluator' tasks"),
        (environment(["a:1", "b:1"], 5), "worker 5 of 2"),
        (environment(["a:1", "a:1"], 0), "all different"),
    ],
)
def test_a_cluster_that_cannot_be_is_told(environ, message):
    with pytest.raises(ConfigError, match=message):
        cluster.from_environment(environ)


def test_a_slurm_step_is_a_cluster_in_the_order_of_its_tasks():
    environ = {
        "SLURM_STEP_NUM_TASKS": "3",
        "SLURM_PROCID": "2",
        "SLURM_STEP_NODELIST": "node[2,10]",
        "SLURM_STEP_TASKS_PER_NODE": "2,1",
    }
    assert cluster.from_slurm(environ) == Cluster(addresses=("node2:8888", "node2:8889", "node10:8888"), index=2)
    assert cluster.from_slurm({**environ, "SLURM_STEP_NUM_TASKS": "1"}) is None and cluster.from_slurm({}) is None


def test_free_addresses_are_different():
    assert len(set(launch.free_addresses(20))) == 20


def test_a_host_finds_its_rank_by_what_was_said_then_kubernetes_then_its_name(monkeypatch):
    monkeypatch.setattr(launch.socket, "gethostname", lambda: "two")
    monkeypatch.setattr(launch.socket, "getfqdn", lambda: "two.example.org")
    hosts = ("one:9000", "two:9000", "three:9000")
    assert launch.rank(hosts, 2, {"JOB_COMPLETION_INDEX": "0"}) == 2
    assert launch.rank(hosts, None, {"JOB_COMPLETION_INDEX": "0"}) == 0
    assert launch.rank(hosts, None, {}) == 1
    with pytest.raises(ConfigError, match="--index N"):
        launch.rank(("a:1", "b:1"), None, {})
    with pytest.raises(ConfigError, match="expected 0 to 2"):
        launch.rank(hosts, 3, {})
