"""Load TensorFlow once, without its start-up noise, and without hiding a real warning."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
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


@contextmanager
def filtered_stderr(noise: re.Pattern[str] = KNOWN_NOISE) -> Iterator[None]:
    """Holds back what native code writes to file descriptor 2, then prints all of it but known noise."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # no standard error at all: nothing to filter
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines():
                if not noise.search(line):
                    sys.stderr.write(line + "\n")


# TensorFlow leaves oneDNN off on processors without AVX-512, where texts and ResNets train faster with it: benchmarks/onednn.py.
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
_chosen: set[str] = set()  # variables of the environment that are ours, not the user's


def load_tensorflow() -> None:
    """Imports TensorFlow and Keras (about 3 s the first time) with the known start-up noise held back, and with oneDNN.

    What the environment says already, such as `TF_ENABLE_ONEDNN_OPTS=0`, holds.
    """
    if "tensorflow" in sys.modules and "keras" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if ONEDNN not in os.environ:
        os.environ[ONEDNN] = "1"
        _chosen.add(ONEDNN)
    with filtered_stderr():
        import keras  # noqa: F401
        import tensorflow as tf

        tf.config.list_physical_devices()  # device discovery prints too
    import absl.logging

    absl.logging.set_verbosity(absl.logging.ERROR)


def user_environment() -> dict[str, str]:
    """Returns the environment as it is for TensorFlow outside tlkeras: a file that is exported must run there."""
    return {name: value for name, value in os.environ.items() if name not in _chosen}
