"""Checks what is asked of an evaluation, before TensorFlow loads: examples, another model, columns to slice by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlkeras.config import EvaluateConfig
from tlkeras.data.examples import Dataset
from tlkeras.data.sources.columns import Columns
from tlkeras.data.sources.registry import kind_of
from tlkeras.data.target import Target
from tlkeras.errors import ConfigError, DataError, near
from tlkeras.evaluation.slice_columns import columns_of
from tlkeras.jobs import preflight
from tlkeras.jobs.preflight import Chosen
from tlkeras.modalities.registry import MODALITIES
from tlkeras.modalities.sources import modality_of
from tlkeras.registry import load_function
from tlkeras.tasks.registry import task_for


@dataclass(frozen=True, kw_only=True)
class Request:
    """An evaluation that was checked.

    Args:
        config: what is asked for.
        chosen: the examples.
        other: the examples of the model it is compared with.
        in_table: the columns to slice by that the table has; others are computed from the inputs.
        cells: id of an example -> column -> cell, of those.
    """

    config: EvaluateConfig
    chosen: Chosen
    other: Chosen | None = None
    in_table: tuple[str, ...] = ()
    cells: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)


def check(target: str | Path, data: str | Path | Dataset | Chosen | None, config: EvaluateConfig) -> Request:
    """Opens the examples that a model is scored on, and those of the other one.

    Args:
        target: the model.
        data: a source or examples; the source of the config when None, else the model's own.
        config: what is asked for.

    Raises:
        ConfigError, DataError: when the models or the columns do not fit the examples; see `tlkeras.evaluate`.
    """
    if config.cross_validate is not None:
        raise ConfigError(
            f"cross_validate is {config.cross_validate!r}, which scores models of the folds and not this one; "
            f"expected tlkeras.cross_validate(RUN, {config.cross_validate!r})"
        )
    source = config.data if data is None else data
    chosen = preflight.to_evaluate(target, source, part=config.part, data_dir=config.data_dir)
    predicted = chosen.dataset.target
    if (config.against is not None or config.slices or config.corruptions) and not task_for(predicted.kind).measures:
        raise ConfigError(
            f"against, slices and corruptions need figures that can be resampled, and a model of {predicted.described} has none"
        )
    other = None
    if config.against is not None:
        # On its own held-out examples, where no data is named: those of the first model may have been its training examples.
        shared = source.dataset if isinstance(source, Chosen) and source.own is None else source
        other = preflight.to_evaluate(
            config.against, None if isinstance(shared, Chosen) else shared, part=config.part, data_dir=config.data_dir
        )
        _check_same_target(str(target), predicted, config.against, other.dataset.target)
    in_table, cells = _columns(config.slices, chosen)
    return Request(config=config, chosen=chosen, other=other, in_table=in_table, cells=cells)


def _check_same_target(name: str, first: Target, other: str, second: Target) -> None:
    described = [
        f"{target.described} ({', '.join(sorted(target.labels)[:4])}{', …' * (len(target.labels) > 4)})" for target in (first, second)
    ]
    if first.kind != second.kind or sorted(first.labels) != sorted(second.labels):
        raise DataError(f"{other!r} predicts {described[1]} and {name!r} {described[0]}; expected models of the same target to compare")


def _columns(names: Sequence[str], chosen: Chosen) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """Returns which columns are of the table, and their cells; a column of the table wins over a computed one of its name."""
    if not names:
        return (), {}
    dataset, known = chosen.dataset, columns_of(modality_of(chosen.dataset).name)
    kind = kind_of(dataset.source) if dataset.source else None
    of_table: tuple[str, ...] = ()
    columns = preflight.columns(chosen.own) if chosen.own else Columns()
    if kind is not None and kind.facts:
        of_table = load_function(f"{kind.facts}:names")(dataset.source, columns)
    in_table = tuple(name for name in names if name in of_table)
    strange = [name for name in names if name not in of_table and name not in known]
    if strange:
        where = f"{dataset.name} has no column {strange[0]!r}, and none of that name is computed"
        raise DataError(f"{where}; {near(strange[0], [*of_table, *known])}")
    if not in_table or kind is None:
        return in_table, {}
    files = [row.files for row in MODALITIES if row.files is not None]
    return in_table, load_function(f"{kind.facts}:read")(dataset.source, in_table, columns, files, dataset.target)
