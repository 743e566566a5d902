"""A real process that is killed, at random moments and at every named step, and gone on with, ends in the same weights and artifacts."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.faults import fault
from tests.helpers import pictures
from tlkeras.zoo import check
from tlkeras.zoo.store import Zoo, verify_files

KILLS = int(os.environ.get("TLKERAS_KILLS", "40"))
NETWORK = ["--backbone", "cnn", "--weights", "none", "--image-size", "16", "--batch-size", "8", "--epochs", "3", "--seed", "5"]
SETTINGS = {
    "gradual": [*NETWORK, "--recipe", "gradual", "--export", "tflite"],
    "every format": [*NETWORK, "--recipe", "gradual", "--export", "saved_model,tflite,onnx"],
    "averaged": [*NETWORK, "--recipe", "wise-ft", "--export", "none"],
    "quick": [*NETWORK, "--recipe", "full", "--export", "none"],
}
# Converters write files with names that are drawn anew each time: of artifacts the answers are compared.
UNTRACED = {"TLKERAS_TEST_EAGER": "1"}  # as with moments, states of all epochs and rows are written, however fast they are
SAME = "the same weights, history, predictions and scores, bit for bit; artifacts that answer the same; no working file is left"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL of POSIX")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills") / "photos"
    x, y = pictures(48, size=16)
    for index, (image, label) in enumerate(zip(x, y, strict=True)):
        path = folder / "abc"[label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def start(folder, *arguments, **variables):
    """Starts a command whose caches are in a folder; `tests/killing.py` says what the variables mean."""
    environment = {**os.environ, "TLKERAS_CACHE": str(folder / "cache"), "TLKERAS_CACHE_SIZE": "100MB", **variables}
    command = [sys.executable, str(ROOT / "tests" / "killing.py"), *map(str, arguments)]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen(command, env=environment, cwd=ROOT, **pipes)


def finish(folder, *arguments, **variables):
    process = start(folder, *arguments, **variables)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


def content(run):
    """Returns all that must be the same."""
    weights = keras.saving.load_model(run / "model.keras", compile=False).get_weights()
    metrics = json.loads((run / "metrics.json").read_text())
    artifacts = {name: one["agreement"] for name, one in metrics["exports"].items()}
    figures = {name: metrics[name] for name in ("val", "test")}
    texts = {name: (run / name).read_text() for name in ("history.csv", "predictions.csv", "target.json", "calibration.json", "labels.txt")}
    return [np.asarray(value) for value in weights], texts, figures, artifacts


def same(run, expected):
    weights, *others = content(run)
    for left, right in zip(weights, expected[0], strict=True):
        np.testing.assert_array_equal(left, right)
    assert others == list(expected[1:])
    assert not [path for path in run.rglob(".*") if path.name not in (".", "..")], "working files are left"
    assert not (run / "checkpoints/asked.yaml").exists() and not (run / "checkpoints/states").exists()


def same_answers(run, other):
    """Checks that the artifacts of two runs gave the same answers when they were verified."""
    with np.load(run / "exports/verification.npz") as left, np.load(other / "exports/verification.npz") as right:
        assert left.files == right.files
        for name in left.files:
            np.testing.assert_allclose(left[name], right[name], atol=1e-6, err_msg=name)


def gone_on(folder, out, begin):
    """Goes on with a run that was killed, as its user would: with `--resume` once its settings are there, else with the same command."""
    resumable = (out / "checkpoints" / "asked.yaml").exists()
    if resumable or not (out / "metrics.json").exists():
        finish(folder, *(["finetune", "--resume", out] if resumable else begin))


class Whole:
    """Runs that nobody killed: content of each, the moments that it passed, and how long such a run takes."""

    def __init__(self, photos):
        self.photos, self.folder, self._known, self._seconds = photos, photos.parent, {}, {}

    def begin(self, name, out):
        return ["finetune", "--data", self.photos, "--out", out, *SETTINGS[name]]

    def run(self, name):
        if name not in self._known:
            out, moments = self.folder / f"whole-{name.replace(' ', '-')}", self.folder / f"{name}.txt"
            shutil.rmtree(self.folder / "cache", ignore_errors=True)
            finish(self.folder, *self.begin(name, out), TLKERAS_TEST_MOMENTS=str(moments))
            self._known[name] = (content(out), moments.read_text().splitlines())
        return self._known[name]

    def seconds(self, name, cold):
        """Returns how long a run takes that is watched no more than those that are killed, with an empty cache or one that has all."""
        if (name, cold) not in self._seconds:
            caches, out = self.folder / ("cold" if cold else "warm"), self.folder / f"timed-{name}-{cold}"
            if not cold:
                finish(caches, *self.begin(name, self.folder / f"warming-{name}"), **UNTRACED)
            started = time.monotonic()
            finish(caches, *self.begin(name, out), **UNTRACED)
            self._seconds[name, cold] = time.monotonic() - started
        return self._seconds[name, cold]


@pytest.fixture(scope="module")
def whole(photos):
    return Whole(photos)


# === At random moments ===

TRIES = 20  # times that a process is started for one seed, until one is killed before it ends by itself
COLD = 4  # every so many, the cache is empty: then images are decoded and features computed


def at_random(seed):
    """Returns the marks and the name of a seed: whether its processes find an empty cache."""
    moment = (
        "at a random moment of a run whose cache is empty" if seed % COLD == 0 else "at a random moment of a run, from its start to its end"
    )
    return pytest.param(seed, seed % COLD == 0, marks=fault("killed (SIGKILL)", moment, SAME))


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "cold"), [at_random(seed) for seed in range(KILLS)])
def test_a_process_that_is_killed_at_a_random_moment_and_gone_on_with_ends_the_same(seed, cold, photos, whole):
    expected = whole.run("gradual")[0]
    random_number, seconds = random.Random(seed), whole.seconds("gradual", cold)
    for attempt in range(TRIES):
        out, caches = photos.parent / f"killed-{seed}-{attempt}", photos.parent / (f"cold-{seed}-{attempt}" if cold else "warm")
        begin = whole.begin("gradual", out)
        process = start(caches, *begin, **UNTRACED)
        time.sleep(random_number.uniform(0, seconds))
        os.killpg(process.pid, signal.SIGKILL)
        _, errors = process.communicate()
        if process.returncode == -signal.SIGKILL:
            break
        assert process.returncode == 0, errors  # it had ended: on a machine that is sometimes faster
    assert process.returncode == -signal.SIGKILL, f"none of {TRIES} processes was killed before it ended"
    if (out / "metrics.json").exists() and not (out / "checkpoints/asked.yaml").exists():
        shutil.rmtree(out / "checkpoints/states", ignore_errors=True)  # killed while it removed them, at the very end: nobody needs them
    gone_on(caches, out, begin)
    same(out, expected)
    same_answers(out, whole.folder / "whole-gradual")


# === At every named step ===

STEPS = {
    "while the network is built": ["begins build"],
    "while images are decoded": ["begins decode", "wrote rows of the cache"],
    "while features are computed": ["in features"],
    "in the middle of an epoch": ["in epoch 2"],
    "while a state is written": ["writes phase-0@000000.state"],  # of an epoch, whether one is written depends on its seconds
    "between phases": ["wrote phase-0@000000.state"],
    "while weights are averaged": ["averages: interpolated"],
    "when training has ended": ["wrote trained@000000.state"],
    "while the model is written": ["writes model.keras", "wrote model.keras"],
    "while the SavedModel is exported": ["writes saved_model"],
    "while TFLite is exported": ["writes model.tflite"],
    "while ONNX is exported": ["export: onnx", "wrote model.onnx"],
    "while the manifest is written": ["writes manifest.json"],
    "while the report is written": ["begins report", "writes report.html"],
    "while the figures are written": ["writes metrics.json", "wrote metrics.json"],
}
FIRST = ("begins decode", "wrote rows of the cache", "in features")  # moments of a run whose cache is empty


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [pytest.param(moment, marks=fault("killed (SIGKILL)", step, SAME)) for step, moments in STEPS.items() for moment in moments],
)
def test_a_process_that_is_killed_at_a_named_step_and_gone_on_with_ends_the_same(moment, photos, whole):
    name = "averaged" if moment.startswith("averages") else "every format"
    expected, moments = whole.run(name)
    assert moment in moments, f"no run passes this moment; it passes {', '.join(moments)}"
    out, folder = photos.parent / moment.replace(" ", "-").replace(":", ""), photos.parent
    begin = whole.begin(name, out)
    if moment in FIRST:
        shutil.rmtree(folder / "cache", ignore_errors=True)
    process = start(folder, *begin, TLKERAS_TEST_KILL_AT=moment)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, errors
    gone_on(folder, out, begin)
    same(out, expected)
    if name == "every format":
        same_answers(out, whole.folder / "whole-every-format")


@pytest.mark.slow
def test_every_step_of_a_run_is_among_those_at_which_it_is_killed(whole):
    passed = [moment.partition(" #")[0] for name in ("every format", "averaged") for moment in whole.run(name)[1]]
    steps = {moment for moment in passed if moment.startswith(("begins ", "in ", "averages", "export: ")) and "/" not in moment}
    # What lies inside of these steps is tried moment by moment.
    inside = {"begins train", "begins export", "in decode", "export: saved_model", "export: tflite", "in epoch 1", "in epoch 3"}
    assert steps - inside <= {moment for moments in STEPS.values() for moment in moments}


def test_a_process_that_is_killed_in_an_epoch_goes_on_to_the_same_weights(photos, whole):
    expected, moments = whole.run("quick")
    out, folder = photos.parent / "quickly", photos.parent
    process = start(folder, *whole.begin("quick", out), TLKERAS_TEST_KILL_AT="in epoch 3")
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL and "in epoch 3" in moments
    assert not (out / "model.keras").exists()
    finish(folder, "finetune", "--resume", out)
    same(out, expected)


# === SIGTERM outside of training ===


@pytest.mark.slow
@fault(
    "SIGTERM",
    "while artifacts are exported",
    "one line that says how to go on, exit code 143 within 5 seconds; it goes on to the same artifacts",
)
@pytest.mark.parametrize("moment", ["export: saved_model", "writes saved_model", "export: tflite", "export: onnx"])
def test_sigterm_in_an_export_says_how_to_go_on_and_the_run_ends_the_same(moment, photos, whole):
    expected, _ = whole.run("every format")
    out, folder = photos.parent / f"terminated-{moment.replace(' ', '-').replace(':', '')}", photos.parent
    moments = folder / f"{out.name}.txt"
    process = start(folder, *whole.begin("every format", out), TLKERAS_TEST_MOMENTS=str(moments))
    deadline = time.monotonic() + 300
    while not (moments.exists() and moment in moments.read_text().splitlines()) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143 and time.monotonic() - started < 5
    assert [line for line in errors.splitlines() if line.startswith("stopped")] == [
        f"stopped by SIGTERM; `tlkeras finetune --resume {out}` goes on"
    ]
    assert "Traceback" not in errors
    finish(folder, "finetune", "--resume", out)
    same(out, expected)
    same_answers(out, whole.folder / "whole-every-format")


# === Two at once ===


@pytest.mark.slow
@fault("two runs share an empty cache", "from their start on", "each ends as it would alone")
def test_two_runs_that_share_an_empty_cache_end_as_they_would_alone(photos, whole):
    expected = whole.run("gradual")[0]
    folder = photos.parent
    shutil.rmtree(folder / "cache", ignore_errors=True)
    processes = [(folder / f"at-once-{number}", start(folder, *whole.begin("gradual", folder / f"at-once-{number}"))) for number in (1, 2)]
    for out, process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        same(out, expected)


# === While it is published ===


@pytest.mark.slow
@fault("killed (SIGKILL)", "while a run is published", "no version or a whole one; publishing again adds a version that verifies")
@pytest.mark.parametrize("moment", ["writes README.md", "writes manifest.json", "wrote manifest.json", "writes models.config"])
def test_a_publisher_that_is_killed_leaves_no_damaged_version(moment, photos, whole, tmp_path):
    whole.run("every format")
    publish = ["zoo", "publish", photos.parent / "whole-every-format", "--name", "net", "--zoo", tmp_path]
    process = start(photos.parent, *publish, TLKERAS_TEST_KILL_AT=moment)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, errors
    zoo = Zoo(tmp_path)
    for entry in zoo.list():
        assert not verify_files(entry)
    finish(photos.parent, *publish)
    assert zoo.versions("net") == ([1, 2] if moment == "writes models.config" else [1])
    assert not [one.problem for one in check.verify(zoo.get("net")) if one.problem]
