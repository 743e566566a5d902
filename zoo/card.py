"""The model card of an entry, written from its manifest alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tlkeras.export.runtimes import KERAS, RUNTIMES
from tlkeras.registry import load_function
from tlkeras.tasks.markup import markdown_table
from tlkeras.tasks.registry import task_of
from tlkeras.zoo.serving import curl_call, grpc_call


def card(name: str, content: Mapping[str, Any]) -> str:
    """Returns the card as Markdown.

    Args:
        name: of the entry.
        content: content of the manifest: labels, task, data, metrics, artifacts, licences, config.
    """
    (_, summary), *sections = load_function(task_of(content["metadata"]).card)(content, modality(content))
    parts = [
        f"# {name}",
        f"{summary} {_intro(content)}",
        *(f"## {title}\n\n{body}" for title, body in sections),
        "## Artifacts\n\n" + _artifacts(content),
        "## Data\n\n" + _data(content),
        "## Licences\n\n"
        + markdown_table(("what", "licence", "source"), [(k, v["licence"], v["source"]) for k, v in content["licences"].items()]),
        "## Use\n\n" + _use(name, content),
        "## Reproduce\n\n" + _reproduce(content),
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _intro(content: Mapping[str, Any]) -> str:
    config = content["config"]
    told = content["metadata"]
    kind = modality(content)
    if kind == "text":
        accepts = f"It accepts texts of at most {told['max_length']} tokens (the vocabulary is in `tokenizer/`). The SavedModel accepts raw strings."
    elif kind == "sequence":
        accepts = f"It accepts sequences, float32 ({told['time']} steps, {told['features']} features), with zeros in front of shorter ones."
    else:
        side = told["image_size"]
        how = f"{side} x {side} pixels, values 0-255 (resized by `{config['resize']}`)"
        accepts = f"It accepts {colours(told)} images, {how}. The normalisation is inside the model."
    return f"Backbone `{config['backbone']}`, recipe `{config['recipe']}`. {accepts}"


def colours(told: Mapping[str, str]) -> str:
    """Returns the kind of images that an entry accepts."""
    channels = told.get("channels", "3")
    return {"1": "grey", "3": "RGB"}.get(channels, f"{channels}-channel")


def modality(content: Mapping[str, Any]) -> str:
    """Returns the modality of an entry: `image`, `text` or `sequence`."""
    return str(content["metadata"].get("modality", "image"))


def encoded_input(content: Mapping[str, Any]) -> str | None:
    """Returns the name of encoded examples in the signatures; None if they accept tensors only."""
    if modality(content) == "image":
        return "image_bytes" if content["metadata"].get("channels", "3") in ("1", "3") else None
    return "text" if modality(content) == "text" else None


def example_file(content: Mapping[str, Any]) -> str:
    """Returns the name of an input file, for the examples on the card of an entry."""
    name = modality(content)
    return f"{name}.jpg" if encoded_input(content) else f"{name}.npy"


def _artifacts(content: Mapping[str, Any]) -> str:
    rows = []
    for name, one in content["artifacts"].items():
        figures = [_or(one.get(key), form) for key, form in FIGURES]
        place = "this folder" if one["path"] == "." else f"`{one['path']}`"
        rows.append((f"`{name}`", place, *figures, ", ".join([one.get("runtime") or "not run", *one.get("also", [])])))
    head = ("format", "where", "MB", "ms", "max difference", "agreement", task_of(content["metadata"]).figure, "drop", "run in")
    return markdown_table(head, rows) + (
        "\n\nEach file was run in these runtimes and compared with the Keras model before it was published. The ms column is the latency of one example on "
        "the publisher's computer."
    )


FIGURES: tuple[tuple[str, Any], ...] = (
    ("bytes", lambda x: f"{x / 1e6:.1f}"),
    ("latency_ms", lambda x: f"{x:.1f}"),
    ("max_abs_diff", lambda x: f"{x:.1e}"),
    ("agreement", lambda x: f"{x:.3f}"),
    ("accuracy", lambda x: f"{x:.3f}"),
    ("drop", lambda x: f"{x:.3f}"),
)


def _or(value: Any, form: Any) -> str:
    return "-" if value is None else str(form(value))


def _data(content: Mapping[str, Any]) -> str:
    data = content["data"]
    issues = ", ".join(f"{kind}: {n}" for kind, n in data["issues"].items()) or "none"
    return "\n".join(
        [
            f"- source: `{data['source']}`; {data['train']} {modality(content)}s to train on, {data['val']} to validate, {data['test']} to test",
            f"- fingerprint (sha256 over content, label and split of every example): `{data['fingerprint']}`",
            f"- audit: {data['skipped']} skipped; issues: {issues}",
            f"- `verification.npz` and the warm-up records contain {content['examples']} {modality(content)}s of this data",
        ]
    )


def _use(name: str, content: Mapping[str, Any]) -> str:
    parts = [f"From Python, with any runtime:\n\n```python\nimport tlkeras.zoo\n\n{_load(name, content)}\n```"]
    if "saved_model" in content["artifacts"]:
        parts.append(
            "With TensorFlow Serving, started by `docker compose up` in the zoo:\n\n```sh\n"
            + curl_call(name, encoded=encoded_input(content), file=example_file(content))
            + "\n```"
        )
        tensor = content["inputs"][0]["name"]
        program = grpc_call(
            name, encoded=encoded_input(content), file=example_file(content), tensor=tensor, labelled=bool(content["labels"])
        )
        parts.append(f"With gRPC:\n\n```python\n{program}```")
    mobile = [one["path"] for one in content["artifacts"].values() if one["path"].endswith(".tflite")]
    if mobile and encoded_input(content) and content["labels"]:
        is_text = modality(content) == "text"
        holds = "vocabulary (MediaPipe Tasks `TextClassifier`" if is_text else "normalisation (MediaPipe Tasks `ImageClassifier`"
        parts.append(
            f"On phones: `{mobile[0]}` contains its labels and its {holds} needs nothing else). "
            "`client/` contains short programs for LiteRT in Python and for MediaPipe Tasks in Kotlin and Swift."
        )
    elif mobile:
        given = content["inputs"][0]
        shape = ", ".join(str(side) for side in given["shape"][1:])
        parts.append(
            f"On phones: `{mobile[0]}` accepts {given['dtype']} (1, {shape})." + " `labels.txt` names its scores." * bool(content["labels"])
        )
    onnx = [one["path"] for one in content["artifacts"].values() if one["path"].endswith(".onnx")]
    if onnx:
        given = content["inputs"][0]
        shape = ", ".join(["n", *(str(side or "tokens") for side in given["shape"][1:])])
        values = {"text": ", encoded by `tokenizer/`", "image": f", {colours(content['metadata'])} 0-255", "sequence": ""}
        takes = f"{given['dtype']} ({shape})" + values[modality(content)]
        session = f'onnxruntime.InferenceSession("{onnx[0]}", providers=["CPUExecutionProvider"])'
        parts.append(
            f"With ONNX Runtime:\n\n```python\nimport onnxruntime\n\nsession = {session}\n"
            f'scores = session.run(["scores"], {{"{given["name"]}": inputs}})  # {takes}\n```'
        )
    return "\n\n".join(parts)


def _load(name: str, content: Mapping[str, Any]) -> str:
    runtimes = [row.name for row in RUNTIMES if row.formats(content["artifacts"])]
    given = "a text" if modality(content) == "text" else example_file(content)
    return f'model = tlkeras.zoo.load("{name}", runtime="{(runtimes or [KERAS])[0]}")\nmodel.predict("{given}")[0].label'


def _reproduce(content: Mapping[str, Any]) -> str:
    import yaml

    config = {key: value for key, value in content["config"].items() if key != "out" and value is not None}
    versions = ", ".join(f"{k} {v}" for k, v in content["environment"]["packages"].items() if v)
    return (
        f"`tlkeras finetune --config recipe.yaml` with\n\n```yaml\n{yaml.safe_dump(config, sort_keys=False, allow_unicode=True).rstrip()}\n```\n\n"
        f"Made with Python {content['environment']['python']}, {versions}."
    )


def brief(content: Mapping[str, Any]) -> str:
    """Returns a manifest as indented JSON, without the hashes of the files."""
    return json.dumps({key: value for key, value in content.items() if key != "files"}, indent=2, ensure_ascii=False)
