"""Load TensorFlow once, without its start-up noise, and without hiding a real warning."""

from __future__ import annotations

import gc
import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

# Lines that TensorFlow 2.21 prints on every start of a healthy CPU-only process. Anything else is shown.
KNOWN_NOISE = re.compile(
    r"All log messages before absl::InitializeLog\(\) is called are written to STDERR"
    r"|oneDNN custom operations are on"
    r"|Could not find cuda drivers on your machine"
    r"|This TensorFlow binary is optimized to use available CPU instructions"
    r"|To enable the following instructions: .* in other operations, rebuild TensorFlow"
    r"|Could not find TensorRT|TF-TRT Warning"
    r"|Unable to register cu\w+ factory|computation placer already registered"
    r"|failed call to cuInit|CUDA error: Failed call to cuInit|INTERNAL: CUDA Runtime error"
    r"|oneDNN supports DT_INT64 only on platforms with AVX-512"
    r"|^\s*$"
)


ISOLATE = "TLKERAS_ISOLATE"  # environment variable: with 1, files are read in processes of their own wherever a library might crash


def isolates() -> bool:
    """Whether images of every format, artifacts and models are read in processes of their own: for files of strangers, at the price of time."""
    return os.environ.get(ISOLATE, "0") not in ("", "0")


@contextmanager
def filtered_stderr(noise: re.Pattern[str] = KNOWN_NOISE) -> Iterator[None]:
    """Holds back what native code writes to file descriptor 2, then prints all of it but known noise."""
    sys.stderr.flush()
    try:
        stderr_copy = os.dup(2)
    except OSError:  # no standard error at all: nothing to filter
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr_copy, 2)
            os.close(stderr_copy)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines():
                if not noise.search(line):
                    sys.stderr.write(line + "\n")


class _Deferred(importlib.abc.MetaPathFinder):
    """Modules that Keras imports for a few of its functions, which are read when they are first used: a quarter of the seconds of its start."""

    NAMES = ("keras.wrappers", "matplotlib.pyplot")  # the first one imports scikit-learn and a part of SciPy

    def find_spec(self, fullname, path=None, target=None):
        spec = importlib.machinery.PathFinder.find_spec(fullname, path) if fullname in self.NAMES else None
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


@contextmanager
def deferred_imports() -> Iterator[None]:
    """Puts off what `import keras` reads and hardly any program uses, `NAMES` of `_Deferred`, until it is used."""
    finder = _Deferred()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


# TensorFlow leaves oneDNN off on processors without AVX-512, where texts and ResNets train faster with it: benchmarks/onednn.py.
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
# Without it a TensorFlow process takes the whole memory of a GPU, and the process that runs an exported model finds none left.
GROWTH = "TF_FORCE_GPU_ALLOW_GROWTH"
TF32_OVERRIDE = "NVIDIA_TF32_OVERRIDE"  # 0: NVIDIA's libraries multiply float32 in float32, whatever a program asks for
_chosen: set[str] = set()  # variables of the environment that are ours, not the user's


own_process = False  # whether this process is a command of ours, and not a program that uses tlkeras


def spare_garbage_collection() -> None:
    """Leaves what is imported out of the search for garbage, and searches less often.

    Half a million objects live as long as the process; to go through them again and again is a twelfth of the processor time of a
    fine-tuning of small images.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def load_tensorflow() -> None:
    """Imports TensorFlow and Keras (about 2.5 s the first time) with the known start-up noise held back.

    oneDNN is switched on and GPU memory grows as it is needed. Values that the environment sets already, such as
    `TF_ENABLE_ONEDNN_OPTS=0`, are respected.
    """
    if "tensorflow" in sys.modules and "keras" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    for name, value in ((ONEDNN, "1"), (GROWTH, "true")):
        if name not in os.environ:
            os.environ[name] = value
            _chosen.add(name)
    with filtered_stderr(), deferred_imports():
        import keras  # noqa: F401
        import tensorflow as tf

        tf.config.list_physical_devices()  # device discovery prints too
    import absl.logging

    absl.logging.set_verbosity(absl.logging.ERROR)
    if own_process:
        spare_garbage_collection()


def user_environment() -> dict[str, str]:
    """Returns the environment as it is for TensorFlow outside tlkeras: a file that is exported must run there."""
    return {name: value for name, value in os.environ.items() if name not in _chosen}


def child_environment() -> dict[str, str]:
    """Returns the environment of a process that runs an exported file beside this one.

    It is the user's, but the process uses no more GPU memory than it needs, and sees no GPU if this process hides them.
    """
    environment = {GROWTH: "true", **user_environment()}
    if "tensorflow" in sys.modules:
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU") and not tf.config.get_visible_devices("GPU"):
            environment["CUDA_VISIBLE_DEVICES"] = "-1"
    return environment


def verification_environment() -> dict[str, str]:
    """Returns `child_environment` for a process whose answers are compared with a reference: it multiplies in float32, not in TF32."""
    return {**child_environment(), TF32_OVERRIDE: "0"}


@contextmanager
def tensor_float32(enabled: bool) -> Iterator[None]:
    """Sets for a while whether TensorFlow multiplies float32 in TF32, with 10 instead of 23 bits of mantissa.

    NVIDIA GPUs since Ampere do so by default: the outputs of a deep network are then off by about 1e-3 of the largest one, too much to
    judge an exported model by. Has no effect on other devices.
    """
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(enabled)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


_tensorflow_seeded = False


def set_seed(seed: int) -> None:
    """Seeds Python, NumPy and Keras, of whose numbers all that is drawn here is made.

    As `keras.utils.set_random_seed`, which each time seeds TensorFlow's generator too. That makes TensorFlow forget every operation and
    function that it has prepared, and costs each traced function half a second and more when it is called next. Nothing here draws from
    that generator, so it is seeded once in a process: for operations of others.
    """
    import keras
    import tensorflow as tf

    global _tensorflow_seeded
    seed_tensorflow = tf.random.set_seed
    if _tensorflow_seeded:
        tf.random.set_seed = lambda seed: None
    try:
        keras.utils.set_random_seed(seed)
    finally:
        tf.random.set_seed = seed_tensorflow
    _tensorflow_seeded = True


# === Stopping ===

_ways_on: list[str] = []  # commands that go on with what this process does, the outermost first
asked_to_stop: list[int] = []  # signals that the present command was sent; `tlkeras.cli.signals` writes them down


@contextmanager
def goes_on(command: str, possible: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Says which command goes on with what the body does: a stop that leaves the body says it too.

    Args:
        command: as users type it. Inside of other work that can go on, that of the other counts.
        possible: whether there is something to go on with by now.
    """
    _ways_on.append(command)
    try:
        yield
    except (KeyboardInterrupt, Exception) as stopped:
        if isinstance(stopped, Exception) and not asked_to_stop:
            raise
        # Libraries make errors of their own of a stop, at which they were in the middle of something.
        reason = stop_reason() if isinstance(stopped, Exception) else str(stopped) or "stopped"
        if possible() and _ways_on[0] not in reason:
            raise KeyboardInterrupt(with_way_on(reason)) from stopped
        if isinstance(stopped, Exception):
            raise KeyboardInterrupt(reason) from stopped
        raise
    finally:
        _ways_on.pop()


_deferring: list[int] = []  # how many signals there were when each body of `stop_deferred` began


@contextmanager
def stop_deferred() -> Iterator[None]:
    """Stops at the end of the body and not in it: for libraries whose compiled code calls Python, where an exception aborts the process or is taken for
    an error of theirs. `tlkeras.cli.signals` ends the process when the body takes more than a few seconds longer.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread is stopped by an exception
        yield
        return
    _deferring.append(len(asked_to_stop))
    try:
        yield
    finally:
        before = _deferring.pop()
    if len(asked_to_stop) > before and not _deferring:
        raise KeyboardInterrupt(stop_reason())


def defers_stop() -> bool:
    """Whether a stop waits for the end of a body of `stop_deferred`."""
    return bool(_deferring)


def restore_handler(number: int) -> None:
    """Handles a signal as Python knows it: where workers train together, TensorFlow takes SIGTERM for itself and only notes it."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(number, signal.getsignal(number))


def stop_reason(received: Sequence[int] = asked_to_stop) -> str:
    """Returns how a command was asked to stop, in words; the present one, unless it is told what another one received."""
    return "stopped by SIGTERM" if signal.SIGTERM in received else "stopped"


def way_on() -> str | None:
    """Returns the command that goes on with what this process does; None where nothing does."""
    return _ways_on[0] if _ways_on else None


def with_way_on(text: str) -> str:
    """Returns a line about a stop that also says how to go on, where that is possible."""
    return f"{text}; `{_ways_on[0]}` goes on" if _ways_on else text
