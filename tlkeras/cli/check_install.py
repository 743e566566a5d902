"""`tlkeras check-install`: does this machine meet the requirements of tlkeras?"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import typer

from tlkeras.cli.echo import echo

# Distribution -> the module that must import.
NEEDED = {
    "tensorflow": "tensorflow",
    "keras": "keras",
    "keras-nlp": "keras_hub",
    "tensorflow-datasets": "tensorflow_datasets",
    "onnx": "onnx",
    "tf2onnx": "tf2onnx",
    "onnxruntime": "onnxruntime",
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "scikit-learn": "sklearn",
    "pillow": "PIL",
}


# The backbone has its real depth: differences that a device makes (TF32, bfloat16) add up over layers, and a toy would hide them.
TRIAL = {"image_size": 96, "epochs": 2, "limit": 200, "recipe": "feature-extraction"}


def command(debug: bool = typer.Option(False, "--debug", help="Show tracebacks.")) -> None:
    """Train, export and verify a small model, and report what is missing or slow."""
    import platform

    from tlkeras.cli.screen import start_tensorflow

    echo(f"python {platform.python_version()} on {platform.platform()}")
    with contextlib.suppress(ImportError):  # named below
        start_tensorflow()
    missing = [line for name, module in NEEDED.items() if (line := _problem(name, module))]
    for line in missing:
        echo(line, err=True)
    if missing:
        raise typer.Exit(1)
    _devices()
    _trial()


def _problem(name: str, module: str) -> str | None:
    """Prints the version of a package that imports; returns what is wrong with one that does not."""
    import importlib
    import importlib.metadata

    from tlkeras.startup import filtered_stderr

    try:
        with filtered_stderr():
            importlib.import_module(module)
        echo(f"{name} {importlib.metadata.version(name)}")
    except ImportError as error:
        return f"missing: {name} ({error}); pip install {name}"
    return None


def _devices() -> None:
    """Prints the processor and each GPU; a GPU of the machine that TensorFlow does not see is named, for it costs most."""
    import shutil
    import subprocess

    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        details = tf.config.experimental.get_device_details(gpu)
        capability = ".".join(map(str, details.get("compute_capability", ()))) or "unknown"
        echo(f"GPU: {details.get('device_name', gpu.name)}, compute capability {capability}")
    if gpus:
        return
    if shutil.which("nvidia-smi") and subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False).stdout.strip():
        echo("slow: this machine has an NVIDIA GPU that TensorFlow does not see; pip install 'tensorflow[and-cuda]'", err=True)
    else:
        echo(f"CPU: {os.cpu_count()} cores; no GPU, which is enough for frozen backbones")


def _trial() -> None:
    """Trains a head on the default backbone, exports and verifies it, and reports what took how long."""
    import tempfile

    from tlkeras.cli.screen import Screen, artifacts_table
    from tlkeras.config import RunConfig
    from tlkeras.jobs import finetune

    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        screen = Screen(quiet=True)
        with screen.live():
            result = finetune.finetune(RunConfig.from_dict({**TRIAL, "out": str(Path(folder) / "run")}), reporter=screen)
    screen.console.print(artifacts_table(result.metrics["exports"]))
    timing = {name: seconds for name, seconds in result.metrics["timing"].items() if name != "total" and "/" not in name}
    echo("seconds: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in timing.items()))
    numbers = result.metrics["precision"]
    echo(f"trained on {', '.join(numbers['gpus']) or 'the CPU'}" + (", products in TF32; verified in float32" if numbers["tf32"] else ""))
    for line in _slow(timing, gpu=bool(numbers["gpus"])):
        echo(f"slow: {line}", err=True)
    echo(
        f"trained, exported and verified a small model in {time.monotonic() - started:.0f} s: this machine meets the requirements of tlkeras"
    )


# Seconds of each phase of the trial on 2 cores of a cloud machine, of which a laptop should not need four times as many.
USUAL = {"build": 2.0, "decode": 1.0, "train": 5.0, "export": 30.0}
SLOW = 4.0


def _slow(timing: Mapping[str, float], *, gpu: bool) -> Iterator[str]:
    """Yields a line for each phase that took much longer than usual."""
    for phase, usual in USUAL.items():
        if timing.get(phase, 0.0) > SLOW * usual:
            where = "; the first use of a GPU compiles its kernels, a second run is faster" if gpu and phase == "train" else ""
            yield f"{phase} took {timing[phase]:.0f} s, usual are about {usual:.0f} s on 2 cores{where}"
