"""Results for other programs: event files of TensorBoard, and runs of MLflow. Both are written when a run is complete."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tlkeras import extras, files
from tlkeras.config import RunConfig
from tlkeras.errors import ConfigError
from tlkeras.evaluation.report_data import ReportData
from tlkeras.evaluation.report_parts import sections
from tlkeras.jobs.run_folder import Run
from tlkeras.tasks import charts

FOLDER = "tensorboard"  # of a run
TRAINING, VALIDATION = "train", "validation"  # folders of events, as Keras calls them: TensorBoard draws both into one chart
PREFIX = "val_"
MOST_CLASSES = 60  # of a confusion matrix that is drawn
LONGEST = 500  # characters of a parameter of MLflow
RECORDED = ("report", "config", "metrics", "history", "environment", "audit", "predictions", "labels")  # files of a run


def check(config: RunConfig) -> None:
    """Checks, before anything slow, that what was asked for can be written.

    Raises:
        MissingPackage: when MLflow is asked for and not installed.
    """
    if config.report.mlflow:
        extras.check("mlflow", wanted_by="--mlflow", extra="mlflow")


def opened(config: RunConfig) -> Callable[[Run, ReportData], None]:
    """Opens the store of MLflow, where it is asked for, and returns what records a finished run in every place that was asked for.

    Raises:
        ConfigError: when the store cannot be used: before training rather than after it.
    """
    writers: list[Callable[[Run, ReportData], object]] = []
    if config.report.tensorboard:
        writers.append(write_events)
    if config.report.mlflow:
        client, experiment = _experiment(config)
        writers.append(lambda run, data: record(client, experiment, run, data))

    def write(run: Run, data: ReportData) -> None:
        for writer in writers:
            writer(run, data)

    return write


# === What both show ===


def curves(data: ReportData) -> Iterator[tuple[str, str, int, float]]:
    """Yields (`train` or `validation`, name, step, value) of every figure of every epoch; steps go on from phase to phase."""
    for step, row in enumerate(data.history, start=1):
        for key, cell in row.items():
            value = None if key in ("phase", "epoch") else _number(cell)
            if value is not None:
                yield (VALIDATION if key.startswith(PREFIX) else TRAINING), key.removeprefix(PREFIX), step, value


def results(data: ReportData) -> dict[str, float]:
    """Returns the figures of the held-out splits by name, `test/accuracy`, and those of the artifacts, `artifacts/onnx/bytes`."""
    figures_of_splits = dict(_flat({name: data.summary[name] for name in ("val", "test") if name in data.summary}))
    exports = {
        name: {key: record.get(key) for key in ("bytes", "latency_ms", "accuracy", "drop")}
        for name, record in data.summary["exports"].items()
    }
    return figures_of_splits | dict(_flat({"artifacts": exports, "timing": {"total": data.summary.get("timing", {}).get("total")}}))


def _flat(values: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{start}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{start}{key}", float(value)


def _number(cell: Any) -> float | None:
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    return value if np.isfinite(value) else None


def figures(data: ReportData) -> dict[str, bytes]:
    """Returns title -> PNG of every chart of the report, and of the confusion matrices."""
    with charts.images() as drawn:
        sections(data)
        for name, answers in data.cases.items():
            if answers.cells is not None and len(answers.labels) <= MOST_CLASSES:
                counts = np.zeros((len(answers.labels),) * 2, int)
                np.add.at(counts, (answers.cells[:, 0], answers.cells[:, 1]), 1)
                charts.matrix(counts, answers.labels, title=f"{name} confusion matrix".strip())
    return dict(drawn)


# === TensorBoard ===


def write_events(run: Run, data: ReportData) -> None:
    """Writes curves, figures and texts as event files, which need no package to write: `tensorboard --logdir RUN` shows them."""
    import tensorflow as tf

    last = max(1, len(data.history))
    events: dict[str, list[Any]] = {TRAINING: [], VALIDATION: []}
    value = tf.compat.v1.Summary.Value
    for part, name, step, number in curves(data):
        events[part].append((step, value(tag=name, simple_value=number)))
    for name, number in results(data).items():
        events[VALIDATION].append((last, value(tag=name, simple_value=number)))
    for title, content in figures(data).items():
        height, width = tf.io.decode_png(content).shape[:2]
        image = tf.compat.v1.Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=content)
        events[VALIDATION].append((last, value(tag=title.partition(":")[0], image=image)))
    settings = "\n".join(
        ["| key | value |", "|---|---|", *(f"| {key} | {data.without_folders(str(own))} |" for key, own in data.config.items())]
    )
    events[TRAINING].append((0, _text(tf, "config", settings)))
    for part, rows in events.items():
        folder = run.root / FOLDER / part
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        with (
            files.aside(folder / f"events.out.tfevents.{int(now)}.{socket.gethostname()}") as path,
            tf.io.TFRecordWriter(str(path)) as writer,
        ):
            writer.write(tf.compat.v1.Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
            for step, own in rows:
                writer.write(tf.compat.v1.Event(wall_time=now, step=step, summary=tf.compat.v1.Summary(value=[own])).SerializeToString())


def _text(tf: Any, tag: str, text: str) -> Any:
    """Returns a text as TensorBoard's plugin for texts expects it."""
    plugin = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="text")
    tensor = tf.make_tensor_proto([text], dtype=tf.string)
    return tf.compat.v1.Summary.Value(tag=tag, tensor=tensor, metadata=tf.compat.v1.SummaryMetadata(plugin_data=plugin))


# === MLflow ===


def _experiment(config: RunConfig) -> tuple[Any, str]:
    """Returns a client of MLflow and the id of the experiment, which is made where there is none."""
    mlflow = extras.require("mlflow", wanted_by="--mlflow", extra="mlflow")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    name, uri = config.report.mlflow_experiment, config.report.mlflow_uri
    try:
        client = mlflow.MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(name)
        return client, client.create_experiment(name) if experiment is None else experiment.experiment_id
    except (mlflow.exceptions.MlflowException, OSError, ImportError) as error:
        where = uri or os.environ.get("MLFLOW_TRACKING_URI") or "MLflow's own"
        text = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"MLflow cannot record at {where!r}: {text}; pass another store with --mlflow-uri, or leave out --mlflow"
        ) from error


def record(client: Any, experiment: str, run: Run, data: ReportData) -> str:
    """Records a finished run with MLflow, and returns the id of its run there.

    Args:
        client: of MLflow.
        experiment: id of the experiment.
        run: whose files are copied.
        data: what its report says.
    """
    from mlflow.entities import Metric, Param

    entry = client.create_run(
        experiment, run_name=data.title, tags={"tlkeras.fingerprint": str(data.summary.get("data", {}).get("fingerprint"))}
    )
    key, now = entry.info.run_id, int(time.time() * 1000)
    try:
        params = [Param(name, data.without_folders(str(value))[:LONGEST]) for name, value in data.config.items()]
        last = max(1, len(data.history))
        metrics = [Metric(f"{part}/{name}", value, now, step) for part, name, step, value in curves(data)]
        metrics += [Metric(_metric_name(name), value, now, last) for name, value in results(data).items()]
        client.log_batch(key, params=params[:100])
        client.log_batch(key, params=params[100:])
        for start in range(0, len(metrics), 1000):  # the most that one call accepts
            client.log_batch(key, metrics=metrics[start : start + 1000])
        with files.folder_aside(run.root) as folder:
            for index, (title, content) in enumerate(figures(data).items()):
                (folder / f"{index + 1:02d}-{_file_name(title)}.png").write_bytes(content)
            client.log_artifacts(key, str(folder), "figures")
        for path in (getattr(run, name) for name in RECORDED):
            if path.is_file():
                client.log_artifact(key, str(path))
        if run.exports.is_dir():
            client.log_artifacts(key, str(run.exports), run.exports.name)
    except BaseException:
        client.set_terminated(key, "FAILED")
        raise
    client.set_terminated(key)
    return str(key)


def _metric_name(name: str) -> str:
    """Returns a name with the characters that MLflow accepts."""
    return "".join(letter if letter.isalnum() or letter in "_-./ " else "_" for letter in name)


def _file_name(title: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in title.partition(":")[0]).split())[:60] or "figure"
