"""Where the run comes from: the audit of its data, its settings, and how to have it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlkeras.evaluation.parts.answers import gallery
from tlkeras.evaluation.report_data import ReportData
from tlkeras.evaluation.report_parts import Section
from tlkeras.tasks.markup import details, escape, table

LISTED = 100  # issues in the table
SHOWN = 24  # thumbnails beside it


def audit(data: ReportData) -> Sequence[Section]:
    """Returns the issues that the audit found, counted and listed, with the examples that they name."""
    issues = data.audit["issues"]
    counted = table(("issue", "count"), sorted(data.audit["counts"].items()))
    rows = [(issue["kind"], issue["path"], issue["reason"], issue["action"]) for issue in issues[:LISTED]]
    more = f"<p class=muted>{len(issues) - LISTED} more in data_audit.json.</p>" if len(issues) > LISTED else ""
    listed = details("Every issue", table(("kind", "path", "reason", "action"), rows) + more, opened=len(rows) <= 12)
    body = counted + data.without_folders(listed) + _named(data, issues)
    return [("Data", body or "<p>The audit found no issues.</p>")]


def _named(data: ReportData, issues: Sequence[dict[str, Any]]) -> str:
    """Returns thumbnails of the examples that issues name."""
    cards: list[str] = []
    for issue in issues:
        thumbnail = data.gallery.thumbnails.get(issue["path"])
        if thumbnail is not None and len(cards) < SHOWN:
            text = f"<span class=truth>{escape(issue['kind'])}</span> <span class=name>{data.without_folders(escape(issue['path']))}</span>"
            cards.append(f"<figure class=example>{thumbnail}<figcaption>{text}</figcaption></figure>")
    return gallery(cards)


def reproduce(data: ReportData) -> Sequence[Section]:
    """Returns command, seed, fingerprint of the data, versions and the effective config."""
    environment, command = data.environment, data.environment.get("command") or []
    typed = shlex.join([Path(command[0]).name, *command[1:]]) if command else ""
    body = f"<p>As it was started:</p><pre tabindex=0>{data.without_folders(escape(typed))}</pre>" if typed else ""
    body += (
        f"<p>With every setting of this run:</p><pre tabindex=0>tlkeras finetune --config {escape(data.title)}/config.yaml --out NEW</pre>"
    )
    facts = [
        ("seed", data.config.get("seed", "")),
        ("fingerprint of the data and its splits", data.summary.get("data", {}).get("fingerprint", "–")),
        *((name, environment[name]) for name in ("python", "platform", "processors") if name in environment),
    ]
    versions = [(name, version) for name, version in environment.get("packages", {}).items() if version]
    settings = [(name, str(value)) for name, value in data.config.items()]
    body += table(("", "value"), facts) + details("Versions of packages", table(("package", "version"), versions))
    body += details("Config", data.without_folders(table(("key", "value"), settings)))
    return [("How to reproduce", body)]
