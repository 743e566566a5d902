"""The examples that the report of a run shows, as inputs to explain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tlkeras.data.examples import Example
from tlkeras.errors import DataError
from tlkeras.evaluation.gallery import chosen
from tlkeras.evaluation.parts.answers import ERRORS, WORST
from tlkeras.jobs import preflight, report_run
from tlkeras.jobs.run_folder import Run
from tlkeras.modalities.items import Item


def shown(run: Run) -> Iterator[Item]:
    """Yields the examples in the galleries of a report under their ids: mistakes, confusions, random ones, probable label errors.

    Args:
        run: finished, with its examples where they were.

    Raises:
        DataError: when its examples are not there any more.
    """
    data = report_run.collect(run)
    galleries = chosen(data.cases, len(data.ids), int(data.config.get("seed", 0)))
    suspects = [row["example"] for row in data.contents.get(ERRORS, {}).get("label_errors", ())[:WORST]]
    names = [*(data.ids[index] for indices in galleries.values() for index in indices), *suspects]
    examples = {example.id: example for example in preflight.to_evaluate(run.root, None).dataset.examples}
    names = [name for name in dict.fromkeys(names) if name in data.gallery.thumbnails]
    missing = next((name for name in names if name not in examples), None)
    if missing is not None:
        raise DataError(f"{missing} is in the report and no longer in the data of the run; pass what to explain as --data")
    yield from (Item(name=name, value=_value(examples[name])) for name in names)


def _value(example: Example) -> Any:
    """Returns what `Inputs.read` accepts."""
    return next((value for value in (example.text, example.array, example.content) if value is not None), example.path)
