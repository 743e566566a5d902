"""The functions of `import tlkeras`. Errors in settings or data are reported before TensorFlow loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset
from tlkeras.jobs import preflight
from tlkeras.progress import AUTO, Reporter, resolve
from tlkeras.startup import load_tensorflow

if TYPE_CHECKING:
    from tlkeras.jobs.evaluate import Evaluation
    from tlkeras.jobs.finetune import Result


def finetune(
    config: RunConfig | Dataset | Mapping[str, Any] | str | Path | None = None,
    *,
    dataset: Dataset | None = None,
    reporter: Reporter | str | None = AUTO,
    **settings: Any,
) -> Result:
    """Fine-tunes a backbone on examples and leaves a run folder with verified artifacts.

    Args:
        config: a source of data such as a folder, examples, a `RunConfig`, or a mapping of config keys.
        dataset: examples to use instead of a source, for example `from_arrays(x, y)`.
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
    config, dataset = preflight.settings(config, dataset, settings)
    dataset = preflight.open_examples(config, dataset)
    load_tensorflow()
    from tlkeras.jobs import finetune as workflow

    return workflow.finetune(config, dataset=dataset, reporter=reporter)


def evaluate(
    target: str | Path,
    data: str | Path | Dataset | None = None,
    *,
    dataset: Dataset | None = None,
    part: str = "auto",
    data_dir: str | None = None,
    reporter: Reporter | str | None = AUTO,
) -> Evaluation:
    """Scores a run, or any artifact in its own runtime.

    Args:
        target: folder of a run, `.keras` model, or artifact.
        data: a source or examples; the run's own source when None.
        dataset: examples, for example `from_arrays(x, y)`.
        part: `train`, `val`, `test`, `all`, or `auto`: the test split (else validation) of the run's own source
            or of a source that has splits, and every example of any other.
        data_dir: where tensorflow-datasets keeps prepared data.
        reporter: receives progress; `"auto"` or None as in `finetune`.

    Returns:
        The metrics, the runtime, and the examples they were measured on.

    Raises:
        DataError, ConfigError, ExportError: see `tlkeras.errors`.
    """
    reporter = resolve(reporter)
    chosen = preflight.to_evaluate(target, data if dataset is None else dataset, part=part, data_dir=data_dir)
    load_tensorflow()
    from tlkeras.jobs import evaluate as job

    return job.evaluate(target, chosen, part=part, reporter=reporter)
