"""The report in a browser: no errors, every picture loads, clicks, sorting and filters work, it fits a phone and paper.

One browser serves all tests. Without one they are skipped; with `TLKERAS_BROWSER=1` they fail, for a CI that is not to pass without having looked.
"""

import base64
import dataclasses
import importlib.util
import os
import shutil

import pytest

import tlkeras
from tests.evaluation.pages import made_up
from tests.jobs.test_cross_validation import finetuned, images
from tlkeras.evaluation import report
from tlkeras.evaluation.report_data import EXAMPLES, Explained, read_gallery
from tlkeras.modalities.items import Item
from tlkeras.tasks.registry import TASKS

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")
PHONE, PAPER = 390, 718  # pixels; A4 without its margins


def absent(what):
    """Skips a test that needs what is not here; where a browser is asked for, it fails."""
    if os.environ.get("TLKERAS_BROWSER"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="module")
def browser():
    if importlib.util.find_spec("selenium") is None:
        absent("selenium is not installed: pip install 'tlkeras[test]'")
    from selenium import webdriver

    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        absent("no Chromium with chromedriver is installed: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Task -> its page."""
    folder = tmp_path_factory.mktemp("pages")
    for task in TASKS.names():
        report.write(folder / f"{task}.html", made_up(task))
    return folder


def screen(browser, width=1280, scheme="light", scripts=True, media=""):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    features = [{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}]
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"media": media, "features": features}
    )  # clicks do not wait for a page that glides
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@pytest.fixture
def page(browser, pages):
    """The page of a classifier on a wide screen."""
    screen(browser)
    browser.get("about:blank")
    browser.get((pages / "classification.html").as_uri())
    return browser


def seen(browser):
    """Opens everything on a page; returns how many images did not load, how many there are, and how wide the page is."""
    return browser.execute_script(
        "document.querySelectorAll('details').forEach((part) => { part.open = true; });"
        "const images = [...document.images];"
        "return [images.filter((image) => !image.complete || !image.naturalWidth).length, images.length, document.scrollingElement.scrollWidth]"
    )


@pytest.mark.parametrize("width", [1280, PHONE])
@pytest.mark.parametrize("task", TASKS.names())
def test_a_page_has_no_errors_loads_its_pictures_and_fits_the_screen(browser, pages, task, width):
    screen(browser, width)
    browser.get((pages / f"{task}.html").as_uri())
    assert browser.get_log("browser") == []
    broken, count, wide = seen(browser)
    assert broken == 0 and count > 20 and wide <= width


def column(page, name):
    return page.execute_script(
        "const table = [...document.querySelectorAll('section')].find((part) => part.querySelector('h2')?.textContent === 'Classes').querySelector('table');"
        "const at = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === arguments[0]);"
        "return [...table.tBodies[0].rows].map((row) => row.cells[at].textContent)",
        name,
    )


def test_a_click_on_a_heading_sorts_and_a_second_one_turns_the_order(page):
    button = page.find_element("xpath", "//section[h2='Classes']//th/button[.='recall']")
    button.click()
    rising = column(page, "recall")
    button.click()
    assert rising == sorted(rising, key=float) and column(page, "recall") == rising[::-1]
    assert button.find_element("xpath", "..").get_attribute("aria-sort") == "descending"


def test_a_click_on_a_cell_of_the_matrix_shows_its_examples(page):
    cell = page.find_elements("css selector", ".matrix td.right a")[0]
    target = page.find_element("id", cell.get_attribute("href").partition("#")[2])
    assert not target.is_displayed()
    cell.click()
    assert target.is_displayed() and target.find_elements("css selector", ".example img")


def test_without_scripts_the_link_opens_what_it_leads_to(browser, pages):
    screen(browser, scripts=False)
    browser.get((pages / "classification.html").as_uri())
    cell = browser.find_elements("css selector", ".matrix td.right a")[0]
    target = browser.find_element("id", cell.get_attribute("href").partition("#")[2])
    cell.click()
    shown = target.is_displayed()
    headings = [heading.text for heading in browser.find_elements("css selector", "h2")]
    screen(browser)
    assert shown and "Classes" in headings and "Random examples" in headings


def test_a_filter_leaves_the_examples_of_a_label(page):
    page.find_element("xpath", "//section[h2='Confused examples']//select/option[.='1']").click()
    left = page.execute_script(
        "return [...document.querySelectorAll('[data-filter] .example:not([hidden])')].map((card) => card.dataset.truth)"
    )
    assert left and set(left) == {"1"}


def test_a_point_of_the_map_shows_its_example(page):
    from selenium.webdriver import ActionChains

    point = page.find_elements("css selector", "[data-map] a")[0]
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", point)
    ActionChains(page).move_to_element(point.find_element("css selector", "use")).perform()
    assert page.find_element("css selector", ".hover img").is_displayed()


def test_the_first_key_leads_past_the_navigation_and_every_control_shows_its_focus(page):
    from selenium.webdriver.common.keys import Keys

    page.find_element("css selector", "body").send_keys(Keys.TAB)
    first = page.switch_to.active_element
    assert first.get_attribute("class") == "skip" and first.get_attribute("href").endswith("#main")
    for selector in ("nav a", "summary", ".scroll", "th button"):
        style = page.execute_script(
            "const part = document.querySelector(arguments[0]); part.focus({focusVisible: true});"
            "return [document.activeElement === part, getComputedStyle(part).outlineStyle]",
            selector,
        )
        assert style == [True, "solid"], selector


def test_dark_screens_get_a_dark_page(browser, pages):
    grounds = []
    for scheme in ("light", "dark"):
        screen(browser, scheme=scheme)
        browser.get((pages / "classification.html").as_uri())
        grounds.append(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(244, 246, 249)", "rgb(16, 20, 26)"]


def test_marked_words_have_a_ground_of_their_own_in_light_and_dark(browser, tmp_path):
    data = made_up("classification")
    marked = Explained(
        html=dict.fromkeys(data.gallery.thumbnails, "<p class=text><mark class=p5>good</mark> <mark>film</mark></p>"), method="occlusion"
    )
    report.write(tmp_path / "marked.html", dataclasses.replace(data, explained=marked))
    grounds = []
    for scheme in ("light", "dark"):
        screen(browser, scheme=scheme)
        browser.get((tmp_path / "marked.html").as_uri())
        grounds.append(browser.execute_script("return getComputedStyle(document.querySelector('mark.p5')).backgroundColor"))
    assert len(set(grounds)) == 2 and "rgba(0, 0, 0, 0)" not in grounds


# === Real runs ===

LABEL = "green_like_the_leaves_of_a_beech_in_early_spring"  # longer than a column of a phone
SECTIONS = {
    "Cross-validation",
    "Figures with intervals",
    "Compared with another run",
    "Slices",
    "Corruptions",
    "Probable label errors",
    "Errors and doubtful labels",
    "Calibration",
}


def of_real_runs(test):
    """Marks what CI runs, but not the default: the runs take ten seconds."""
    return pytest.mark.slow(pytest.mark.promise(test))


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The report of a run to which every job has added, and the page of two runs compared: name -> path."""
    folder = tmp_path_factory.mktemp("real")
    x, y = images(240, wrong=range(0, 240, 24))
    dataset = tlkeras.from_arrays(x, ["red or blue" if label != "green" else LABEL for label in y])
    split = {"dataset": dataset, "val_split": 0.3, "test_split": 0.3}
    run = finetuned(folder / "first", None, None, cross_validate=2, **split).run
    other = finetuned(folder / "second", None, None, seed=1, **split).run
    options = {"slices": "brightness,blur", "corruptions": True, "against": str(other.root), "reporter": None}
    tlkeras.evaluate(run.root, dataset, part="all", **options)
    tlkeras.review(run.root, dataset=dataset, reporter=None)
    arrays = {example.id: example.array for example in dataset.examples}
    shown = [Item(name=name, value=arrays[name]) for name in read_gallery(run.root / EXAMPLES).thumbnails]
    tlkeras.explain(run.root, shown[:12], out=str(run.root / "explanations"), reporter=None)
    tlkeras.compare([run.root, other.root], out=folder / "compare.html")
    return {"report": run.report, "compare": folder / "compare.html"}


@of_real_runs
def test_the_report_of_a_real_run_has_what_every_job_added(browser, real):
    screen(browser)
    browser.get(real["report"].as_uri())
    headings = {heading.text for heading in browser.find_elements("css selector", "h2")}
    assert headings >= SECTIONS and browser.find_elements("css selector", ".example img + img")  # an image and its explanation
    assert str(real["compare"].parent) not in real["report"].read_text(encoding="utf-8")  # reports are shared: without local paths


@of_real_runs
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["report", "compare"])
def test_pages_of_real_runs_fit_a_phone_in_light_and_dark(browser, real, name, scheme):
    screen(browser, PHONE, scheme)
    browser.get(real[name].as_uri())
    broken, _, wide = seen(browser)
    assert browser.get_log("browser") == [] and broken == 0 and wide <= PHONE


@of_real_runs
@pytest.mark.parametrize("name", ["report", "compare"])
def test_pages_of_real_runs_are_printed_whole_dark_on_white(browser, real, name):
    screen(browser, PAPER, "dark", media="print")
    browser.get(real[name].as_uri())
    navigation, ink, ground = browser.execute_script(
        "const style = (part) => getComputedStyle(document.querySelector(part));"
        "return [style('nav').display, style('body').color, style('body').backgroundColor]"
    )
    assert navigation == "none" and ink == "rgb(24, 33, 45)" and ground == "rgba(0, 0, 0, 0)"
    assert seen(browser)[2] <= PAPER
    browser.get(real[name].as_uri())
    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert printed.startswith(b"%PDF") and (name == "compare" or printed.count(b"/Type /Page\n") > 3)
    assert not browser.find_elements("css selector", "details:not([open])")  # what is closed is printed, too
