"""The methods that `recipes.py` compares and that need tlkeras' packages: tlkeras itself, plain Keras, scikit-learn.

`python benchmarks/methods.py JOBS.json` runs in a process of its own; see `opponents/protocol.py`. All methods read the same table and
start from the same weights of the same backbone.

    NAME of a recipe  tlkeras.finetune(…, recipe=NAME, export="none"); NAME@MINUTES adds max_minutes=MINUTES, NAME+KEY=VALUE any setting
    keras-frozen      plain Keras: frozen backbone, head trained by Adam 1e-3 for 10 epochs
    keras-full        plain Keras: everything trained by Adam 1e-4, 10 epochs on images, 3 on texts
    sklearn           LogisticRegressionCV or RidgeCV on the standardised features; sets of labels as in `targets.logistic`
    sklearn-all       the same, fitted to the training and the validation split: cross-validation needs no split of its own
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import numpy as np
import targets
import yaml
from opponents.protocol import TABLE, Job, read_table, serve

from tlkeras.startup import load_tensorflow

BACKBONES = {"image": "efficientnet_lite0", "text": "minilm_l6"}
BATCH = 32
PLAIN = {  # (method, modality) -> (epochs, learning rate) of Adam
    ("keras-frozen", "image"): (10, 1e-3),
    ("keras-frozen", "text"): (10, 1e-3),
    ("keras-full", "image"): (10, 1e-4),
    ("keras-full", "text"): (3, 1e-4),
}
HEADS = {  # task -> (activation, loss)
    "classification": ("softmax", "sparse_categorical_crossentropy"),
    "multilabel": ("sigmoid", "binary_crossentropy"),
    "regression": (None, "mse"),
}
STRENGTHS = np.logspace(-4, 0, 9)  # C of logistic regression: half decades, as full ones missed the best on clothing
PENALTIES = np.logspace(-1, 4, 6)  # alpha of ridge regression


def settings(job: Job, **more: Any) -> dict[str, Any]:
    """Returns the flat keys of `tlkeras.finetune` for a job, without its recipe."""
    columns = {} if job["targets"] == ["label"] else {"label_column": ",".join(job["targets"])}
    return {
        "data": f"{job['folder']}/{TABLE}",
        "backbone": BACKBONES[job["modality"]],
        "seed": job["seed"],
        "export": "none",
        "cache": False,  # the seconds of a job do not depend on those before it
        **columns,
        **more,
    }


def with_tlkeras(job: Job) -> dict[str, Any]:
    """Fine-tunes by a recipe."""
    import tlkeras

    name, *more = job["method"].split("+")
    name, _, minutes = name.partition("@")
    asked = {"max_minutes": float(minutes)} if minutes else {}
    for each in more:
        key, _, value = each.partition("=")
        asked[key] = yaml.safe_load(value)
    with tempfile.TemporaryDirectory() as folder:
        run = tlkeras.finetune(settings(job, recipe=name, out=f"{folder}/run", **asked), reporter=None)
    metrics = run.metrics
    figures = {"score": metrics["test"][job["metric"]], "tested": metrics["test"]["n"], "train_seconds": metrics["timing"]["train"]}
    validation = {key: value for key, value in metrics["val"].items() if isinstance(value, float)}
    return {**figures, "validation": validation, "timing": metrics["timing"], "phases": metrics["phases"]}


# === Plain Keras ===


def with_keras(job: Job) -> dict[str, Any]:
    """Fits as the transfer-learning guide of Keras shows it: a base that is called inside a model.

    Without XLA, which Keras uses on GPUs unless told otherwise: compiling these networks took longer than all the training.
    """
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(job["seed"])
    epochs, rate = PLAIN[job["method"], job["modality"]]
    task, splits = (_images if job["modality"] == "image" else _texts)(job)
    activation, loss = HEADS[task.task.name]

    base = targets.features_model(task)
    base.trainable = job["method"] == "keras-full"
    inputs = keras.Input(base.input.shape[1:], dtype=base.input.dtype)
    x = keras.layers.Dropout(0.2)(base(inputs, training=False))
    model = keras.Model(inputs, keras.layers.Dense(task.model.output.shape[-1], activation=activation)(x))
    model.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)

    train = splits["train"].cache()
    train = train.shuffle(train.cardinality()).batch(BATCH).prefetch(tf.data.AUTOTUNE)
    held_out = {name: splits[name].batch(BATCH).cache().prefetch(tf.data.AUTOTUNE) for name in ("val", "test")}
    began = time.perf_counter()
    model.fit(train, validation_data=held_out["val"] if splits["val"].cardinality() else None, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - began
    truth = {name: np.array([y for _, y in splits[name].as_numpy_iterator()]) for name in held_out}
    scores = {name: model.predict(held_out[name], verbose=0) if len(truth[name]) else truth[name] for name in held_out}
    return {"score": _score(job, task.task, task.target, truth, scores), "tested": len(truth["test"]), "train_seconds": round(seconds, 2)}


def _images(job: Job) -> tuple[Any, dict[str, Any]]:
    """Returns the task model, and each split as a tf.data pipeline that decodes as `image_dataset_from_directory` does."""
    import tensorflow as tf

    from tlkeras import models

    rows = read_table(job["folder"])
    labels = sorted({row["label"] for split in rows.values() for row in split})
    task = models.build(BACKBONES["image"], len(labels))
    size = task.model.input.shape[1:3]

    def decoded(path: Any, y: Any) -> tuple[Any, Any]:
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return tf.ensure_shape(tf.image.resize(image, size), (*size, 3)), y

    splits = {}
    for name, split in rows.items():
        paths, y = np.array([row["path"] for row in split], str), np.array([labels.index(row["label"]) for row in split], "int64")
        splits[name] = tf.data.Dataset.from_tensor_slices((paths, y)).map(decoded, num_parallel_calls=tf.data.AUTOTUNE)
    return task, splits


def _texts(job: Job) -> tuple[Any, dict[str, Any]]:
    """Returns the task model, and each split as token ids and targets; numbers are standardised."""
    import tensorflow as tf

    from tlkeras.tasks.registry import TARGET

    task, data = targets.prepared(settings(job, **_all_labelled(job)))
    y = data.targets[TARGET]
    if task.task.name == "regression":
        y = (y - y[data.splits.train].mean(axis=0)) / y[data.splits.train].std(axis=0)
    index = {name: getattr(data.splits, name) for name in ("train", "val", "test")}
    return task, {name: tf.data.Dataset.from_tensor_slices((data.store.inputs[of], y[of])) for name, of in index.items()}


# === scikit-learn ===


def with_sklearn(job: Job) -> dict[str, Any]:
    """Fits a regularised linear model to the features of the frozen backbone."""
    import sklearn.linear_model  # noqa: F401  loads the libraries whose threads are limited below
    from threadpoolctl import threadpool_limits

    from tlkeras.tasks.registry import TARGET

    task, data = targets.prepared(settings(job, **_all_labelled(job)))
    y, splits = data.targets[TARGET], data.splits
    began = time.perf_counter()
    features = targets.features_model(task).predict(data.store.inputs, batch_size=64, verbose=0)
    labelled = np.concatenate([splits.train, splits.val]) if job["method"] == "sklearn-all" else splits.train
    with threadpool_limits(1):  # its products are small: two threads took 50 times the processor seconds where others use the cores too
        scores = LINEAR[task.task.name](features, y, splits, labelled)
    seconds = time.perf_counter() - began
    index = {"val": splits.val, "test": splits.test}
    truth, answers = ({name: values[of] for name, of in index.items()} for values in (y, scores))
    return {"score": _score(job, task.task, data.target, truth, answers), "tested": len(splits.test), "train_seconds": round(seconds, 2)}


def _classes(features: np.ndarray, y: np.ndarray, splits: Any, labelled: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = min(5, int(np.bincount(y[labelled].astype(int)).min()))
    model = LogisticRegressionCV(Cs=STRENGTHS, cv=folds, max_iter=1000, scoring="neg_log_loss", use_legacy_attributes=False)
    return make_pipeline(StandardScaler(), model).fit(features[labelled], y[labelled]).predict_proba(features)


def _sets(features: np.ndarray, y: np.ndarray, splits: Any, labelled: np.ndarray) -> np.ndarray:
    return targets.logistic(features, y, splits)


def _numbers(features: np.ndarray, y: np.ndarray, splits: Any, labelled: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(features[labelled], y[labelled]).predict(features).reshape(y.shape)


LINEAR = {"classification": _classes, "multilabel": _sets, "regression": _numbers}


# === What they share ===


def _all_labelled(job: Job) -> dict[str, float]:
    """Returns the setting by which no few examples are held out for validation, which these methods do not need."""
    return {"val_split": 0.0} if job.get("few") else {}


def _score(job: Job, task: Any, target: Any, truth: dict[str, np.ndarray], scores: dict[str, np.ndarray]) -> float:
    """Returns the figure of the test split, computed as tlkeras does; thresholds are chosen on validation."""
    from tlkeras.tasks.registry import TARGET

    if task.name == "classification":
        return float((scores["test"].argmax(axis=1) == truth["test"]).mean())
    calibrated = task.calibrated(target, {TARGET: truth["val"]}, scores["val"])
    return float(targets.scored(task, calibrated, truth["test"], scores["test"]).to_dict()[job["metric"]])


METHODS = {"keras-frozen": with_keras, "keras-full": with_keras, "sklearn": with_sklearn, "sklearn-all": with_sklearn}


def measure(job: Job) -> dict[str, Any]:
    """Returns the figures of one job."""
    import keras

    keras.utils.clear_session()
    return METHODS.get(job["method"], with_tlkeras)(job)


if __name__ == "__main__":
    load_tensorflow()
    serve(measure)
