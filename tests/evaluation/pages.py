"""Reports of made-up runs: of each task, without training."""

import numpy as np

from tests.helpers import pictures
from tests.targets import TARGETS, values
from tlkeras.evaluation import gallery
from tlkeras.evaluation.report_data import Gallery, Outcomes, ReportData
from tlkeras.modalities.images.thumbnail import thumbnail
from tlkeras.registry import load_function
from tlkeras.tasks.registry import TARGET, TASKS, Options, take

COUNT = 60
EXPORT = {"path": "model.onnx", "bytes": 2_000_000, "latency_ms": 1.5, "max_abs_diff": 1e-6, "agreement": 1.0, "accuracy": 0.9, "drop": 0.0}


def perfect(target, y):
    """Returns scores that are right."""
    if target.parts:
        parts, start = [], 0
        for part in target.parts:
            width = 1 if part.kind == "class" else len(part.labels)
            columns = y[:, start : start + width]
            parts.append(perfect(part, columns[:, 0].astype(int) if part.kind == "class" else columns))
            start += width
        return np.concatenate(parts, axis=1)
    return (np.eye(len(target.labels))[y] if y.ndim == 1 else y).astype("float32")


def made_up(task, count=COUNT, title="made-up", noise=0.6, **changes):
    """Returns the data of a report of a task, whose model errs now and then."""
    row = TASKS.get(task)
    targets = load_function(row.encode_targets)(values(row.target, count), TARGETS[row.target])
    target = row.learnt(TARGETS[row.target], targets, Options())
    rng = np.random.default_rng(0)
    clean = perfect(target, targets[TARGET])
    scores = clean + rng.normal(size=clean.shape).astype("float32") * noise
    if task == "multilabel":
        scores = np.clip(scores, 0.01, 0.99)
    if task == "classification":
        scores = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    if task == "several":  # class, labels, numbers
        scores[:, :3] = np.exp(scores[:, :3]) / np.exp(scores[:, :3]).sum(axis=1, keepdims=True)
        scores[:, 3:6] = np.clip(scores[:, 3:6], 0.01, 0.99)
    target = row.calibrated(target, targets, scores)
    ids = [f"photos/{index}.jpg" for index in range(count)]
    part = Outcomes(ids=ids, targets=targets, scores=scores)
    score = load_function(row.score)
    figures = {"val": score(take(targets, slice(0)), scores[:0], target), "test": score(targets, scores, target)}
    cases = load_function(row.cases)(targets, scores, target)
    images, _ = pictures(count)
    shown = [ids[index] for indices in gallery.chosen(cases, count).values() for index in indices]
    drawn = gallery.thumbnails([*shown, *ids], lambda name: thumbnail(images[ids.index(name)], name))
    history = [
        {"phase": "head", "epoch": epoch, "loss": 1 / epoch, "val_loss": 1.1 / epoch, "accuracy": 1 - 0.5 / epoch} for epoch in range(1, 6)
    ]
    phase = {"name": "head", "epochs": 5, "best_epoch": 5, "trainable_parameters": 5130, "frozen_variables": 6}
    freeze = [{"section": "conv1", "layers": 2, "parameters": 896, "trained": 0, "batch_norm": "inference", "rules": ["*"]}]
    summary = {
        **{name: own.to_dict() for name, own in figures.items()},
        "phases": [phase],
        "exports": {"onnx": EXPORT},
        "data": {"train": 40, "fingerprint": "0" * 64},
        "timing": {"total": 75.0},
        "freeze": freeze,
        "config": {"backbone": "cnn", "recipe": "full", "seed": 0, "data": "/home/somebody/photos", "task": task},
    }
    issue = {"kind": "duplicate", "path": ids[3], "reason": "same content as photos/2.jpg", "action": "kept"}
    content = {
        "title": title,
        "summary": summary,
        "config": summary["config"],
        "figures": figures,
        "target": target,
        "audit": {"issues": [issue], "counts": {"duplicate": 1}},
        "history": history,
        "environment": {"command": ["/opt/bin/tlkeras", "finetune", "--data", "/home/somebody/photos"], "packages": {"numpy": "2"}},
        "outcomes": {"test": part},
        "gallery": Gallery(
            noun="image", thumbnails=drawn, points=[(name, float(i % 7), float(i % 5)) for i, name in enumerate(ids)], method="pca"
        ),
    }
    return ReportData(**{**content, **changes})
