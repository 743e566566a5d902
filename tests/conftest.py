"""Let a bare checkout import tlkeras.export and tlkeras.zoo, as an installed copy does; find the shared data."""

import contextlib
import ctypes
import functools
import gc
import importlib.abc
import importlib.util
import os
import socket
import sys
import time
from collections import Counter
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


os.environ["TLKERAS_CACHE_SIZE"] = "0"  # tests of what is kept between runs set it


def pytest_configure(config):
    """Starts TensorFlow where tests run: the process that only hands them out to others needs none."""
    workers = config.getoption("numprocesses", None)
    if workers and not hasattr(config, "workerinput"):
        return
    from tlkeras.startup import load_tensorflow

    load_tensorflow()

    import tensorflow as tf

    # Three parts of the CPU act as devices in the tests of placements; other tests use the first one.
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 3)
    # To rewrite graphs pays where they run often: here it is a tenth of the time. Commands and runtimes in processes of their own do it.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Notes what tests of faults have shown, for the table in docs/reliability.md."""
    from tests import faults

    report = yield
    if report.when == "call" and report.passed:
        faults.record(item)
    return report


def pytest_collection_finish(session):
    from tlkeras.startup import spare_garbage_collection

    spare_garbage_collection()


LARGE = 4 * 1024**3  # bytes of a process of tests, above which garbage is looked for
GROWTH = 512 * 1024**2  # bytes by which it grows before that is done at once; otherwise it takes at most a twentieth of the time
_collected = {"bytes": 0, "ended": 0.0, "took": 0.0}


def memory() -> int:
    """Returns the bytes of memory of this process, 0 where it is not told."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if pages.is_file() else 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    """Gives back what large networks took: a machine of the size that CI has runs two processes of tests and their runtimes.

    Otherwise what a test leaves, shared runs among it, is left out of the search for garbage: TensorFlow's converter searches in each export,
    and would go through the graphs of all tests.
    """
    result = yield
    held, started = memory(), time.monotonic()
    rested = started - _collected["ended"] > 20 * _collected["took"]
    if held > LARGE and (rested or held > _collected["bytes"] + GROWTH):
        gc.unfreeze()
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        ended = time.monotonic()
        _collected.update(bytes=memory(), ended=ended, took=ended - started)
    gc.freeze()
    return result


ROW_BY_ROW = ("tests/backbones/test_families.py",)  # their networks are built anew for each row: rows are shared out among processes
# Modules that look at the same run: in one process it is trained and exported once.
TOGETHER = [
    ("tests/jobs/test_finetune.py", "tests/jobs/test_predict.py", "tests/jobs/test_report_run.py", "tests/jobs/test_examples.py"),
    (
        "tests/modalities/test_registry.py",
        "tests/modalities/texts/test_elmo.py",
        "tests/zoo/test_sequences.py",
        "tests/jobs/test_explain.py",
        "tests/jobs/test_evaluate.py",
    ),
    ("tests/tasks/test_everywhere.py", "tests/tasks/test_several.py", "tests/export/test_clients.py"),
    ("tests/zoo/test_benchmark.py", "tests/zoo/test_publishing.py", "tests/zoo/test_trust.py"),
]
GROUPS = {module: modules[0] for modules in TOGETHER for module in modules}
# Modules of half a minute and more go first, so that the processes end together.
LONG = (
    "tests/modalities/test_registry.py",
    "tests/modalities/texts/test_workflow.py",
    "tests/tasks/test_everywhere.py",
    "tests/jobs/test_finetune.py",
    "tests/zoo/test_benchmark.py",
    "tests/cli/test_cli.py",
    "tests/weights/test_formats.py",
    "tests/pretraining/test_pretrain.py",
    "tests/backbones/test_backbones.py",
    "tests/tasks/test_regression.py",
    "tests/export/test_export.py",
    "tests/tasks/test_training.py",
    "tests/distribution/test_multiworker.py",
    "tests/tasks/test_multilabel.py",
    "tests/jobs/test_resume_comparisons.py",
    "tests/distribution/test_strategies.py",
    "tests/jobs/test_cross_validation.py",
    "tests/jobs/test_kills.py",
)
PLACES = {module: place for place, module in enumerate(LONG)}


def pytest_collection_modifyitems(items):
    modules = Counter(item.nodeid.partition("::")[0] for item in items)

    def place(item):
        module = item.nodeid.partition("::")[0]
        return PLACES.get(GROUPS.get(module, module), len(LONG)), -modules[module]

    items.sort(key=place)


def pytest_xdist_make_scheduler(config, log):
    """As `--dist=loadscope`, which keeps the tests of a module in one process, but for modules that share a run, or nothing among rows."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroupOrRow(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            module, _, rest = nodeid.partition("::")
            return f"{module}[{rest.partition('[')[2]}" if module in ROW_BY_ROW else GROUPS.get(module, module)

    return ByGroupOrRow(config, log) if config.getoption("dist") == "loadscope" else None


@pytest.fixture(scope="session", autouse=True)
def kept_runtimes():
    """Exports of all tests share processes, but for those of `fresh_runtimes`: to start TensorFlow is most of a small export."""
    from tlkeras.export.processes import kept

    with kept(exports=50):
        yield


@pytest.fixture(scope="session", autouse=True)
def commands_leave_the_process_alone():
    """A command that ends in an error ends its process at once: one that runs inside a test ends the test."""
    from tlkeras.cli import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main, "_leave", sys.exit)
        yield


@pytest.fixture
def fresh_runtimes(monkeypatch):
    """Each export starts its runtimes anew, as for users."""
    from tlkeras.export import processes

    monkeypatch.setattr(processes, "_kept", None)


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data beside the checkout; tests that need it are skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data: the folder {Path('..') / 'shared' / 'data'} is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def run_of(tmp_path_factory):
    """Returns a function: modality -> a run of a small network, exported to the three formats of the default, trained once."""
    from tests.modalities.test_registry import trained

    @functools.cache
    def run(modality):
        return trained(modality, tmp_path_factory.mktemp(modality))

    return run


@pytest.fixture(scope="session")
def entry_of(run_of, tmp_path_factory):
    """Returns a function: modality -> the entry that its run was published as, under the name of the modality."""
    from tlkeras.jobs.publish import publish
    from tlkeras.zoo.store import Zoo

    @functools.cache
    def entry(modality):
        zoo = Zoo(tmp_path_factory.mktemp("zoo"))
        return publish(run_of(modality).run.root, modality, zoo, data_licence="CC0", data_source="made up", reporter=None)

    return entry


@pytest.fixture(scope="session")
def run_of_several_targets(tmp_path_factory):
    """A run of three targets with weights by uncertainty, and each of them alone."""
    from tests.tasks.test_several import trained

    return trained(tmp_path_factory.mktemp("several"))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKERAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def waited(monkeypatch):
    """The seconds that the test has slept: what tells "at once" from "after a minute" on a machine of any speed, and costs no time."""
    seconds = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


def refuse_sockets(patch):
    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    patch.setattr(socket.socket, "connect", refuse)
    patch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def no_sockets(monkeypatch):
    refuse_sockets(monkeypatch)
