"""What training is given: the examples of each split, and the options that hold for all phases of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tlkeras.data.row_cache import RowCache
from tlkeras.distribution.strategies import ONE_DEVICE, Distribution
from tlkeras.modalities.images.augmentations import AUGMENTS
from tlkeras.training.recipes.registry import Phase
from tlkeras.training.states import FitStates, States


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Inputs and labels of one split, in the same order.

    Args:
        inputs: images uint8 (n, size, size, 3), token ids int32 (n, tokens, …) or sequences float32 (n, time, features).
        y: int (n,).
        lengths: int (n,), tokens of each text; None where all are of one length.
        rows: int (n,), where they stand among the examples of `SharedFeatures`; None where features are not shared.
        groups: int (n,), what is not separated in folds has the same number; None where each example is alone.
    """

    inputs: np.ndarray
    y: np.ndarray
    lengths: np.ndarray | None = None
    rows: np.ndarray | None = None
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.y)


@dataclass(kw_only=True)
class SharedFeatures:
    """Features of all examples, computed once, of which several trainings read the rows of their own examples.

    Args:
        everything: all examples.
        seed: of augmented views, which all trainings have in common.
        known: digest of a prefix and number of augmented views (0 for none) -> arrays of all examples, (views * n, …).
        closed: whether no further prefix is added: one that differs from training to training would be computed for too many examples.
        expected: keys that are added all the same, as the training that had them was done before this process began.
    """

    everything: Examples
    seed: int = 0
    known: dict[tuple[str, int], list[np.ndarray]] = field(default_factory=dict)
    closed: bool = False
    expected: frozenset[tuple[str, int]] = frozenset()

    def takes(self, key: tuple[str, int]) -> bool:
        """Whether features that are not known yet are computed for all examples."""
        return not self.closed or key in self.expected


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options for all phases of a run.

    Args:
        batch_size: examples that are computed at a time, by all replicas together.
        accumulate: how many such batches make a step; their gradients are added up.
        clip_norm: largest norm of the gradient of a step; None for no limit.
        batch_norm: `frozen` or `train`, see `freezing.apply`.
        augment: name of the augmentation of training images.
        views: augmented views of each example whose features are cached, at most.
        mixup, cutmix, label_smoothing: see `tlkeras.data.mixing`; 0 for none. Exact heads do without.
        engines: whether another engine than TensorFlow may compute features; see `tlkeras.training.engines`.
        patience: passes over the training examples without a better one before a phase ends that keeps its best epoch.
        seed: of the order of the examples and of augmentation; each phase derives its own.
        class_weights: class id -> weight of its examples.
        tf32: whether the steps of training may multiply in TF32; features and scores never do.
        checkpoints: folder of the checkpoints, one file for each phase.
        work: where features larger than memory allows are mapped.
        states: where the state of training is stored, for a run that is killed; None for nowhere.
        state: of the present phase, see `states`.
        features: whether features of held-out examples and of some training examples are asked for beside the scores.
        cache: where features are kept between runs; nothing is kept when None.
        shared: features that several trainings on parts of the same examples share; each training computes its own when None.
        distribution: where the work runs.
        progress: called with (name, done, total, text).
        say: called with a line about what was decided.
    """

    batch_size: int = 32
    accumulate: int = 1
    clip_norm: float | None = None
    batch_norm: str = "frozen"
    augment: str = "none"
    views: int = 4
    mixup: float = 0.0
    cutmix: float = 0.0
    label_smoothing: float = 0.0
    engines: bool = False
    patience: int = 8
    seed: int = 0
    class_weights: Mapping[int, float] | None = None
    tf32: bool = False
    checkpoints: Path
    work: Path | None = None
    states: States | None = None
    state: FitStates | None = None
    features: bool = False
    cache: RowCache | None = None
    shared: SharedFeatures | None = None
    distribution: Distribution = ONE_DEVICE
    progress: Callable[[str, int, int, str], None] = lambda name, done, total, text: None
    say: Callable[[str], None] = lambda text: None

    @property
    def step_size(self) -> int:
        """Examples per step of the optimizer."""
        return self.batch_size * self.accumulate

    @property
    def soft_targets(self) -> bool:
        """Whether targets are probabilities."""
        return bool(self.mixup or self.cutmix or self.label_smoothing)

    @property
    def augmented(self) -> bool:
        """Whether the augmentation changes images."""
        return AUGMENTS.get(self.augment).changes

    def of_phase(self, phase: Phase) -> Options:
        """Returns the options of a phase, which may choose what the run leaves open."""
        return dataclasses.replace(self, batch_norm=phase.batch_norm or self.batch_norm)
