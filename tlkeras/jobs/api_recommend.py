"""`tlkeras.recommend`. What is wrong with settings, names or data is reported before TensorFlow loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkeras.config import RecommendConfig
from tlkeras.data.examples import Dataset
from tlkeras.jobs import preflight
from tlkeras.progress import AUTO, Reporter, resolve
from tlkeras.startup import load_tensorflow

if TYPE_CHECKING:
    from tlkeras.jobs.recommend import Recommendation


def recommend(
    config: RecommendConfig | Dataset | Mapping[str, Any] | str | Path | None = None,
    *,
    dataset: Dataset | None = None,
    reporter: Reporter | str | None = AUTO,
    **settings: Any,
) -> Recommendation:
    """Compares the pretrained backbones on examples, and recommends one.

    Args:
        config: a source of data such as a folder, examples, a `RecommendConfig`, or a mapping of its keys.
        dataset: examples to use instead of a source, for example `from_arrays(x, y)`.
        reporter: receives progress; `"auto"` or None as in `finetune`.
        settings: config keys, for example `device="phone", max_size_mb=5`; they win over those of `config`.

    Returns:
        The backbone, the reason, the ranking, and the folder with `recommend.json` and the plot.

    Raises:
        ConfigError: when no backbone is left to compare, with the reasons.
        DataError: for a source that cannot be used.

    Example:
        ```python
        choice = tlkeras.recommend("photos/", device="phone", max_size_mb=5)
        tlkeras.finetune("photos/", backbone=choice.backbone)
        ```
    """
    reporter = resolve(reporter)
    if isinstance(config, Dataset):
        config, dataset = None, config
    if isinstance(config, str | Path):
        config, settings = None, {"data": str(config), **settings}
    request = RecommendConfig.merged(config, settings)
    dataset = preflight.open_compared(request, dataset)
    load_tensorflow()
    from tlkeras.jobs import recommend as job

    return job.recommend(request, dataset, reporter=reporter)
