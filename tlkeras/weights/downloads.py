"""Downloads by other libraries: a silent host is given up after seconds, and every failure names the alternatives."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tlkeras.errors import ConfigError, WeightsUnavailable

PATIENCE = 10  # seconds until a host that does not answer is given up


@contextmanager
def with_alternatives(what: str, alternatives: str) -> Iterator[None]:
    """Turns a failed download into an error that names the alternatives.

    Args:
        what: what is downloaded, for the message.
        alternatives: other ways to get weights, for its end.

    Raises:
        WeightsUnavailable: when the download fails.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    except Exception as error:  # Keras raises a bare Exception; kagglehub, huggingface_hub and requests raise many kinds
        if isinstance(error, ConfigError):
            raise
        reason = " ".join(str(error).split())[:160]
        raise WeightsUnavailable(f"{what} cannot be downloaded ({reason}); {alternatives}") from error
    finally:
        socket.setdefaulttimeout(before)
