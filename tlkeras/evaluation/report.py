"""`report.html`: one self-contained page that needs neither network nor scripts; a script sorts, filters and previews where there is one."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlkeras import files
from tlkeras.evaluation.report_data import Explained, Gallery, ReportData
from tlkeras.evaluation.report_parts import Section, sections
from tlkeras.tasks.cases import slug
from tlkeras.tasks.markup import escape

MOST = 5_000_000  # bytes of a page, below which mail and chat programs accept it


def write(path: Path, data: ReportData) -> None:
    """Writes the report of a run, titled with the name of its folder. It contains no local path.

    Args:
        path: file to write.
        data: what the page says.
    """
    kicker = f"{data.task.name} with {data.config.get('backbone', 'a backbone')}, {data.conditions}"
    html = page(data.title, kicker, sections(data))
    heavy: tuple[dict[str, Any], ...] = ({"explained": Explained()}, {"gallery": Gallery()})
    for shed in heavy:  # many classes or long texts: the figures stay
        if len(html.encode()) > MOST:
            data = replace(data, **shed)
            html = page(data.title, kicker, sections(data))
    files.write(path, html)


def page(title: str, kicker: str, parts: Sequence[Section]) -> str:
    """Returns a page in the style of the reports.

    Args:
        title: of the page.
        kicker: a line above the title: what it is about.
        parts: (title, HTML) of each section, without scripts; a section without a title stands at the top.
    """
    style, script = _asset("report.css"), _asset("report.js")
    names = _anchors([name for name, _ in parts])
    links = "".join(f'<li><a href="#{anchor}">{escape(name)}</a></li>' for (name, _), anchor in zip(parts, names, strict=True) if name)
    body = "".join(_section(name, anchor, html) for (name, html), anchor in zip(parts, names, strict=True))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Nothing is fetched and no other script runs, whatever stands in the data.
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{escape(title)}</title><style>{style}</style></head>'
        '<body><a class=skip href="#main">Skip to the figures</a>'
        f"<header><p class=kicker>{escape(kicker)}</p><h1>{escape(title)}</h1></header>"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav><main id="main" tabindex=-1>{_without_dangling(body)}</main>'
        f"<footer><p>Made by tlkeras. This page stands alone: it loads nothing and sends nothing.</p></footer>"
        f"<script>{script}</script></body></html>\n"
    )


def _section(title: str, anchor: str, body: str) -> str:
    heading = f"<h2>{escape(title)}</h2>" if title else ""
    return f'<section id="{anchor}">{heading}{body}</section>'


def _anchors(titles: Sequence[str]) -> list[str]:
    """Returns one anchor for each title, all different."""
    taken: list[str] = []
    for title in titles:
        anchor = f"s-{slug(title or 'headline')}"
        while anchor in taken:
            anchor += "-2"
        taken.append(anchor)
    return taken


def _without_dangling(body: str) -> str:
    """Keeps the text of links to examples that the page does not show, but not the link."""
    known = set(re.findall(r'\bid="?([^\s">]+)', body))

    def kept(match: re.Match[str]) -> str:
        return match[0] if match[1] in known else match[2]

    return re.sub(r'<a class=cell href="#([^"]+)"[^>]*>(.*?)</a>', kept, body)


@functools.cache
def _asset(name: str) -> str:
    return importlib.resources.files("tlkeras.evaluation").joinpath(name).read_text(encoding="utf-8").strip()
