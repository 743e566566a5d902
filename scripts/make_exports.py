"""Every family × every format: `python scripts/make_exports.py` exports, runs and compares, and writes docs/exports.{json,md}.

One process for each network, about 40 minutes on 2 cores; `--only NAME` renews single rows, `--page` only the page.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlkeras.backbones.registry import BACKBONES
from tlkeras.export.formats import FORMATS

DOCS = Path(__file__).resolve().parents[1] / "docs"
FIGURES, PAGE = DOCS / "exports.json", DOCS / "exports.md"
COLUMNS = [row.name for row in FORMATS if not row.attempts]  # `mobile` is one of the others
CALIBRATION = 16

# KerasHub families, in tiny configurations: the graph is that of the large ones. None: a size the family does not have.
# Of T5 only the encoder is a backbone here; tests/modalities/texts exports it.
TEXT: Mapping[str, dict[str, Any]] = {
    "Albert": {"num_groups": 1, "num_inner_repetitions": 1, "embedding_dim": 16},
    "Bert": {},
    "DebertaV3": {"bucket_size": 16},
    "DistilBert": {},
    "Electra": {"embedding_dim": 16},
    "FNet": {"num_heads": None},
    "GPT2": {},
    "Gemma": {"max_sequence_length": None, "num_heads": None, "num_query_heads": 2, "num_key_value_heads": 1, "head_dim": 8},
    "OPT": {},
    "Roberta": {},
    "XLMRoberta": {},
}
# KerasHub's image backbones without a row that is quick to convert.
TINY: Mapping[str, dict[str, Any]] = {
    "ResNet": {
        "input_conv_filters": [64],
        "input_conv_kernel_sizes": [7],
        "stackwise_num_filters": [64, 128],
        "stackwise_num_blocks": [2, 2],
        "stackwise_num_strides": [1, 2],
        "block_type": "basic_block",
        "image_shape": (64, 64, 3),
    },
    "ViT": {"image_shape": (32, 32, 3), "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 64},
}
# Rows of KerasHub's image backbones, at their smallest size, transformers of the ViT kind with two blocks; tests/backbones/test_families.py has
# all rows in the float formats, among them MobileNetV5, whose whole network takes more memory to convert than many machines have.
IMAGES = ("deit_tiny", "dinov2_small", "dinov3_small", "mit_b0", "mobilenet_v3_small_050")

ORIGINS = {"applications": "keras.applications"}  # module of the builder -> whose architecture it is


def families() -> dict[str, str]:
    """Returns row name of the smallest network -> where it is from."""
    smallest: dict[str, Any] = {}
    for row in (one for one in BACKBONES if one.modality == "image" and not one.figures):
        if row.family not in smallest or row.params < smallest[row.family].params:
            smallest[row.family] = row
    ours = {row.name: ORIGINS.get(row.builder.partition(":")[0].rpartition(".")[2], "tlkeras") for row in smallest.values()}
    return ours | {name: "keras-hub, text" for name in TEXT} | {name: "keras-hub, images" for name in (*IMAGES, *TINY)}


# === One network ===


def build(name: str) -> tuple[Any, dict[str, Any]]:
    """Returns a network with random weights, BatchNorm as if trained, and examples of its inputs."""
    import keras
    import numpy as np

    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    if name in TEXT:
        import keras_hub

        sizes = {"vocabulary_size": 100, "num_layers": 2, "hidden_dim": 32, "intermediate_dim": 64, "max_sequence_length": 64}
        given = {key: value for key, value in {**sizes, "num_heads": 2, **TEXT[name]}.items() if value is not None}
        if name == "Electra":  # the one family with another name for it
            given["vocab_size"] = given.pop("vocabulary_size")
        backbone = getattr(keras_hub.models, f"{name}Backbone")(**given)
        output = backbone.output["pooled_output"] if isinstance(backbone.output, dict) else backbone.output[:, 0]
        model = keras.Model(backbone.input, keras.layers.Dense(3)(output))
        given = {key: rng.integers(1, 100, (CALIBRATION + 4, 16)) for key in backbone.input}
        given |= {
            key: np.ones_like(array) if "mask" in key else np.zeros_like(array) for key, array in given.items() if "token_ids" not in key
        }
        return model, {key: array.astype("int32") for key, array in given.items()}
    if name in TINY:
        import keras_hub

        backbone = getattr(keras_hub.models, f"{name}Backbone")(**TINY[name])
        model = keras.Model(backbone.input, keras.layers.Dense(3)(keras.layers.Flatten()(backbone.output)))
    else:
        from tlkeras import models

        row = BACKBONES.get(name)
        small = {"image_size": row.min_size} if name in IMAGES else {}
        model = models.build(name, 3, weights="none", options={"num_layers": 2} if row.figures and row.options else {}, **small).model
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(0, 0.05, layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, layer.moving_variance.shape))
    (one,) = keras.tree.flatten(model.inputs)
    scale = 1.0 if name in TINY else 255.0
    return model, {one.name: rng.uniform(0, scale, (CALIBRATION + 4, *one.shape[1:])).astype("float32")}


def sweep(name: str) -> dict[str, Any]:
    """Exports one network to every format; each failure is kept with its reason."""
    from tlkeras.errors import ExportError
    from tlkeras.export.budget import Budget
    from tlkeras.export.calibration import Calibration
    from tlkeras.export.export import export
    from tlkeras.export.graph import Graph
    from tlkeras.export.parity import Samples
    from tlkeras.export.spec import ExportSpec

    model, given = build(name)
    spec = ExportSpec()
    graph = Graph(model, spec)
    names = [one.name for one in graph.inputs]
    given = dict(zip(names, given.values(), strict=True)) if len(names) == 1 else {key: given[key] for key in names}
    budget = Budget(calibration=Calibration(inputs={key: array[4:] for key, array in given.items()}))
    samples = Samples(inputs={key: array[:4] for key, array in given.items()})
    cells = {}
    for format in COLUMNS:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                (artifact,) = export(graph, spec, Path(folder) / "out", samples, formats=[format], budget=budget)
                cell = {"difference": artifact.to_dict()["relative_diff"], "bytes": artifact.bytes, "also": list(artifact.also)}
            except ExportError as error:
                cell = {"refused": str(error)}
        cells[format] = cell | {"seconds": round(time.perf_counter() - start, 1)}
    return {"parameters": model.count_params(), "cells": cells}


# === The page ===


def page(figures: Mapping[str, Any]) -> str:
    """Returns docs/exports.md."""
    reasons: list[str] = []
    lines = [
        "# Every family, every format",
        "",
        "Generated by `python scripts/make_exports.py`, which exports a network of every family to every format, runs each file in its own",
        "runtime in a fresh process at batch 1, 2, 3 and 4, and compares it with Keras. A cell is the largest difference, in parts of the",
        f"largest output ({_limits()} are allowed), or the number of the reason below the table why no file was written.",
        "Weights are random, with the BatchNorm statistics of trained networks. 8-bit formats lose more on such networks than on trained ones.",
        "ONNX files ran in ONNX Runtime and in OpenVINO, SavedModels in TensorFlow and in TensorFlow's C API.",
        "",
        "| family | of | M params | " + " | ".join(COLUMNS) + " | seconds |",
        "|" + "---|" * (len(COLUMNS) + 4),
    ]
    for name, origin in families().items():
        row = figures[name]
        cells = [_cell(row["cells"][format], reasons) for format in COLUMNS]
        seconds = sum(one["seconds"] for one in row["cells"].values())
        lines.append(f"| {name} | {origin} | {row['parameters'] / 1e6:.2f} | " + " | ".join(cells) + f" | {seconds:.0f} |")
    lines += [
        "",
        "KerasHub's are built small (texts in tiny configurations, transformers of the ViT kind with two blocks): the graph is that of the large ones.",
        "",
    ]
    lines += [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    return "\n".join(lines).rstrip() + "\n"


def _limits() -> str:
    return ", ".join(f"{row.tolerance:g} for {row.name}" for row in FORMATS if row.name in COLUMNS)


def _cell(cell: Mapping[str, Any], reasons: list[str]) -> str:
    if "refused" not in cell:
        return f"{cell['difference']:.0e}"
    if cell["refused"] not in reasons:
        reasons.append(cell["refused"])
    return f"refused ({reasons.index(cell['refused']) + 1})"


def main(arguments: Sequence[str], run: Callable[..., Any] = subprocess.run) -> None:
    if arguments[:1] == ["--one"]:
        from tlkeras.startup import load_tensorflow

        load_tensorflow()
        Path(arguments[2]).write_text(json.dumps(sweep(arguments[1])))
        return
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    names = [] if arguments[:1] == ["--page"] else arguments[1:] if arguments[:1] == ["--only"] else list(families())
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            answer = Path(folder) / "answer.json"
            run([sys.executable, __file__, "--one", name, str(answer)], check=True)
            figures[name] = json.loads(answer.read_text())
        FIGURES.write_text(json.dumps({name: figures[name] for name in families() if name in figures}, indent=1) + "\n")
        print(name, {key: one.get("refused", one.get("difference")) for key, one in figures[name]["cells"].items()}, flush=True)
    PAGE.write_text(page(figures), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
