"""A real process that is killed at random moments, and resumed until it is done, ends in the same weights."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from PIL import Image

from tests.helpers import pictures

KILLS = int(os.environ.get("TLKERAS_KILLS", "40"))
SETTINGS = ["--backbone", "cnn", "--weights", "none", "--image-size", "16", "--recipe", "gradual", "--epochs", "3", "--batch-size", "8"]
SETTINGS += ["--export", "tflite,onnx", "--seed", "5"]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL of POSIX")]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills") / "photos"
    x, y = pictures(48, size=16)
    for index, (image, label) in enumerate(zip(x, y, strict=True)):
        path = folder / "abc"[label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def start(arguments, folder):
    environment = {**os.environ, "TLKERAS_CACHE": str(folder / "cache"), "TLKERAS_CACHE_SIZE": "100MB"}
    command = [sys.executable, "-m", "tlkeras", "finetune", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)


def finish(arguments, folder):
    process = start(arguments, folder)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


def content(run):
    weights = keras.saving.load_model(run / "model.keras", compile=False).get_weights()
    metrics = json.loads((run / "metrics.json").read_text())
    agreed = {name: record["agreement"] for name, record in metrics["exports"].items()}
    return [np.asarray(value) for value in weights], (run / "history.csv").read_text(), (run / "predictions.csv").read_text(), agreed


@pytest.fixture(scope="module")
def whole(photos):
    """The uninterrupted run, and the seconds that it takes."""
    started = time.monotonic()
    finish(["--data", str(photos), "--out", str(photos.parent / "whole"), *SETTINGS], photos.parent)
    return content(photos.parent / "whole"), time.monotonic() - started


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_process_that_is_killed_at_a_random_moment_and_resumed_ends_in_the_same_weights(seed, photos, whole):
    expected, seconds = whole
    moments = random.Random(seed)
    out = photos.parent / f"killed-{seed}"
    begin = ["--data", str(photos), "--out", str(out), *SETTINGS]
    process = start(begin, photos.parent)
    time.sleep(moments.uniform(0.3, 1.0) * seconds)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    if not (out / "metrics.json").exists():
        resumable = (out / "checkpoints" / "asked.yaml").exists()
        assert resumable or not out.exists() or not any(path.is_file() for path in out.rglob("*")), "files without a way to go on"
        finish(["--resume", str(out)] if resumable else begin, photos.parent)
    weights, *others = content(out)
    for left, right in zip(weights, expected[0], strict=True):
        np.testing.assert_array_equal(left, right)
    assert others == list(expected[1:])
    assert not [path for path in out.rglob(".*") if path.name not in (".", "..")], "working files are left"
