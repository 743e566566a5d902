"""Backbones trained from scratch: train on one set of examples, publish, and use as a backbone for another."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras.backbones.load import Base, load
from tlkeras.backbones.pooling import FEATURES, POOLINGS
from tlkeras.backbones.registry import find
from tlkeras.backbones.row import Backbone
from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset
from tlkeras.data.subset import subset
from tlkeras.errors import ConfigError, ZooError
from tlkeras.export.export import export
from tlkeras.export.graph import Graph
from tlkeras.export.parity import Samples
from tlkeras.export.spec import ExportSpec
from tlkeras.jobs import finetune, preflight, publish, run_folder
from tlkeras.modalities.images.inputs import Images
from tlkeras.modalities.inputs import Inputs
from tlkeras.modalities.sequences import arrays as sequences
from tlkeras.modalities.sequences.inputs import Sequences
from tlkeras.modalities.sources import open_source
from tlkeras.modalities.texts.inputs import Texts
from tlkeras.pretraining import language_model, variational
from tlkeras.progress import AUTO, Reporter, resolve
from tlkeras.training.callbacks import History
from tlkeras.weights.layers import NextWord
from tlkeras.zoo.store import MANIFEST, Entry, Zoo

CLASSIFICATION, NEXT_STEP, ELBO, LANGUAGE_MODEL = "classification", "next-step", "elbo", "language-model"
SAMPLES = 8


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a network is pretrained.

    Args:
        backbone: name of the backbone to train.
        options: its sizes, as NAME=VALUE.
        objective: `classification`, `next-step` (sequences), `elbo` (vae) or `language-model` (elmo); the default of the backbone when None.
        epochs: passes over the examples.
        learning_rate: peak.
        batch_size: examples per step.
        image_size: side of images, the row's own when None.
        limit: maximum number of examples, stratified by class; all when None.
        data_licence: licence of the examples, for the card.
        seed: of initial weights, order and sampling.
    """

    backbone: str
    options: tuple[str, ...] = ()
    objective: str | None = None
    epochs: int = 20
    learning_rate: float = 1e-3
    batch_size: int = 128
    image_size: int | None = None
    limit: int | None = None
    data_licence: str | None = None
    seed: int = 0


def pretrain(options: Options, data: str | Dataset | None, name: str, zoo: Zoo, *, reporter: Reporter | str | None = AUTO) -> Entry:
    """Trains a network from scratch and publishes it for use as `--backbone zoo:NAME`.

    Args:
        options: the backbone and its training settings.
        data: a source, or examples.
        name: name of the entry.
        zoo: zoo to publish to.
        reporter: receives progress; None for silence.

    Returns:
        The entry.

    Raises:
        ConfigError, DataError, ZooError: see `errors`.
    """
    reporter = resolve(reporter)
    if data is None:
        reporter.say(preflight.USES_DIGITS)
    dataset = data if isinstance(data, Dataset) else open_source(data)
    row = find(options.backbone)
    objective = options.objective or row.objective or CLASSIFICATION
    if objective == CLASSIFICATION:
        return _classification(options, dataset, name, zoo, reporter)
    if objective != row.objective:
        raise ConfigError(f"objective is {objective!r}; {row.name} accepts {' or '.join(filter(None, (CLASSIFICATION, row.objective)))}")
    finetune.seed_everything(options.seed)
    preflight.check_modality(options.backbone, dataset)
    dataset = _to_learn_from(dataset, options)
    with reporter.live():
        made = OBJECTIVES[objective](row, options, dataset)
        store = made.inputs.materialise(dataset, progress=partial(reporter.progress, "decode"))
        x = np.asarray(store.inputs, made.model.inputs[0].dtype)
        history = _fit(made, x, options, reporter)
    with tempfile.TemporaryDirectory() as folder:
        fill = partial(
            _fill, work=Path(folder), made=made, x=x, row=row, options=options, objective=objective, dataset=dataset, history=history
        )
        entry = zoo.publish(name, fill)
    publish.renew(zoo)
    return entry


def _to_learn_from(dataset: Dataset, options: Options) -> Dataset:
    """Returns the examples that the source does not hold out, up to the limit."""
    if dataset.has_splits:
        kept = tuple(one for one in dataset.examples if one.split == "train")
        dataset = replace(dataset, examples=kept, name=f"{dataset.name}, its training part")
    if options.limit:
        dataset = subset(dataset, options.limit, options.seed)
    return dataset


def _classification(options: Options, dataset: Dataset, name: str, zoo: Zoo, reporter: Reporter) -> Entry:
    values = {
        "backbone": options.backbone,
        "backbone_options": list(options.options),
        "weights": "none",
        "recipe": "full",
        "epochs": options.epochs,
        "learning_rate": options.learning_rate,
        "batch_size": options.batch_size,
        "image_size": options.image_size,
        "seed": options.seed,
        "limit": options.limit,
    }
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig.from_dict({**values, "data": dataset.source, "out": str(Path(folder) / "run")})
        result = finetune.finetune(config, dataset=dataset, reporter=reporter)
        return publish.publish(result.run.root, name, zoo, data_licence=options.data_licence, reporter=reporter)


# === Without labels ===


@dataclass(frozen=True, kw_only=True)
class _Made:
    """A network with its objective.

    Args:
        model: raw input -> prediction; has a layer `features`.
        inputs: how examples become its input.
        target: raw inputs -> prediction targets.
        loss: (target, prediction) -> scalar.
        assets: writes the files that belong next to the artifacts into a folder; None without any.
    """

    model: keras.Model
    inputs: Inputs
    target: Callable[[np.ndarray], np.ndarray]
    loss: Callable[[Any, Any], Any]
    assets: Callable[[Any], None] | None = None


def _base(row: Backbone, options: Options, **more: Any) -> tuple[Base, Any]:
    sizes = dict(one.split("=", 1) for one in options.options)
    base = load(row.name, weights="none", options=sizes, **more)
    return base, POOLINGS.get(row.pooling).apply(base.model.output, base.mask)


def _elbo(row: Backbone, options: Options, dataset: Dataset) -> _Made:
    size = options.image_size or row.input_size
    base, features = _base(row, options, image_size=size)
    told = {**row.options, **{key: int(value) for key, _, value in (one.partition("=") for one in options.options)}}
    widths = (told["hidden2"], told["hidden1"])
    pixels = variational.autoencoder(features, latent=told["latent"], widths=widths, pixels=size * size, seed=options.seed)

    def loss(target: Any, prediction: Any) -> Any:
        # Of all pixels together: the divergence, which a layer adds, is that of the whole code.
        return keras.ops.mean(keras.losses.binary_crossentropy(target, prediction)) * (size * size)

    return _Made(
        model=keras.Model(base.model.input, pixels, name=row.name),
        inputs=Images(size=size, resize="stretch"),
        target=lambda x: (x.mean(axis=-1) / 255).reshape(len(x), -1),
        loss=loss,
    )


def _next_step(row: Backbone, options: Options, dataset: Dataset) -> _Made:
    told = sequences.described(dataset, None)
    base, features = _base(row, options, data=told)
    predicted = keras.layers.Dense(told["features"], name="next_step")(base.model.output)
    # The last step is what a head will see; here it stands beside the prediction of every step.
    predicted = keras.layers.Identity(name="prediction")(predicted) + 0 * keras.ops.sum(features)
    mean, std = np.array(told["mean"], "float32"), np.array(told["std"], "float32")

    def target(x: np.ndarray) -> np.ndarray:
        following = np.concatenate([x[:, 1:], x[:, -1:]], axis=1)
        return (following - mean) / std

    def loss(wanted: Any, prediction: Any) -> Any:
        return keras.ops.mean(keras.ops.square(wanted[:, :-1] - prediction[:, :-1]))

    return _Made(
        model=keras.Model(base.model.input, predicted, name=row.name),
        inputs=Sequences(time=told["time"], features=told["features"]),
        target=target,
        loss=loss,
    )


def _language_model(row: Backbone, options: Options, dataset: Dataset) -> _Made:
    """Each direction predicts the word that it sees next; Peters et al. 2018, https://arxiv.org/abs/1802.05365, section 3.1."""
    base, features = _base(row, options)
    if base.tokens is None:
        raise ConfigError(f"{row.name} does not split texts into tokens, so it cannot be a language model")
    inputs, _ = Texts(tokens=base.tokens).fitted(dataset, None)
    ids = inputs.tokens([example.text or "" for example in dataset.examples])
    vocabulary = language_model.Vocabulary.of(ids, base.options["vocabulary"])
    above = keras.layers.Identity(name="prediction")(NextWord(len(vocabulary), name="next_word")(base.model.output[-1]))
    # The mix of the layers is what a head will see; here it stands beside the prediction of every word.
    predicted = above + 0 * keras.ops.sum(features)

    def assets(folder: Path) -> None:
        inputs.tokens.save(folder)
        vocabulary.save(folder)

    return _Made(
        model=keras.Model(base.model.input, predicted, name=row.name),
        inputs=inputs,
        target=vocabulary.neighbours,
        loss=language_model.loss,
        assets=assets,
    )


OBJECTIVES: dict[str, Callable[[Backbone, Options, Dataset], _Made]] = {
    ELBO: _elbo,
    NEXT_STEP: _next_step,
    LANGUAGE_MODEL: _language_model,
}


def _fit(made: _Made, x: np.ndarray, options: Options, reporter: Reporter) -> list[dict[str, float]]:
    record = History()

    class Tell(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
            reporter.progress("pretrain", epoch + 1, options.epochs, f"loss {float((logs or {}).get('loss', 0)):.3f}")

    made.model.compile(optimizer=keras.optimizers.Adam(options.learning_rate), loss=made.loss)
    data = tf.data.Dataset.from_tensor_slices((x, made.target(x))).shuffle(len(x), seed=options.seed).batch(options.batch_size)
    made.model.fit(data, epochs=options.epochs, verbose=0, shuffle=False, callbacks=[record, Tell()])
    return record.rows


# === The entry ===


def _fill(
    folder: Path,
    *,
    work: Path,
    made: _Made,
    x: np.ndarray,
    row: Backbone,
    options: Options,
    objective: str,
    dataset: Dataset,
    history: list[dict[str, float]],
) -> dict[str, Any]:
    """Writes a version folder: SavedModel, TFLite and ONNX of the whole network, its Keras model, its card."""
    (given,) = made.model.inputs
    metadata = {"backbone": row.name, "objective": objective, **made.inputs.metadata()}
    graph = Graph(made.model, ExportSpec(features_layer=FEATURES, metadata=metadata, assets=made.assets))
    artifacts = export(graph, graph.spec, work, Samples(inputs={given.name: x[:SAMPLES]}))
    for path in work.iterdir():
        target = folder if path.name == "saved_model" else folder / path.name
        if path.is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        elif path.name != MANIFEST:
            shutil.copy2(path, target)
    made.model.save(folder / "model.keras")
    content = {
        "task": objective,
        "labels": None,
        "inputs": [one.to_dict() for one in graph.inputs],
        "outputs": list(graph.output_names),
        "metadata": metadata,
        "artifacts": {one.format: {**one.to_dict(), "path": "." if one.path.name == "saved_model" else one.path.name} for one in artifacts},
        "history": history,
        "data": {"source": dataset.name, "train": len(x)},
        "licences": {
            "backbone weights": publish.weights_record(row, "none"),
            "data": {
                "licence": options.data_licence or publish.licence_of(dataset.source) or publish.UNKNOWN,
                "source": dataset.name,
            },
        },
        "config": {
            "backbone": row.name,
            "backbone_options": list(options.options),
            "objective": objective,
            "epochs": options.epochs,
            "seed": options.seed,
        },
        "environment": run_folder.environment(),
    }
    (folder / "README.md").write_text(_card(content), encoding="utf-8")
    return content


def _card(content: Mapping[str, Any]) -> str:
    first, last = (content["history"][place]["loss"] for place in (0, -1))
    config, data = content["config"], content["data"]
    return (
        f"# A pretrained network\n\n`{config['backbone']}`, trained by `{content['task']}` on {data['train']} examples of {data['source']} "
        f"(licence: {content['licences']['data']['licence']}); loss {first:.3f} after the first epoch, {last:.3f} after the last.\n\n"
        "Use it as `tlkeras finetune --backbone zoo:NAME --data …`. It has no labels. Its SavedModel, TFLite and ONNX files return what "
        "it was trained to predict.\n"
    )


# === Sample ===


def sample(
    name: str, zoo: Zoo, *, rows: int = 8, columns: int = 8, seed: int = 0, like: np.ndarray | None = None, plane: bool = False
) -> np.ndarray:
    """Samples images from a published variational autoencoder.

    Args:
        name: name of the entry.
        zoo: zoo that contains it.
        rows, columns: size of the grid.
        seed: seed of the samples from the prior.
        plane: decode codes at equal steps of probability instead of random ones. Needs a two-dimensional code.
        like: images uint8 (n, size, size, 3) to reconstruct instead of sampling. Each is shown beside its reconstruction.

    Returns:
        The grid, uint8 (rows * size, columns * size).

    Raises:
        ZooError: when the entry is not an autoencoder.
        ConfigError: when `plane` is set and codes are not two-dimensional, or when the grid has no room for a pair.
    """
    from tlkeras.weights.keras_file import read_keras

    entry = zoo.get(name)
    if entry.manifest.get("task") != ELBO:
        raise ZooError(f"{entry} is not a variational autoencoder; `tlkeras pretrain --backbone vae` creates one")
    model = read_keras(entry.path / "model.keras")
    size = int(entry.manifest["metadata"]["image_size"])
    if like is None:
        decoder = variational.decoder_of(model)
        latent = int(decoder.input_shape[-1])
        code = _plane(rows, columns, latent) if plane else np.random.default_rng(seed).normal(size=(rows * columns, latent))
        pixels = decoder.predict(code.astype("float32"), verbose=0)
    else:
        if rows * columns < 2:
            raise ConfigError(f"a grid of {rows} x {columns} has no room for an image beside its reconstruction; expected 2 or more cells")
        pictures = np.asarray(like[: rows * columns // 2], "float32")
        drawn = model.predict(pictures, verbose=0)
        pixels = np.stack([pictures.mean(axis=-1).reshape(len(pictures), -1) / 255, drawn], axis=1).reshape(-1, size * size)
        pixels = np.concatenate([pixels, np.zeros((rows * columns - len(pixels), size * size))])
    tiles = np.round(255 * pixels).astype("uint8").reshape(rows, columns, size, size)
    return tiles.transpose(0, 2, 1, 3).reshape(rows * size, columns * size)


def _plane(rows: int, columns: int, latent: int) -> np.ndarray:
    """Returns codes on a grid, float64 (rows * columns, 2): Kingma & Welling 2013, figure 4."""
    if latent != 2:
        raise ConfigError(f"a code of this network has {latent} dimensions; a plane needs two: pretrain with `--backbone-options latent=2`")
    across, down = ([NormalDist().inv_cdf((place + 0.5) / count) for place in range(count)] for count in (columns, rows))
    return np.array([(x, y) for y in down for x in across])


def pictures_like(name: str, zoo: Zoo, data: str | Dataset, count: int) -> np.ndarray:
    """Returns at most `count` images of a source in the form that an entry accepts."""
    size = int(zoo.get(name).manifest["metadata"]["image_size"])
    dataset = data if isinstance(data, Dataset) else open_source(data)
    few = replace(dataset, examples=dataset.examples[:count], labels=dataset.labels)
    store = Images(size=size, resize="stretch").materialise(few)
    return np.asarray(store.inputs)
