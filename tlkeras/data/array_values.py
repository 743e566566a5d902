"""The values of examples in arrays and lists, and what pandas gives, without pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tlkeras.data.cells import ADVICE, as_list, is_missing, number
from tlkeras.data.target import KINDS
from tlkeras.data.values import Column, Request, Values, read_values
from tlkeras.errors import DataError

SEVERAL = "several"


def array_values(y: Any, name: str, request: Request) -> Values:
    """Returns the value of each entry of y, None where it is missing.

    Args:
        y: n labels, lists of labels or numbers; an array (n, columns); a dict or a DataFrame of columns.
        name: of the arrays, for errors.
        request: what is known about the target.

    Raises:
        DataError: when y leaves open what is meant.
    """
    kind = request.target.kind if request.target else request.kind
    if kind is not None:
        KINDS.get(kind)
    where = [f"{name}/{i}" for i in range(length(y))]
    if isinstance(y, Mapping):
        columns = [_column(str(key), as_array("y", values), f"y[{key!r}]", request) for key, values in y.items()]
        return read_values(columns, where=where, request=request if kind else replace(request, kind=SEVERAL))
    names = [str(key) for key in getattr(y, "columns", ())]
    if len(names) > 1:  # a DataFrame
        values = y.to_numpy()
        columns = [_column(key, values[:, index], f"y[{key!r}]", request) for index, key in enumerate(names)]
        return read_values(columns, where=where, request=request)
    array = as_array("y", y)
    if array.ndim == 2 and array.shape[1] == 1:  # as Keras' data sets have it
        array = array[:, 0]
    if array.ndim > 2 or (array.ndim == 2 and kind is None and _is_one_hot(array)):
        advice = "it is one-hot: pass y.argmax(axis=1)" if array.ndim == 2 else ADVICE
        raise DataError(f"y has the shape {array.shape}; expected (n,), one label for each example: {advice}")
    return read_values([_column("", array, "y", request)], where=where, request=request)


def _is_one_hot(array: np.ndarray) -> bool:
    return array.dtype.kind in "buif" and bool(np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all())


def _column(key: str, array: np.ndarray, title: str, request: Request) -> Column:
    cells = list(array) if array.ndim > 1 else array.tolist()
    if request.labels is not None and array.ndim == 1 and (request.kind is None or KINDS.get(request.kind).of_labels):
        cells = [_named(cell, request.labels) for cell in cells]
    return Column(name=key, cells=cells, title=title, is_array=array.ndim > 1 and array.dtype.kind in "buif")


def _named(value: Any, labels: Sequence[str]) -> Any:
    """Returns a label, or the one that an index points at; of a list, each of them."""
    entries = as_list(value)
    if entries is not None:
        return [_named(entry, labels) for entry in entries]
    if isinstance(value, (str, bytes)) or is_missing(value):
        return value
    index = number(value)
    if index is None or index % 1 or not 0 <= index < len(labels):
        raise DataError(
            f"y has the label {value}; expected 0 to {len(labels) - 1}, the indices of the {len(labels)} labels, or their names"
        )
    return str(labels[int(index)])


def length(values: Any) -> int:
    """Returns the number of entries of y.

    Raises:
        DataError: when it has none, or columns of different lengths.
    """
    if isinstance(values, Mapping):
        if not values:
            raise DataError("y is an empty dict; expected the name and the values of each target")
        lengths = {length(column) for column in values.values()}
        if len(lengths) != 1:
            raise DataError(f"y has arrays of {sorted(lengths)} labels; expected as many in each")
        return lengths.pop()
    try:
        return len(values)
    except TypeError:
        raise DataError(f"y is a {type(values).__name__}; expected n labels") from None


def as_array(name: str, values: Any) -> np.ndarray:
    """Returns an array of a list, an array, or a pandas Series or DataFrame of one column; pandas is not needed for it."""
    array = values.to_numpy() if hasattr(values, "to_numpy") else values
    if name == "y" and isinstance(array, (list, tuple)) and _are_lists(array):
        array, entries = np.empty(len(array), object), array
        array[:] = [entry if as_list(entry) is None else as_list(entry) for entry in entries]
    if isinstance(array, (list, tuple)) and any(isinstance(entry, str) or is_missing(entry) for entry in array):
        array = np.array(array, dtype=object)  # so that None and NaN beside texts stay what they are
    try:
        array = np.asarray(array)
    except ValueError as error:  # rows of different lengths
        what = "one label for each example" if name == "y" else "images of one size, or texts"
        raise DataError(f"{name} is a list of elements of different shapes ({str(error)[:80]}); expected {what}") from error
    if array.ndim == 0:
        raise DataError(f"{name} is a {type(values).__name__}; expected an array or a list with one entry for each example")
    return array[:, 0] if name == "x" and array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind in "OU" else array


def _are_lists(values: Sequence[Any]) -> bool:
    """Whether entries are lists or sets of labels, and not the rows of an array of numbers."""
    lists = [entries for value in values if isinstance(value, (list, tuple, set, frozenset)) and (entries := as_list(value)) is not None]
    return (
        len({len(entries) for entries in lists}) > 1
        or any(isinstance(entry, str) for entries in lists for entry in entries)
        or any(isinstance(value, (set, frozenset)) for value in values)
    )
