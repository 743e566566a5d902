"""Export a run again, or a Keras file or SavedModel that tlkeras did not write, to verified artifacts."""

from __future__ import annotations

from pathlib import Path

import keras

from tlkeras.config import ExportModelConfig
from tlkeras.config.jobs import BUDGET
from tlkeras.data.labels import read_labels
from tlkeras.errors import OutputError
from tlkeras.export.artifact import Artifact
from tlkeras.export.budget import Budget
from tlkeras.export.export import export
from tlkeras.export.graph import Graph
from tlkeras.jobs import export_run, report_run
from tlkeras.jobs.export_request import ExportRequest
from tlkeras.jobs.foreign_examples import divided, examples_for
from tlkeras.jobs.foreign_model import as_classifier, spec_of, takes_raw_images, with_contract, with_free_batch
from tlkeras.jobs.model_files import read
from tlkeras.jobs.saved_model_layers import saved_models
from tlkeras.progress import AUTO, Reporter, resolve

__all__ = ["default_folder", "export_checked", "export_model", "read"]


def export_checked(request: ExportRequest, out: str | Path | None, *, reporter: Reporter) -> list[Artifact]:
    """Exports a run again, or any other model; see `tlkeras.export_model`.

    Args:
        request: from `export_request.check`.
        out: new or empty folder, or None for the default.
        reporter: receives progress.
    """
    config = request.config
    if request.run is not None:
        changes = {name: value for name, value in config.to_dict().items() if name in BUDGET and value is not None}
        artifacts = export_run.export_run(
            request.run.root,
            config.formats,
            out,
            data=request.examples,
            data_dir=config.data_dir,
            changes=changes,
            reporter=reporter,
        )
        if out is None:
            report_run.refresh(request.run, reporter)
        return artifacts
    if request.note:
        reporter.warn(request.note)
    folder = default_folder(request.model) if out is None else out
    with reporter.live():
        return export_model(request.model, folder, config, reporter=reporter)


def export_model(
    model: str | Path | keras.Model, out: str | Path, config: ExportModelConfig, *, reporter: Reporter | str | None = AUTO
) -> list[Artifact]:
    """Exports a plain Keras model, or a SavedModel, to verified artifacts.

    Args:
        model: a `.keras` or `.h5` file, a SavedModel folder, or a built `keras.Model`.
        out: new or empty folder.
        config: the settings.
        reporter: receives progress; None for silence.

    Returns:
        The artifacts.

    Raises:
        ConfigError: when the file holds code that is not trusted, or labels do not fit.
        ExportError: when it cannot be read, or an artifact cannot be written; see `tlkeras.export.export`.
    """
    reporter = resolve(reporter)
    if isinstance(config.labels, str):
        config = config.updated(labels=read_labels(config.labels)[0])
    folder = Path(out).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"--out {str(out)!r} is not an empty folder and is not overwritten; choose another")
    network = model if isinstance(model, keras.Model) else read(model, trust=config.trust, modules=config.modules)
    network = with_free_batch(network)
    if config.input_range is None and takes_raw_images(network):
        reporter.say(
            "no layer scales the pixels: exported for values 0-255; pass --input-range 0-1 or -1-1 if the model was trained on those"
        )
    network = with_contract(network, config.input_range or "0-255")
    network = as_classifier(network, config, reporter)
    graph = Graph(network, spec_of(network, config))
    graph.module.saved_models = saved_models(network)
    examples = examples_for(graph, config, reporter)
    if examples.random:
        reporter.warn("no --calibration: verified on random inputs; real examples give more meaningful figures")
    samples, calibration = divided(graph, examples, config)
    limits = config.limits
    budget = Budget(max_drop=limits.max_drop, calibration=calibration, io=limits.tflite_io, opset=limits.opset)
    try:
        return export(graph, graph.spec, folder, samples, formats=config.formats, budget=budget, progress=reporter.pieces("export"))
    finally:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def default_folder(model: str | Path | keras.Model) -> Path:
    """Returns the default folder for the artifacts of a model: NAME-export in the working folder, or NAME-export-2, …"""
    if isinstance(model, keras.Model):
        name = f"{model.name}-export"
    else:
        path = Path(model).expanduser().resolve()
        name = f"{path.name if path.is_dir() else path.stem}-export"
    folder, number = Path(name), 1
    while folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        number += 1
        folder = Path(f"{name}-{number}")
    return folder
