"""Which backbones come into question: those whose weights can be had, within licence and size; the others with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tlkeras.backbones.row import Backbone
from tlkeras.selection import cost
from tlkeras.weights.cache import status

# Licences of weights that allow commercial use and ask for no more than a notice. Others must be read; some forbid it.
PERMISSIVE = ("Apache-2.0", "BSD-3-Clause", "MIT", "CC-BY-4.0")
COMMERCIAL = "commercial"
HERE = ("cached", "cached by it", "installed")  # states of `tlkeras.weights.cache.Status` of weights that need no network
INDEX = "in the package index"


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published figure of a backbone.

    Args:
        value: 0 to 1.
        measure: what it is.
        source: where it is published.
    """

    value: float
    measure: str
    source: str


TOP1, LINEAR, GLUE = "ImageNet top-1", "ImageNet top-1 of a linear probe", "mean of GLUE's development sets"
_DEIT = "https://github.com/facebookresearch/deit/blob/main/README_deit.md"
_DINO = "https://github.com/facebookresearch/dinov2"
_DISTILBERT = "https://arxiv.org/abs/1910.01108, table 1"
# Figures of rows that have no `top1`. Those of texts and of images are not comparable, nor those of probes and of whole networks.
FIGURES: Mapping[str, Published] = {
    "deit_tiny": Published(value=0.745, measure=TOP1, source=_DEIT),
    "deit_small": Published(value=0.812, measure=TOP1, source=_DEIT),
    "deit_base": Published(value=0.834, measure=TOP1, source=_DEIT),
    "deit_base_384": Published(value=0.852, measure=TOP1, source=_DEIT),
    "dinov2_small": Published(value=0.811, measure=LINEAR, source=_DINO),
    "dinov2_base": Published(value=0.845, measure=LINEAR, source=_DINO),
    "dinov2_large": Published(value=0.863, measure=LINEAR, source=_DINO),
    "bert_base": Published(value=0.795, measure=GLUE, source=_DISTILBERT),
    "distilbert_base": Published(value=0.770, measure=GLUE, source=_DISTILBERT),
    "elmo_original": Published(value=0.687, measure=GLUE, source=_DISTILBERT),
}


def published(row: Backbone) -> Published | None:
    """Returns the published figure of a backbone, or None where none is known here."""
    if row.top1 is not None:
        return Published(value=row.top1, measure=TOP1, source="docs/backbones.md")
    return FIGURES.get(row.name)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a backbone may cost at most.

    Args:
        size_mb: of the file, in MB.
        latency_ms: of one example, in milliseconds.
        licence: `commercial`: only weights that may be used commercially without further conditions; None: any.
        integers: whether size and latency are those of the int8 file.
    """

    size_mb: float | None = None
    latency_ms: float | None = None
    licence: str | None = None
    integers: bool = False


@dataclass(frozen=True, kw_only=True)
class Lineup:
    """The backbones, sorted.

    Args:
        here: weights on this computer.
        index: weights in the package index, from which a run would download them too.
        downloads: weights that Keras or KerasHub would download.
        excluded: name -> the limit that it does not keep.
        untrained: names without pretrained weights of their own; they are never recommended.
    """

    here: tuple[Backbone, ...]
    index: tuple[Backbone, ...]
    downloads: tuple[Backbone, ...]
    excluded: Mapping[str, str] = field(default_factory=dict)
    untrained: tuple[str, ...] = ()


def sorted_out(rows: Iterable[Backbone], limits: Limits) -> Lineup:
    """Sorts backbones by where their weights are, and leaves out those beyond a limit that is known without running them."""
    here: list[Backbone] = []
    index: list[Backbone] = []
    downloads: list[Backbone] = []
    untrained: list[str] = []
    excluded: dict[str, str] = {}
    for row in rows:
        if not row.weights:
            untrained.append(row.name)
            continue
        reason = beyond(row, limits)
        if reason:
            excluded[row.name] = reason
            continue
        state = status([row])[0].state  # of the first source, which a run uses
        (here if state in HERE else index if state == INDEX else downloads).append(row)
    return Lineup(here=tuple(here), index=tuple(index), downloads=tuple(downloads), excluded=excluded, untrained=tuple(untrained))


def beyond(row: Backbone, limits: Limits) -> str:
    """Returns which limit a backbone does not keep, judging by its row; empty where it keeps all."""
    if limits.licence == COMMERCIAL and row.license not in PERMISSIVE:
        return f"licence {row.license}; commercial use without conditions is allowed by {', '.join(PERMISSIVE)}"
    if limits.size_mb is not None and row.params:
        size = cost.sizes(row.params)["int8" if limits.integers else "float32"] / 1e6
        if size > limits.size_mb:
            return (
                f"{size:.1f} MB in {'int8' if limits.integers else 'float32'}, estimated from its parameters; at most {limits.size_mb:g} MB"
            )
    return ""
