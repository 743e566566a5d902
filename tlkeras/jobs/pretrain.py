"""Train a backbone from scratch on one set of examples, and publish it as a backbone for another."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
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
from tlkeras.data.sources.registry import is_passed
from tlkeras.data.subset import subset
from tlkeras.export import manifest
from tlkeras.export.export import export
from tlkeras.export.graph import Graph
from tlkeras.export.parity import Samples
from tlkeras.export.spec import ExportSpec
from tlkeras.jobs import finetune, preflight, pretrain_work, publish, resume
from tlkeras.jobs import plan as planning
from tlkeras.jobs.environment import environment
from tlkeras.jobs.plan import PretrainPlan
from tlkeras.jobs.pretrain_work import Work
from tlkeras.jobs.run_folder import Run
from tlkeras.pretraining.network import Pretraining
from tlkeras.progress import Reporter
from tlkeras.registry import load_function
from tlkeras.training.callbacks import History
from tlkeras.training.states import SaveState, State, States, assign, values
from tlkeras.zoo import contents
from tlkeras.zoo import network as published
from tlkeras.zoo.card import pretrained_card
from tlkeras.zoo.store import CARD, Entry, Zoo

SAMPLES = 8


def pretrain_plan(plan: PretrainPlan, dataset: Dataset, name: str, zoo: Zoo, *, reporter: Reporter) -> Entry:
    """Trains a network from scratch and publishes it, or goes on with one that was stopped; see `tlkeras.pretrain`.

    Args:
        plan: from `plan.resolve_pretraining`, of the settings of `pretrain_work.settings`.
        dataset: from `preflight.open_unlabelled`.
        name: name of the entry.
        zoo: zoo to publish to.
        reporter: receives progress.

    Returns:
        The entry.
    """
    work = pretrain_work.of(zoo.root, name)
    with pretrain_work.held(work, plan.config, passed=dataset.source is None or is_passed(dataset.source)):
        publish_entry = _supervised if plan.objective.needs_labels else _unsupervised
        return publish_entry(plan, dataset, work, zoo, reporter)


def _unsupervised(plan: PretrainPlan, dataset: Dataset, work: Work, zoo: Zoo, reporter: Reporter) -> Entry:
    config = plan.config
    finetune.seed_everything(config.seed)
    dataset = training_part(dataset, config)
    with reporter.live():
        network: Pretraining = load_function(plan.objective.build)(plan.backbone, config, dataset)
        cache = open_cache(warn=reporter.warn)
        store = network.inputs.materialise(dataset, progress=partial(reporter.progress, "decode"), cache=cache)
        x = np.asarray(store.inputs, network.model.inputs[0].dtype)
        pretrain_work.check_examples(work, hashlib.sha256(np.ascontiguousarray(x).data).hexdigest())
        history = _fit(network, x, config, States(folder=work.states, warn=reporter.warn), reporter)
    trained = _Trained(plan=plan, network=network, x=x, history=history, dataset=dataset)
    with tempfile.TemporaryDirectory() as folder:
        entry = zoo.publish(work.name, partial(_fill, work=Path(folder), name=work.name, trained=trained))
    publish.renew(zoo)
    return entry


def training_part(dataset: Dataset, config: PretrainConfig) -> Dataset:
    """Returns the examples that the source does not hold out, up to the limit."""
    if dataset.has_splits:
        examples = tuple(example for example in dataset.examples if example.split == "train")
        dataset = replace(dataset, examples=examples, name=f"{dataset.name}, its training part")
    return subset(dataset, config.limit, config.seed) if config.limit else dataset


def _supervised(plan: PretrainPlan, dataset: Dataset, work: Work, zoo: Zoo, reporter: Reporter) -> Entry:
    """Fine-tunes random weights on labels, and publishes the run."""
    config = plan.config
    shared = ("backbone", "backbone_options", "epochs", "learning_rate", "batch_size", "image_size", "seed", "limit")
    values = {key: value for key, value in config.to_dict().items() if key in shared}
    if resume.unfinished(work.run):
        finetune.finetune(resume=work.run, dataset=dataset, reporter=reporter)
    elif not Run(work.run).metrics.is_file():  # else it was stopped while it was published
        config_of_run = RunConfig(**values, weights="none", recipe="full", data=dataset.source, out=str(work.run))
        plan_of_run = planning.resolve(config_of_run, backbone=plan.backbone)
        finetune.finetune_plan(plan_of_run, preflight.open_examples(plan_of_run, dataset), reporter=reporter)
    return publish.publish(work.run, work.name, zoo, data_licence=config.data_licence, reporter=reporter)


FIT = "fit"  # key of the states of training


def _fit(network: Pretraining, x: np.ndarray, config: PretrainConfig, states: States, reporter: Reporter) -> list[dict[str, float]]:
    """Trains the network, from its newest state on, and returns the rows of its history."""
    record, model = History(), network.model

    class Tell(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
            reporter.progress("pretrain", epoch + 1, config.epochs, f"loss {float((logs or {}).get('loss', 0)):.3f}")

    model.compile(optimizer=keras.optimizers.Adam(config.learning_rate), loss=network.loss)
    state = states.load(FIT)
    if state is not None:
        record.rows.extend(dict(row) for row in state.facts["rows"])
        assign(model.variables, state.arrays["model"])
        if state.facts["done"]:
            return record.rows
        model.optimizer.build(model.trainable_variables)
        assign(model.optimizer.variables, state.arrays["optimizer"])
    order = _Order(len(x), config.batch_size, config.seed)
    save = SaveState(states.of(FIT), lambda: record.rows, None, config.epochs)
    settings: dict[str, Any] = {"initial_epoch": len(record.rows), "epochs": config.epochs, "callbacks": [order, record, Tell(), save]}
    model.fit(order.batches(x, network.target(x)), verbose=0, shuffle=False, **settings)
    states.save(FIT, State(arrays={"model": values(model.variables)}, facts={"rows": record.rows, "done": True}), config.epochs)
    return record.rows


class _Order(keras.callbacks.Callback):
    """Whole batches, in an order that the seed and the number of the epoch decide and nothing else: training that goes on has the same.

    Args:
        count: examples.
        size: of a batch; the last one may be smaller.
        seed: of the order.
    """

    def __init__(self, count: int, size: int, seed: int):
        super().__init__()
        self._count, self._size, self._seed, self._epoch = count, size, seed, 0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._epoch = epoch  # before Keras asks for its batches

    def batches(self, x: np.ndarray, y: np.ndarray) -> tf.data.Dataset:
        """Returns the batches of (x, y); each pass over them is that of the present epoch."""

        def passed() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            order = np.random.default_rng((self._seed, self._epoch)).permutation(self._count)
            for start in range(0, self._count, self._size):
                rows = order[start : start + self._size]
                yield x[rows], y[rows]

        signature = tuple(tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in (x, y))
        data = tf.data.Dataset.from_generator(passed, output_signature=signature).prefetch(2)
        return data.apply(tf.data.experimental.assert_cardinality(-(-self._count // self._size)))


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
    files.write(folder / CARD, pretrained_card(name, content))
    return content


def _provenance(trained: _Trained) -> dict[str, Any]:
    """Returns the part of the manifest that tells where a network comes from."""
    plan, dataset = trained.plan, trained.dataset
    config = plan.config
    licence = config.data_licence or publish.licence_of(dataset.source) or publish.UNKNOWN
    return {
        "history": trained.history,
        published.RECORD: published.record(plan.backbone),
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
