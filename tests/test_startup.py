"""How TensorFlow is loaded: with oneDNN, unless the environment says otherwise, and files run as they would elsewhere."""

import json
import os
import subprocess
import sys

import pytest

CODE = """
import json, os
from tlkeras import startup
startup.load_tensorflow()
print(json.dumps([os.environ.get(startup.ONEDNN), startup.user_environment().get(startup.ONEDNN)]))
"""


@pytest.mark.parametrize("said,trains,runs", [(None, "1", None), ("0", "0", "0"), ("1", "1", "1")])
def test_models_train_with_onednn_and_artifacts_run_as_the_environment_says(said, trains, runs):
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    environment |= {} if said is None else {"TF_ENABLE_ONEDNN_OPTS": said}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [trains, runs]
    assert done.stderr == ""
