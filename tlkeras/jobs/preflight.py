"""Checks settings and examples, and whether they fit together, before TensorFlow loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tlkeras.backbones.registry import BACKBONES
from tlkeras.backbones.row import Backbone
from tlkeras.config import RecommendConfig, RunConfig
from tlkeras.data.examples import Dataset, make_dataset
from tlkeras.data.sources.columns import Columns
from tlkeras.data.sources.folder import listed_files
from tlkeras.data.sources.registry import DEFAULT, PASSED, is_passed, kind_of
from tlkeras.data.split import SPLITS
from tlkeras.data.subset import subset
from tlkeras.data.target import Target
from tlkeras.distribution.cluster import from_environment
from tlkeras.errors import ConfigError, DataError, TlkerasError
from tlkeras.export.formats import ENDINGS
from tlkeras.export.manifest import NAME, read_manifest
from tlkeras.jobs import backbone_record, plan, run_checks, run_folder, tracking
from tlkeras.jobs.corrections import relabelled
from tlkeras.jobs.lookup import Located, not_a_target
from tlkeras.jobs.lookup import find as find_target
from tlkeras.modalities.images.files import FILES
from tlkeras.modalities.registry import DEFAULT as MODALITY
from tlkeras.modalities.registry import MODALITIES, Modality
from tlkeras.modalities.sources import modality_of, open_source
from tlkeras.registry import load_function
from tlkeras.tasks.registry import TASKS, target_of
from tlkeras.zoo.store import Zoo, default_root

USES_DIGITS = "no data given: using scikit-learn's 1,797 handwritten digits"
NO_CLASSIFIER = "the model is not a classifier"
NAMED = 4  # backbones that an error names


# === Settings ===


def columns(config: RunConfig) -> Columns:
    """Returns which column of a table is what."""
    task = config.model.task
    return Columns.from_config(config.data, kind=None if task is None else TASKS.get(task).target)


# === Examples to train on ===


def open_examples(resolved: plan.Plan, dataset: Dataset | None = None) -> Dataset:
    """Opens the source of a plan, or uses the passed examples, and checks that the backbone accepts them.

    Raises:
        UnknownName, ConfigError: for settings that are wrong or do not fit the examples.
        DataError: for a source that cannot be used.
    """
    config = resolved.asked
    tracking.check(config)
    if dataset is None:
        dataset = open_source(config.data.source, data_dir=config.data.data_dir, columns=columns(config))
    dataset = relabelled(dataset, config.data.relabel)
    check_modality(config.model.backbone, resolved.backbone, dataset)
    check = modality_of(dataset).check
    if check is not None:
        load_function(check)(dataset)
    run_checks.check(plan.for_examples(resolved, dataset), dataset)
    return dataset


def open_unlabelled(resolved: plan.PretrainPlan, dataset: Dataset | None = None) -> Dataset:
    """Opens the source of a pretraining, or uses the passed examples, and checks that the backbone accepts them.

    Raises:
        ConfigError, DataError: see `open_examples`.
    """
    dataset = open_source(resolved.config.data) if dataset is None else dataset
    check_modality(resolved.config.backbone, resolved.backbone, dataset)
    return dataset


def open_compared(config: RecommendConfig, dataset: Dataset | None = None) -> Dataset:
    """Opens the source that backbones are compared on, or uses the passed examples, and checks the folder of the result.

    Raises:
        ConfigError, DataError, OutputError: see `open_examples` and `check_out`.
    """
    kind = None if config.task is None else TASKS.get(config.task).target
    if dataset is None:
        dataset = open_source(config.data.source, data_dir=config.data.data_dir, columns=Columns.from_config(config.data, kind=kind))
    check = modality_of(dataset).check
    if check is not None:
        load_function(check)(dataset)
    if config.out:
        run_folder.check_free(Path(config.out))
    return dataset


def check_out(config: RunConfig) -> None:
    """Checks that the folder of a new run is free; other workers than the first write elsewhere.

    Raises:
        OutputError: when it is not.
    """
    cluster = from_environment()
    if config.out and (cluster is None or cluster.index == 0):
        run_folder.check_free(Path(config.out))


def check_modality(backbone: str, row: Backbone, dataset: Dataset) -> None:
    """Refuses a backbone that does not accept this kind of examples, naming some that do.

    Raises:
        ConfigError: when it does not.
    """
    modality = modality_of(dataset)
    if row.modality == modality.name:
        return
    names = [alias for alias, name in BACKBONES.aliases().items() if BACKBONES.get(name).modality == modality.name]
    names = [*names, *(other.name for other in BACKBONES if other.modality == modality.name and other.name not in names)]
    ready = [name for name in names if BACKBONES.get(name).weights and BACKBONES.get(name).weights[0].in_index]
    shown = ", ".join(list(dict.fromkeys([*ready[:1], *names]))[:NAMED])
    raise ConfigError(
        f"backbone {backbone!r} accepts {MODALITIES.get(row.modality).plural}, and {dataset.name} contains {modality.plural}; "
        f"backbones for {modality.plural}: {shown} (--list-backbones shows all)"
    )


def limited(config: RunConfig, dataset: Dataset) -> Dataset:
    """Returns as many of the examples as the config allows."""
    return subset(dataset, config.data.limit, config.seed) if config.data.limit else dataset


# === Examples to evaluate on ===


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Examples to evaluate a model on.

    Args:
        dataset: the examples, with the label map of the model.
        own: the config of the model where they come from the source it was trained on: its splits hold; else None.
    """

    dataset: Dataset
    own: RunConfig | None


def to_evaluate(
    target: str | Path, data: str | Path | Dataset | Chosen | None, *, part: str = "auto", data_dir: str | None = None
) -> Chosen:
    """Opens the examples on which a run or an artifact is to be scored; see `tlkeras.evaluate`."""
    if part not in ("auto", "all", *SPLITS):
        raise ConfigError(f"split is {part!r}; expected auto, all, {', '.join(SPLITS)}")
    if isinstance(data, Chosen):
        return data
    config, trained = _trained_with(find_target(target))
    if trained is None:
        raise DataError(f"{str(target)!r}: {NO_CLASSIFIER}, so there is nothing to score")
    return examples_for(config, trained, data, data_dir=data_dir)


def examples_for(
    config: RunConfig | None,
    target: Target,
    data: str | Path | Dataset | Chosen | None,
    *,
    data_dir: str | None = None,
) -> Chosen:
    """Opens examples to evaluate a model on.

    Args:
        config: what the model was trained with, or None where that is not known.
        target: what the model predicts.
        data: a source or examples; the model's own source when None.
        data_dir: where tensorflow-datasets keeps prepared data.

    Raises:
        DataError: when there is no such source, or it has labels that the model does not know.
        ConfigError: when the model does not belong to a run and no data is passed.
    """
    if isinstance(data, Chosen):
        return data
    if data is None:
        data = own_source(config)
    known = config or RunConfig()
    if isinstance(data, Dataset):
        dataset = data if same_labels(data.target, target) else _relabelled(data, target)
    else:
        of_own = same_source(str(data), known.data.source or DEFAULT)
        asked = columns(known) if of_own else replace(columns(known), group=None)  # another table needs no groups to be scored on
        dataset = open_source(str(data), target=target, data_dir=data_dir or known.data.data_dir, columns=asked)
    own = config if config is not None and same_source(dataset.source, config.data.source or DEFAULT) else None
    if own is not None:
        dataset = relabelled(dataset, own.data.relabel)
    return Chosen(dataset=limited(own, dataset) if own else dataset, own=own)


def to_benchmark(located: Located, data: str | Path | Dataset | Chosen | None) -> tuple[Chosen | None, str | None]:
    """Opens the examples to measure the accuracy of a run or an entry of the zoo; without any, returns the reason.

    Args:
        located: the run or the entry.
        data: a source or examples; the model's own, where they are here, when None.

    Raises:
        DataError, ZooError: when the entry, or data that is named, cannot be used.
    """
    if isinstance(data, Chosen):
        return data, None
    config, trained = _trained_with(located)
    if trained is None:
        return None, NO_CLASSIFIER
    if data is not None:
        return examples_for(config, trained, data), None
    try:
        return examples_for(config, trained, None), None
    except DataError as error:
        return None, str(error)


def same_labels(first: Target, second: Target) -> bool:
    """Whether two targets are the same but for what tasks have learnt about them."""
    return replace(first, facts={}, parts=()) == replace(second, facts={}, parts=())


def _relabelled(dataset: Dataset, target: Target) -> Dataset:
    """Returns the same examples with the label map of a model, so that class ids mean the same."""
    own, known = [[part.name for part in one.parts] for one in (dataset.target, target)]
    if not own and not any(
        dataset.target.tally(example.label) for example in dataset.examples
    ):  # numbers: by position, too, where they have names
        equal = set(dataset.target.labels) == set(target.labels)
        own, known = (list(dataset.target.labels), list(target.labels)) if equal else ([], [])
    if own and known and own != known:  # values are by position
        shown = [", ".join(names) for names in (own, known)]
        raise DataError(f"{dataset.name} has the targets {shown[0]}; expected {shown[1]}, in this order, as the model predicts")
    named = make_dataset(dataset.name, dataset.examples, notes=dataset.notes, target=target)
    return replace(named, source=dataset.source)


def own_source(config: RunConfig | None) -> str:
    """Returns the source that a model was trained on.

    Raises:
        ConfigError: when the model belongs to no run.
        DataError: when its source is not known or not on this computer.
    """
    if config is None:
        raise ConfigError("the model does not belong to a run, so it has no data of its own; pass --data or dataset=")
    missing = missing_source(config)
    if missing:
        raise DataError(f"{missing}; pass --data or dataset=")
    return str(config.data.source)


def missing_source(config: RunConfig) -> str | None:
    """Returns why the examples that a model was trained on cannot be opened here, or None if they can."""
    source = config.data.source
    if source is None:
        return "this run does not record what it was trained on"
    if is_passed(source):
        return f"this run was trained on arrays ({source.removeprefix(PASSED)!r}), which the run does not store"
    if kind_of(source) is None:
        return f"the data of this run, {source!r}, was not found"
    return None


def same_source(first: str | None, second: str | None) -> bool:
    """Whether two `--data` values mean the same: equal, or two ways to write one path."""
    if first is None or second is None:
        return False
    return first == second or (Path(first).exists() and Path(first).resolve() == Path(second).resolve())


def modality_of_target(located: Located) -> Modality | None:
    """Returns the modality of a model, where that is known without opening it."""
    try:
        run = run_folder.of(located.path) if located.entry is None else None
        if run:
            return MODALITIES.get(backbone_record.read(run).modality)
        manifest = _manifest_of(located)
        return MODALITIES.get(manifest.get("metadata", {}).get("modality", MODALITY)) if "config" in manifest else None
    except TlkerasError:
        return None  # what is wrong is reported where the model is opened


def _trained_with(located: Located) -> tuple[RunConfig | None, Target | None]:
    """Reads what a model was trained with, where that is known, and what it predicts, without opening the model.

    It predicts None where it was trained for no task.
    """
    run = run_folder.of(located.path) if located.entry is None else None
    if run:
        return run_folder.read_config(run), run_folder.read_target(run)
    manifest = _manifest_of(located)
    config = manifest.get("config")  # of an entry
    return None if config is None else RunConfig.from_dict(config), target_of(manifest)


def _manifest_of(located: Located) -> Mapping[str, Any]:
    """Returns the manifest of an entry, or the one beside an artifact."""
    if located.entry is not None:
        return Zoo(located.root or default_root()).get(located.entry).manifest
    folder = located.path if (located.path / NAME).is_file() else located.path.parent
    is_artifact = located.path.suffix in ENDINGS or (located.path / "saved_model.pb").is_file()
    if not (folder / NAME).is_file() and not is_artifact:
        raise DataError(not_a_target(located.path))
    return read_manifest(folder)


# === Examples to calibrate on ===


def check_calibration(calibration: str | None) -> None:
    """Checks that examples to calibrate on are there: a folder with an image in it, or an `.npz` file.

    Raises:
        DataError: when they are not.
    """
    if calibration is None:
        return
    path = Path(calibration).expanduser()
    if path.is_dir() and calibration.strip():
        if not listed_files(path, FILES)[0]:
            raise DataError(f"no image in the calibration folder {calibration!r}; expected images, in class folders or not")
    elif path.suffix != ".npz" or not path.is_file():
        raise DataError(f"no calibration examples in {calibration!r}; expected a folder of images, or an .npz of arrays by input name")
