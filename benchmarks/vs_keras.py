"""Frozen-backbone job in plain Keras and in tlkeras, side by side: same weights, data, head, epochs and batch.

    python benchmarks/vs_keras.py [--data FOLDER] [--rounds 3] [--epochs 10] [--out vs_keras.json]

Plain Keras is what the transfer-learning guide shows: `image_dataset_from_directory`, a frozen base called inside the
model, `fit`, `evaluate`. Each round runs both, in alternating order, in fresh processes of their own; a process times
the whole job from the folder to the scores of the validation images, without the import of TensorFlow, which is
the same for both. FOLDER has `train/` and `val/` inside; without it, scikit-learn's 1,797 digits are written as PNG
files, every fifth of them into `val/`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZE, BATCH, RATE = 224, 32, 3e-3


def digits(folder: Path) -> Path:
    """Writes the digits as a folder of images."""
    from PIL import Image
    from sklearn.datasets import load_digits

    found = load_digits()
    for index, (grey, label) in enumerate(zip(found.images, found.target, strict=True)):
        place = folder / ("train" if index % 5 else "val") / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((grey * (255 / 16)).round().astype("uint8")).convert("RGB").save(place / f"{index}.png")
    return folder


def plain_keras(data: Path, epochs: int) -> dict[str, float]:
    """The guide's way."""
    import keras

    from tlkeras.backbones.load import load

    started = time.perf_counter()
    keras.utils.set_random_seed(0)
    options = {"image_size": (SIZE, SIZE), "batch_size": BATCH, "seed": 0}
    train = keras.utils.image_dataset_from_directory(data / "train", **options, verbose=False)
    val = keras.utils.image_dataset_from_directory(data / "val", **options, shuffle=False, verbose=False)
    base = load("efficientnet_lite0", image_size=SIZE)
    base.trainable = False
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.GlobalAveragePooling2D()(base(inputs, training=False))
    x = keras.layers.Dropout(0.2)(x)
    model = keras.Model(inputs, keras.layers.Dense(len(train.class_names), activation="softmax")(x))
    model.compile(keras.optimizers.AdamW(RATE), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(train.prefetch(2), validation_data=val.prefetch(2), epochs=epochs, verbose=0)
    _, accuracy = model.evaluate(val, verbose=0)
    return {"seconds": time.perf_counter() - started, "accuracy": float(accuracy)}


def with_tlkeras(data: Path, epochs: int) -> dict[str, float]:
    """The same job as one call."""
    from tlkeras.config import RunConfig
    from tlkeras.jobs import finetune

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        told = {"data": str(data), "out": f"{folder}/run", "export": "none", "image_size": SIZE, "batch_size": BATCH, "cache": False}
        told |= {"epochs": epochs, "learning_rate": RATE, "patience": epochs}
        metrics = finetune.finetune(RunConfig.from_dict(told)).metrics
    return {"seconds": time.perf_counter() - started, "accuracy": metrics["val"]["accuracy"]}


JOBS = {"keras": plain_keras, "tlkeras": with_tlkeras}


def child(name: str, data: Path, epochs: int) -> None:
    from tlkeras.startup import load_tensorflow

    load_tensorflow()
    print(json.dumps(JOBS[name](data, epochs)))


def run(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", name, "--data", str(arguments.data), "--epochs", str(arguments.epochs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"})
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", choices=JOBS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.data, arguments.epochs)
        return
    with tempfile.TemporaryDirectory() as folder:
        arguments.data = arguments.data or digits(Path(folder))
        measure(arguments)


def measure(arguments: argparse.Namespace) -> None:
    rows = []
    for number in range(arguments.rounds):
        order = list(JOBS) if number % 2 == 0 else list(JOBS)[::-1]
        found = {name: run(name, arguments) for name in order}
        rows.append(found)
        ratio = found["keras"]["seconds"] / found["tlkeras"]["seconds"]
        for name in JOBS:
            print(f"round {number + 1}  {name:<8} {found[name]['seconds']:6.1f} s   accuracy {found[name]['accuracy']:.3f}")
        print(f"round {number + 1}  ratio    {ratio:6.1f} x")
    ratios = [row["keras"]["seconds"] / row["tlkeras"]["seconds"] for row in rows]
    means = {name: statistics.mean(row[name]["accuracy"] for row in rows) for name in JOBS}
    print(f"median ratio {statistics.median(ratios):.1f} x; mean accuracy keras {means['keras']:.3f}, tlkeras {means['tlkeras']:.3f}")
    if arguments.out:
        arguments.out.write_text(
            json.dumps({"epochs": arguments.epochs, "rounds": rows, "median_ratio": statistics.median(ratios)}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
