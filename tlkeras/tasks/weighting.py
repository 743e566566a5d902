"""The weights of the losses of several targets, as users write them; read before Keras is loaded."""

from __future__ import annotations

from tlkeras.data.target import Target
from tlkeras.errors import ConfigError, near
from tlkeras.tasks.registry import Options

UNCERTAINTY = "uncertainty"


def weights_of(target: Target, options: Options) -> dict[str, float] | str:
    """Returns the weight of the loss of each part, or `uncertainty`.

    Raises:
        ConfigError: for a part that there is not, or a weight that is no positive number.
    """
    asked = (options.target_weights or "").strip()
    names = [part.name for part in target.parts]
    if asked == UNCERTAINTY:
        return UNCERTAINTY
    weights = dict.fromkeys(names, 1.0)
    for pair in filter(None, asked.split(",")):
        name, sign, value = (text.strip() for text in pair.rpartition("="))
        if not sign:
            raise ConfigError(f"target_weights is {asked!r}; expected {UNCERTAINTY}, or NAME=WEIGHT, comma-separated")
        if name not in weights:
            raise ConfigError(f"target_weights has no target {name!r}; {near(name, names)}")
        try:
            weights[name] = float(value)
        except ValueError:
            weights[name] = -1.0
        if not 0 < weights[name] < float("inf"):
            raise ConfigError(f"target_weights gives {name!r} the weight {value!r}; expected a number above 0")
    return weights


def check(target: Target, options: Options) -> None:
    """Raises ConfigError where the weights of the losses do not fit the targets."""
    weights_of(target, options)
