"""The modalities: what an input is. One row each; reading this table imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tlkeras.data.file_kinds import FileKind
from tlkeras.modalities.images import files as images
from tlkeras.modalities.texts import files as texts
from tlkeras.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Modality:
    """How one kind of input is listed, read, sent by a client and described.

    Functions are named as `"module:function"`.

    Args:
        name: in the rows of backbones and in the metadata of artifacts.
        noun, plural: what messages call one input, and several.
        owns: whether an `Example` is of this modality; see `tlkeras.modalities.sources.modality_of`.
        config_keys: keys of the config that apply to this modality and not to all of them.
        config_notes: what an error adds where a key is set for a backbone of another modality.
        tensor: name of the input of its Keras models.
        of_task: (model, tokens, config, dataset) -> the `Inputs` of a new task model, and notes from fitting them to the dataset.
        of_model: (model, config, folder of the run) -> the `Inputs` of a stored Keras model.
        of_metadata: (metadata of a manifest, its folder) -> the `Inputs` of an artifact; raises KeyError for a missing entry.
        facts: (dataset, config) -> facts about the data that its networks are built from; None where they need none.
        items: (source, index, inputs, tell) -> the items of one thing that a user passes; see `tlkeras.modalities.items`.
        standard_input: (content, inputs) -> what standard input holds.
        strings_are_paths: whether a string that a user passes to `predict` names files; otherwise it is the input itself.
        files: the files of folders and tables that are examples; None where there are none.
        check: (dataset) -> None; raises DataError before TensorFlow loads when files of the dataset cannot be used.
        card: (metadata, config) -> what the card of an entry says; see `tlkeras.modalities.card`.
        samples: (config) -> arguments of `tlkeras predict` to show as next commands.
        backbone: one that errors recommend.
        weights: what `--weights` names, for the help of its backbones.
        full_tuning: figures that are usual when the whole network is trained; None for those of the recipe.
        few_recipe: the recipe that was best here with few examples of a class.
    """

    name: str
    noun: str
    plural: str
    owns: Callable[[Any], bool]
    config_keys: tuple[str, ...]
    config_notes: Mapping[str, str] = field(default_factory=dict)
    tensor: str
    of_task: str
    of_model: str
    of_metadata: str
    facts: str | None = None
    items: str
    standard_input: str
    strings_are_paths: bool = True
    files: FileKind | None = None
    check: str | None = None
    card: str
    samples: str
    backbone: str
    weights: str = "FILE"
    full_tuning: Mapping[str, Any] | None = None
    few_recipe: str = "few-shot"


# A later row is asked first whether an example is its own, so the first row owns what no other row does. In a folder with files of
# several kinds, those of the earlier row are the examples.
MODALITIES: Registry[Modality] = Registry(
    "modality",
    [
        Modality(
            name="image",
            noun="image",
            plural="images",
            owns=lambda example: True,
            config_keys=("augment", "views", "cutmix", "image_size", "channels", "channel_adapter", "resize"),
            config_notes={"augment": "augmentations are for images"},
            tensor="image",
            of_task="tlkeras.modalities.images.inputs:of_task",
            of_model="tlkeras.modalities.images.inputs:of_model",
            of_metadata="tlkeras.modalities.images.inputs:of_metadata",
            items="tlkeras.modalities.items:files",
            standard_input="tlkeras.modalities.items:files_on_standard_input",
            files=images.FILES,
            check="tlkeras.modalities.images.formats:check_files",
            card="tlkeras.modalities.images.card:card",
            samples="tlkeras.modalities.images.card:samples",
            backbone="efficientnet",
        ),
        Modality(
            name="text",
            noun="text",
            plural="texts",
            owns=lambda example: example.text is not None,
            config_keys=("max_length",),
            tensor="token_ids",
            of_task="tlkeras.modalities.texts.inputs:of_task",
            of_model="tlkeras.modalities.texts.inputs:of_model",
            of_metadata="tlkeras.modalities.texts.inputs:of_metadata",
            items="tlkeras.modalities.texts.items:items",
            standard_input="tlkeras.modalities.texts.items:standard_input",
            strings_are_paths=False,
            files=texts.FILES,
            card="tlkeras.modalities.texts.card:card",
            samples="tlkeras.modalities.texts.card:samples",
            backbone="bert",
            weights="FOLDER",
            # Devlin et al. 2019, https://arxiv.org/abs/1810.04805, appendix A.3: 2-4 epochs at 2e-5 to 5e-5.
            # The last weights, when the learning rate has come down to 0: the loss of a transformer rises, as it grows sure
            # of its answers, while it still gets more of them right.
            full_tuning={"epochs": 3, "learning_rate": 5e-5, "weight_decay": 1e-2, "keep": "last"},
            few_recipe="contrastive",
        ),
        Modality(
            name="sequence",
            noun="sequence",
            plural="sequences",
            owns=lambda example: example.array is not None and example.array.dtype.kind == "f",
            config_keys=("max_length",),
            tensor="sequence",
            of_task="tlkeras.modalities.sequences.inputs:of_task",
            of_model="tlkeras.modalities.sequences.inputs:of_model",
            of_metadata="tlkeras.modalities.sequences.inputs:of_metadata",
            facts="tlkeras.modalities.sequences.inputs:facts",
            items="tlkeras.modalities.items:files",
            standard_input="tlkeras.modalities.items:files_on_standard_input",
            card="tlkeras.modalities.sequences.card:card",
            samples="tlkeras.modalities.sequences.card:samples",
            backbone="rnn",
        ),
    ],
)

DEFAULT = MODALITIES.names()[0]  # of artifacts whose metadata name none
