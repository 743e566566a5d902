"""Tests of differences: which of two models, or of two groups of examples, is worse, and how easily chance would do the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

EXACT = 25  # discordant examples below which McNemar's test is exact; Fagerland et al. 2013, doi:10.1186/1471-2288-13-91
ALPHA = 0.05


def mcnemar(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """Returns McNemar's test of two models on the same examples (McNemar 1947, doi:10.1007/BF02295996).

    Args:
        first, second: bool (n,), whether each answer is right.

    Returns:
        `only_first`, `only_second`: examples that one model alone answers correctly; `p`, two-sided; `method`: exact for less than 25 of
        them, else chi-squared with continuity correction.
    """
    from scipy import stats

    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    discordant = only_first + only_second
    if discordant < EXACT:
        p, method = (float(stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0), "exact"
    else:
        statistic = max(0, abs(only_first - only_second) - 1) ** 2 / discordant
        p, method = float(stats.chi2.sf(statistic, 1)), "chi-squared, continuity-corrected"
    return {"only_first": only_first, "only_second": only_second, "p": p, "method": method}


def wilcoxon(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """Returns the signed-rank test of the errors of two models on the same examples (Wilcoxon 1945, doi:10.2307/3001968).

    Args:
        first, second: absolute errors, (n,).

    Returns:
        `smaller_first`, `smaller_second`: examples on which one model errs less; `p`, two-sided, 1 where all errors are equal.
    """
    from scipy import stats

    differences = first - second
    p = float(stats.wilcoxon(differences).pvalue) if np.any(differences != 0) else 1.0
    return {"smaller_first": int((differences < 0).sum()), "smaller_second": int((differences > 0).sum()), "p": p}


def worse(inside: np.ndarray, outside: np.ndarray) -> float:
    """Returns the one-sided p-value that mistakes are no larger inside a group of examples than outside of it.

    Where mistakes are 0 or 1, it is Fisher's exact test (Fisher 1935); else that of Mann & Whitney 1947, doi:10.1214/aoms/1177730491.

    Args:
        inside, outside: mistakes of the examples, see `Measures.mistakes`.
    """
    from scipy import stats

    if not len(inside) or not len(outside):
        return 1.0
    mistakes = np.concatenate([inside, outside])
    if np.ptp(mistakes) == 0:
        return 1.0
    if np.isin(mistakes, (0, 1)).all():
        counts = [[int(part.sum()), int(len(part) - part.sum())] for part in (inside, outside)]
        return float(stats.fisher_exact(counts, alternative="greater").pvalue)
    return float(stats.mannwhitneyu(inside, outside, alternative="greater").pvalue)


def worse_by_group(mistakes: np.ndarray, inside: np.ndarray, groups: np.ndarray) -> float:
    """Returns the one-sided p-value of `worse` where only groups of examples are independent of each other.

    A t-test of the difference of the means, whose standard error is that of whole groups (Liang & Zeger 1986, doi:10.1093/biomet/73.1.13). The
    side with fewer groups decides on the correction and the degrees of freedom, because few groups make that error too small (Cameron &
    Miller 2015, doi:10.3368/jhr.50.2.317).

    Args:
        mistakes: of all examples, see `Measures.mistakes`.
        inside: bool (n,), which of them are in the slice.
        groups: int (n,), the same number for examples that belong together.
    """
    from scipy import stats

    sides = (inside, ~inside)
    fewest = min(len(np.unique(groups[side])) for side in sides)
    if fewest < 2:
        return 1.0
    residuals = np.empty(len(mistakes))
    for side, sign in zip(sides, (1, -1), strict=True):
        residuals[side] = sign * (mistakes[side] - mistakes[side].mean()) / side.sum()
    of_groups = np.bincount(np.unique(groups, return_inverse=True)[1], residuals)
    error = math.sqrt(fewest / (fewest - 1) * float(np.square(of_groups).sum()))
    if error < 1e-12:  # all answers of a side are alike: each group counts as one answer
        inner, outer = (np.full(len(np.unique(groups[side])), mistakes[side][0]) for side in sides)
        return worse(inner, outer)
    difference = float(mistakes[inside].mean() - mistakes[~inside].mean())
    return float(stats.t.sf(difference / error, fewest - 1))


def p_text(p: float) -> str:
    """Returns a p-value as text."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values corrected for their number, 0 to 1 (Holm 1979, https://www.jstor.org/stable/4615733)."""
    p = np.asarray(p_values, "float64")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in corrected]
