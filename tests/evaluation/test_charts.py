"""Charts: SVG in the colours of the page, with titles and links, and the same twice."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from tlkeras.tasks import charts
from tlkeras.tasks.charts import Point

POINTS = [Point(x=float(i), y=float(i % 3), title=f'no. {i} <b>"&', href=f"#e-{i}") for i in range(6)]
DRAWN = {
    "lines": lambda: charts.lines({"a": POINTS, "b": POINTS}, title="t", x="epoch", y="loss", whole=True),
    "scatter": lambda: charts.scatter({"a": POINTS[:2], "b": POINTS[2:]}, title="t", plain=True),
    "named": lambda: charts.scatter({"run <1>": POINTS[:1], "b": POINTS[1:2]}, title="t", x="MB", y="accuracy", named=True),
    "equal": lambda: charts.scatter({"$x_1$": POINTS}, title="t", x="true $x_1$", y="predicted", diagonal=True),
    "matrix": lambda: charts.matrix(np.array([[3, 1], [0, 4]]), ["a", "b"], title="t"),
}


@pytest.fixture(scope="module", params=DRAWN)
def drawn(request):
    return request.param, DRAWN[request.param]()


def test_a_chart_is_well_formed_and_has_a_text_for_people_who_do_not_see_it(drawn):
    _, chart = drawn
    root = ElementTree.fromstring(chart.replace("class=chart", 'class="chart"'))
    assert root.get("aria-label") == "t" and root.get("viewBox") and "<style" not in chart and "http" not in chart


def test_a_chart_has_the_colours_of_the_page_and_no_others(drawn):
    name, chart = drawn
    assert "var(--" in chart and not any(value in chart for value in charts.STAND_INS.values())
    if name != "matrix":  # a matrix has a scale of colours
        assert not re.findall(r"(?:fill|stroke): #\w+", chart)


def test_equal_charts_are_equal_and_others_share_no_anchor(drawn):
    name, chart = drawn
    assert DRAWN[name]() == chart
    other = charts.lines({"a": POINTS[:3]}, title="other", x="x", y="y")
    assert not set(re.findall(r'id="([^"]+)"', chart)) & set(re.findall(r'id="([^"]+)"', other))


def test_each_point_has_its_title_and_its_link():
    chart = DRAWN["scatter"]()
    pairs = re.findall(r'<a href="#e-(\d)"><use [^>]*><title>no\. (\d)', chart)
    assert pairs == [(str(i), str(i)) for i in range(6)] and "<b>" not in chart and 'role="group"' in chart


def test_names_are_no_formulas():
    assert "true $x_1$" in DRAWN["equal"]()


def test_charts_become_pictures_on_request_and_only_then():
    with charts.images() as found:
        assert DRAWN["lines"]() == "" and DRAWN["matrix"]() == ""
    assert found["t"].startswith(b"\x89PNG") and DRAWN["lines"]().startswith("<svg")
