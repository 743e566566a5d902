"""Let a bare checkout import tlkeras.export and tlkeras.zoo, as an installed copy does; find the shared data."""

import importlib.abc
import importlib.util
import os
import socket
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"tlkeras": ROOT / "tlkeras", "tlkeras.export": ROOT / "export", "tlkeras.zoo": ROOT / "zoo", "tests": ROOT / "tests"}


class _Checkout(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        folder = FOLDERS.get(fullname)
        if folder is None:
            return None
        return importlib.util.spec_from_file_location(fullname, folder / "__init__.py", submodule_search_locations=[str(folder)])


sys.meta_path.insert(0, _Checkout())

from tlkeras.startup import load_tensorflow  # noqa: E402

load_tensorflow()
os.environ["TLKERAS_CACHE_SIZE"] = "0"  # tests of what is kept between runs set it

from tlkeras import progress as reporting  # noqa: E402

reporting.automatic = lambda: reporting.SILENT  # Python calls report progress by default; tests that look at it pass a reporter

import tensorflow as tf  # noqa: E402

# Three parts of the CPU act as devices in the tests of placements; other tests use the first one.
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 3)


ROW_BY_ROW = ("tests/backbones/test_families.py",)  # their networks are built anew for each row: rows are shared out among processes


def pytest_xdist_make_scheduler(config, log):
    """As `--dist=loadscope`, which keeps the tests of a module in one process, but for modules that share nothing among rows."""
    from xdist.scheduler import LoadScopeScheduling

    class ByModuleOrRow(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            module, _, rest = nodeid.partition("::")
            return f"{module}[{rest.partition('[')[2]}" if module in ROW_BY_ROW else super()._split_scope(nodeid)

    return ByModuleOrRow(config, log) if config.getoption("dist") == "loadscope" else None


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data beside the checkout; tests that need it are skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data: the folder {Path('..') / 'shared' / 'data'} is not beside this checkout")
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKERAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def refuse_sockets(patch):
    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    patch.setattr(socket.socket, "connect", refuse)
    patch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def no_sockets(monkeypatch):
    refuse_sockets(monkeypatch)
