"""One small published run that the tests of the zoo share."""

import numpy as np
import pytest

from tests.helpers import pictures
from tlkeras.config import RunConfig
from tlkeras.data.examples import from_arrays
from tlkeras.jobs import finetune, publish
from tlkeras.zoo.store import Zoo

FORMATS = "saved_model,tflite,tflite-int8,onnx"


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """A finished run on pictures of three colours."""
    x, y = pictures(150, size=32)
    names = np.array(["rouge", "grün", "蓝"])
    config = RunConfig.from_dict(
        {"backbone": "cnn", "weights": "none", "image_size": 32, "epochs": 4, "export": FORMATS, "max_drop": 1.0}
        | {"out": str(tmp_path_factory.mktemp("runs") / "colours"), "unfreeze": "all", "learning_rate": 0.003}
    )
    return finetune.finetune(config, dataset=from_arrays(x, names[y]))


@pytest.fixture(scope="session")
def published(small_run, tmp_path_factory):
    """The zoo in which it is published, and its entry."""
    zoo = Zoo(tmp_path_factory.mktemp("published") / "zoo")
    return zoo, publish.publish(small_run.run.root, "colours", zoo, data_licence="CC0")
