"""One registry class for every table of rows. Rows name their code as `"module:function"`, so that reading a table imports nothing heavy."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from tlkeras.errors import unknown_name


def load_function(dotted: str) -> Callable[..., Any]:
    """Returns the function that a row names as `"module:function"`."""
    module, _, name = dotted.partition(":")
    return getattr(importlib.import_module(module), name)


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Row = TypeVar("Row", bound=_Named)


class Registry(Generic[Row]):
    """An ordered table of rows, each with a unique `name`.

    Args:
        kind: what a row is, in the singular ("backbone"); used in error messages.
        rows: the rows, in the order they are listed.
        aliases: other name -> name of a row.

    Raises:
        ValueError: when a name or an alias stands twice.
    """

    def __init__(self, kind: str, rows: Iterable[Row], aliases: dict[str, str] | None = None):
        self.kind = kind
        self._rows: dict[str, Row] = {}
        self._aliases: dict[str, str] = {}
        for row in rows:
            self.add(row)
        for alias, name in (aliases or {}).items():
            self._claim(alias)
            self._aliases[alias] = self.get(name).name

    def _claim(self, name: str) -> None:
        if name in self._rows or name in self._aliases:
            raise ValueError(f"{self.kind} {name!r} is already registered")

    def add(self, row: Row) -> Row:
        """Adds a row; a name that is taken is an error."""
        self._claim(row.name)
        self._rows[row.name] = row
        return row

    def get(self, name: str) -> Row:
        """Returns the row of this name or alias; an unknown one raises and lists near names."""
        row = self._rows.get(self._aliases.get(name, name))
        if row is None:
            raise unknown_name(self.kind, name, [*self._rows, *self._aliases])
        return row

    def names(self) -> list[str]:
        """Returns the names of the rows, in order, without aliases."""
        return list(self._rows)

    def aliases(self) -> dict[str, str]:
        """Returns alias -> name."""
        return dict(self._aliases)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def __contains__(self, name: object) -> bool:
        return name in self._rows or name in self._aliases
