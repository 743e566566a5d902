"""The map of the features: near points are examples that look alike to the network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from tlkeras.evaluation.gallery import MAPS
from tlkeras.evaluation.parts.answers import card, gallery
from tlkeras.evaluation.report_data import ReportData
from tlkeras.evaluation.report_parts import Section
from tlkeras.tasks.charts import Point, scatter
from tlkeras.tasks.markup import escape

ONE = "examples"  # the group of all where the task names none


def feature_map(data: ReportData) -> Sequence[Section]:
    """Returns the map; each point leads to its example below it."""
    places = {name: index for index, name in enumerate(data.ids)}
    points = [(places[name], x, y) for name, x, y in data.gallery.points if name in places]
    if not points:
        return []
    first = next(iter(data.cases.items()), None)
    answers = first[1] if first else None
    groups: dict[str, list[Point]] = defaultdict(list)
    cards = []
    for index, x, y in points:
        html = card(data, answers, index, anchor=f"map-{index}")
        group, title = ONE, data.ids[index]
        if answers is not None:
            group = answers.groups[index] if len(answers.groups) else ONE
            said = "" if answers.answer[index] == answers.truth[index] else f", predicted {answers.answer[index]}"
            title = f"{answers.truth[index]}{said}: {title}"
        groups[group].append(Point(x=x, y=y, title=data.without_folders(title), href=f"#map-{index}" if html else ""))
        cards.append(html)
    order = sorted(groups, key=lambda name: (answers.labels.index(name) if answers and name in answers.labels else 0, name))
    chart = scatter({name: groups[name] for name in order}, title="Map of the features of held-out examples", plain=True)
    how, _ = MAPS[data.gallery.method]
    coloured = f", coloured by {first[0] or 'what is true'}" if first else ""
    note = f"{len(points):,} {data.held_out} examples by the features before the head{coloured}. {how}. Follow a point to its example."
    listed = gallery(cards)
    below = f"<details><summary>Examples on the map</summary>{listed}</details>" if listed else ""
    return [("Map of the features", f"<p class=muted>{escape(note)}</p><figure class=map data-map>{chart}</figure>{below}")]
