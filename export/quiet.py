"""What converters print on success stays off the screen."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from tlkeras.startup import KNOWN_NOISE, filtered_stderr

# What the converters print on success. Their errors come as exceptions; anything else is shown.
CHATTER = re.compile(
    KNOWN_NOISE.pattern + r"|MLIR V1 optimization pass|tf_tfl_flatbuffer_helpers|Ignored (output_format|drop_control_dependency)"
    r"|Reading SavedModel|reader\.cc|loader\.cc|SavedModel load for tags|Restoring SavedModel|Running initialization op"
    r"|flatbuffer_export\.cc|Estimated count of arithmetic ops|Created TensorFlow Lite XNNPACK|grappler|single_machine|devices\.cc|W0000|I0000"
    r"|mlir_graph_optimization_pass|fingerprint|fully_quantize: "
    # What the converter prints of an error, which comes as an exception too.
    r"|^loc\(|^error: |failed to legalize|Lowering tensor list ops",
)


@contextmanager
def quiet_converters() -> Iterator[None]:
    """Keeps what converters print on success off the screen; their errors are exceptions and pass."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "absl", "tf2onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with filtered_stderr(CHATTER):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
