"""How TensorFlow is loaded: what tlkeras chooses unless the environment says otherwise, and that files run as they would elsewhere."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

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
