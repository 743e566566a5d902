"""The rate of every trained variable, and where its weight decay pulls: by section, from the head down."""

from __future__ import annotations

import keras
import numpy as np

from tlkeras.backbones.sections import HEAD
from tlkeras.models import TaskModel
from tlkeras.training.optimizer import Pull
from tlkeras.training.recipes.registry import Phase


def pull_of(task: TaskModel, phase: Phase, suffix: keras.Model) -> Pull:
    """Returns how the optimizer of a phase treats the variables of the trained part, in the order of its trainable variables.

    A section at depth d below the head has the learning rate times `layer_decay ** d` (Howard & Ruder 2018, discriminative fine-tuning,
    https://arxiv.org/abs/1801.06146). With `towards_start`, weights of the backbone decay towards their present values (Li et al. 2018,
    L2-SP, https://arxiv.org/abs/1802.01483), those of the head towards 0.
    """
    sections = section_of_variables(task)
    depth = {HEAD: 0} | {name: index + 1 for index, name in enumerate(reversed(task.section_names))}
    own = [sections.get(id(variable), HEAD) for variable in suffix.trainable_variables]
    factors = None if phase.layer_decay == 1 else [phase.layer_decay ** depth.get(section, len(task.section_names)) for section in own]
    if not phase.towards_start:
        return Pull(factors=factors)
    starts = [
        None if section == HEAD else np.asarray(variable.value) for variable, section in zip(suffix.trainable_variables, own, strict=True)
    ]
    return Pull(factors=factors, start=starts)


def section_of_variables(task: TaskModel) -> dict[int, str]:
    """Returns the section of each variable, by its id; of one that several layers share, the section next to the input."""
    sections: dict[int, str] = {}
    for layer in task.model.layers:
        for variable in layer.weights:
            sections.setdefault(id(variable), task.sections[layer.name])
    return sections
