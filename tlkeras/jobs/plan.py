"""From the user's config to a plan: every name is looked up once, and every default filled in, before anything is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlkeras.backbones import adapters
from tlkeras.backbones.adapters import Adapter
from tlkeras.backbones.row import Backbone
from tlkeras.backbones.sections import HEAD
from tlkeras.config import PretrainConfig, RunConfig, TrainConfig
from tlkeras.config.parsing import BATCH
from tlkeras.data.examples import Dataset
from tlkeras.data.sources.registry import recorded
from tlkeras.distribution import registry as placements
from tlkeras.errors import ConfigError
from tlkeras.export.formats import FORMATS, Format
from tlkeras.jobs.backbone_record import check_formats, find_backbone
from tlkeras.jobs.option_checks import MIXTURES, check_modality, check_task
from tlkeras.modalities.images.augmentations import AUGMENTS
from tlkeras.modalities.registry import MODALITIES
from tlkeras.pretraining.objectives import Objective, objective_of
from tlkeras.registry import load_function
from tlkeras.tasks.registry import TASKS, Options, task_for
from tlkeras.training.freeze_rules import Rule, parse
from tlkeras.training.recipes.registry import RECIPES, Facts, Phase, Recipe

# Goyal et al. 2017, https://arxiv.org/abs/1706.02677 (linear, for SGD); Malladi et al. 2022, https://arxiv.org/abs/2205.10287
# (root, for Adam and similar optimizers).
EXPONENTS = {"none": 0.0, "linear": 1.0, "sqrt": 0.5}
DEFAULT = "auto"  # recipe where nothing says how to train
CHOSEN = "auto"  # backbone that the data decide, see `tlkeras.jobs.choice`
# An exact head needs features that are fixed: a channel adapter, which trains with the head elsewhere, waits.
HEAD_ALONE: tuple[Rule, ...] = ((f"section:{HEAD}", True), ("*", False))
SPLIT = 0.15  # fraction held out for each of validation and test where the source has no split of its own


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The decisions before a run: rows instead of names, values instead of defaults.

    Args:
        config: the effective config.
        asked: the config as the user gave it.
        backbone: the row of the backbone; of a published network, with the path of its model, whose files were verified.
        recipe: the row of the recipe.
        adapter: the row of the channel adapter, for images without three channels.
        formats: the rows of the formats to export.
        choice: content of `recommend.json`, where the data decided on the backbone.
        from_scratch: whether the network starts from random weights, though those of the config belong to it: a vocabulary is part of some.
    """

    config: RunConfig
    asked: RunConfig
    backbone: Backbone
    recipe: Recipe
    adapter: Adapter | None
    formats: tuple[Format, ...]
    choice: Mapping[str, Any] | None = None
    from_scratch: bool = False


def with_backbone(config: RunConfig, choice: Mapping[str, Any]) -> RunConfig:
    """Returns a config with the backbone that was recommended instead of `auto`, and the reason."""
    return config.updated(backbone=choice["recommended"], backbone_reason=choice["reason"])


def effective(config: RunConfig) -> RunConfig:
    """Returns the config with every default filled in that does not depend on the data; see `resolve`."""
    return resolve(config).config


def resolve(config: RunConfig, choice: Mapping[str, Any] | None = None, *, backbone: Backbone | None = None) -> Plan:
    """Looks up every name of a config and fills in every default that does not depend on the data.

    Args:
        config: as the user gave it.
        choice: see `Plan`.
        backbone: the row of its backbone, where it was looked up already.

    Raises:
        UnknownName: for a task, backbone, recipe, augmentation or format that is not registered.
        ConfigError: for values that contradict each other.
    """
    if choice is not None:
        config = with_backbone(config, choice)
    if config.model.backbone == CHOSEN:
        raise ConfigError(
            "backbone is 'auto', which only finetune decides, by the data; name one, or see `tlkeras recommend --data SOURCE`"
        )
    row = backbone or find_backbone(config.model.backbone)
    check_modality(config, row)
    check_formats(row, config.export.formats)
    if config.train.baseline and config.model.weights == "none":
        raise ConfigError(f"baseline is {config.train.baseline!r}, and weights is 'none' already; leave one of them out")
    adapter = adapters.chosen(config.model.channels, config.model.channel_adapter)
    recipe, last = _recipe(config, row, adapter)
    if config.model.task is not None:
        check_task(config, TASKS.get(config.model.task), recipe)
    AUGMENTS.get(config.train.augment)
    placements.parse(config.train.placement)
    unfreeze = None if config.train.freeze_rules else (config.train.unfreeze or last.unfreeze)
    if unfreeze is not None and row.sections:
        parse(unfreeze, _section_names(row, adapter))
    formats = tuple(FORMATS.get(name) for name in config.export.formats)
    filled = config.updated(
        backbone=row.name,
        image_size=(config.model.image_size or row.input_size) if "image_size" in MODALITIES.get(row.modality).config_keys else None,
        channel_adapter=adapter.name if adapter else None,
        recipe=recipe.name,
        epochs=None if recipe.decides else config.train.epochs or last.epochs,
        learning_rate=None if recipe.decides else _peak(config, row, last),
        unfreeze=None if recipe.decides else unfreeze,
        batch_norm=config.train.batch_norm or ("train" if config.model.weights == "none" else "frozen"),
        export=[format.name for format in formats],
        **recipe.settings,
    )
    return Plan(config=filled, asked=config, backbone=row, recipe=recipe, adapter=adapter, formats=formats, choice=choice)


def section_names(plan: Plan) -> list[str]:
    """Returns the sections of the network of a plan, from input to output, as its row states them."""
    return _section_names(plan.backbone, plan.adapter)


def _section_names(row: Backbone, adapter: Adapter | None) -> list[str]:
    return [*([adapters.SECTION] if adapter and adapter.trains else []), *(name for name, _ in row.sections)]


@dataclass(frozen=True, kw_only=True)
class PretrainPlan:
    """The decisions before a pretraining.

    Args:
        config: the settings.
        backbone: the row of the backbone.
        objective: the row of the objective.
    """

    config: PretrainConfig
    backbone: Backbone
    objective: Objective


def resolve_pretraining(config: PretrainConfig) -> PretrainPlan:
    """Looks up the names of a pretraining.

    Raises:
        UnknownName, ZooError: for a backbone that does not exist.
        ConfigError: for an objective that the backbone is not trained by.
    """
    row = find_backbone(config.backbone)
    return PretrainPlan(config=config, backbone=row, objective=objective_of(row, config.objective))


def task_options(config: RunConfig) -> Options:
    """Returns what a config says about the loss of the task."""
    train = config.train
    return Options(loss=train.loss, class_weights=train.class_weights, target_weights=train.target_weights)


def for_examples(plan: Plan, dataset: Dataset) -> Plan:
    """Fills in the task, which follows from what the examples say is to be predicted, and checks one that was asked for.

    Raises:
        ConfigError: when the task predicts something else, or options mean nothing to it.
    """
    asked = plan.config.model.task
    task = TASKS.get(asked) if asked is not None else task_for(dataset.target.kind)
    if task.target != dataset.target.kind:
        fitting = task_for(dataset.target.kind).name
        raise ConfigError(f"task is {task.name!r}, and {dataset.name} has {dataset.target.described} to predict; expected --task {fitting}")
    check_task(plan.config, task, plan.recipe)
    if plan.recipe.targets and task.target not in plan.recipe.targets:
        fitting = " or ".join(task_for(kind).name for kind in plan.recipe.targets)
        raise ConfigError(
            f"recipe {plan.recipe.name!r} trains {fitting}, and the task is {task.name}; use another one, see `tlkeras recipes`"
        )
    if task.check:
        load_function(task.check)(dataset.target, task_options(plan.config))
    return dataclasses.replace(plan, config=plan.config.updated(task=task.name))


def with_data(plan: Plan, dataset: Dataset, *, out: str, max_length: int | None = None) -> Plan:
    """Fills in what depends on the data and the machine: the recorded source, the splits, the length of texts, the folder.

    Args:
        plan: from `resolve`.
        dataset: the examples.
        out: folder of the run.
        max_length: tokens of the longest text that is not cut; None for other inputs.
    """
    val_split, test_split = split_fractions(plan.config, dataset)
    values = {"data": recorded(dataset), "val_split": val_split, "test_split": test_split, "out": out}
    values |= {"weights": "none"} if plan.from_scratch else {}
    return dataclasses.replace(plan, config=plan.config.updated(**values, **({"max_length": max_length} if max_length else {})))


def split_fractions(config: RunConfig, dataset: Dataset) -> tuple[float | None, float | None]:
    """Returns the fractions held out for validation and test; as configured where the source has splits of its own."""
    fractions = (config.data.val_split, config.data.test_split)
    if dataset.has_splits:
        return fractions
    val_split, test_split = (SPLIT if fraction is None else fraction for fraction in fractions)
    return val_split, test_split


def _recipe(config: RunConfig, row: Backbone, adapter: Adapter | None) -> tuple[Recipe, Phase]:
    """Returns the recipe asked for and its last phase; without one, the recipe that the other settings ask for, else the default."""
    train = config.train
    unfreezes = bool(train.freeze_rules) or train.unfreeze not in (None, "none")
    by_steps = [name for name in ("unfreeze", "epochs", "learning_rate") if getattr(train, name) is not None]
    by_steps += ["freeze_rules"] if train.freeze_rules else []
    recipe = RECIPES.get(train.recipe or ("full" if unfreezes else "feature-extraction" if by_steps else DEFAULT))
    if recipe.decides and by_steps:
        raise ConfigError(
            f"recipe {recipe.name!r} decides by itself what trains and how long, but {by_steps[0]} is set; leave one of them out, "
            "or use --recipe lp-ft"
        )
    if train.max_minutes is not None and not recipe.timed:
        timed = ", ".join(other.name for other in RECIPES if other.timed)
        raise ConfigError(f"max_minutes is {train.max_minutes:g}, and recipe {recipe.name!r} has no use for it; expected one of {timed}")
    recipe = _with_settings(recipe, train)
    last = recipe.phases_for([name for name, _ in row.sections], _facts(config, row, adapter))[-1]
    if unfreezes and last.unfreeze == "none":
        raise ConfigError(
            f"recipe {recipe.name!r} keeps the backbone frozen, but unfreeze is set; leave one of them out, or use --recipe full"
        )
    return recipe, last


def _with_settings(recipe: Recipe, train: TrainConfig) -> Recipe:
    """Returns the recipe with the values of its own settings; those of other recipes must not be set."""
    for other in RECIPES:
        for key in set(other.settings) - set(recipe.settings):
            if getattr(train, key):
                raise ConfigError(f"{key} is set, and recipe {recipe.name!r} has no use for it; leave it out, or use --recipe {other.name}")
    values = {key: getattr(train, key) or default for key, default in recipe.settings.items()}
    for key, value in values.items():
        if value is None:
            raise ConfigError(f"recipe {recipe.name!r} needs {key}, which is not set; add --{key.replace('_', '-')}, see `tlkeras recipes`")
    return recipe.with_settings(values)


def _facts(config: RunConfig, row: Backbone, adapter: Adapter | None, **of_data: Any) -> Facts:
    modality = MODALITIES.get(row.modality)
    return Facts(
        fixed_features=config.model.weights != "none" and not (adapter and adapter.trains),
        minutes=config.train.max_minutes,
        full_tuning=modality.full_tuning or {},
        few_recipe=modality.few_recipe,
        **of_data,
    )


def _peak(config: RunConfig, row: Backbone, phase: Phase) -> float:
    """Returns the learning rate asked for; without one, the backbone's where all of its weights train, or the phase's."""
    if config.train.learning_rate is not None:
        return config.train.learning_rate
    all_of_it = phase.unfreeze != "none" and not phase.only  # a few of the weights need a rate of their own
    return row.learning_rate if row.learning_rate and all_of_it else phase.learning_rate


def rate_factor(config: RunConfig) -> float:
    """Returns by what the learning rates of a config are multiplied, for the examples of a step."""
    factor: float = (config.train.examples_per_batch * config.train.accumulate / BATCH) ** EXPONENTS[config.train.scale_learning_rate]
    return factor


def phases(plan: Plan, section_names: Sequence[str], **of_data: Any) -> list[tuple[Phase, tuple[Rule, ...]]]:
    """Returns the recipe's phases with their freeze rules; the config's values hold for the last one.

    Args:
        plan: the plan of the run.
        section_names: the backbone's sections, from input to output.
        of_data: fields of `Facts` that follow from the data and the machine, where they are known.
    """
    config, row = plan.config, plan.backbone
    *earlier, last = plan.recipe.phases_for(section_names, _facts(config, row, plan.adapter, **of_data))
    if not plan.recipe.decides:
        unfreeze = config.train.unfreeze or last.unfreeze
        last = dataclasses.replace(last, epochs=config.train.epochs or last.epochs, unfreeze=unfreeze)
    mixture = next((name for name in MIXTURES if getattr(config.train, name)), None)
    if mixture and all(phase.solver == "exact" for phase in (*earlier, last)):
        raise ConfigError(
            f"{mixture} is {getattr(config.train, mixture):g}, and recipe {plan.recipe.name!r} solves the head exactly here, without steps; "
            "leave it out, or use --recipe feature-extraction or lp-ft"
        )
    last = dataclasses.replace(last, learning_rate=_peak(config, row, last))
    factor = rate_factor(config)
    planned = [dataclasses.replace(phase, learning_rate=phase.learning_rate * factor) for phase in (*earlier, last)]
    rules = [HEAD_ALONE if phase.solver == "exact" else parse(phase.unfreeze, section_names) for phase in planned]
    if config.train.freeze_rules:
        rules[-1] = config.train.freeze_rules
    return list(zip(planned, rules, strict=True))
