"""The exact head: the minimum of the regularised loss on fixed features, found by L-BFGS instead of epochs of steps.

For classes this is multinomial logistic regression, for sets of labels one logistic regression for each, for numbers ridge regression:
whatever the loss of the task makes of a linear head, see `head_problem`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tlkeras.data.folds import whole_groups
from tlkeras.models import TaskModel
from tlkeras.training.features import Arrays
from tlkeras.training.head_problem import Problem
from tlkeras.training.options import Options
from tlkeras.training.recipes.registry import Phase

FOLDS = 3
MOST_COMPARED = 4096  # examples that strengths are compared on: with more, the best strength hardly differs
ITERATIONS_COMPARED, ITERATIONS = 60, 200  # of L-BFGS, to compare strengths and to solve
TOLERANCE = 1e-6  # relative change of the loss that ends it
PATIENCE = 2  # weaker strengths that may be worse, one after the other, before no further one is tried


@dataclass(frozen=True, kw_only=True)
class Solution:
    """The result of solving a head.

    Args:
        strength: of the L2 penalty.
        losses: strength -> mean loss on held-out folds; empty where nothing was compared.
    """

    strength: float
    losses: dict[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Returns the record in `metrics.json`."""
        losses = {f"{strength:g}": round(loss, 6) for strength, loss in self.losses.items()}
        return {"strength": self.strength, **({"cross_validated_losses": losses} if losses else {})}


def solve(task: TaskModel, phase: Phase, head: keras.Model, train: Arrays, options: Options) -> Solution:
    """Sets the weights of a head to the minimum of its mean loss plus half its squared weights times a strength; biases are free.

    The strength is the one among the phase's with the lowest loss in cross-validation on the training examples.

    Args:
        task: with the loss.
        phase: with the strengths.
        head: features -> scores, shares its layers with the task model; its trainable variables are set.
        train: features of the training examples, (views * n, …), and their targets.
        options: seed, weights of classes, progress.
    """
    problem = Problem(task, head, train, options)
    examples = np.arange(len(train.y))
    strengths = sorted(phase.strengths, reverse=True)
    losses: dict[float, float] = {}
    start = np.zeros(problem.size)
    if len(strengths) > 1 and len(examples) >= 2 * FOLDS:
        report = lambda done, text: options.progress(phase.name, done, len(strengths) + 1, text)  # noqa: E731
        losses, start = _compared(problem, strengths, examples, options.seed, report)
    strength = min(losses, key=lambda value: losses[value]) if losses else strengths[-1]
    options.progress(phase.name, len(strengths), len(strengths) + 1, f"L2 strength {strength:g}")
    problem.put(_minimum(problem, strength, examples, start, ITERATIONS))
    options.progress(phase.name, len(strengths) + 1, len(strengths) + 1, f"L2 strength {strength:g}")
    return Solution(strength=strength, losses=losses)


@dataclass(frozen=True, kw_only=True)
class Validated:
    """What a head answers for examples that it was not solved on.

    Args:
        scores: float32 (n, width), of each example by the head of the other folds.
        solution: the strength of the penalty, and the loss of each that was tried.
    """

    scores: np.ndarray
    solution: Solution


def cross_validated(
    task: TaskModel, head: keras.Model, train: Arrays, fold_of: np.ndarray, strengths: Sequence[float], options: Options
) -> Validated:
    """Solves a head on all folds but one, for each fold, at the strength with the lowest loss on the folds that are left out.

    Args:
        task, head, train, options: as of `solve`; the weights of the head are changed.
        fold_of: int (n,), the fold of each example.
        strengths: of the L2 penalty.
    """
    problem = Problem(task, head, train, options)
    examples, folds = np.arange(len(train.y)), np.unique(fold_of)
    points = {fold: np.zeros(problem.size) for fold in folds}
    losses: dict[float, float] = {}
    best, worse = np.empty((len(train.y), head.output_shape[-1]), "float32"), 0
    for strength in sorted(strengths, reverse=True):
        total, scores = 0.0, np.empty_like(best)
        for fold in folds:
            inside = examples[fold_of == fold]
            points[fold] = _minimum(problem, strength, examples[fold_of != fold], points[fold], ITERATIONS_COMPARED)
            batches = problem.batches(inside)
            total += problem.loss_and_gradient(points[fold], batches)[0] * len(inside)
            scores[inside] = problem.scores(points[fold], batches)[: len(inside)]
        losses[strength] = total / len(examples)
        worse = 0 if losses[strength] == min(losses.values()) else worse + 1
        best = scores if worse == 0 else best
        if worse == PATIENCE:
            break
    strength = min(losses, key=lambda value: losses[value])
    return Validated(scores=best, solution=Solution(strength=strength, losses=losses))


def _compared(
    problem: Problem, strengths: Sequence[float], examples: np.ndarray, seed: int, report: Callable[[int, str], None]
) -> tuple[dict[float, float], np.ndarray]:
    """Returns the mean loss on held-out folds for each strength that was tried, from strong to weak, and the best solutions' mean."""
    chosen = np.random.default_rng((seed, len(examples))).permutation(examples)[:MOST_COMPARED]
    folds = _folds(problem.y[chosen], None if problem.groups is None else problem.groups[chosen])
    points = [np.zeros(problem.size) for _ in range(FOLDS)]
    losses: dict[float, float] = {}
    best, worse = points[0], 0
    for index, strength in enumerate(strengths):
        report(index, f"L2 strength {strength:g}")
        total = 0.0
        for fold in range(FOLDS):
            points[fold] = _minimum(problem, strength, chosen[folds != fold], points[fold], ITERATIONS_COMPARED)
            total += problem.loss(points[fold], chosen[folds == fold]) * int((folds == fold).sum())
        losses[strength] = total / len(chosen)
        worse = 0 if losses[strength] == min(losses.values()) else worse + 1
        if worse == 0:
            best = np.mean(points, axis=0)
        if worse == PATIENCE:
            break
    return losses, best


def _folds(y: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Returns the fold of each example: whole groups where there are enough, else those of a class are dealt out in turn."""
    if groups is not None and len(np.unique(groups)) >= FOLDS:
        return whole_groups(groups, FOLDS)
    folds = np.empty(len(y), int)
    folds[np.argsort(y, kind="stable") if y.ndim == 1 else np.arange(len(y))] = np.arange(len(y)) % FOLDS
    return folds


def _minimum(problem: Problem, strength: float, examples: np.ndarray, start: np.ndarray, iterations: int) -> np.ndarray:
    """Returns the weights where the regularised mean loss of some examples is lowest."""
    from scipy import optimize  # takes a while to import

    batches = problem.batches(examples)

    def value(point: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = problem.loss_and_gradient(point, batches)
        weights = point * problem.penalised
        return loss + strength / 2 * float(weights @ weights), gradient + strength * weights

    settings = {"maxiter": iterations, "ftol": TOLERANCE, "gtol": 1e-6}
    # SciPy's own products are of short vectors: its threads would wait for each other ten times as long as they compute.
    with _thread_pools().limit(limits=1, user_api="blas"):
        return np.asarray(optimize.minimize(value, start, jac=True, method="L-BFGS-B", options=settings).x)


@functools.cache
def _thread_pools() -> Any:
    """Returns the thread pools of the libraries of this process; to look for them takes longer than many a solution."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
