"""The bill of materials of a run is that of the moment, though it is read once where nothing changes."""

import importlib.metadata
import os

from tlkeras.jobs import environment


def install(folder, name, version):
    """Adds a package as installers record it, and dates the folder so that a coarse clock shows it."""
    record = folder / f"{name}-{version}.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (record / "RECORD").write_text(f"{name}.py,sha256=x,1\n")
    os.utime(folder, (len(list(folder.iterdir())),) * 2)


def test_a_package_that_is_installed_between_two_runs_is_recorded(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "made_up_first", "1.0")
    assert environment.installed()["made-up-first"]["version"] == "1.0"
    install(tmp_path, "made_up_second", "2.0")
    packages = environment.installed()
    assert packages["made-up-second"]["version"] == "2.0" and packages["made-up-second"]["record_sha256"]


def test_packages_are_read_once_where_nothing_was_installed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "made_up_first", "1.0")
    first = environment.installed()
    monkeypatch.setattr(importlib.metadata, "distributions", None)
    assert environment.installed() == first
