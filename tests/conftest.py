"""Let a bare checkout import tlkeras.export and tlkeras.zoo, as an installed copy does; find the shared data."""

import gc
import importlib.abc
import importlib.util
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


def pytest_configure(config):
    """Starts TensorFlow where tests run: the process that only hands them out to others needs none."""
    workers = config.getoption("numprocesses", None)
    if workers and not hasattr(config, "workerinput"):
        return
    from tlkeras import progress
    from tlkeras.startup import load_tensorflow

    load_tensorflow()
    progress.automatic = lambda: progress.SILENT  # Python calls report progress by default; tests that look at it pass a reporter

    import tensorflow as tf

    # Three parts of the CPU act as devices in the tests of placements; other tests use the first one.
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 3)


def pytest_collection_finish(session):
    gc.freeze()  # what is imported stays: the garbage collector need not look at it again and again


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
