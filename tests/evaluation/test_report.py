"""The report of every task: one page that stands alone, made of parts, readable in light and dark."""

import dataclasses
import importlib.resources
import re

import justhtml
import numpy as np
import pytest

from tests.evaluation.pages import COUNT, made_up
from tlkeras.evaluation import gallery, report, report_parts
from tlkeras.evaluation.parts import certainty
from tlkeras.evaluation.report_data import Explained, Gallery, read_outcomes, write_outcomes
from tlkeras.evaluation.report_parts import PARTS, Part
from tlkeras.registry import load_function
from tlkeras.tasks.cases import Cases
from tlkeras.tasks.measures import expected_calibration_error, reliability
from tlkeras.tasks.registry import TASKS

CSS = importlib.resources.files("tlkeras.evaluation").joinpath("report.css").read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=TASKS.names())
def page(request, tmp_path_factory):
    """The page of a made-up run of each task."""
    path = tmp_path_factory.mktemp(request.param) / "report.html"
    report.write(path, made_up(request.param))
    return path.read_text(encoding="utf-8")


# === The page ===


def test_the_page_is_valid_html(page):
    errors = justhtml.JustHTML(page, collect_errors=True).errors
    assert not errors, [(error.code, error.line, error.column) for error in errors[:5]]


def test_anchors_are_unique_and_every_link_leads_to_one(page):
    anchors = re.findall(r'\sid="?([^\s">]+)', page)
    assert len(set(anchors)) == len(anchors)
    assert not {link for link in re.findall(r'href="?#([^\s">]+)', page)} - set(anchors)


def test_the_page_fetches_nothing_shows_no_local_path_and_is_small(page):
    assert "http:" not in page and "https:" not in page and "/home" not in page and "/opt" not in page
    assert re.findall(r'src="(?!data:)', page) == [] and len(page.encode()) < report.MOST


def test_only_the_script_of_the_page_may_run(page):
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    assert page.count("<script") == 1 and policy.startswith("default-src 'none'") and "script-src 'sha256-" in policy
    assert not re.search(r"\son\w+=", re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))


@pytest.mark.parametrize(
    "title", ["Random examples", "Map of the features", "Training", "Frozen and trained layers", "Artifacts", "Data", "How to reproduce"]
)
def test_every_task_has_the_parts_that_do_not_depend_on_it(page, title):
    assert page.count(f"<h2>{title}</h2>") == 1 and f">{title}</a>" in page  # the section, and its entry in the navigation


def test_what_is_hidden_without_a_script_is_in_details_that_browsers_open(page):
    body = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)
    assert "hidden" not in body and "display:none" not in body and body.count("<details") == body.count("<summary")


def test_names_from_the_data_are_escaped(tmp_path):
    data = made_up("classification", title='<b>"&')
    evil = dataclasses.replace(data.gallery, thumbnails={name: "<p class=text>&lt;script&gt;</p>" for name in data.gallery.thumbnails})
    report.write(tmp_path / "report.html", dataclasses.replace(data, gallery=evil))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<b>" not in text and "&lt;b&gt;" in text and text.count("<script") == 1


def test_a_page_that_would_be_too_large_leaves_out_its_galleries(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "MOST", 60_000)
    report.write(tmp_path / "report.html", made_up("classification"))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<img" not in page and "<h2>Classes</h2>" in page and "class=cell" not in page


def test_a_page_that_would_be_too_large_leaves_out_its_explanations_first(tmp_path, monkeypatch):
    plain, data = tmp_path / "plain.html", made_up("classification")
    report.write(plain, data)
    long = Explained(html={name: f"<p class=text>{'long ' * 900}</p>" for name in data.gallery.thumbnails}, method="occlusion", signed=True)
    explained = tmp_path / "explained.html"
    report.write(explained, dataclasses.replace(data, explained=long))
    assert "long long" in explained.read_text(encoding="utf-8")
    monkeypatch.setattr(report, "MOST", plain.stat().st_size + 1)
    report.write(explained, dataclasses.replace(data, explained=long))
    assert explained.read_bytes() == plain.read_bytes()


def test_an_explained_text_stands_in_the_place_of_its_thumbnail_and_an_explained_image_below_it():
    data = made_up("classification")
    (first, second), shown = list(data.gallery.thumbnails)[:2], data.gallery.thumbnails
    both = Explained(html={first: "<p class=text><mark class=p5>good</mark></p>", second: "<img alt=map>"}, method="occlusion", signed=True)
    page = "".join(html for _, html in report_parts.sections(dataclasses.replace(data, explained=both)))
    assert "<mark class=p5>good</mark>" in page and shown[first] not in page and shown[second] + "<img alt=map>" in page


LEGENDS = [
    ({}, "The second image shows what speaks for the answer of the model, by rollout."),
    ({"signed": True, "label": "a<b"}, "The second image shows what speaks for “a&lt;b” (red) or against it (blue), by rollout."),
    ({"output": "colour"}, "The second image shows what speaks for the answer of the model as to colour, by rollout."),
    ({"by_answer": False, "label": "red"}, "The second image shows what counts in the network, whatever it answers, by rollout."),
]


@pytest.mark.parametrize(("facts", "legend"), LEGENDS)
def test_the_legend_says_what_the_explanations_are_of(facts, legend):
    data = made_up("classification")
    pictures = Explained(html={next(iter(data.gallery.thumbnails)): "<img alt=map>"}, method="rollout", **facts)
    page = "".join(html for _, html in report_parts.sections(dataclasses.replace(data, explained=pictures)))
    assert legend in page and page.count("The second image") == page.count(legend)


def test_a_run_that_kept_no_examples_has_a_report_without_dead_links(tmp_path):
    report.write(tmp_path / "report.html", made_up("classification", outcomes={}, gallery=Gallery()))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h2>Confusions</h2>" in page and 'href="#cell' not in page and "Random examples" not in page


def test_the_headline_has_an_interval_and_says_what_it_means(page):
    top = page[page.index('<section id="s-headline">') : page.index("</section>")]
    assert "95 % interval" in top and ("of 100 such intervals" in top or "Of 100 new examples" in top)


# === Parts ===


def test_every_part_names_a_function_and_parts_stand_in_order():
    assert all(callable(load_function(part.build or part.section)) for part in PARTS)
    data = made_up("classification", further=[("Added", "<p>by a caller</p>")])
    titles = [title for title, _ in report_parts.sections(data)]
    assert titles[:3] == ["", "Added", "Classes"] and titles[-1] == "How to reproduce"


def test_a_part_of_a_file_stands_where_the_run_has_the_file():
    part = Part(name="Made up", order=1, section="tests.evaluation.test_report:section_of_file", file="made_up.json")
    assert part.sections(made_up("classification", contents={"made_up.json": {"figure": 3}})) == [("From a file", "<p>3</p>")]
    assert part.sections(made_up("classification")) == []


def section_of_file(content):
    return "From a file", f"<p>{content['figure']}</p>"


def test_the_curves_are_of_each_phase_and_of_what_was_held_out():
    rows = [{"phase": name, "epoch": epoch, "loss": 1 / epoch} for name in ("head", "all") for epoch in (1, 2)]
    data = dict(report_parts.sections(made_up("classification", history=rows)))["Training"]
    assert "Phase head" in data and "Phase all" in data and data.count("<svg") == 2 and "validation loss" not in data
    held_out = [{**row, "val_loss": 0.4} for row in rows]
    assert "validation loss" in dict(report_parts.sections(made_up("classification", history=held_out)))["Training"]


# === Certainty ===


def test_the_calibration_error_is_the_mean_gap_between_certainty_and_truth():
    probabilities, events = np.array([0.95] * 10 + [0.55] * 10), np.array([True] * 8 + [False] * 2 + [True] * 5 + [False] * 5)
    assert expected_calibration_error(reliability(probabilities, events)) == pytest.approx((0.15 + 0.05) / 2)


def test_accuracy_at_a_coverage_is_that_of_the_most_certain_examples():
    answers = Cases(
        truth=["a"] * 20,
        answer=["a"] * 20,
        error=np.zeros(20),
        certainty=np.linspace(1, 0.05, 20),
        correct=np.arange(20) < 10,
    )
    drawn = certainty._coverage(answers)
    assert "100.0% of the 50% most certain" in drawn and "50.0% of all" in drawn


# === Galleries ===


def test_the_worst_answers_are_wrong_and_come_in_the_order_of_their_error():
    cases = made_up("classification").cases[""]
    worst = cases.worst(10)
    assert not cases.correct[worst].any() and (np.diff(cases.error[worst]) <= 0).all()


def test_cells_of_the_confusion_matrix_hold_their_examples_and_pairs_come_first():
    cases = made_up("classification").cases[""]
    cells = cases.confused()
    assert sum(len(members) for _, members in cells) == COUNT
    wrong = [row != column for (row, column), _ in cells]
    assert wrong == sorted(wrong, reverse=True)
    for (row, column), members in cells:
        assert all(cases.truth[index] == cases.labels[row] and cases.answer[index] == cases.labels[column] for index in members)


def test_thumbnails_stop_at_the_limit_and_the_first_are_kept():
    drawn = gallery.thumbnails("abcd", lambda name: name * 10, limit=25)
    assert list(drawn) == ["a", "b"]


@pytest.mark.parametrize("method", gallery.MAPS)
def test_a_map_puts_groups_apart_and_is_the_same_twice(method):
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=(20, 8)), rng.normal(size=(20, 8)) + 20])
    places = gallery.placed(values, method)
    assert np.array_equal(places, gallery.placed(values, method)) and places.shape == (40, 2)
    centres = places[:20].mean(axis=0), places[20:].mean(axis=0)
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * places[:20].std()


def test_a_gallery_read_back_is_the_gallery(tmp_path):
    kept = Gallery(noun="image", thumbnails={"a": "<b>"}, points=[("a", 0.5, -1.0)], method="pca")
    assert Gallery.from_dict(kept.to_dict()) == kept


def test_outcomes_read_back_are_the_outcomes(tmp_path):
    data = made_up("several")
    write_outcomes(tmp_path / "predictions.npz", data.outcomes)
    again = read_outcomes(tmp_path / "predictions.npz")["test"]
    assert list(again.ids) == list(data.outcomes["test"].ids) and np.array_equal(again.scores, data.outcomes["test"].scores)
    assert all(np.array_equal(again.targets[name], values) for name, values in data.outcomes["test"].targets.items())


# === Contrast: WCAG 2.2, 1.4.3 (texts 4.5) and 1.4.11 (graphics 3) ===


def variables(dark):
    """Returns the colours of the page's style, name -> (red, green, blue), 0 to 1."""
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    found = dict(re.findall(r"--([\w-]+): (#\w{6})", blocks[0]))
    if dark:
        found |= dict(re.findall(r"--([\w-]+): (#\w{6})", blocks[1]))
    return {name: np.array([int(value[i : i + 2], 16) for i in (1, 3, 5)]) / 255 for name, value in found.items()}


def luminance(colour):
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(a, b):
    light, deep = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (deep + 0.05)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["ink", "muted", "accent", "good", "bad"])
@pytest.mark.parametrize("ground", ["bg", "card", "soft"])
def test_texts_have_the_contrast_of_wcag_aa(dark, name, ground):
    colours = variables(dark)
    assert contrast(colours[name], colours[ground]) >= 4.5


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", [f"series-{i}" for i in range(1, 9)])
def test_curves_have_the_contrast_of_wcag_aa(dark, name):
    colours = variables(dark)
    assert contrast(colours[name], colours["card"]) >= 3


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["good", "bad"])
def test_numbers_on_the_darkest_cell_of_the_matrix_have_the_contrast_of_wcag_aa(dark, name):
    colours = variables(dark)
    ((least, most),) = {tuple(map(float, found)) for found in re.findall(r"calc\((\d+)% \+ var\(--share\) \* (\d+)%\)", CSS)}
    share = (least + most) / 100
    assert contrast(colours["ink"], share * colours[name] + (1 - share) * colours["card"]) >= 4.5


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["for", "against"])
def test_the_most_strongly_marked_words_have_the_contrast_of_wcag_aa(dark, name):
    colours = variables(dark)
    assert contrast(colours["ink"], colours[name]) >= 4.5 and f"var(--{name}) 100%" in CSS
