"""`tlkeras check-install`: does this machine do what tlkeras needs?"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import platform
import tempfile
import time
from pathlib import Path

import typer

# Distribution -> the module that must import.
NEEDED = {
    "tensorflow": "tensorflow",
    "keras": "keras",
    "keras-cv": "keras_cv",
    "keras-nlp": "keras_hub",
    "tensorflow-datasets": "tensorflow_datasets",
    "onnx": "onnx",
    "tf2onnx": "tf2onnx",
    "onnxruntime": "onnxruntime",
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "scikit-learn": "sklearn",
    "pillow": "PIL",
}


def command(debug: bool = typer.Option(False, "--debug", help="Show tracebacks.")) -> None:
    """Train, export and verify a tiny model, and name what is missing."""
    from tlkeras.cli.screen import start_tensorflow

    typer.echo(f"python {platform.python_version()} on {platform.platform()}")
    with contextlib.suppress(ImportError):  # named below
        start_tensorflow()
    missing = [line for name, module in NEEDED.items() if (line := _problem(name, module))]
    for line in missing:
        typer.echo(line, err=True)
    if missing:
        raise typer.Exit(1)
    _devices()
    _tiny_run()


def _problem(name: str, module: str) -> str | None:
    """Prints the version of a package that imports; returns what is wrong with one that does not."""
    from tlkeras.startup import filtered_stderr

    try:
        with filtered_stderr():
            importlib.import_module(module)
        typer.echo(f"{name} {importlib.metadata.version(name)}")
    except ImportError as error:
        return f"missing: {name} ({error}); pip install {name}"
    return None


def _devices() -> None:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    typer.echo("devices: CPU" + (f" and {len(gpus)} GPU" if gpus else "; no GPU, which is fine"))


def _tiny_run() -> None:
    """Trains a small backbone without downloaded weights for an epoch and takes it through every format."""
    from tlkeras import workflow
    from tlkeras.cli.screen import Screen, artifacts_table
    from tlkeras.config import RunConfig

    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        told = {
            "backbone": "mobilenet",
            "weights": "none",
            "image_size": 32,
            "epochs": 1,
            "limit": 200,
            "recipe": "full",
            "out": str(Path(folder) / "run"),
        }
        screen = Screen(quiet=True)
        with screen.live():
            result = workflow.finetune(RunConfig.from_dict(told), reporter=screen)
    screen.console.print(artifacts_table(result.metrics["exports"]))
    typer.echo(f"trained, exported and verified a tiny model in {time.monotonic() - started:.0f} s: this machine does what tlkeras needs")
