"""The functions that train, score, export and publish. What is wrong with settings, names or data is reported before TensorFlow loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkeras.config import BenchmarkConfig, EvaluateConfig, ExportModelConfig, PretrainConfig, RunConfig
from tlkeras.data.examples import Dataset
from tlkeras.jobs import choice, evaluation_request, export_request, finetune_request, lookup, preflight, pretrain_work
from tlkeras.jobs import plan as planning
from tlkeras.progress import AUTO, Reporter, resolve
from tlkeras.startup import load_tensorflow
from tlkeras.zoo.names import check_name
from tlkeras.zoo.signing import signer
from tlkeras.zoo.store import Entry, Zoo, default_root

if TYPE_CHECKING:
    import keras

    from tlkeras.export.artifact import Artifact
    from tlkeras.jobs.benchmark import Report
    from tlkeras.jobs.evaluate import Evaluation
    from tlkeras.jobs.finetune import Result


def finetune(
    config: RunConfig | Dataset | Mapping[str, Any] | str | Path | None = None,
    *,
    dataset: Dataset | None = None,
    resume: str | Path | None = None,
    reporter: Reporter | str | None = AUTO,
    **settings: Any,
) -> Result:
    """Fine-tunes a backbone on examples and leaves a run folder with verified artifacts.

    Args:
        config: a source of data such as a folder, examples, a `RunConfig`, or a mapping of config keys.
        dataset: examples to use instead of a source, for example `from_arrays(x, y)`.
        resume: folder of a run that was stopped or killed: it goes on with the settings it was begun with, to the same result.
        reporter: receives progress. `"auto"` draws bars on a terminal or in a notebook and prints lines elsewhere; None is silent.
        settings: config keys, for example `backbone="cnn", epochs=3`; they win over those of `config`.

    Returns:
        The run, its metrics and the effective config.

    Raises:
        TlkerasError: its message states what to do next; see `tlkeras.errors`.

    Example:
        ```python
        result = tlkeras.finetune("photos/", backbone="efficientnet", out="runs/photos")
        result.metrics["test"]["accuracy"]
        ```
    """
    reporter = resolve(reporter)
    config, dataset = finetune_request.settings(config, dataset, settings, resume=resume)
    plan, dataset = choice.opened(config, dataset, reporter)
    if resume is None:
        preflight.check_out(config)
    load_tensorflow()
    from tlkeras.jobs import finetune as job

    return job.finetune_plan(plan, dataset, resume=resume is not None, reporter=reporter)


def evaluate(
    target: str | Path,
    data: str | Path | Dataset | None = None,
    config: EvaluateConfig | Mapping[str, Any] | None = None,
    *,
    dataset: Dataset | None = None,
    part: str | None = None,
    reporter: Reporter | str | None = AUTO,
    **settings: Any,
) -> Evaluation:
    """Scores a run, or any artifact in its own runtime. What is found of a run is stored in its `evaluation.json`.

    Args:
        target: folder of a run, `.keras` model, or artifact.
        data: a source or examples; when None, `data` of the config, or else the run's own source.
        config: an `EvaluateConfig`, or a mapping of its keys.
        dataset: examples, for example `from_arrays(x, y)`.
        part: `train`, `val`, `test`, `all`, or `auto`: the test split (else validation) of the run's own source
            or of a source that has splits, and every example of any other. When None, that of the config: `auto`.
        reporter: receives progress; `"auto"` or None as in `finetune`.
        settings: config keys, which win: `against`, another run, compared on the same examples; `slices`, columns of the table or
            computed ones; `corruptions`, whether corrupted inputs are scored too; `data_dir`; `seed`.

    Returns:
        The metrics with their intervals, the runtime, and the examples they were measured on.

    Raises:
        DataError, ConfigError, ExportError: see `tlkeras.errors`.

    Example:
        ```python
        tlkeras.evaluate("runs/photos/exports/model.tflite", "more-photos/").score.accuracy
        tlkeras.evaluate("runs/photos", against="runs/older").against["targets"]["label"]["words"]
        ```
    """
    reporter = resolve(reporter)
    config = EvaluateConfig.merged(config, settings if part is None else {"split": part, **settings})
    request = evaluation_request.check(target, data if dataset is None else dataset, config)
    load_tensorflow()
    from tlkeras.jobs import evaluate as job

    return job.evaluate(target, request, reporter=reporter)


def export_model(
    model: str | Path | keras.Model,
    out: str | Path | None = None,
    config: ExportModelConfig | Mapping[str, Any] | None = None,
    *,
    reporter: Reporter | str | None = AUTO,
    **settings: Any,
) -> list[Artifact]:
    """Exports a run again, or any Keras model or SavedModel, to verified artifacts.

    Args:
        model: folder of a run, a `.keras` or `.h5` file, a SavedModel folder, or a built `keras.Model`.
        out: new or empty folder. When None, the run's own `exports`; `NAME-export` for other models.
        config: an `ExportModelConfig`, or a mapping of its keys.
        reporter: receives progress; `"auto"` or None as in `finetune`.
        settings: config keys, for example `formats="tflite-int8", calibration="photos/"`; they win over those of `config`.

    Returns:
        The artifacts.

    Raises:
        ConfigError: for settings that mean nothing for this model, or a file with code that is not trusted.
        DataError, ExportError: when the model cannot be read, or an artifact cannot be written or verified.

    Example:
        ```python
        tlkeras.export_model("model.h5", "out", formats="onnx", labels=["cat", "dog"])
        ```
    """
    reporter = resolve(reporter)
    request = export_request.check(model, ExportModelConfig.merged(config, settings))
    load_tensorflow()
    from tlkeras.jobs import export_model as job

    return job.export_checked(request, out, reporter=reporter)


def pretrain(
    config: PretrainConfig | Dataset | Mapping[str, Any] | str | Path | None = None,
    *,
    name: str,
    dataset: Dataset | None = None,
    zoo: str | Path | Zoo | None = None,
    resume: bool = False,
    reporter: Reporter | str | None = AUTO,
    **settings: Any,
) -> Entry:
    """Trains a backbone from scratch and publishes it for use as `backbone="zoo:NAME"`.

    Args:
        config: a source of data such as a folder, examples, a `PretrainConfig`, or a mapping of its keys.
        name: name of the entry.
        dataset: examples to use instead of a source.
        zoo: folder of the zoo; `TLKERAS_ZOO`, else `zoo/models`, when None.
        resume: whether to go on with the pretraining of this name that was stopped or killed, with the settings it was begun with.
        reporter: receives progress; `"auto"` or None as in `finetune`.
        settings: config keys, for example `backbone="vae", epochs=30`; they win over those of `config`.

    Returns:
        The entry.

    Raises:
        ConfigError, DataError, ZooError: see `tlkeras.errors`.

    Example:
        ```python
        tlkeras.pretrain("unlabelled/", name="shapes", backbone="vae", image_size=28)
        tlkeras.finetune("labelled/", backbone="zoo:shapes")
        ```
    """
    reporter = resolve(reporter)
    config, dataset = (None, config) if isinstance(config, Dataset) else (config, dataset)
    config, opened = ({"data": str(config)} if isinstance(config, str | Path) else config), _zoo(zoo)
    work = pretrain_work.of(opened.root, check_name(name))
    plan = planning.resolve_pretraining(pretrain_work.settings(work, config, settings, resume=resume, passed=dataset is not None))
    if dataset is None and plan.config.data is None:
        reporter.say(preflight.USES_DIGITS)
    dataset = preflight.open_unlabelled(plan, dataset)
    load_tensorflow()
    from tlkeras.jobs import pretrain as job

    return job.pretrain_plan(plan, dataset, name, opened, reporter=reporter)


def publish(
    target: str | Path,
    name: str,
    *,
    zoo: str | Path | Zoo | None = None,
    data_licence: str | None = None,
    data_source: str | None = None,
    promote: bool = False,
    sign: str | Path | None = None,
    reporter: Reporter | str | None = AUTO,
) -> Entry:
    """Publishes a run as the next version of an entry of the zoo.

    Args:
        target: folder of a run with a SavedModel among its artifacts.
        name: name of the entry.
        zoo: folder of the zoo; `TLKERAS_ZOO`, else `zoo/models`, when None.
        data_licence, data_source: licence and origin of the examples, for the card; those of the run's own source, if known, when None.
        promote: whether it becomes the stable version.
        sign: file of a secret key of minisign, to sign it; `TLKERAS_MINISIGN_PASSWORD` has the password of an encrypted one.
        reporter: receives warnings; `"auto"` or None as in `finetune`.

    Returns:
        The entry; `models.config` and `compose.yaml` of the zoo are renewed.

    Raises:
        DataError: when it is not a finished run.
        ZooError: when its artifacts cannot form an entry, or the key cannot be read.

    Example:
        ```python
        tlkeras.publish("runs/photos", "photos", data_licence="CC-BY-4.0", promote=True)
        ```
    """
    check_name(name)
    lookup.to_publish(target)
    folder, signed = _zoo(zoo), None if sign is None else signer(sign)
    load_tensorflow()
    from tlkeras.jobs import publish as job

    entry = job.publish(target, name, folder, data_licence=data_licence, data_source=data_source, sign=signed, reporter=reporter)
    return job.promote(folder, entry) if promote else entry


def benchmark(
    target: str | Path,
    data: str | Path | Dataset | None = None,
    config: BenchmarkConfig | Mapping[str, Any] | None = None,
    *,
    zoo: str | Path | Zoo | None = None,
    reporter: Reporter | str | None = AUTO,
    **settings: Any,
) -> Report:
    """Measures size, load time, latency, throughput, memory and accuracy of every artifact of a run or an entry.

    Args:
        target: folder of a run, or NAME or NAME/VERSION of an entry.
        data: a source or examples to measure accuracy on; when None, `data` of the config, or else the model's own held-out examples, if
            available.
        config: a `BenchmarkConfig`, or a mapping of its keys.
        zoo: folder of the zoo; `TLKERAS_ZOO`, else `zoo/models`, when None.
        reporter: receives progress; `"auto"` or None as in `finetune`.
        settings: config keys, which win: `formats` to measure, all when empty; `threads`, numbers of threads.

    Returns:
        The rows, and the examples the accuracy was measured on.

    Raises:
        DataError, ZooError, ExportError: when there is no such thing, or it has no artifacts.

    Example:
        ```python
        for row in tlkeras.benchmark("runs/photos", formats=["tflite", "onnx"]).rows:
            print(row.format, row.p50_ms, row.accuracy)
        ```
    """
    reporter = resolve(reporter)
    config = BenchmarkConfig.merged(config, settings)
    folder = None if zoo is None else _zoo(zoo)
    chosen, _ = preflight.to_benchmark(lookup.find_whole(target, folder.root if folder else None), config.data if data is None else data)
    load_tensorflow()
    from tlkeras.jobs import benchmark as job

    return job.benchmark(target, data=chosen, zoo=folder, formats=config.formats, threads=config.threads, reporter=reporter)


def _zoo(zoo: str | Path | Zoo | None) -> Zoo:
    return zoo if isinstance(zoo, Zoo) else Zoo(default_root() if zoo is None else zoo)
