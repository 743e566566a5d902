"""Which layers train: ordered rules (`tlkeras.training.freeze_rules`), one flag per layer, and a report of what Keras actually trains."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import keras

from tlkeras.backbones.sections import ADAPTER, HEAD
from tlkeras.errors import FreezeError
from tlkeras.training.freeze_rules import Rule, matches, parse, resolve

__all__ = [
    "LayerFlag", "Report", "Rule", "apply", "check_frozen", "freeze", "frozen_digests", "leaves", "parse", "report", "resolve", "unfreeze",
]  # fmt: skip

_APPLIED: weakref.WeakKeyDictionary[keras.Model, _Applied] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class _Applied:
    rules: dict[str, str]  # layer path -> the rule that took it
    sections: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class LayerFlag:
    """What one layer of a model does in training."""

    path: str
    kind: str
    section: str
    rule: str
    parameters: int
    held: int  # parameters that do not train although the layer does
    trainable: bool
    batch_norm: str  # "", "inference" or "training"


@dataclass(frozen=True, kw_only=True)
class Report:
    """Layer by layer: rule, parameters, flag, BatchNorm mode. `str(report)` is a table."""

    layers: tuple[LayerFlag, ...]

    @property
    def trainable_parameters(self) -> int:
        return sum(layer.parameters - layer.held for layer in self.layers if layer.trainable)

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    def __str__(self) -> str:
        head = ("layer", "kind", "section", "rule", "parameters", "trainable", "BatchNorm")
        rows = [
            (flag.path, flag.kind, flag.section, flag.rule, f"{flag.parameters:,}", "yes" if flag.trainable else "no", flag.batch_norm)
            for flag in self.layers
        ]
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]]
        return "\n".join([*lines, f"{self.trainable_parameters:,} of {self.parameters:,} parameters train"])


# === Layers ===


def leaves(model: keras.Model) -> Iterator[tuple[str, keras.Layer]]:
    """Yields (path, layer) of every layer that holds weights of its own or has no layers inside, parents first."""
    yield from _walk(model, "")


def _walk(parent: keras.Layer, prefix: str) -> Iterator[tuple[str, keras.Layer]]:
    for layer in getattr(parent, "layers", None) or parent._layers:
        path = f"{prefix}{layer.name}"
        inner = list(layer._layers) if not isinstance(layer, keras.Model) else layer.layers
        own = layer._trainable_variables or layer._non_trainable_variables
        if own or not inner:
            yield path, layer
        if inner:
            yield from _walk(layer, f"{path}/")


def is_batch_norm(layer: keras.Layer) -> bool:
    """Whether the layer keeps running statistics that `fit` would move (BatchNormalization and similar layers)."""
    return isinstance(layer, keras.layers.BatchNormalization)


def _adapted(layer: keras.Layer) -> tuple[str, ...]:
    """Returns the variables that low-rank adapters stand beside, which stay frozen: Keras unfreezes them with their layer."""
    return ("kernel", "embeddings") if getattr(layer, "lora_enabled", False) else ()


def _own_parameters(layer: keras.Layer) -> int:
    own = {id(v): v for v in [*layer._trainable_variables, *layer._non_trainable_variables]}
    return sum(int(v.value.shape.num_elements() or 0) for v in own.values() if "seed_generator" not in v.path)


# === Flags ===


def apply(
    model: keras.Model,
    rules: Sequence[Rule],
    *,
    sections: Mapping[str, str] | None = None,
    batch_norm: str = "frozen",
    only: Sequence[str] = (),
) -> Report:
    """Sets the trainable flag of every layer by the rules; the one place where flags are set.

    Flags are set leaf by leaf, because Keras ignores `parent.trainable = True` when the parent's flag is already
    True. With `batch_norm="frozen"`, BatchNorm layers outside the head are frozen themselves, because
    `fit` of a functional model ignores `training=False` recorded at build time and would move their statistics
    (keras-team/keras#20285). A compiled model is compiled anew with a fresh optimizer, because Keras reads
    flags only then.

    Args:
        model: a built functional model.
        rules: ordered `(pattern, trainable)`.
        sections: layer name -> section name, for `section:` patterns.
        batch_norm: `"frozen"` or `"train"` (BatchNorm layers then follow the rules).
        only: names of the variables that train in unfrozen layers of the backbone; all when empty.

    Returns:
        The report, layer by layer.

    Raises:
        FreezeError: when the rules do not cover the model, or Keras did not apply a flag.
    """
    sections = dict(sections or (_APPLIED[model].sections if model in _APPLIED else {}))
    layers = list(leaves(model))
    paths = {path: sections.get(path.split("/")[0], "") for path, _ in layers}
    taken = resolve(paths, rules)
    reasons: dict[str, str] = {}
    flags: dict[int, tuple[str, bool]] = {}
    for path, layer in layers:
        pattern, trainable = taken[path]
        reasons[path] = pattern
        if trainable and batch_norm == "frozen" and is_batch_norm(layer) and paths[path] != HEAD:
            trainable, reasons[path] = False, f"{pattern} (BatchNorm frozen)"
        chosen = only if paths[path] not in (HEAD, ADAPTER) else ()
        if trainable and chosen and layer._trainable_variables and not any(v.name in chosen for v in layer._trainable_variables):
            trainable, reasons[path] = False, f"{pattern} (none of {', '.join(chosen)})"
        layer.trainable = trainable
        for variable in layer._trainable_variables:
            variable.trainable = trainable and (not chosen or variable.name in chosen) and variable.name not in _adapted(layer)
            flags[id(variable)] = (path, bool(variable.trainable))
    _check_flags(model, flags)
    if model.compiled:
        model.compile_from_config(model.get_compile_config())
    _APPLIED[model] = _Applied(rules=reasons, sections=sections)
    return report(model)


def _check_flags(model: keras.Model, flags: Mapping[int, tuple[str, bool]]) -> None:
    actual = {id(v) for v in model.trainable_variables}
    wrong = sorted(path for variable, (path, trainable) in flags.items() if (variable in actual) != trainable)
    if wrong:
        raise FreezeError(
            f"Keras did not apply the trainable flag of {wrong[0]!r} ({len(wrong)} variables in all); is it shared with a frozen layer?"
        )


def freeze(model: keras.Model, pattern: str) -> Report:
    """Freezes the layers that match (`"all"` for every one); the others keep their flags."""
    return _toggle(model, pattern, False)


def unfreeze(model: keras.Model, pattern: str, *, batch_norm: str = "frozen") -> Report:
    """Unfreezes the layers that match (`"all"` for every one); the others keep their flags."""
    return _toggle(model, pattern, True, batch_norm)


def _toggle(model: keras.Model, pattern: str, trainable: bool, batch_norm: str = "frozen") -> Report:
    pattern = "*" if pattern == "all" else pattern
    first: list[Rule] = [(pattern, trainable)]
    sections = _APPLIED[model].sections if model in _APPLIED else {}
    paths = [(path, layer, sections.get(path.split("/")[0], "")) for path, layer in leaves(model)]
    rest = [(_literal(path), layer.trainable) for path, layer, section in paths if not matches(pattern, path, section)]
    # A BatchNorm that trains already was opted in before; freezing or unfreezing others must not change that.
    opted_in = any(is_batch_norm(layer) and layer.trainable for _, layer, _ in paths)
    return apply(model, [*first, *rest], batch_norm="train" if opted_in and not trainable else batch_norm)


def _literal(path: str) -> str:
    """Returns a pattern that matches this path and no other (`[` is special to fnmatch)."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)


def report(model: keras.Model) -> Report:
    """Returns what every layer does in training with the current flags.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="dense")])
        >>> report(model).trainable_parameters
        3
    """
    known = _APPLIED.get(model, _Applied(rules={}, sections={}))
    rows = []
    for path, layer in leaves(model):
        mode = ("training" if layer.trainable else "inference") if is_batch_norm(layer) else ""
        rows.append(
            LayerFlag(
                path=path,
                kind=type(layer).__name__,
                section=known.sections.get(path.split("/")[0], ""),
                rule=known.rules.get(path, ""),
                parameters=_own_parameters(layer),
                held=sum(int(v.value.shape.num_elements() or 0) for v in layer._trainable_variables if not v.trainable),
                trainable=bool(layer.trainable),
                batch_norm=mode,
            )
        )
    return Report(layers=tuple(rows))


# === Proof ===


def frozen_digests(model: keras.Model) -> dict[str, str]:
    """Returns variable path -> sha256 of the bytes of every weight and statistic that must not move now."""
    digests = {}
    for path, layer in leaves(model):
        moving = layer.trainable and is_batch_norm(layer)
        own = [] if moving else [v for v in [*layer._trainable_variables, *layer._non_trainable_variables] if not v.trainable]
        for variable in own:
            if "seed_generator" not in variable.path:
                digests[f"{path}:{variable.name}"] = hashlib.sha256(variable.value.numpy().tobytes()).hexdigest()
    return digests


def digest(model: keras.Model) -> str:
    """Returns one sha256 over every weight and statistic of a model."""
    total = hashlib.sha256()
    for variable in model.weights:
        total.update(variable.value.numpy().tobytes())
    return total.hexdigest()


def check_frozen(model: keras.Model, before: Mapping[str, str]) -> None:
    """Raises when a weight or statistic is not bit-identical to what `frozen_digests` saw before.

    Raises:
        FreezeError: naming the variables that moved.
    """
    after = frozen_digests(model)
    moved = sorted(name for name, digest in before.items() if after.get(name) != digest)
    if moved:
        raise FreezeError(f"{len(moved)} frozen weights or statistics moved in training, the first is {moved[0]!r}; please report this")
