"""SetFit with MiniLM-L6 and the weights that tlkeras uses: `python setfit_texts.py FOLDER [SEED]`.

Pairs as SetFit's documentation draws them, one epoch, at most `STEPS` steps: the pairs of more than some hundred examples do not end.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import numpy as np
from protocol import Job, read_table, serve
from trainer_texts import model_folder

BATCH, ITERATIONS, STEPS = 16, 20, 500


def measure(job: Job) -> dict[str, Any]:
    """Fine-tunes on a folder's table and scores its test split."""
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    splits = read_table(job["folder"])
    labels = sorted({row["label"] for rows in splits.values() for row in rows})
    model = SetFitModel.from_pretrained(model_folder(), labels=labels)
    train = Dataset.from_dict(
        {"text": [row["text"] for row in splits["train"]], "label": [labels.index(r["label"]) for r in splits["train"]]}
    )
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            output_dir=out, batch_size=BATCH, num_epochs=1, num_iterations=ITERATIONS, seed=job["seed"], report_to="none",
            max_steps=min(STEPS, -(-2 * ITERATIONS * len(train) // BATCH)), save_strategy="no", show_progress_bar=False,
        )  # fmt: skip
        trainer = Trainer(model, arguments, train_dataset=train)
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
    answers = model.predict([row["text"] for row in splits["test"]], as_numpy=False)
    score = float(np.mean([str(answer) == row["label"] for answer, row in zip(answers, splits["test"], strict=True)]))
    return {"score": score, "tested": len(splits["test"]), "train_seconds": round(seconds, 2)}


if __name__ == "__main__":
    serve(measure)
