"""Train a backbone from scratch on one set of examples, and publish it as a backbone for another."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras import files
from tlkeras.backbones.pooling import FEATURES
from tlkeras.config import PretrainConfig, RunConfig
from tlkeras.data.examples import Dataset
from tlkeras.data.row_cache import open_cache
from tlkeras.data.subset import subset
from tlkeras.export import manifest
from tlkeras.export.export import export
from tlkeras.export.graph import Graph
from tlkeras.export.parity import Samples
from tlkeras.export.spec import ExportSpec
from tlkeras.jobs import finetune, publish
from tlkeras.jobs.environment import environment
from tlkeras.jobs.plan import PretrainPlan
from tlkeras.pretraining.network import Pretraining
from tlkeras.progress import Reporter
from tlkeras.registry import load_function
from tlkeras.training.callbacks import History
from tlkeras.zoo import contents
from tlkeras.zoo.card import pretrained_card
from tlkeras.zoo.store import Entry, Zoo

SAMPLES = 8


def pretrain_plan(plan: PretrainPlan, dataset: Dataset, name: str, zoo: Zoo, *, reporter: Reporter) -> Entry:
    """Trains a network from scratch and publishes it; see `tlkeras.pretrain`.

    Args:
        plan: from `plan.resolve_pretraining`.
        dataset: from `preflight.open_unlabelled`.
        name: name of the entry.
        zoo: zoo to publish to.
        reporter: receives progress.

    Returns:
        The entry.
    """
    config = plan.config
    if plan.objective.needs_labels:
        return _supervised(config, dataset, name, zoo, reporter)
    finetune.seed_everything(config.seed)
    dataset = training_part(dataset, config)
    with reporter.live():
        network: Pretraining = load_function(plan.objective.build)(plan.backbone, config, dataset)
        cache = open_cache(warn=reporter.warn)
        store = network.inputs.materialise(dataset, progress=partial(reporter.progress, "decode"), cache=cache)
        x = np.asarray(store.inputs, network.model.inputs[0].dtype)
        history = _fit(network, x, config, reporter)
    trained = _Trained(plan=plan, network=network, x=x, history=history, dataset=dataset)
    with tempfile.TemporaryDirectory() as folder:
        entry = zoo.publish(name, partial(_fill, work=Path(folder), name=name, trained=trained))
    publish.renew(zoo)
    return entry


def training_part(dataset: Dataset, config: PretrainConfig) -> Dataset:
    """Returns the examples that the source does not hold out, up to the limit."""
    if dataset.has_splits:
        examples = tuple(example for example in dataset.examples if example.split == "train")
        dataset = replace(dataset, examples=examples, name=f"{dataset.name}, its training part")
    return subset(dataset, config.limit, config.seed) if config.limit else dataset


def _supervised(config: PretrainConfig, dataset: Dataset, name: str, zoo: Zoo, reporter: Reporter) -> Entry:
    """Fine-tunes random weights on labels, and publishes the run."""
    shared = ("backbone", "backbone_options", "epochs", "learning_rate", "batch_size", "image_size", "seed", "limit")
    values = {key: value for key, value in config.to_dict().items() if key in shared}
    with tempfile.TemporaryDirectory() as folder:
        run = RunConfig(**values, weights="none", recipe="full", data=dataset.source, out=str(Path(folder) / "run"))
        result = finetune.finetune(run, dataset=dataset, reporter=reporter)
        return publish.publish(result.run.root, name, zoo, data_licence=config.data_licence, reporter=reporter)


def _fit(network: Pretraining, x: np.ndarray, config: PretrainConfig, reporter: Reporter) -> list[dict[str, float]]:
    record = History()

    class Tell(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
            reporter.progress("pretrain", epoch + 1, config.epochs, f"loss {float((logs or {}).get('loss', 0)):.3f}")

    network.model.compile(optimizer=keras.optimizers.Adam(config.learning_rate), loss=network.loss)
    data = tf.data.Dataset.from_tensor_slices((x, network.target(x))).shuffle(len(x), seed=config.seed).batch(config.batch_size)
    network.model.fit(data, epochs=config.epochs, verbose=0, shuffle=False, callbacks=[record, Tell()])
    return record.rows


# === The entry ===


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """A trained network, and how it was trained.

    Args:
        plan: settings and rows.
        network: the model with its objective.
        x: its inputs.
        history: one row per epoch.
        dataset: the examples.
    """

    plan: PretrainPlan
    network: Pretraining
    x: np.ndarray
    history: list[dict[str, float]]
    dataset: Dataset


def _fill(folder: Path, *, work: Path, name: str, trained: _Trained) -> dict[str, Any]:
    """Writes a version folder: SavedModel, TFLite and ONNX of the whole network, its Keras model, its card."""
    network, plan = trained.network, trained.plan
    (tensor,) = network.model.inputs
    metadata = {"backbone": plan.backbone.name, "objective": plan.objective.name, **network.inputs.metadata()}
    graph = Graph(network.model, ExportSpec(features_layer=FEATURES, metadata=metadata, assets=network.assets))
    artifacts = export(graph, graph.spec, work, Samples(inputs={tensor.name: trained.x[:SAMPLES]}))
    contents.copy_artifacts(work, folder, manifest.read_manifest(work))
    network.model.save(folder / "model.keras")
    content = {
        "task": plan.objective.name,
        "labels": None,
        "inputs": [description.to_dict() for description in graph.inputs],
        "outputs": list(graph.output_names),
        "metadata": metadata,
        "artifacts": {artifact.format: contents.record(artifact.to_dict()) for artifact in artifacts},
        **_provenance(trained),
    }
    files.write(folder / "README.md", pretrained_card(name, content))
    return content


def _provenance(trained: _Trained) -> dict[str, Any]:
    """Returns the part of the manifest that tells where a network comes from."""
    plan, dataset = trained.plan, trained.dataset
    config = plan.config
    licence = config.data_licence or publish.licence_of(dataset.source) or publish.UNKNOWN
    return {
        "history": trained.history,
        "data": {"source": dataset.name, "train": len(trained.x)},
        "licences": {
            "backbone weights": publish.weights_record(plan.backbone, "none"),
            "data": {"licence": licence, "source": dataset.name},
        },
        "config": {
            "backbone": plan.backbone.name,
            "backbone_options": list(config.backbone_options),
            "objective": plan.objective.name,
            "epochs": config.epochs,
            "seed": config.seed,
        },
        "environment": environment(),
    }
