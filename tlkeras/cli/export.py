"""`tlkeras export`: a run, or any Keras model or SavedModel, to verified artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from tlkeras.export.artifact import Artifact
    from tlkeras.jobs.run_folder import Run

HELP = """Export a run again, or convert any Keras model. Each file is verified against the model.

A run already records its labels, resize mode and data: `tlkeras export runs/RUN --formats mobile`.

For any other model, flags supply them: `tlkeras export model.h5 --labels labels.txt --calibration photos/`.
"""

FORMATS = ("saved_model", "tflite", "onnx")
# Flags that describe a model, which a run describes itself.
ONLY_MODELS = ("labels", "calibration", "input_range", "resize", "activation", "trust", "modules")
ONLY_RUNS = ("data", "data_dir")
FLAGS = {"modules": "--import"}


def command(
    model: str = typer.Argument(help="The folder of a run, a .keras or .h5 file, or a SavedModel folder.", metavar="MODEL"),
    out: str | None = typer.Option(
        None,
        "--out",
        help="New or empty folder for the artifacts. [default: the run's exports folder; for other models ./NAME-export]",
        metavar="DIR",
        show_default=False,
    ),
    formats: str = typer.Option(",".join(FORMATS), "--formats", help="Comma-separated; an unknown name lists them."),
    labels: str | None = typer.Option(None, "--labels", help="File with one label per line, in class order.", metavar="FILE"),
    calibration: str | None = typer.Option(
        None, "--calibration", help="Real examples: a folder of images, or an .npz of arrays by input name.", metavar="FOLDER"
    ),
    data: str | None = typer.Option(
        None, "--data", help="For a run: source to calibrate and evaluate on instead of its own.", metavar="SOURCE"
    ),
    data_dir: str | None = typer.Option(
        None, "--data-dir", help="For a run: folder where tensorflow-datasets keeps prepared data.", metavar="DIR"
    ),
    input_range: str | None = typer.Option(
        None, "--input-range", help="Pixel values the model was trained on: 0-255, 0-1 or -1-1. [default: 0-255]", show_default=False
    ),
    activation: str | None = typer.Option(
        None,
        "--activation",
        help="Activation to add after the last layer: softmax, sigmoid or none; auto adds one if a classifier outputs logits. [default: auto]",
        show_default=False,
    ),
    resize: str | None = typer.Option(
        None, "--resize", help="How images are resized to the model's input: stretch, crop or pad. [default: stretch]", show_default=False
    ),
    max_drop: float | None = typer.Option(
        None, "--max-drop", help="Accuracy (or agreement) a quantised file may lose. [default: 0.02, or the run's]", show_default=False
    ),
    calibration_examples: int | None = typer.Option(
        None,
        "--calibration-examples",
        help="Maximum number of examples to calibrate int8 formats on. [default: 100, or the run's]",
        show_default=False,
    ),
    tflite_io: str | None = typer.Option(
        None,
        "--tflite-io",
        help="Input and output type of full-integer TFLite files: float32, int8 or uint8. [default: float32, or the run's]",
        show_default=False,
    ),
    opset: int | None = typer.Option(
        None, "--opset", help="Opset of ONNX files, 13 to 18. [default: 18, or the run's]", show_default=False
    ),
    trust: bool = typer.Option(
        False, "--trust", help="Allow Python code inside the file (Lambda layers), and file access by a SavedModel."
    ),
    modules: list[str] = typer.Option([], "--import", help="Module that registers the model's custom layers.", metavar="MODULE"),
    quiet: bool = typer.Option(False, "--quiet", help="Show only warnings and the result."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    from tlkeras.cli.screen import Screen
    from tlkeras.errors import ConfigError
    from tlkeras.export.formats import FORMATS as REGISTRY
    from tlkeras.jobs.run_folder import run_of

    names = list(dict.fromkeys(REGISTRY.get(name.strip()).name for name in formats.split(",") if name.strip()))
    if not names:
        raise ConfigError(f"--formats {formats!r} names no format; choose from {', '.join(REGISTRY.names())}")
    described = {
        "labels": labels,
        "calibration": calibration,
        "input_range": input_range,
        "resize": resize,
        "activation": activation,
        "trust": trust,
        "modules": modules,
        "data": data,
        "data_dir": data_dir,
    }
    changes = {"max_drop": max_drop, "calibration_examples": calibration_examples, "tflite_io": tflite_io, "opset": opset}
    changes = {name: value for name, value in changes.items() if value is not None}
    run = run_of(model)
    _check_flags(described, ONLY_MODELS if run else ONLY_RUNS, is_run=run is not None)
    screen = Screen(quiet)
    if run is None:
        _export_model(model, out, names, described, changes, screen)
    else:
        _export_run(run, out, names, data, data_dir, changes, screen)


def _check_flags(described: dict[str, Any], refused: tuple[str, ...], *, is_run: bool) -> None:
    """Refuses flags that mean nothing for what was given."""
    from tlkeras.errors import ConfigError

    for name in refused:
        if described[name]:
            flag = FLAGS.get(name, "--" + name.replace("_", "-"))
            why = "for other models; a run has its own" if is_run else "for runs; other models read their examples from --calibration"
            raise ConfigError(f"{flag} is {why}" + ("; --data SOURCE selects other examples" if is_run else ""))


def _export_run(
    run: Run, out: str | None, names: list[str], data: str | None, data_dir: str | None, changes: dict[str, Any], screen: Any
) -> None:
    from tlkeras.cli.screen import start_tensorflow
    from tlkeras.jobs.preflight import to_evaluate

    chosen = None if data is None else to_evaluate(run.root, data, data_dir=data_dir)
    start_tensorflow()
    from tlkeras.jobs import export_run, run_folder
    from tlkeras.tasks.registry import TASKS

    with screen.live():
        artifacts = export_run.export_run(run.root, names, out, data=chosen, data_dir=data_dir, changes=changes, reporter=screen)
    try:  # as people would type it
        exports = run.exports.relative_to(Path.cwd())
    except ValueError:
        exports = run.exports
    _show(artifacts, str(out or exports), screen, TASKS.get(run_folder.read_config(run).model.task).figure)


def _export_model(model: str, out: str | None, names: list[str], described: dict[str, Any], changes: dict[str, Any], screen: Any) -> None:
    from tlkeras.cli.screen import MEASURE, start_tensorflow
    from tlkeras.data.labels import read_labels
    from tlkeras.errors import DataError
    from tlkeras.jobs.lookup import model_kind
    from tlkeras.jobs.preflight import check_calibration

    for path in (model, described["calibration"]):
        if path is not None and not Path(path).expanduser().exists():
            raise DataError(f"no file or folder {path!r}; {'see tlkeras export --help' if path == model else 'expected real examples'}")
    model_kind(Path(model).expanduser())  # a file of another kind is reported before TensorFlow loads
    labels, note = read_labels(described["labels"]) if described["labels"] is not None else (None, None)
    if note:
        screen.warn(note)
    check_calibration(described["calibration"])
    start_tensorflow()
    from tlkeras.jobs import export_model

    given = {name: described[name] for name in ONLY_MODELS if name != "labels" and described[name]}
    options = export_model.Options(formats=names, labels=labels, **given, **changes)
    folder = out or str(export_model.default_folder(model))
    with screen.live():
        artifacts = export_model.export_model(model, folder, options, reporter=screen)
    _show(artifacts, folder, screen, MEASURE)


def _show(artifacts: list[Artifact], folder: str, screen: Any, measure: str) -> None:
    from tlkeras.cli.screen import artifacts_table, ladder_lines

    records = {artifact.format: artifact.to_dict() for artifact in artifacts}
    screen.console.print(artifacts_table(records, measure))
    for line in ladder_lines(records, measure):
        screen.console.print(line, markup=False)
    screen.console.print(f"artifacts: {folder}", markup=False)
