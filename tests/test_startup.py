"""How TensorFlow is loaded: what tlkeras chooses unless the environment says otherwise, and that files run as they would elsewhere."""

import json
import os
import random
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import typer
from tensorflow.python.eager.context import context as current
from tensorflow.python.framework import random_seed

from tests.conftest import ROOT
from tests.jobs.test_finetune import photos
from tlkeras import startup
from tlkeras.cli import main
from tlkeras.config import RunConfig
from tlkeras.jobs import finetune

context = current()

CHOSEN = {"TF_ENABLE_ONEDNN_OPTS": "1", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
CODE = """
import json, os, sys
from tlkeras import startup
startup.load_tensorflow()
print(json.dumps([{name: values.get(name) for name in sys.argv[1:]} for values in (os.environ, startup.user_environment())]))
"""


@pytest.mark.parametrize(
    ("user", "runs"),
    [
        ({"TF_FORCE_GPU_ALLOW_GROWTH": "false"}, {"TF_ENABLE_ONEDNN_OPTS": None, "TF_FORCE_GPU_ALLOW_GROWTH": "false"}),
        pytest.param({}, dict.fromkeys(CHOSEN), marks=pytest.mark.slow),
        pytest.param({"TF_ENABLE_ONEDNN_OPTS": "0", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}, None, marks=pytest.mark.slow),
    ],
    ids=["one unset, one off", "unset", "one off, one on"],
)
def test_tensorflow_is_loaded_with_onednn_and_growing_gpu_memory_unless_the_environment_says_otherwise(user, runs):
    environment = {name: value for name, value in os.environ.items() if name not in CHOSEN} | user
    done = subprocess.run([sys.executable, "-c", CODE, *CHOSEN], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [{**CHOSEN, **user}, runs or user]
    assert done.stderr == ""


# Packages that take seconds to import and that fine-tuning an image network does not use before its first step.
UNUSED = ("keras_cv", "keras_hub", "keras_nlp", "tensorflow_datasets", "tensorflow_text", "tf2onnx", "onnx", "onnxruntime", "mediapipe")


def test_a_run_on_images_does_not_import_what_it_does_not_use():
    code = f"""
import sys
from tests import conftest
from tlkeras.jobs import finetune, plan
from tlkeras.config import RunConfig
from tlkeras import models
from tlkeras.modalities.sources import open_source
models.build(plan.resolve(RunConfig.from_dict({{"weights": "none"}})).backbone, 2, image_size=32, weights="none")
open_source(None)
print([name for name in {UNUSED} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.fixture(scope="module")
def command():
    """What a command finds once TensorFlow is loaded, before and after it uses what was put off."""
    code = """
import gc, json, sys
from tlkeras import startup
assert not startup.own_process
startup.own_process = True
startup.load_tensorflow()
def loaded():
    return [name for name in ("sklearn", "scipy.stats", "matplotlib.figure") if name in sys.modules]
first = loaded()
import keras, matplotlib.pyplot
matplotlib.pyplot.figure, keras.wrappers.SKLearnClassifier
print(json.dumps([first, loaded(), gc.get_freeze_count(), gc.get_threshold()]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_what_keras_imports_for_a_few_of_its_functions_is_read_when_it_is_used(command):
    first, then, *_ = command
    assert (first, then) == ([], ["sklearn", "scipy.stats", "matplotlib.figure"])


def test_a_command_does_not_search_what_it_imported_for_garbage(command):
    *_, spared, thresholds = command
    assert spared > 100_000 and thresholds[0] > 10_000


def test_only_a_command_makes_the_process_its_own(monkeypatch):
    monkeypatch.setattr(startup, "own_process", False)
    monkeypatch.setattr(typer.Typer, "__call__", lambda *args, **kwargs: None)
    main.main()
    assert startup.own_process


def draws():
    return (
        random.random(),
        np.random.random(),
        np.asarray(keras.random.normal((2,))),
        np.asarray(keras.initializers.GlorotUniform()((2, 2))),
    )


def test_the_same_seed_gives_the_same_draws_of_python_numpy_and_keras():
    startup.set_seed(4)
    first = draws()
    startup.set_seed(4)
    for a, b in zip(first, draws(), strict=True):
        np.testing.assert_array_equal(a, b)
    startup.set_seed(5)
    assert not any(np.array_equal(a, b) for a, b in zip(first, draws(), strict=True))


def test_tensorflow_keeps_what_it_has_prepared_when_another_seed_is_set(monkeypatch):
    startup.set_seed(1)
    forgotten = []
    monkeypatch.setattr(context, "_set_global_seed", forgotten.append)
    startup.set_seed(2)
    assert not forgotten
    assert tf.random.set_seed.__module__.startswith("tensorflow")  # for others it works as before


@pytest.mark.parametrize(
    "settings",
    [
        {"recipe": "full", "augment": "trivial", "mixup": 0.4, "cutmix": 1.0, "dropout": 0.5},
        pytest.param({"recipe": "auto", "cross_validate": "2"}, marks=pytest.mark.slow),
    ],
    ids=["all that is drawn in training", "folds"],
)
def test_nothing_is_drawn_from_the_generator_of_tensorflow(settings, tmp_path, monkeypatch):
    def refuse(seed):
        assert seed is not None, "an operation draws from TensorFlow's own generator, which set_seed does not set again"
        return get_seed(seed)

    get_seed = random_seed.get_seed
    monkeypatch.setattr(random_seed, "get_seed", refuse)
    monkeypatch.setattr(context, "_internal_operation_seed", lambda: refuse(None))
    config = {
        "data": str(photos(tmp_path / "photos")),
        "out": str(tmp_path / "run"),
        "backbone": "cnn",
        "weights": "none",
        "image_size": 16,
    }
    finetune.finetune(RunConfig.from_dict({**config, "export": "none", **settings}))
