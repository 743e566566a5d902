"""The settings of the jobs other than fine-tuning. A key that a run has too is declared there, and here only its differences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tlkeras.config.fields import FlatConfig, Key, empty, key, like
from tlkeras.config.run import DataConfig, ExportConfig, ModelConfig, RunConfig, TrainConfig, named_sizes
from tlkeras.errors import ConfigError

OR_THE_RUNS = "{}, or the run's"
TO_MODELS = ("labels", "calibration", "input_range", "resize", "activation", "trust", "modules")  # keys that a run answers itself
TO_RUNS = ("data", "data_dir")
BUDGET = ("max_drop", "calibration_examples", "tflite_io", "opset")  # keys of a run that an export may change


def _labels(item: Key, value: Any) -> str | tuple[str, ...]:
    """Returns the path of a file of labels, or labels; their spelling and order are kept."""
    if isinstance(value, (list, tuple)) and all(isinstance(label, str) for label in value):
        return tuple(value)
    if isinstance(value, str) or hasattr(value, "__fspath__"):
        if not str(value).strip():
            raise empty(item, value)
        return str(value)
    raise ConfigError(f"config key {item.key!r} is {value!r}; expected a file with one label per line, or a list of labels")


def _counts(item: Key, value: Any) -> tuple[int, ...]:
    """Returns numbers, from a list or a comma-separated text."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    counts = [int(part) if isinstance(part, str) and part.strip().isdigit() else part for part in parts]
    if not counts or not all(type(count) is int and count > 0 for count in counts):
        raise ConfigError(f"{item.key} is {value!r}; expected numbers such as 1,2")
    return tuple(count for count in counts if isinstance(count, int))


@dataclass(frozen=True, kw_only=True, init=False)
class ExportModelConfig(FlatConfig):
    """All settings of one export: of a run, or of any other Keras model or SavedModel.

    Args:
        values: flat keys, as in config files.

    Raises:
        ConfigError: naming the key that is unknown or whose value is wrong.

    Example:
        >>> ExportModelConfig(formats="onnx,tflite-int8", labels=["cat", "dog"]).formats
        ('onnx', 'tflite-int8')
    """

    formats: tuple[str, ...] = like(ExportConfig, "formats", name=None, help="Comma-separated; an unknown name lists them.", metavar=None)
    labels: str | tuple[str, ...] | None = key(None, "File with one label per line, in class order.", metavar="FILE", read=_labels)
    calibration: str | None = key(None, "Real examples: a folder of images, or an .npz of arrays by input name.", metavar="FOLDER")
    data: str | None = like(DataConfig, "source", help="For a run: source to calibrate and evaluate on instead of its own.", unset=None)
    data_dir: str | None = like(DataConfig, "data_dir", help="For a run: folder where tensorflow-datasets keeps prepared data.", unset=None)
    input_range: str | None = key(
        None, "Pixel values the model was trained on: 0-255, 0-1 or -1-1.", unset="0-255", choices=("0-255", "0-1", "-1-1")
    )
    activation: str = key(
        "auto",
        "Activation to add after the last layer: softmax, sigmoid or none; auto adds one if a classifier outputs logits.",
        choices=("auto", "softmax", "sigmoid", "none"),
    )
    resize: str = like(DataConfig, "resize", help="How images are resized to the model's input: stretch, crop or pad.")
    max_drop: float | None = like(
        ExportConfig,
        "max_drop",
        default=None,
        help="Accuracy (or agreement) a quantised file may lose.",
        unset=OR_THE_RUNS.format(ExportConfig.max_drop),
        metavar=None,
    )
    calibration_examples: int | None = like(
        ExportConfig,
        "calibration_examples",
        default=None,
        help="Maximum number of examples to calibrate int8 formats on.",
        unset=OR_THE_RUNS.format(ExportConfig.calibration_examples),
        metavar=None,
    )
    tflite_io: str | None = like(ExportConfig, "tflite_io", default=None, unset=OR_THE_RUNS.format(ExportConfig.tflite_io), metavar=None)
    opset: int | None = like(ExportConfig, "opset", default=None, unset=OR_THE_RUNS.format(ExportConfig.opset), metavar=None)
    trust: bool = key(False, "Allow Python code inside the file (Lambda layers), and file access by a SavedModel.")
    modules: tuple[str, ...] = key((), "Module that registers the model's custom layers.", metavar="MODULE", flag="--import")
    seed: int = like(RunConfig, "seed", help="Seed of the choice of examples.")

    def _check(self) -> None:
        if self.activation in ("softmax", "sigmoid") and self.labels is None:
            raise ConfigError(f"activation {self.activation} turns outputs into class scores; pass --labels")

    @property
    def limits(self) -> ExportConfig:
        """The settings that a run has too; its defaults where nothing is set."""
        return ExportConfig(formats=self.formats, **{name: getattr(self, name) for name in BUDGET if getattr(self, name) is not None})


@dataclass(frozen=True, kw_only=True, init=False)
class PretrainConfig(FlatConfig):
    """All settings of the training of a backbone from scratch.

    Args:
        values: flat keys, as in config files.

    Raises:
        ConfigError: naming the key that is unknown or whose value is wrong.

    Example:
        >>> PretrainConfig(backbone="vae", backbone_options=["latent=2"]).sizes()
        {'latent': '2'}
    """

    backbone: str = like(ModelConfig, "backbone", default="cnn", help="cnn, rnn, vae or elmo.")
    data: str | None = like(DataConfig, "source", help="Source to train on.", unset="the digits")
    objective: str | None = key(
        None,
        "classification, next-step (rnn), elbo (vae) or language-model (elmo).",
        unset="the backbone's own",
        metavar="NAME",
    )
    backbone_options: tuple[str, ...] = like(ModelConfig, "backbone_options", help="Sizes, as NAME=VALUE, comma-separated.")
    epochs: int = like(TrainConfig, "epochs", default=20, help="Passes over the examples.", unset=None)
    learning_rate: float = like(TrainConfig, "learning_rate", default=1e-3, help="Peak learning rate.", unset=None)
    batch_size: int = like(TrainConfig, "batch_size", default=128, help="Examples per step.", metavar="N", choices=(), read=None)
    image_size: int | None = like(ModelConfig, "image_size", help="Side of images, in pixels.", unset="28")
    limit: int | None = like(DataConfig, "limit", help="Maximum number of examples to use.", least=1)
    data_licence: str | None = key(None, "Licence of the examples, for the card.", metavar="TEXT")
    seed: int = like(RunConfig, "seed", help="Seed of initial weights, order and sampling.")

    def _check(self) -> None:
        self.sizes()

    def sizes(self) -> dict[str, str]:
        """Returns the sizes of the backbone as name -> value."""
        return named_sizes(self.backbone_options)


@dataclass(frozen=True, kw_only=True, init=False)
class EvaluateConfig(FlatConfig):
    """On what a run or an artifact is scored.

    Args:
        values: flat keys.

    Raises:
        ConfigError: naming the key that is unknown or whose value is wrong.

    Example:
        >>> EvaluateConfig(against="runs/older", slices="brightness,size").slices
        ('brightness', 'size')
    """

    data: str | None = like(DataConfig, "source", help="Source of the examples.", unset="the run's own")
    part: str = key("auto", "Examples to evaluate: auto (the held-out ones), train, val, test or all.", name="split")
    data_dir: str | None = like(DataConfig, "data_dir", unset=None)
    cross_validate: str | None = like(
        TrainConfig,
        "cross_validate",
        help="For a run: train its settings anew on K folds, or KxR for R repeats, and say how good that is; its model stays as it is.",
        unset="score the model",
    )
    against: str | None = key(None, "Another run or artifact, compared on the same examples.", unset="none", metavar="RUN")
    slices: tuple[str, ...] = key(
        (),
        "Columns to slice the examples by, comma-separated: of the table, or brightness, size, aspect, blur (images), length, script (texts), "
        "length (sequences).",
        unset="no slices",
        metavar="COLUMNS",
    )
    corruptions: bool = key(False, "Score on corrupted inputs too: 3 severities of each kind that the inputs can have.")
    seed: int = like(RunConfig, "seed", help="Seed of resamples and corruptions.")

    def _check(self) -> None:
        if self.cross_validate is not None and (self.data is not None or self.part != "auto"):
            raise ConfigError("cross_validate trains on all examples of the run's own source; leave out --data and --split")
        if self.cross_validate is not None and (self.against is not None or self.slices or self.corruptions):
            raise ConfigError("cross_validate scores models of the folds; leave out --against, --slices and --corruptions")


@dataclass(frozen=True, kw_only=True, init=False)
class BenchmarkConfig(FlatConfig):
    """What is measured, and on what.

    Args:
        values: flat keys.

    Raises:
        ConfigError: naming the key that is unknown or whose value is wrong.

    Example:
        >>> BenchmarkConfig(formats="tflite,onnx", threads="1,4").threads
        (1, 4)
    """

    data: str | None = like(
        DataConfig, "source", help="Source to measure accuracy on.", unset="the model's own held-out examples, if available"
    )
    formats: tuple[str, ...] = key((), "Formats to measure, comma-separated; keras is the Keras model.", unset="all")
    threads: tuple[int, ...] = key((1, 2), "Thread counts to measure.", read=_counts)


@dataclass(frozen=True, kw_only=True, init=False)
class RecommendConfig(FlatConfig):
    """Which backbones are compared, on what, and what the chosen one may cost.

    Args:
        values: flat keys.

    Raises:
        ConfigError: naming the key that is unknown or whose value is wrong.

    Example:
        >>> RecommendConfig(data="photos/", device="phone", max_size_mb=5).max_size_mb
        5.0
    """

    data: DataConfig = field(default_factory=DataConfig)
    task: str | None = like(ModelConfig, "task")
    image_size: int | None = like(ModelConfig, "image_size", unset="each backbone's own")
    channels: int = like(ModelConfig, "channels")
    channel_adapter: str | None = like(ModelConfig, "channel_adapter")
    max_length: int | None = like(ModelConfig, "max_length")
    backbones: tuple[str, ...] = key(
        (), "Backbones to compare, comma-separated; zoo:NAME for your own.", unset="all whose weights can be had", metavar="NAMES"
    )
    include_downloads: bool = key(
        False, "List backbones whose weights Keras or KerasHub would download, by their published figures; they are not compared."
    )
    device: str | None = key(
        None,
        "Where the model is to run: cpu, gpu, phone or server; of equally good backbones the cheapest there is chosen.",
        unset="accuracy alone decides",
        choices=("cpu", "gpu", "phone", "server"),
    )
    max_latency_ms: float | None = key(
        None, "Milliseconds that one example may take in LiteRT on this computer, in one thread.", unset="no limit", metavar="X", least=0.0
    )
    max_size_mb: float | None = key(
        None, "MB of the file of a backbone: int8 for phones, else float32.", unset="no limit", metavar="X", least=0.0
    )
    max_minutes: float = key(
        10.0, "Minutes that the comparison may take; where that is short, the worst leave first.", metavar="X", least=0.0
    )
    licence: str | None = key(
        None, "commercial: only weights that may be used commercially without conditions.", unset="any", choices=("commercial",)
    )
    measure: bool = key(False, "Measure latencies, as --device phone and --max-latency-ms do; they are kept by computer.")
    folds: int = key(5, "Folds of the cross-validation.", metavar="N", least=2, most=20)
    out: str | None = key(
        None, "Folder of recommend.json and recommend.png; must be new or empty.", unset="runs/recommend-DATA-N", metavar="DIR"
    )
    seed: int = like(RunConfig, "seed", help="Seed of splits, folds and the order of the examples.")


@dataclass(frozen=True, kw_only=True, init=False)
class ExplainConfig(FlatConfig):
    """What is explained, and how.

    Args:
        values: flat keys.

    Raises:
        ConfigError: naming the key that is unknown or whose value is wrong.

    Example:
        >>> ExplainConfig(method="occlusion", window=32).stride is None
        True
    """

    data: str | None = key(
        None,
        "Images, texts or sequences: a file, a folder, a pattern; or one text.",
        unset="the examples that the report shows",
        metavar="FILE_OR_FOLDER",
    )
    method: str | None = key(
        None,
        "grad-cam, grad-cam++, occlusion, integrated-gradients, smoothgrad, gradient or attention-rollout.",
        unset="grad-cam for images where the network has positions, else occlusion",
        metavar="NAME",
    )
    label: str | None = key(
        None, "Label or number to explain.", unset="the label that the model predicts", metavar="LABEL", flag="--target"
    )
    output: str | None = key(None, "Which of several targets to explain.", unset="the first", metavar="NAME")
    top: int = key(1, "Labels to explain for each input, the likeliest first.", least=1)
    limit: int | None = key(None, "Maximum number of inputs to explain.", unset="32, of the report all", metavar="N", least=1)
    out: str | None = key(None, "Folder for images, pages and JSON.", unset="explanations in the run", metavar="DIR")
    window: int | None = key(
        None, "Side of what occlusion takes away, in pixels or steps.", unset="a seventh of an image, a 16th of a sequence", least=1
    )
    stride: int | None = key(None, "How far the window of occlusion moves.", unset="half the window", least=1)
    batch_size: int = key(16, "Inputs that are computed at a time.", least=1)
