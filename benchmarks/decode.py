"""Decoding of photos: `python benchmarks/decode.py [--photos 2000] [--large 60] [--stores 1000 5000 20000] [--rounds 3] [--out decode.json]`.

Photos are generated (smooth structures without noise, JPEG of quality 90) and decoded to 224 x 224 in processes of their own, by
tlkeras and by Pillow in as many threads, in turns. Prints JSON: photos per second, milliseconds of processor per photo, and for stores of several sizes the
peak of resident memory besides the decoded images themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 224
SMALL, LARGE = (320, 240), (4000, 3000)
CLASSES = 5


def photo(number: int, size: tuple[int, int]) -> Image.Image:
    """Returns an image of waves of several lengths."""
    width, height = size
    y, x = (np.arange(side, dtype="float32") / min(size) for side in (height, width))
    channels = []
    for channel in range(3):
        phase = 0.37 * number + channel
        waves = [np.sin(a * x + phase)[None] * np.sin(b * y + phase / 2)[:, None] for a, b in ((3, 7), (19, 11), (61, 73))]
        channels.append(127 + 60 * waves[0] + 40 * waves[1] + 25 * waves[2])
    return Image.fromarray(np.stack(channels, -1).astype("uint8"))


def write(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Writes a folder of class folders; from the hundredth photo on contents repeat, under names of their own."""
    for number in range(count):
        path = folder / f"class{number % CLASSES}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < 100:
            photo(number, size).save(path, quality=90)
        else:
            path.write_bytes((folder / f"class{number % CLASSES}" / f"{number % 100:06}.jpg").read_bytes())


def by_pillow(paths: list[Path]) -> None:
    """Decodes as a plain program does, in threads."""
    images = np.zeros((len(paths), SIZE, SIZE, 3), "uint8")

    def read(row: int) -> None:
        images[row] = Image.open(paths[row]).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(read, range(len(paths))))


def measure(engine: str, folder: Path) -> dict[str, float]:
    """Decodes a folder in this process, after a first image that is not counted."""
    paths = sorted(folder.rglob("*.jpg"))
    if engine == "pillow":
        run, first = partial(by_pillow, paths), partial(by_pillow, paths[:1])
    else:
        from tlkeras.startup import load_tensorflow

        load_tensorflow()
        from tlkeras.data.examples import Example, make_dataset
        from tlkeras.modalities.images.reading import materialise
        from tlkeras.modalities.sources import open_source

        dataset = open_source(str(folder))
        some = make_dataset("first", [Example(id=str(path), label=path.parent.name, path=path) for path in paths[:1] + paths[-1:]])
        run, first = partial(materialise, dataset, size=SIZE), partial(materialise, some, size=SIZE)
    first()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    wall, processor = time.perf_counter(), time.process_time()
    store = run()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    del store
    decoded = len(paths) * SIZE * SIZE * 3
    return {
        "photos": len(paths),
        "photos_per_second": len(paths) / wall,
        "processor_ms": 1000 * processor / len(paths),
        "decoded_mb": decoded / 1e6,
        "peak_mb": peak / 1e6,
        "peak_above_start_and_images_mb": (peak - before - decoded) / 1e6,
    }


def measured(engine: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", engine, str(folder)]
    figures: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])
    return {name: round(value, 3) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--large", type=int, default=60)
    parser.add_argument("--stores", type=int, nargs="*", default=[1000, 5000, 20000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure[0], Path(options.measure[1]))))
        return
    figures: dict[str, object] = {"cores": os.cpu_count(), "size": SIZE}
    with tempfile.TemporaryDirectory() as temporary:
        for name, count, size in (("320x240", options.photos, SMALL), ("12 megapixels", options.large, LARGE)):
            write(Path(temporary) / name, count, size)
            rounds = [{engine: measured(engine, Path(temporary) / name) for engine in ("tlkeras", "pillow")} for _ in range(options.rounds)]
            keys = ("photos_per_second", "processor_ms")
            medians = {engine: {key: statistics.median(one[engine][key] for one in rounds) for key in keys} for engine in rounds[0]}
            figures[name] = {**medians, "rounds": rounds}
        stores = []
        for count in options.stores:
            write(Path(temporary) / str(count), count, SMALL)
            stores.append(measured("tlkeras", Path(temporary) / str(count)))
        figures["stores"] = stores
    text = json.dumps(figures, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
