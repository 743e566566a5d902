"""The row types of the tables of backbones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tlkeras.errors import ConfigError
from tlkeras.weights.sources import WeightsSource

Sections = tuple[tuple[str, str], ...]

LAST = "predictions|probs|logits|fc1000"  # what keras.applications has called the last layer over the years


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """One pretrained feature extractor.

    Args:
        name: name that users pass.
        family: networks of one design share it.
        modality: `"image"`, `"text"` or `"sequence"`.
        loader: `"module:function"`, called with (row, `load.Arguments`); returns a `load.Base`: how this modality goes from a builder to a
            model with weights.
        alternatives: `"module:function"`, called with the row; returns every way to get weights, for the end of a message.
        builder: `"module:function"`, called by the loader; for images called with (row, image size), returns a Keras model without
            classifier.
        app: name of the class, for builders that need one.
        contract: name of its input contract, for images.
        figures: arguments of the constructor, for builders that need them.
        input_size, min_size: images: side of the square input in pixels, as it was trained and the smallest it accepts;
            texts: the longest and the shortest text, in tokens.
        step: images: sides are multiples of it.
        one_size: images: whether it has one embedding per position, so that its weights fit one size only.
        features: width after pooling.
        pooling: name in `POOLINGS`: how the backbone's output becomes one vector.
        sections: ordered (name, layer-name pattern); see `sections.stage_of`.
        params: number of parameters without classifier.
        top1: ImageNet top-1 accuracy as published, 0 to 1.
        scale: width and depth coefficients, for builders that need them.
        rescale: standard deviations whose roots divide the input once more when weights are loaded from a file:
            keras.applications adds that layer to EfficientNet V1 only for `weights="imagenet"`.
        classifier: patterns of the layers above the features, as files of the whole network name them, from input to output.
        layouts: names in `LAYOUTS`: foreign checkpoints of exactly this network.
        tokenizer: texts: name in `TOKENIZERS`.
        specials: texts: the tokens put before and after a text, and the padding token, as attributes of the tokenizer.
        fixed_length: texts: whether the output depends on the padding, so that every text is padded to one length.
        options: configurable sizes, with their defaults, for networks that start from random weights.
        learning_rate: peak learning rate for fine-tuning, whatever the recipe; the recipe's when None.
        objective: name in `tlkeras.pretraining.objectives`: its pretraining objective; classification when empty.
        refuses: format -> why this network cannot be exported to it.
        weights: sources of its weights, best first.
        license: of the weights.
        source: paper.
        origin: of a published network, name of the row that it was made from; empty for the rows of the tables.
    """

    name: str
    family: str
    modality: str = "image"
    loader: str = "tlkeras.backbones.loaders:image"
    alternatives: str = "tlkeras.backbones.alternatives:of_image"
    builder: str = "tlkeras.backbones.builders.applications:application"
    app: str = ""
    contract: str = ""
    input_size: int
    min_size: int = 32
    step: int = 1
    one_size: bool = False
    features: int
    pooling: str = "average"
    sections: Sections
    params: int
    top1: float | None
    scale: tuple[float, float] = (1.0, 1.0)
    figures: Mapping[str, Any] = field(default_factory=dict)
    rescale: tuple[float, ...] = ()
    classifier: tuple[str, ...] = (LAST,)
    layouts: tuple[str, ...] = ()
    tokenizer: str = ""
    specials: tuple[str | None, str | None, str] = (None, None, "pad")
    fixed_length: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    learning_rate: float | None = None
    objective: str = ""
    refuses: Mapping[str, str] = field(default_factory=dict)
    weights: tuple[WeightsSource, ...]
    license: str
    source: str
    origin: str = ""

    def refusal(self, *names: str) -> str:
        """Returns why this network cannot be exported to a format or read by a runtime of one of these names; empty if it can."""
        return next((self.refuses[name] for name in names if name in self.refuses), "")


def named_sections(table: Mapping[str, str] | Iterable[str]) -> Sections:
    """Returns sections from name -> pattern, or from names that are also the start of their layers' names."""
    if isinstance(table, Mapping):
        return tuple(table.items())
    return tuple((name, f"{name}*") for name in table)


def block_sections(count: int) -> Sections:
    return named_sections(["stem", *(f"block{i + 1}" for i in range(count)), "top"])


# === Settings ===


def with_options(row: Backbone, options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the row's options, updated with those of the user, which must be known and of the same type.

    Raises:
        ConfigError: naming the option.
    """
    known = dict(row.options)
    for name, value in options.items():
        if name not in known:
            raise ConfigError(f"{row.name} has no option {name!r}; it has {', '.join(known) or 'none'}")
        try:
            known[name] = type(known[name])(value)
        except ValueError as error:
            raise ConfigError(f"option {name} of {row.name} is {value!r}; expected {type(known[name]).__name__}") from error
        if isinstance(known[name], int) and known[name] < 1:
            raise ConfigError(f"option {name} of {row.name} is {value!r}; expected 1 or more")
    return known


def check_size(row: Backbone, size: int) -> None:
    """Checks that a network accepts images of a size.

    Raises:
        ConfigError: with the nearest sizes that it accepts.
    """
    if size < row.min_size:
        raise ConfigError(f"image_size is {size}; {row.name} accepts {row.min_size} pixels or more")
    if size % row.step:
        near = sorted({max(row.min_size, size // row.step * row.step), (size // row.step + 1) * row.step})
        raise ConfigError(
            f"image_size is {size}; {row.name} accepts multiples of {row.step} from {row.min_size}; the nearest is {' or '.join(map(str, near))}"
        )
