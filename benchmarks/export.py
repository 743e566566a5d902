"""Seconds of the export: `python benchmarks/export.py [--photos 736] [--size 224] [--data FOLDER]`.

Exports EfficientNet-Lite0 with five classes to three float formats, each verified on all held-out photos in its own runtime, and prints the
seconds as JSON. The photos are generated, or the first ones of a folder. Two versions of tlkeras are compared by running this file in each, in turns.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.startup import load_tensorflow

FORMATS = ("saved_model", "tflite", "onnx")
LABELS = ("daisy", "dandelion", "rose", "sunflower", "tulip")


def photos(number: int, size: int, folder: str | None) -> np.ndarray:
    """Returns photos (number, size, size, 3) uint8: those of a folder, else smooth random ones."""
    import tensorflow as tf

    if folder is None:
        small = np.random.default_rng(0).uniform(0, 255, (number, 8, 8, 3)).astype("float32")
        return np.concatenate(
            [tf.image.resize(part, (size, size)).numpy().astype("uint8") for part in np.array_split(small, 1 + number // 64)]
        )
    from tlkeras.modalities.images.decode import decode_and_resize

    files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))[:number]
    return np.stack([decode_and_resize(tf.constant(path.read_bytes()), size=size).numpy() for path in files])


def measure(number: int, size: int, folder: str | None) -> dict[str, Any]:
    """Returns the seconds of one export, in all and by step."""
    load_tensorflow()
    from tlkeras import models
    from tlkeras.data.target import Target
    from tlkeras.export.export import export
    from tlkeras.export.parity import Samples
    from tlkeras.export.spec import ExportSpec
    from tlkeras.modalities.images import decode
    from tlkeras.tasks import classification
    from tlkeras.tasks.registry import TARGET

    x = photos(number, size, folder)
    model = models.build("efficientnet_lite0", len(LABELS), image_size=size).model
    scores = np.concatenate([model.predict_on_batch(x[i : i + 32].astype("float32")) for i in range(0, len(x), 32)])
    target = Target(kind="class", labels=LABELS)
    spec = ExportSpec(
        labels=LABELS,
        judge=partial(classification.judge, target=target),
        signature=partial(classification.signature, target=target),
        decode=partial(decode.decode_and_resize, size=size),
        features_layer=models.FEATURES,
    )
    samples = Samples(
        inputs={model.inputs[0].name: x[:8].astype("float32")},
        encoded=[decode.encode_png(image) for image in x[:8]],
        score_inputs=x,
        score_targets={TARGET: scores.argmax(-1)},
    )
    steps: dict[str, float] = {}
    options = {"timed": steps.__setitem__} if "timed" in inspect.signature(export).parameters else {}  # versions before it are timed in all
    used, started = os.times(), time.monotonic()
    with tempfile.TemporaryDirectory() as out:
        artifacts = export(model, spec, out, samples, formats=FORMATS, score=scores, **options)
        seconds = time.monotonic() - started
        now = os.times()
    processor = sum(after - before for after, before in zip(now[:4], used[:4], strict=True))
    return {
        "seconds": round(seconds, 2),
        "processor_seconds": round(processor, 2),  # of this process and of those that verified, which have ended
        "steps": {name: round(value, 2) for name, value in steps.items()},
        "photos": len(x),
        "size": size,
        "latency_ms": {artifact.format: round(artifact.verdict.latency_ms, 2) for artifact in artifacts if artifact.verdict},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=736)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--data", help="folder of photos; generated ones when left out")
    options = parser.parse_args()
    print(json.dumps(measure(options.photos, options.size, options.data)))


if __name__ == "__main__":
    main()
