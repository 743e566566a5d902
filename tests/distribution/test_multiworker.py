"""Several real processes train together, and end together."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.conftest import ROOT
from tlkeras.config import RunConfig
from tlkeras.distribution import launch as distribution_launch
from tlkeras.distribution.cluster import Cluster
from tlkeras.distribution.launch import free_addresses
from tlkeras.jobs import finetune

WORKERS, DEVICES = "MultiWorkerMirroredStrategy()", "MirroredStrategy(['cpu:0', 'cpu:1'])"
FIT = """
import json, sys
import keras, numpy as np, tensorflow as tf
strategy = tf.distribute.STRATEGY
from tlkeras.distribution.multiworker import DistributedModel
keras.utils.set_random_seed(0)
with strategy.scope():
    inputs = keras.Input((8,))
    model = DistributedModel(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
x = np.random.default_rng(0).normal(size=(33, 8)).astype("float32")
options = tf.data.Options()
options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
data = tf.data.Dataset.from_tensor_slices((x, x.sum(axis=1, keepdims=True))).batch(8).with_options(options)
history = model.fit(data, epochs=2, verbose=0, shuffle=False, validation_data=data).history
arrays = DistributedModel.fit(model, x[:32], x[:32].sum(axis=1, keepdims=True), batch_size=8, verbose=0, shuffle=False).history
scores = model.predict(data.map(lambda a, b: a), verbose=0)
kernel, bias = (v.numpy() for v in model.weights)
result = {
    "history": history, "arrays": arrays, "evaluate": model.evaluate(data, verbose=0),
    "mse": float(np.mean((x @ kernel + bias - x.sum(axis=1, keepdims=True)) ** 2)),
    "predict": float(np.abs(scores - (x @ kernel + bias)).max()), "rows": len(scores), "kernel": kernel.ravel().tolist(),
}
print("RESULT " + json.dumps(result))
"""


def together(code, workers=2, timeout=240):
    """Runs the code in processes that find each other; returns what each printed behind RESULT."""
    addresses = free_addresses(workers)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "TF_CONFIG": Cluster(addresses=addresses, index=index).tf_config(), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(workers)
    ]
    try:
        done = [one.communicate(timeout=timeout) for one in started]
    finally:
        for one in started:
            one.kill()
    for one, (_, errors) in zip(started, done, strict=True):
        assert one.returncode == 0, errors[-3000:]
    return [json.loads(out.partition("RESULT ")[2]) for out, _ in done]


def check_fitted(one):
    assert one["rows"] == 33 and one["predict"] < 1e-5
    assert one["evaluate"] == pytest.approx(one["mse"], rel=1e-4)
    losses = one["history"]["loss"] + one["arrays"]["loss"]
    assert losses == sorted(losses, reverse=True) and np.isfinite(losses).all()


def test_fit_evaluate_and_predict_work_on_two_devices():
    names = {}
    exec(FIT.replace("STRATEGY", DEVICES), names)
    check_fitted(names["result"])


@pytest.mark.slow  # by default, a pair of workers is launched below
def test_fit_evaluate_and_predict_work_in_two_processes_and_agree():
    one, two = together(FIT.replace("STRATEGY", WORKERS))
    assert one == two
    check_fitted(one)


@pytest.mark.slow
def test_keras_itself_still_fails_and_tells_us_when_it_is_mended(tmp_path):
    (code,) = re.findall(r"```python\n(import json.*?)```", (ROOT / "docs" / "multiworker.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "reproduce.py").write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, str(tmp_path / "reproduce.py")], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode, "keras-team/keras#20585 is mended: DistributedModel can go, with docs/multiworker.md and this test"
    assert "PerReplica" in done.stderr, done.stderr[-2000:]


# === tlkeras launch ===


def launch(*arguments, cwd, timeout=600):
    command = [sys.executable, "-m", "tlkeras.cli.main", "launch", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture(scope="module", params=["cnn", pytest.param("efficientnet", marks=pytest.mark.slow)])
def pair(request, tmp_path_factory):
    """The same fine-tuning by two workers and by one process."""
    root = tmp_path_factory.mktemp("launch")
    if request.param == "cnn":
        values = {"backbone": "cnn", "weights": "none", "recipe": "full", "data": "digits", "image_size": 16, "limit": 120}
        values |= {"export": "tflite"}
    else:
        values = {"backbone": "efficientnet", "data": request.getfixturevalue("shared_data") / "hymenoptera", "image_size": 96}
        values |= {"export": "saved_model,tflite,onnx"}
    values |= {"epochs": 4}
    flags = [part for name, value in values.items() for part in (f"--{name.replace('_', '-')}", value)]
    done = launch("--workers", 2, "--logs", root / "logs", "--", "finetune", *flags, "--out", root / "two", cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    finetune.finetune(RunConfig.from_dict({**values, "data": str(values["data"]), "out": str(root / "one")}))
    return root, done


def test_two_launched_workers_give_the_losses_of_one_process(pair):
    root, _ = pair
    one, two = (list(csv.DictReader((root / name / "history.csv").read_text(encoding="utf-8").splitlines())) for name in ("one", "two"))
    assert len(one) == len(two) == 4
    for a, b in zip(one, two, strict=True):
        for key in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert float(b[key]) == pytest.approx(float(a[key]), abs=1e-4), key


def test_two_launched_workers_leave_the_artifacts_of_one_process(pair):
    root, _ = pair
    one, two = (json.loads((root / name / "metrics.json").read_text(encoding="utf-8")) for name in ("one", "two"))
    assert two["placement"] == {"name": "multiworker:2", "replicas": 2, "workers": 2, "worker": 0}
    assert "tflite" in two["exports"] and set(two["exports"]) == set(one["exports"])
    for name, artifact in two["exports"].items():
        assert artifact["agreement"] == 1.0 and artifact["accuracy"] == one["exports"][name]["accuracy"]
    scores = [np.load(root / name / "exports" / "verification.npz") for name in ("one", "two")]
    for name in scores[0].files:
        np.testing.assert_allclose(scores[1][name], scores[0][name], atol=1e-4, err_msg=name)


def test_only_the_chief_writes_and_nothing_is_left_behind(pair):
    root, done = pair
    assert sorted(path.name for path in root.iterdir()) == ["logs", "one", "two"]
    assert "worker 1 is done; worker 0 wrote the run" in (root / "logs" / "worker-1.log").read_text(encoding="utf-8")
    assert "Artifacts, each run in its own runtime" in done.stdout and "retracing" not in done.stdout


# By default one is killed while it begins; what begins takes a tenth of the time of what trains.
@pytest.mark.parametrize(("workers", "said"), [(2, ""), pytest.param(3, r"epoch \d+/5000", marks=pytest.mark.slow)])
def test_a_killed_worker_ends_all_in_seconds_with_its_reason(workers, said, tmp_path):
    command = [sys.executable, "-m", "tlkeras.cli.main", "launch", "--workers", str(workers), "--logs", str(tmp_path / "logs"), "--"]
    command += ["finetune", "--backbone", "cnn", "--weights", "none", "--image-size", "16", "--recipe", "full", "--export", "none"]
    command += ["--limit", "60", "--epochs", "5000", "--patience", "5000", "--out", str(tmp_path / "run")]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as parent:
        try:
            log = tmp_path / "logs" / "worker-0.log"
            deadline = time.monotonic() + 300
            while len(children := _children(parent)) < workers or not re.search(said, log.read_text(encoding="utf-8")):
                assert time.monotonic() < deadline and parent.poll() is None, parent.communicate()
                time.sleep(0.2)
            assert len(children) == workers
            os.kill(children[1], signal.SIGKILL)
            started = time.monotonic()
            _, errors = parent.communicate(timeout=60)
        finally:
            parent.kill()
    assert time.monotonic() - started < 30 and parent.returncode == 1
    assert "was killed by SIGKILL; all other workers were stopped" in errors, errors
    assert not [pid for pid in children if _alive(pid)]


WORKER = """
import signal, sys, time

def stop(*_):
    print("asked", flush=True)
    if sys.argv[1] == "ends":
        print("stopped after 3 epochs, and `tlkeras finetune --resume run` goes on", flush=True)
        sys.exit(143)

signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
while True:
    time.sleep(0.02)
"""


@pytest.mark.parametrize(("worker", "asked", "said"), [("ends", 1, "stopped after 3 epochs, and"), ("stays", 2, "stopped by SIGTERM")])
def test_sigterm_reaches_the_workers_and_none_is_left(worker, asked, said, tmp_path, monkeypatch):
    monkeypatch.setattr(distribution_launch, "TERMINATE", ((signal.SIGTERM, 0.5), (signal.SIGTERM, 0.5)))
    started, lines = [], []
    popen = subprocess.Popen

    def replaced(command, **settings):
        started.append(popen([sys.executable, "-u", "-c", WORKER, worker], **settings))
        return started[-1]

    def stopped(workers):
        while "ready" not in lines:
            time.sleep(0.01)
        raise KeyboardInterrupt("stopped by SIGTERM")

    monkeypatch.setattr(subprocess, "Popen", replaced)
    monkeypatch.setattr(distribution_launch, "_watch", stopped)
    clusters = [Cluster(addresses=("127.0.0.1:1", "127.0.0.1:2"), index=index) for index in range(2)]
    with pytest.raises(KeyboardInterrupt, match=said):
        distribution_launch.run(clusters, [], tmp_path / "logs", lines.append, terminated=lambda: True)
    assert lines.count("asked") == asked and all(process.poll() is not None for process in started)


def _children(process):
    done = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in done.stdout.split()]


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_that_fails_by_itself_is_named_with_its_error(tmp_path):
    done = launch(
        "--workers", 2, "--logs", tmp_path / "logs", "--", "finetune", "--backbone", "cnn", "--data", tmp_path / "none", cwd=tmp_path
    )
    assert done.returncode == 1
    assert re.search(r"error: worker \d ended with code 1: .*none", done.stderr), done.stderr
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())


@pytest.mark.slow  # tests/cli/test_usage.py asks the same in its own process
def test_only_commands_that_train_are_launched(tmp_path):
    done = launch("--workers", 2, "--", "predict", "x", cwd=tmp_path)
    assert done.returncode == 1 and "tlkeras launch runs finetune" in done.stderr
