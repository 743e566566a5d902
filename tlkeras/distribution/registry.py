"""The distribution strategies that `--placement` names: one row each. Importing this table imports no TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass

from tlkeras.errors import ConfigError
from tlkeras.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One distribution strategy, as `--placement` names it.

    Args:
        name: name that users pass; `name:N` if it accepts a number.
        open: `"module:function"`, called with the number or None, returns a `Distribution`.
        number: what the number means; empty when there is none.
        help: one line of help text.
    """

    name: str
    open: str
    number: str = ""
    help: str


def _kind(name: str, help: str, number: str = "") -> Kind:
    return Kind(name=name, open=f"tlkeras.distribution.strategies:open_{name}", number=number, help=help)


PLACEMENTS: Registry[Kind] = Registry(
    "placement",
    [
        _kind("auto", "the workers that TF_CONFIG or SLURM name, else all GPUs of this machine, else its CPU"),
        _kind("cpu", "the CPU, even on a machine with a GPU"),
        _kind("gpu", "one GPU, the first one or gpu:N", "which GPU, from 0"),
        _kind("mirrored", "all GPUs of this machine, or N of them; without GPUs, N parts of the CPU (for tests)", "how many devices"),
        _kind("multiworker", "the workers that TF_CONFIG or SLURM name; `tlkeras launch` starts workers here"),
        _kind("tpu", "the TPU of this machine or of TPU_NAME"),
    ],
)


def parse(text: str) -> tuple[Kind, int | None]:
    """Returns the row and the number of `NAME` or `NAME:N`.

    Raises:
        UnknownName, ConfigError: saying what is expected.
    """
    name, sign, number = text.partition(":")
    kind = PLACEMENTS.get(name)
    if not sign:
        return kind, None
    if not kind.number or not number.isdecimal():
        expected = f"{name}:N, {kind.number}" if kind.number else f"{name!r} alone"
        raise ConfigError(f"placement is {text!r}; expected {expected}")
    return kind, int(number)
