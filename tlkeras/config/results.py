"""Sections of the settings of a run about what becomes of the trained model: its files, how certain it is, and its report."""

from __future__ import annotations

from dataclasses import dataclass

from tlkeras.config.fields import Section, key

FORMATS_BY_DEFAULT = ("saved_model", "tflite", "onnx")


@dataclass(frozen=True, kw_only=True)
class ExportConfig(Section):
    """Which artifacts are written for deployment."""

    formats: tuple[str, ...] = key(
        FORMATS_BY_DEFAULT, "Formats to export, comma-separated, or none; an unknown name lists them.", name="export", metavar="FORMATS"
    )
    max_drop: float = key(
        0.02,
        "Accuracy (micro-F1 of sets of labels, R² of numbers) that a quantised file may lose on held-out examples; export rejects files that lose more.",
        metavar="X",
        least=0.0,
        most=1.0,
    )
    calibration_examples: int = key(100, "Number of training examples, stratified, to calibrate int8 formats on.", metavar="N", least=8)
    tflite_io: str = key(
        "float32",
        "Input and output type of full-integer TFLite files: float32, int8 or uint8.",
        metavar="TYPE",
        choices=("float32", "int8", "uint8"),
    )
    opset: int = key(18, "Opset of ONNX files, 13 to 18.", metavar="N", least=13, most=18)


@dataclass(frozen=True, kw_only=True)
class CertaintyConfig(Section):
    """How certain scores are, which examples are known, and which sets contain the truth."""

    calibrate: bool = key(
        True, "Divide logits by a temperature fitted on validation, if that lowers the loss of examples it was not fitted to."
    )
    rejection: str = key(
        "distance",
        "What tells known examples from others: distance (to training examples, by features), probability (the largest score) or none.",
        metavar="distance|probability|none",
        choices=("distance", "probability", "none"),
    )
    coverage: float = key(0.95, "Share of new examples like those of validation that are to be known.", metavar="X", least=0.5, most=0.999)
    conformal: float | None = key(
        None,
        "Error rate of prediction sets: `tlkeras predict` lists labels that contain the true one but for this share; for numbers, intervals.",
        unset="no sets; intervals of 90 %",
        metavar="ALPHA",
        least=0.001,
        most=0.5,
    )
    conformal_method: str = key(
        "lac",
        "Prediction sets of classes: lac (smallest on average) or aps (larger for harder examples).",
        metavar="lac|aps",
        choices=("lac", "aps"),
    )


@dataclass(frozen=True, kw_only=True)
class ReportConfig(Section):
    """What the report shows, and where else the results go."""

    feature_map: str = key(
        "pca",
        "Map of the features in the report: pca, tsne (about a second more) or none.",
        metavar="NAME",
        choices=("pca", "tsne", "none"),
    )
    tensorboard: bool = key(False, "Write curves, figures and texts for TensorBoard into the folder `tensorboard` of the run.")
    mlflow: bool = key(False, "Record settings, curves, figures, report and artifacts with MLflow (needs `tlkeras[mlflow]`).")
    mlflow_uri: str | None = key(
        None,
        "Where MLflow keeps what is recorded: a server, sqlite:///FILE, or a folder.",
        unset="MLFLOW_TRACKING_URI, or MLflow's own",
        metavar="URI",
    )
    mlflow_experiment: str = key("tlkeras", "Experiment of MLflow that the run belongs to.", metavar="NAME")
