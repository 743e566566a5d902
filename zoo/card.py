"""The model card of an entry, written from its manifest alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlkeras.export import clients
from tlkeras.export.formats import FORMATS, SERVING
from tlkeras.export.runtimes import KERAS, RUNTIMES
from tlkeras.modalities.card import InputCard
from tlkeras.modalities.registry import DEFAULT, MODALITIES
from tlkeras.registry import load_function
from tlkeras.tasks.markup import code, fenced, markdown_table, plain
from tlkeras.tasks.registry import target_of, task_of
from tlkeras.tasks.rejection import by_features
from tlkeras.zoo.serving import curl_call, grpc_call


def card(name: str, content: Mapping[str, Any]) -> str:
    """Returns the card as Markdown.

    Args:
        name: of the entry.
        content: content of the manifest: labels, task, data, metrics, artifacts, licences, config.
    """
    (_, summary), *sections = load_function(task_of(content["metadata"]).card)(content, inputs(content).noun)
    parts = [
        f"# {name}",
        f"{summary} {_intro(content)}",
        *(f"## {title}\n\n{body}" for title, body in sections),
        "## Artifacts\n\n" + _artifacts(content),
        "## Data\n\n" + _data(content),
        "## Licences\n\n"
        + markdown_table(
            ("what", "licence", "source"), [(k, plain(v["licence"]), plain(v["source"])) for k, v in content["licences"].items()]
        ),
        "## Use\n\n" + _use(name, content),
        "## Reproduce\n\n" + _reproduce(content),
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _intro(content: Mapping[str, Any]) -> str:
    config, accepts = content["config"], inputs(content).accepts
    return f"Backbone {code(config['backbone'])}, recipe `{config['recipe']}`. {accepts}"


def inputs(content: Mapping[str, Any]) -> InputCard:
    """Returns what the card says about the inputs of an entry."""
    row = MODALITIES.get(content["metadata"].get("modality", DEFAULT))
    return load_function(row.card)(content["metadata"], content["config"])


def encoded_input(content: Mapping[str, Any]) -> str | None:
    """Returns the name of encoded examples in the signatures; None if they accept tensors only."""
    return inputs(content).encoded


def _artifacts(content: Mapping[str, Any]) -> str:
    rows = []
    for name, record in content["artifacts"].items():
        figures = [_or(record.get(key), form) for key, form in FIGURES]
        location = "this folder" if record["path"] == "." else code(record["path"])
        rows.append((f"`{name}`", location, *figures, ", ".join([record.get("runtime") or "not run", *record.get("also", [])])))
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
            f"- source: {code(data['source'])}; {data['train']} {inputs(content).noun}s to train on, {data['val']} to validate, {data['test']} to test",
            f"- fingerprint (sha256 over content, label and split of every example): `{data['fingerprint']}`",
            f"- audit: {data['skipped']} skipped; issues: {issues}",
            f"- `verification.npz` and the warm-up records contain {content['examples']} {inputs(content).noun}s of this data",
        ]
    )


def _use(name: str, content: Mapping[str, Any]) -> str:
    accepted = inputs(content)
    call = {"encoded": accepted.encoded, "file": accepted.file, "literal": accepted.literal}
    parts = [f"From Python, with any runtime:\n\n```python\nimport tlkeras.zoo\n\n{_load(name, content)}\n```"]
    if SERVING.name in content["artifacts"]:
        parts.append("With TensorFlow Serving, started by `docker compose up` in the zoo:\n\n```sh\n" + curl_call(name, **call) + "\n```")
        output = task_of(content["metadata"]).label_output
        program = grpc_call(name, **call, tensor=content["inputs"][0]["name"], label_output=output, labelled=bool(content["labels"]))
        parts.append(f"With gRPC:\n\n```python\n{program}```")
    mobile = _files(content, "litert")
    if mobile:
        parts.append(_on_phones(mobile[0], content, accepted))
    onnx = _files(content, "onnxruntime")
    if onnx:
        tensor = content["inputs"][0]
        shape = ", ".join(["n", *(str(side or "tokens") for side in tensor["shape"][1:])])
        takes = f"{tensor['dtype']} ({shape}){accepted.values}"
        session = f'onnxruntime.InferenceSession("{onnx[0]}", providers=["CPUExecutionProvider"])'
        parts.append(
            f"With ONNX Runtime:\n\n```python\nimport onnxruntime\n\nsession = {session}\n"
            f'scores = session.run(["scores"], {{"{tensor["name"]}": inputs}})  # {takes}\n```'
        )
    return "\n\n".join([*parts, *_known(content, accepted)])


def _files(content: Mapping[str, Any], runtime: str) -> list[str]:
    """Returns the paths of the artifacts that were written for a runtime."""
    reader = RUNTIMES.get(runtime).reader
    return [record["path"] for name, record in content["artifacts"].items() if name in FORMATS and FORMATS.get(name).reader == reader]


def _known(content: Mapping[str, Any], accepted: InputCard) -> list[str]:
    """Returns a paragraph on inputs that are unlike the training data, where the model tells them."""
    target = target_of(content)
    features = None if target is None else by_features(target)
    if features is None:
        return []
    telling = [KERAS, *(row.name for row in RUNTIMES if row.reader == SERVING.reader)]  # those that give the features of an input
    where = f"with the runtimes {', '.join(map(code, telling))}" if features else "with every runtime"
    tells = [f"`tlkeras.zoo.load` {where} gives each answer a field `known`"]
    if SERVING.name in content["artifacts"] and accepted.encoded:
        tells.insert(0, "TensorFlow Serving answers `known`, 1 or 0")
    others = (
        "TFLite and ONNX files cannot tell: it takes features, which they do not give."
        if features
        else "Programs that run the TFLite or ONNX file compare the largest score with the threshold in its metadata."
    )
    return [f"Is an input like the data that the model was trained on? {'; '.join(tells)}. {others}"]


def _on_phones(path: str, content: Mapping[str, Any], accepted: InputCard) -> str:
    """Returns what a TFLite file needs and which programs stand beside it: what those of MediaPipe contain, or what is to be known."""
    programs = content.get("clients", ())
    if any(program.endswith(".kt") for program in programs):
        return (
            f"On phones: `{path}` contains its labels and its {accepted.contains} (MediaPipe Tasks `{accepted.mediapipe}` needs nothing else). "
            "`client/` contains short programs for LiteRT in Python and for MediaPipe Tasks in Kotlin and Swift."
        )
    tensor = content["inputs"][0]
    shape = ", ".join(str(side or "tokens") for side in tensor["shape"][1:])
    sentences = [f"On phones: `{path}` accepts {tensor['dtype']} (1, {shape})."]
    if content["labels"]:
        sentences.append("`labels.txt` names its scores.")
    elif clients.COLUMNS in programs:
        sentences.append(f"`client/{clients.COLUMNS}` says what its scores are and how they are read.")
    else:
        sentences.append("`manifest.json` says under `metadata.target` what its scores are.")
    sentences += [
        f"`client/{program}` is a short program for LiteRT in Python, which prints the answer by name. "
        "There is none for MediaPipe Tasks, which does not run this model."
        for program in programs
        if program.endswith(".py")
    ]
    return " ".join(sentences)


def _load(name: str, content: Mapping[str, Any]) -> str:
    runtimes = [row.name for row in RUNTIMES if row.formats(content["artifacts"])]
    accepted = inputs(content)
    example = accepted.file if accepted.literal is None else accepted.literal
    return f'model = tlkeras.zoo.load("{name}", runtime="{(runtimes or [KERAS])[0]}")\nmodel.predict("{example}")[0].{task_of(content["metadata"]).attribute}'


def _reproduce(content: Mapping[str, Any]) -> str:
    import yaml

    config = {key: value for key, value in content["config"].items() if key != "out" and value is not None}
    versions = ", ".join(f"{k} {v}" for k, v in content["environment"]["packages"].items() if v)
    return (
        f"`tlkeras finetune --config recipe.yaml` with\n\n{fenced(yaml.safe_dump(config, sort_keys=False, allow_unicode=True).rstrip(), 'yaml')}\n\n"
        f"Made with Python {content['environment']['python']}, {versions}."
    )


def pretrained_card(name: str, content: Mapping[str, Any]) -> str:
    """Returns the card of a network that was trained from scratch without labels.

    Args:
        name: of the entry.
        content: content of the manifest: task, data, history, artifacts, licences, config.
    """
    first, last = (content["history"][epoch]["loss"] for epoch in (0, -1))
    config, data = content["config"], content["data"]
    parts = [
        f"# {name}",
        f"A pretrained network: `{config['backbone']}`, trained by `{content['task']}` on {data['train']} examples of {data['source']} "
        f"(licence: {content['licences']['data']['licence']}); loss {first:.3f} after the first epoch, {last:.3f} after the last.",
        f"Use it as `tlkeras finetune --backbone zoo:{name} --data …`. It has no labels. Its SavedModel, TFLite and ONNX files return what "
        "it was trained to predict.",
        "## Artifacts\n\n" + _artifacts(content),
        "## Licences\n\n"
        + markdown_table(
            ("what", "licence", "source"), [(k, plain(v["licence"]), plain(v["source"])) for k, v in content["licences"].items()]
        ),
    ]
    return "\n\n".join(parts) + "\n"
