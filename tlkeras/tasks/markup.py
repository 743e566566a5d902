"""Tables of reports (HTML) and of cards (Markdown), and texts of unknown origin in them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

from tlkeras.errors import printable


def escape(text: object) -> str:
    """Returns a text as HTML."""
    return html.escape(str(text))


def figure(value: float | None) -> str:
    """Returns a figure as text, or a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns an HTML table, which scrolls where it is wider than the page, and which a script of the page makes sortable; nothing without rows."""
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    if not body:
        return ""
    titles = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    name = escape(", ".join(filter(None, head)))
    return (
        f'<div class=scroll tabindex=0 role=group aria-label="Table: {name}">'
        f"<table class=data><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def details(summary: str, body: str, *, opened: bool = False) -> str:
    """Returns what is shown on request, with HTML as its body; nothing without a body."""
    return f"<details{' open' * opened}><summary>{escape(summary)}</summary>{body}</details>" if body else ""


def code(text: object) -> str:
    """Returns a text as a code span of Markdown, in which nothing is obeyed, whatever the text contains (CommonMark 0.31, 6.1).

    Example:
        >>> code("cat"), code("a`<img>")
        ('`cat`', '``a`<img>``')
    """
    content = printable(str(text)) or " "
    fence = "`" * (_longest_run(content) + 1)
    pad = " " if content.startswith("`") or content.endswith("`") else ""
    return f"{fence}{pad}{content}{pad}{fence}"


def fenced(text: str, language: str = "") -> str:
    """Returns a text of several lines as a block of code."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def plain(text: object) -> str:
    """Returns a text as Markdown that shows it as it is.

    Example:
        >>> plain("<b>CC-BY-4.0</b>")
        '\\\\<b\\\\>CC-BY-4.0\\\\</b\\\\>'
    """
    return re.sub(r"[\\`*\[\]<>]|&(?=#?\w+;)", r"\\\g<0>", printable(str(text)))


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Returns a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in lines)
