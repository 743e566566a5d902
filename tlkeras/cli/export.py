"""`tlkeras export`: somebody else's Keras model or SavedModel to verified artifacts."""

from __future__ import annotations

import typer


def command(
    model: str = typer.Argument(help="A .keras or .h5 file, or a SavedModel folder.", metavar="MODEL"),
    out: str = typer.Option(..., "--out", help="New or empty folder for the artifacts.", metavar="DIR"),
    labels: str | None = typer.Option(None, "--labels", help="File with one label per line, in class order.", metavar="FILE"),
    formats: str = typer.Option("saved_model,tflite,onnx", "--formats", help="Comma-separated; an unknown name lists them."),
    calibration: str | None = typer.Option(
        None, "--calibration", help="Real examples: a folder of pictures, or an .npz of arrays by input name.", metavar="FOLDER"
    ),
    input_range: str = typer.Option("0-255", "--input-range", help="Pixel values the model was trained on: 0-255, 0-1 or -1-1."),
    resize: str = typer.Option("stretch", "--resize", help="How pictures become square: stretch, crop or pad."),
    max_drop: float = typer.Option(0.02, "--max-drop", help="Accuracy (or agreement) a quantised file may lose."),
    calibration_examples: int = typer.Option(100, "--calibration-examples", help="Examples that int8 formats are calibrated on, at most."),
    tflite_io: str = typer.Option("float32", "--tflite-io", help="Tensors of full-integer TFLite files: float32, int8 or uint8."),
    opset: int = typer.Option(18, "--opset", help="Opset of ONNX files, 13 to 18."),
    trust: bool = typer.Option(False, "--trust", help="Run Python code that is inside the file (Lambda layers)."),
    modules: list[str] = typer.Option([], "--import", help="Module that registers layers of the model's own.", metavar="MODULE"),
    quiet: bool = typer.Option(False, "--quiet", help="Show only warnings and the result."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    """Convert any Keras model, and prove that each file answers as the model does."""
    from pathlib import Path

    from tlkeras.cli.screen import Screen, artifacts_table, start_tensorflow
    from tlkeras.errors import ConfigError
    from tlkeras.preflight import check_calibration

    named = None
    if labels is not None:
        try:
            named = [line for line in Path(labels).expanduser().read_text(encoding="utf-8").split("\n") if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read --labels {labels!r}: {error}") from error
    check_calibration(calibration)
    start_tensorflow()
    from tlkeras import exporting

    options = exporting.Options(
        formats=[one.strip() for one in formats.split(",") if one.strip()],
        labels=named,
        calibration=calibration,
        input_range=input_range,
        resize=resize,
        max_drop=max_drop,
        calibration_examples=calibration_examples,
        tflite_io=tflite_io,
        opset=opset,
        trust=trust,
        modules=modules,
    )
    screen = Screen(quiet)
    with screen.live():
        artifacts = exporting.export_model(model, out, options, reporter=screen)
    screen.console.print(artifacts_table({one.format: one.to_dict() for one in artifacts}))
    screen.console.print(f"artifacts: {out}", markup=False)
