"""Targets of each kind, and values of examples, for tests that loop over tasks."""

from tlkeras.data.target import Target

LABELS = ("0", "1", "2")
CLASS = Target(kind="class", labels=LABELS)
SET = Target(kind="labels", labels=LABELS, name="tags")
NUMBERS = Target(kind="numbers", labels=("x", "y"), name="place")
TARGETS = {target.kind: target for target in (CLASS, SET, NUMBERS, Target.several([CLASS, SET, NUMBERS]))}
SETS = [(), ("0",), ("1", "2"), LABELS]


def classes(*labels):
    """Returns the target of classes."""
    return Target(kind="class", labels=labels)


def values(kind, n):
    """Returns the values of n examples."""
    columns = {
        "class": [LABELS[i % 3] for i in range(n)],
        "labels": [SETS[i % 4] for i in range(n)],
        "numbers": [(float(i % 5), 10.0 - i % 7) for i in range(n)],
    }
    return columns[kind] if kind in columns else list(zip(*columns.values(), strict=True))
