"""Pages that are made from the code are up to date."""

import importlib.util

from tests.conftest import ROOT


def test_the_reference_page_is_what_the_registries_say():
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "scripts" / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run python scripts/make_reference.py"
