"""What commands print: whatever stands in files of others, a terminal shows it and does not obey it."""

from __future__ import annotations

import json
from typing import Any

import typer

from tlkeras.errors import is_obeyed, printable

KEPT = "\n\t"  # of the characters that a terminal obeys, those between lines and between parts of a line


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Prints a text, in which characters that a terminal obeys are spelled out, but for ends of lines and tabs.

    Args:
        text: to print.
        err: whether on standard error.
        nl: whether a line ends behind it.
    """
    typer.echo(printable(text, keep=KEPT), err=err, nl=nl)


def echo_json(value: Any, indent: int | None = 2) -> None:
    """Prints a value as JSON, on one line where `indent` is None."""
    typer.echo(json_text(value, indent))


def json_text(value: Any, indent: int | None = 2) -> str:
    """Returns a value as JSON that any terminal shows."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(json.dumps(char)[1:-1] if char != "\n" and is_obeyed(char) else char for char in text)
