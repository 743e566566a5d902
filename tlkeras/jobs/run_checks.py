"""What would make a run fail after minutes, and is known from its settings and its examples before TensorFlow loads."""

from __future__ import annotations

from tlkeras.backbones import alternatives
from tlkeras.backbones.row import check_size, with_options
from tlkeras.config import RunConfig
from tlkeras.data import folds as folding
from tlkeras.data.examples import Dataset
from tlkeras.data.sources.listing import readable
from tlkeras.errors import ConfigError, WeightsUnavailable
from tlkeras.jobs import plan as planning
from tlkeras.jobs import teacher
from tlkeras.jobs.plan import Plan
from tlkeras.tasks import conformal
from tlkeras.weights.sources import FIRST, NAMED, chosen_source, is_path


def check(plan: Plan, dataset: Dataset) -> None:
    """Checks what a run needs besides names and values that are right.

    Raises:
        WeightsUnavailable: when the backbone has no such weights, or their file or folder is not there.
        ConfigError: for sizes that the backbone does not have or accept; for a teacher that is no run or predicts something else; for more
            folds or a smaller error rate than there are examples for; and for phases that contradict the settings.
    """
    config = plan.asked
    _check_backbone(plan)
    _check_folds(config, dataset)
    teacher.check(config, dataset.target)
    _check_sets(config, dataset)
    if plan.backbone.sections:  # those of others are known when the network is built
        planning.phases(plan, planning.section_names(plan))


def _check_backbone(plan: Plan) -> None:
    row, model = plan.backbone, plan.config.model
    name, source = model.weights.partition("#sha256=")[0], chosen_source(row, model.weights)
    if is_path(model.weights) and not readable(name):
        raise WeightsUnavailable(
            f"no weights file or folder {name!r}; expected {', '.join(NAMED)}, an existing file of weights, or the folder of a preset"
        )
    if source is None and model.weights != "none" and not is_path(model.weights):
        what = "pretrained weights" if model.weights in FIRST else f"weights of the kind {model.weights!r}"
        raise WeightsUnavailable(f"{row.name} has no {what}; {alternatives.ways(row)}")
    with_options(row, model.options())
    published = source is not None and source.published is not None
    if model.image_size is not None and not published:  # a published network has the size that it was trained with
        check_size(row, model.image_size)


def _check_folds(config: RunConfig, dataset: Dataset) -> None:
    """Examples of equal content count as one: that is known when they are read."""
    if config.train.cross_validate is None:
        return
    if config.train.teacher is not None:
        raise ConfigError("cross_validate is set, and the teacher has seen examples that the folds test on; leave one of them out")
    groups = {example.group for example in dataset.examples if example.group is not None}
    alone = sum(example.group is None for example in dataset.examples)
    folding.check_count(
        folding.parse(config.train.cross_validate)[0], min(len(groups) + alone, _most(config, dataset)), grouped=bool(groups)
    )


def _check_sets(config: RunConfig, dataset: Dataset) -> None:
    """Which examples are held out is known when they are read; that there are too few in any case, now."""
    if config.certainty.conformal is None:
        return
    splits = [example.split for example in dataset.examples]
    carved = config.data.val_split != 0.0  # from the training examples, where the source has none for validation
    held_out = splits.count("val") or carved * min(sum(split in (None, "train") for split in splits), _most(config, dataset))
    conformal.check_enough(config.certainty.conformal, held_out, at_most=True)


def _most(config: RunConfig, dataset: Dataset) -> int:
    return min(len(dataset.examples), config.data.limit or len(dataset.examples))
