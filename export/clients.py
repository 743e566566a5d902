"""Short client programs beside a `.tflite` file, with its names, shapes and types filled in.

Those for MediaPipe Tasks are for labels, because it has classifiers only; Python programs are for every answer that is described.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from tlkeras import files
from tlkeras.export.formats import FORMATS, SMALLEST

if TYPE_CHECKING:  # it loads TensorFlow
    from tlkeras.export.graph import Graph

FOLDER = "client"
CLASSIFY, PREDICT = "classify.py", "predict.py"  # the Python program, for labels and for other answers
COLUMNS = "columns.json"  # what the scores are, for `PREDICT`
TEMPLATES = Path(__file__).with_name("client_templates")
# Which file the programs load, if it is there.
BEST = (SMALLEST.name, *(row.name for row in FORMATS if row.reader == SMALLEST.reader and row is not SMALLEST))

MODES = {1: "L", 3: "RGB"}  # channels -> how Pillow calls them
# What a tokeniser leaves for programs without TensorFlow -> folder of the programs that use it.
SPLITTERS = {"tokenizer.json": "text", "characters.json": "characters"}

# How images become square, as `tlkeras.modalities.images.decode` does it, for each resize mode.
PYTHON = {
    "stretch": "    return image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)",
    "crop": """    side = max(1, round(0.875 * min(image.size)))  # the centre
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)""",
    "pad": """    ratio = max(image.size) / SIZE  # black bars
    width, height = int(image.width / ratio), int(image.height / ratio)
    whole = Image.new(image.mode, (SIZE, SIZE))
    whole.paste(image.resize((width, height), Image.Resampling.BILINEAR), ((SIZE - width) // 2, (SIZE - height) // 2))
    return whole""",
}
KOTLIN = {
    "stretch": "        return bitmap // MediaPipe stretches it, as training did",
    "crop": """        val side = (0.875 * minOf(bitmap.width, bitmap.height)).toInt().coerceAtLeast(1) // the centre, as in training
        return Bitmap.createBitmap(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side)""",
    "pad": """        val side = maxOf(bitmap.width, bitmap.height) // black bars, as in training
        val whole = Bitmap.createBitmap(side, side, Bitmap.Config.ARGB_8888)
        val canvas = android.graphics.Canvas(whole).apply { drawColor(android.graphics.Color.BLACK) }
        canvas.drawBitmap(bitmap, (side - bitmap.width) / 2f, (side - bitmap.height) / 2f, null)
        return whole""",
}
SWIFT = {
    "stretch": "",
    "crop": "// Pass the centre of the image: a square of 7/8 of its short side, as in training.\n",
    "pad": "// Pass the image made square with black bars, as in training.\n",
}


def takes_images(graph: Graph) -> bool:
    """Whether the one input of the model is a square image, RGB or grey, and what its scores mean is known."""
    shape = graph.inputs[0].shape
    return (
        _is_described(graph)
        and len(graph.inputs) == len(graph.output_names) == 1
        and len(shape) == 4
        and shape[3] in MODES
        and shape[1] is not None
        and shape[1] == shape[2]
    )


def takes_texts(graph: Graph) -> bool:
    """Whether the model accepts token ids, with a tokeniser for programs without TensorFlow, and what its scores mean is known."""
    return _is_described(graph) and graph.spec.tokenise is not None


def _is_described(graph: Graph) -> bool:
    return graph.spec.labels is not None or bool(graph.spec.columns)


def write(out: Path, graph: Graph, records: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes programs in `client/` for the best `.tflite` among the artifacts, where there is one.

    They are `classify.py` and, where MediaPipe Tasks can run the file, `Classifier.kt` and `Classifier.swift`. Without a label for each
    score, they are `predict.py` and `columns.json`, which says what the scores are.

    Args:
        out: folder of the artifacts.
        graph: what they were made from.
        records: format -> `Artifact.to_dict()`.
    """
    chosen = {name: record for name, record in records.items() if name in BEST and record["verified"]}
    if not chosen or not (takes_images(graph) or takes_texts(graph)):
        return
    templates = _templates(out, graph)
    if not templates:
        return
    filled = _filled(graph, next(chosen[name] for name in BEST if name in chosen))
    (out / FOLDER).mkdir(exist_ok=True)
    for template in templates:
        name = filled["program"] if template.stem == CLASSIFY else template.stem
        files.write(out / FOLDER / name, Template(template.read_text(encoding="utf-8")).substitute(filled))
    if graph.spec.labels is None:
        files.write_json(out / FOLDER / COLUMNS, {"groups": list(graph.spec.columns)})


def _filled(graph: Graph, artifact: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is filled in, by the names that the templates have for it."""
    labels, metadata = graph.spec.labels, graph.spec.metadata
    resize = metadata.get("resize", "stretch")
    several = graph.spec.thresholds is not None
    answering = ("scores.txt", "columns.txt" if labels is None else "labels.txt")
    of_labels = "labels and scores" if several else "the label and score"
    return {
        "model": artifact["path"],
        "stem": Path(artifact["path"]).stem,
        "program": PREDICT if labels is None else CLASSIFY,
        "json_import": "import json\n" if labels is None else "",
        "zipfile_import": "" if labels is None else "import zipfile\n",
        "answering": "\n\n".join((TEMPLATES / "answers" / name).read_text(encoding="utf-8") for name in answering).rstrip(),
        "answer": "what it predicts, by name," if labels is None else of_labels,
        "input": graph.inputs[0].name,
        "output": graph.output_names[0],
        "channels": graph.inputs[0].shape[-1],
        "mode": MODES.get(graph.inputs[0].shape[-1], ""),
        "size": graph.inputs[0].shape[1],
        "width": len(labels) if labels is not None else sum(len(group["columns"]) for group in graph.spec.columns),
        "most": -1 if several else 3,  # results of MediaPipe; -1: every label that reaches its threshold
        "inside": "Labels, their thresholds" if several else "Labels",
        "io": artifact["options"].get("io", "float32"),
        "python_resize": PYTHON[resize],
        "kotlin_resize": KOTLIN[resize],
        "swift_note": SWIFT[resize],
        "length": metadata.get("max_length", ""),
        "pad": metadata.get("pad", ""),
    }


def _templates(out: Path, graph: Graph) -> list[Path]:
    """Returns the programs that are right for this model.

    MediaPipe has classifiers only, of RGB images and of the texts that it splits for BERT; no program splits those of SentencePiece.
    """
    labelled = graph.spec.labels is not None
    if takes_images(graph):
        return sorted((TEMPLATES / "image").glob("*.txt" if labelled and graph.inputs[0].shape[3] == 3 else "*.py.txt"))
    python = [TEMPLATES / folder / f"{CLASSIFY}.txt" for name, folder in SPLITTERS.items() if (out / "tokenizer" / name).is_file()]
    return [*python, *(sorted((TEMPLATES / "text").glob("Classifier.*.txt")) if labelled and graph.spec.vocabulary else [])]
