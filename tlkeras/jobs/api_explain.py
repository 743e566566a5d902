"""The function `tlkeras.explain`. What is wrong with settings or names is reported before TensorFlow loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkeras.config import ExplainConfig
from tlkeras.jobs import explain_request
from tlkeras.progress import AUTO, Reporter, resolve
from tlkeras.startup import load_tensorflow

if TYPE_CHECKING:
    from tlkeras.jobs.explain import Explanations


def explain(
    target: str | Path,
    inputs: Any = None,
    config: ExplainConfig | Mapping[str, Any] | None = None,
    *,
    reporter: Reporter | str | None = AUTO,
    **settings: Any,
) -> Explanations:
    """Shows which pixels, words or steps speak for the answers of a run.

    Args:
        target: folder of a run, or its `model.keras`.
        inputs: one input or several, as for `tlkeras.predict`; when None, `data` of the config, or else the examples that the report of the run
            shows.
        config: an `ExplainConfig`, or a mapping of its keys.
        reporter: receives progress; `"auto"` or None as in `finetune`.
        settings: config keys, for example `method="occlusion", label="cat"`; they win. Files are written where `out` is set.

    Returns:
        The explanations: `.values` of each is its map.

    Raises:
        UnknownName, ConfigError: for a method that there is not, that cannot explain this run, or an artifact, which has no gradients.
        DataError: when nothing can be read.

    Example:
        ```python
        for explanation in tlkeras.explain("runs/photos", "holiday/*.jpg", method="integrated-gradients", out="maps"):
            print(explanation.file, explanation.label, explanation.details["completeness"]["gap"])
        ```
    """
    reporter = resolve(reporter)
    request = explain_request.check(target, ExplainConfig.merged(config, settings), has_inputs=inputs is not None)
    load_tensorflow()
    from tlkeras.jobs import explain as job

    return job.explain(request, inputs, write=request.config.out is not None, reporter=reporter)
