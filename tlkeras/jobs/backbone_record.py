"""The backbone of a run: found by its name before training, and after it by what the run itself recorded."""

from __future__ import annotations

from collections.abc import Sequence

from tlkeras.backbones import registry
from tlkeras.backbones.row import Backbone
from tlkeras.errors import ConfigError, DataError, ZooError, reason
from tlkeras.export.formats import FORMATS
from tlkeras.jobs import run_folder
from tlkeras.jobs.run_folder import Run
from tlkeras.zoo import network as published


def find_backbone(name: str) -> Backbone:
    """Returns the row of a backbone: of a name or an alias, or of `zoo:NAME[/VERSION]`, whose files are verified.

    Raises:
        UnknownName: listing near names.
        ZooError: when there is no such entry, or it is damaged.
    """
    if name.startswith(published.PREFIX):
        return published.row(name.removeprefix(published.PREFIX))
    return registry.find(name)


def check_formats(row: Backbone, names: Sequence[str]) -> None:
    """Refuses formats that a backbone does not support.

    Raises:
        UnknownName: for a format that is not registered.
        ConfigError: with the reason.
    """
    for name in names:
        refusal = row.refusal(name, FORMATS.get(name).reader)
        if refusal:
            raise ConfigError(f"{row.name} cannot be exported to {name}: {refusal}; leave it out of --export")


def write(run: Run, row: Backbone) -> None:
    """Records the backbone of a run, so that the run can be used where a published network that it was made from is gone."""
    run_folder.write_json(run.backbone, published.record(row))


def read(run: Run) -> Backbone:
    """Returns the row of the backbone of a run, without weights to load if it was a published network.

    Raises:
        DataError: when the record is damaged.
        UnknownName, ZooError: for a run of before backbones were recorded, whose backbone is gone.
    """
    if run.backbone.is_file():
        content = run_folder.read_json(run.backbone)
        try:
            return published.recorded(content)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{str(run.backbone)!r} names no backbone ({reason(error)}); it was changed after the run; restore it"
            ) from error
    name = run_folder.read_config(run).model.backbone
    try:
        return find_backbone(name)
    except ZooError as error:
        raise ZooError(f"{str(run.root)!r} was trained from {name!r} before runs recorded their backbones: {error}") from error
