"""The same work on several devices gives what one device gives."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import BLOCKS, pictures, tiny_model
from tlkeras import freezing, workflow
from tlkeras.backbones.registry import BACKBONES
from tlkeras.config import RunConfig
from tlkeras.data import pipeline
from tlkeras.data.pipeline import Share
from tlkeras.errors import ConfigError, UnknownName
from tlkeras.freeze_rules import parse
from tlkeras.heads.registry import HEADS
from tlkeras.models import TaskModel
from tlkeras.plan import stages as planned
from tlkeras.recipes.registry import Stage
from tlkeras.training import placements, prefix, replicas, run
from tlkeras.training.placement import ONE_DEVICE, Placement, open_placement

PLACEMENTS = ("cpu", "mirrored:1", "mirrored:2", "mirrored:3")


def trained(placement, tmp_path, *, spec="all", n=33, dropout=0.3, batch_norm="frozen", epochs=2, batch_size=8, **options):
    """Trains the tiny model on n pictures; returns it, its history and its scores."""
    keras.utils.set_random_seed(5)
    model, stages = tiny_model(dropout=dropout)
    task = TaskModel(model=model, backbone=BACKBONES.get("cnn"), head=HEADS.get("classification"), stages=stages, stage_names=list(BLOCKS))
    x, y = pictures(n + 7)
    parts = {
        "train": run.Examples(inputs=x[:n], y=y[:n]),
        "val": run.Examples(inputs=x[n : n + 5], y=y[n : n + 5]),
        "test": run.Examples(inputs=x[n:], y=y[n:]),
    }
    stage = Stage(name="s", unfreeze=spec, epochs=epochs, learning_rate=1e-2, weight_decay=1e-2, warmup=0.1)
    told = run.Options(
        batch_size=batch_size, batch_norm=batch_norm, checkpoints=tmp_path, placement=placement, class_weights={0: 2.0, 1: 0.5, 2: 1.0}, **options
    )
    result = run.run(task, [(stage, parse(spec, list(BLOCKS)))], parts, told)
    return model, result.stages[0].history, result.scores


def losses(history):
    return [[row[name] for name in ("loss", "accuracy", "val_loss", "val_accuracy")] for row in history]


@pytest.mark.parametrize("spec", ["none", "last:1", "all"])
@pytest.mark.parametrize("name", PLACEMENTS[1:])
def test_T15_33_pictures_in_batches_of_8_train_as_on_one_device(name, spec, tmp_path):
    one, history, scores = trained(ONE_DEVICE, tmp_path, spec=spec)
    other, mirrored, others = trained(open_placement(name), tmp_path, spec=spec)
    np.testing.assert_allclose(losses(mirrored), losses(history), atol=1e-5)
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), atol=1e-4, err_msg=a.path)
    for part in ("val", "test"):
        np.testing.assert_allclose(others[part], scores[part], atol=1e-4)
