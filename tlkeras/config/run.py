"""The settings of a fine-tuning run: one frozen dataclass per concern. Every key is declared here, once.

`None` means "not set": the recipe, the backbone or the source decides, and the effective config that a run stores contains
the decision.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tlkeras.config import parsing
from tlkeras.config.fields import CHARACTERS, FlatConfig, Section, key
from tlkeras.config.parsing import AUTO, BATCH, folds_and_repeats, named_sizes
from tlkeras.config.results import CertaintyConfig, ExportConfig, ReportConfig
from tlkeras.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DataConfig(Section):
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
        None,
        "Column of a table that holds the labels, by name or number from 1; several, comma-separated, are several labels, numbers or targets.",
        unset="label, class, category, …",
        metavar="NAME[,NAME…]",
    )
    label_separator: str | None = key(
        None,
        "What separates the labels of one example, in a cell or in the name of a folder.",
        unset="detected in tables",
        metavar=CHARACTERS,
    )
    group_column: str | None = key(
        None,
        "Column of a table that says what belongs together (patient, user, video): examples of a group are never in two splits.",
        unset="every example is a group of its own",
        metavar="NAME",
    )
    header: bool | None = key(None, "Whether the first line of a CSV or TSV names the columns.", unset="detected")
    encoding: str | None = key(
        None, "Encoding of tables and text files, for example cp1252 or utf-16.", unset="detected: UTF-8, UTF-16 or cp1252", metavar="NAME"
    )
    val_split: float | None = key(
        None, "Fraction of the examples held out for validation.", unset="0.15, or the source's own split", least=0.0, most=0.9
    )
    test_split: float | None = key(
        None, "Fraction of the examples held out for the test.", unset="0.15, or the source's own split", least=0.0, most=0.9
    )
    limit: int | None = key(None, "Maximum number of examples to use, stratified by class.", unset="all", metavar="N", least=2)
    relabel: str | None = key(
        None,
        "Table of corrected labels, as `tlkeras review` writes it; the source itself stays unchanged.",
        unset="none",
        metavar="FILE.csv",
    )
    strict: bool = key(False, "Stop at bad files instead of skipping and counting them.")
    cache: bool = key(True, "Keep decoded images and frozen features for later runs on the same data (`tlkeras cache`).")
    resize: str = key("stretch", "How images become square: stretch, crop (centre) or pad.", choices=("stretch", "crop", "pad"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.val_split or 0) + (self.test_split or 0) > 0.9:
            raise ConfigError(
                f"val_split + test_split is {self.val_split} + {self.test_split}; at most 0.9, so that examples remain to train on"
            )


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Section):
    """Which model is built."""

    task: str | None = key(
        None, "Task: what the model predicts; an unknown name lists all.", unset="that of the labels in the data", metavar="NAME"
    )
    backbone: str = key(
        "efficientnet", "Backbone or family; --list-backbones shows all; auto: the one that suits the data.", metavar="NAME"
    )
    backbone_reason: str | None = key(
        None, "Why the backbone was chosen, where that was auto (written by the run).", unset="named by you", metavar="TEXT"
    )
    weights: str = key(
        "pretrained",
        "Source of the backbone's weights: pretrained, wheel, keras, hub, none, a file (Keras, .pth, .safetensors) or a folder (preset).",
        metavar="SOURCE",
    )
    image_size: int | None = key(None, "Side of the square input, in pixels.", unset="the backbone's own", metavar="N", least=8, most=4096)
    channels: int = key(
        3, "Channels of the images: 1 (grey), 3 (RGB), or another number for arrays (2, 4 or more).", metavar="N", least=1, most=512
    )
    channel_adapter: str | None = key(
        None,
        "How images without 3 channels are adapted to the backbone: repeat (grey) or conv (trainable 1x1 convolution).",
        unset="repeat for grey, else conv",
        metavar="NAME",
    )
    max_length: int | None = key(
        None,
        "Maximum number of tokens per text; the rest is cut off.",
        unset="the length that 95 % of the texts fit",
        metavar="N",
        least=1,
        most=65536,
    )
    backbone_options: tuple[str, ...] = key(
        (),
        "Sizes of a backbone trained from scratch, as NAME=VALUE, comma-separated.",
        unset="the backbone's own",
        metavar="OPTIONS",
    )
    dropout: float = key(0.2, "Fraction of the features dropped before the head, in training.", least=0.0, most=0.95)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.options()

    def options(self) -> dict[str, str]:
        """Returns the sizes as name -> value."""
        return named_sizes(self.backbone_options)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Section):
    """How the model is trained."""

    recipe: str | None = key(
        None,
        "Named list of phases; `tlkeras recipes` explains them.",
        unset="auto; feature-extraction with --epochs or --learning-rate; full with --unfreeze",
        metavar="NAME",
    )
    epochs: int | None = key(
        None, "Maximum number of passes over the training split (of the last phase).", unset="the recipe's", metavar="N", least=1
    )
    batch_size: str | int = key(
        BATCH,
        "Examples computed at a time, over all devices and workers; auto times a few steps of several sizes and takes the fastest.",
        metavar="N|auto",
        least=1,
        choices=(AUTO,),
        read=parsing.batch_size,
    )
    accumulate: int = key(
        1, "Batches per step, whose gradients are added up: as a batch so many times as large, in the memory of one.", metavar="N", least=1
    )
    clip_norm: float | None = key(
        None, "Largest norm of the gradient of a step; longer ones are scaled down to it.", unset="no limit", metavar="X", least=1e-9
    )
    learning_rate: float | None = key(
        None, "Peak learning rate (of the last phase).", unset="the recipe's, or the backbone's own if it trains", metavar="X", least=0
    )
    unfreeze: str | None = key(
        None,
        "Layers to train besides the head: none, all, last:2 (sections), from:block5, or layer-name patterns.",
        unset="the recipe's",
        metavar="SPEC",
    )
    freeze_rules: tuple[tuple[str, bool], ...] = key(
        (),
        "Ordered [pattern, trainable] rules, first match wins (config file only); instead of unfreeze.",
        unset="unfreeze",
        read=parsing.freeze_rules,
    )
    batch_norm: str | None = key(
        None,
        "BatchNorm of the backbone: frozen or train.",
        unset="frozen; train with --weights none",
        metavar="frozen|train",
        choices=("frozen", "train"),
    )
    max_minutes: float | None = key(
        None,
        "Minutes that fine-tuning may take after the head; it is left out where that is not enough (recipes auto and lp-ft).",
        unset="auto: 10 with a GPU, else 0",
        metavar="X",
        least=0.0,
    )
    lora_rank: int | None = key(None, "Width of low-rank adapters (recipe lora).", unset="8", metavar="N", least=1, most=1024)
    lora_targets: tuple[str, ...] = key(
        (),
        "Patterns of the layers that have low-rank adapters (recipe lora).",
        unset="all dense and convolutional ones",
        metavar="PATTERNS",
    )
    teacher: str | None = key(None, "Folder of a finished run whose scores the model learns (recipe distill).", unset="none", metavar="RUN")
    temperature: float | None = key(None, "How much scores are softened (recipe distill).", unset="2", metavar="X", least=0.1, most=100.0)
    augment: str = key("none", "Augmentation of the training images; an unknown name lists them.", metavar="NAME")
    views: int = key(
        4,
        "Augmented views of each image whose features are computed, where layers are frozen; at most one per epoch.",
        metavar="N",
        least=1,
    )
    mixup: float = key(
        0.0,
        "Alpha of mixup: train on mixtures of two examples, of their features where layers are frozen; 0 for none.",
        metavar="ALPHA",
        least=0.0,
    )
    cutmix: float = key(
        0.0, "Alpha of cutmix: train on images with a box of another one; 0 for none. Needs --unfreeze all.", metavar="ALPHA", least=0.0
    )
    label_smoothing: float = key(
        0.0,
        "Share of the uniform answer in each target of training; scores become less certain than they are right.",
        metavar="X",
        least=0.0,
        most=0.9,
    )
    features_engine: str = key(
        "tensorflow",
        "What computes the features of frozen layers: tensorflow, or auto, which uses LiteRT where a short trial shows that it is faster.",
        metavar="tensorflow|auto",
        choices=("tensorflow", "auto"),
    )
    patience: int = key(8, "Epochs without a better validation loss before a phase stops early.", metavar="N", least=1)
    placement: str = key(
        "auto", "Where the work runs: auto, cpu, gpu:N, mirrored[:N], multiworker (see `tlkeras launch`) or tpu.", metavar="NAME"
    )
    scale_learning_rate: str = key(
        "none",
        "How learning rates grow with batch sizes above 32: none, linear or sqrt; none is sqrt with --batch-size auto.",
        metavar="none|linear|sqrt",
        choices=("none", "linear", "sqrt"),
    )
    mixed_precision: bool = key(False, "Compute in bfloat16 (float16 on GPUs older than Ampere) with float32 weights.")
    tf32: bool | None = key(
        None,
        "Multiply float32 in TF32 while training, on NVIDIA GPUs since Ampere: faster, with about 3 digits of precision.",
        unset="on for one device; off for several, so that their losses equal those of one",
    )
    class_weights: bool = key(False, "Weigh classes by inverse frequency; where an example has several labels, positive ones.")
    loss: str | None = key(None, "Loss of numbers: squared or huber, which far-off examples move less.", unset="squared", metavar="NAME")
    target_weights: str | None = key(
        None,
        "Weights of the losses of several targets: uncertainty (learnt), or NAME=WEIGHT, comma-separated.",
        unset="equal",
        metavar="WEIGHTS",
    )
    cross_validate: str | None = key(
        None,
        "Estimate by cross-validation how good the model will be, before it is trained: K folds, or KxR for R repeats, such as 5 or 10x3.",
        unset="the held-out splits alone",
        metavar="K[xR]",
        read=folds_and_repeats,
    )
    compare_single: bool = key(False, "Of several targets, train each alone too, on the same examples, and compare.")
    baseline: str | None = key(
        None,
        "scratch: train the same network from random weights too, on the same examples, and compare: what the pretrained weights gain.",
        unset="none",
        metavar="scratch",
        choices=("scratch",),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.unfreeze is not None and self.freeze_rules:
            raise ConfigError("unfreeze and freeze_rules are both set; keep one of them")

    @property
    def examples_per_batch(self) -> int:
        """The batch size, or what recipes are made for as long as it is not chosen."""
        return self.batch_size if isinstance(self.batch_size, int) else BATCH


@dataclass(frozen=True, kw_only=True, init=False)
class RunConfig(FlatConfig):
    """All settings of one fine-tuning run.

    Args:
        values: flat keys, as in config files, or whole sections such as `train=TrainConfig(epochs=3)`.

    Raises:
        ConfigError: naming the key that is unknown or whose value is wrong.

    Example:
        >>> RunConfig(data="photos/", backbone="resnet50", epochs=3).train.epochs
        3
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    certainty: CertaintyConfig = field(default_factory=CertaintyConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    out: str | None = key(None, "Folder of the run; must not contain a run.", unset="runs/BACKBONE-DATA-N", metavar="DIR")
    seed: int = key(0, "Seed of splits, initial weights, order and augmentation.", metavar="N", least=0, most=2**32 - 1)
