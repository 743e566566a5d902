"""How a model answered single examples: what galleries, maps and curves of the report are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Cases:
    """The answers to `n` examples, one entry for each.

    Args:
        truth, answer: what is true and what was answered, as text.
        error: float (n,): how wrong each answer is, 0 where it is correct; galleries list the largest first.
        certainty: float (n,), 0 to 1: the probability that the model gives its own answer; None where it gives none.
        correct: bool (n,); None where answers are neither right nor wrong, as numbers are.
        groups: what the examples are coloured by on a map.
        cells: int (n, 2): row and column of each in the confusion matrix; None where there is none.
        labels: names of the rows and columns of that matrix.
        probabilities, events: float (m,) and bool (m,): probabilities that the model states, and whether what they are of holds.
            None where it states none.
        mistakes: title of the gallery of the worst answers.
    """

    truth: Sequence[str]
    answer: Sequence[str]
    error: np.ndarray
    certainty: np.ndarray | None = None
    correct: np.ndarray | None = None
    groups: Sequence[str] = ()
    cells: np.ndarray | None = None
    labels: Sequence[str] = ()
    probabilities: np.ndarray | None = None
    events: np.ndarray | None = None
    mistakes: str = "Most confident mistakes"

    def __len__(self) -> int:
        return len(self.truth)

    def worst(self, count: int) -> np.ndarray:
        """Returns the positions of the worst answers, the worst first; none that is correct."""
        order = np.argsort(-self.error, kind="stable")[:count]
        return order[self.error[order] > 0]

    def confused(self) -> list[tuple[tuple[int, int], np.ndarray]]:
        """Returns each cell of the confusion matrix that has examples, with their positions, the largest cells off the diagonal first."""
        if self.cells is None or not len(self.cells):
            return []
        cells, index = np.unique(self.cells, axis=0, return_inverse=True)
        index = index.reshape(-1)
        members = [((int(row), int(column)), np.flatnonzero(index == place)) for place, (row, column) in enumerate(cells)]
        return sorted(members, key=lambda cell: (cell[0][0] == cell[0][1], -len(cell[1]), cell[0]))


def slug(text: str) -> str:
    """Returns a text as part of an anchor: letters, digits and hyphens; different texts may give the same.

    Example:
        >>> slug("Eye colour: brown")
        'eye-colour-brown'
    """
    words = "".join(letter if letter.isalnum() else " " for letter in text.lower()).split()
    return "-".join(words) or "part"


def cell_anchor(row: int, column: int, prefix: str = "") -> str:
    """Returns the anchor of the examples of one cell of the confusion matrix; `prefix` tells several targets apart."""
    return f"{prefix}cell-{row}-{column}"
