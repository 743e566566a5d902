"""Downloads by other libraries: a silent host is given up after seconds, and every failure names the alternatives."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tlkeras.errors import ConfigError, WeightsUnavailable
from tlkeras.weights.sources import KerasDownload, Row

PATIENCE = 10  # seconds until a host that does not answer is given up


def network(row: Row, source: KerasDownload, build: Callable[..., Any], *, alternatives: str) -> Any:
    """Returns a network with the weights that keras.applications downloads; see `WeightsSource.builds`."""
    with with_alternatives(f"the ImageNet weights of {row.name}", alternatives):
        return build(weights="imagenet")


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
