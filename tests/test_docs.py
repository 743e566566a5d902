"""Pages that are made from the code are up to date."""

import importlib.util
import json

from tests.conftest import ROOT


def script(name, folder="scripts"):
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_of_settings_and_backbones_are_what_the_registries_say():
    module = script("make_reference")
    for name, made in module.PAGES.items():
        assert (module.DOCS / name).read_text(encoding="utf-8") == made(), "run python scripts/make_reference.py"


def test_T5_the_page_of_exports_has_every_family_in_every_format_passed_or_refused_with_the_reason():
    module = script("make_exports")
    figures = json.loads(module.FIGURES.read_text())
    assert set(figures) == set(module.families())
    for name, row in figures.items():
        assert set(row["cells"]) == set(module.COLUMNS), name
        for cell in row["cells"].values():
            assert cell.get("refused") or cell["difference"] is not None and cell["bytes"]
        assert "refused" not in row["cells"]["saved_model"]
    assert module.PAGE.read_text(encoding="utf-8") == module.page(figures), "run python scripts/make_exports.py --page"


def test_the_page_of_scaling_is_what_its_figures_say():
    module = script("scaling", "benchmarks")
    figures = json.loads(module.FIGURES.read_text(encoding="utf-8"))
    assert module.PAGE.read_text(encoding="utf-8") == module.page(figures), "run python benchmarks/scaling.py write"


def test_more_workers_help_until_sending_outweighs_computing():
    module = script("scaling", "benchmarks")
    fast, slow = 1e11 / 8, 1e9 / 8
    assert module.step(8, 0.1, 1e7, fast) < module.step(1, 0.1, 1e7, fast) / 7
    assert int(module.stops(0.001, 1e9, slow)) < 8  # a second of computing, sixteen of sending
    assert module.stops(10.0, 1e6, fast) == "over 512"
