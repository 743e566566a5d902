"""Every way to get weights for a backbone, for the ends of messages: made here, where the table of backbones is known."""

from __future__ import annotations

from tlkeras.backbones.registry import BACKBONES
from tlkeras.backbones.row import Backbone
from tlkeras.registry import load_function
from tlkeras.weights.sources import has_preset


def ways(row: Backbone) -> str:
    """Returns every way to get weights for a row, or a backbone that has some."""
    text: str = load_function(row.alternatives)(row)
    return text


def accepting_foreign() -> list[str]:
    """Returns the families that accept checkpoints of other libraries."""
    return list(dict.fromkeys(row.family for row in BACKBONES if row.layouts))


def from_index(row: Backbone) -> list[str]:
    """Returns the other backbones of the modality of a row whose weights come from the package index."""
    others = (other for other in BACKBONES if other.modality == row.modality and other.name != row.name)
    return [other.name for other in others if any(source.in_index for source in other.weights)]


def of_image(row: Backbone) -> str:
    """Returns the ways for a backbone of images."""
    kinds = "a .weights.h5, a keras.applications .h5" + (", a PyTorch .pth or a .safetensors file" if row.layouts else " or a .keras file")
    texts = ["--weights FOLDER with a KerasHub preset"] if has_preset(row) else []
    texts += [f"--weights FILE with {kinds}"]
    texts += [f"--backbone {name}, whose weights come from the package index" for name in from_index(row)]
    return "instead: " + ", ".join(texts) + ", or --weights none for random ones"


def of_text(row: Backbone) -> str:
    """Returns the ways for a backbone of texts that KerasHub publishes."""
    return "instead: " + ", or ".join(["--weights FOLDER with a KerasHub preset or a Hugging Face model folder", *_texts_from_index(row)])


def of_elmo(row: Backbone) -> str:
    """Returns the ways for an ELMo."""
    return "instead: " + ", or ".join(
        [
            "--weights FOLDER with AllenNLP's options.json and weights.hdf5",
            "--weights none for random ones, which `tlkeras pretrain --backbone elmo` trains on your texts",
            *_texts_from_index(row),
        ]
    )


def of_scratch(row: Backbone) -> str:
    """Returns the ways for a backbone that is always trained from scratch."""
    return "--weights none starts from random ones, --weights FILE loads your own, and `tlkeras pretrain` trains it as a backbone"


def _texts_from_index(row: Backbone) -> list[str]:
    return [f"--backbone {name}, from the package index" for name in from_index(row)]
