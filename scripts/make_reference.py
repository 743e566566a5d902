"""Write docs/reference.md from the registries: `python scripts/make_reference.py`. A test keeps the page true."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tlkeras.backbones.registry import BACKBONES
from tlkeras.config import keys
from tlkeras.data.augment_registry import AUGMENTS
from tlkeras.data.sources.registry import SOURCES
from tlkeras.export.formats import FORMATS
from tlkeras.recipes.registry import RECIPES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference.md"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)])


def backbones() -> str:
    head = (
        "name",
        "takes",
        "pixels or tokens (smallest)",
        "M params",
        "features",
        "top-1",
        "contract or pooling",
        "stages",
        "weights",
        "licence",
        "paper",
    )
    return table(
        head,
        (
            (
                f"`{row.name}`",
                row.modality,
                f"{row.input_size} ({row.min_size})",
                f"{row.params / 1e6:.1f}",
                row.features,
                "–" if row.top1 is None else f"{row.top1:.3f}",
                row.contract or row.pooling,
                " ".join(name for name, _ in row.stages),
                ", ".join(source.kind for source in row.weights) or "–",
                row.license,
                f"[link]({row.source})",
            )
            for row in BACKBONES
        ),
    )


def page() -> str:
    """Returns the whole page."""
    settings = ((f"`{one.key}`", one.help, one.default_text) for one in keys())
    stages = (
        (
            f"`{row.name}`",
            "; ".join(f"{s.name}: unfreeze {s.unfreeze}, {s.epochs} epochs, {s.learning_rate:g}" for s in row.stages),
            row.why,
            row.source,
        )
        for row in RECIPES
    )
    parts = [
        "# Reference",
        "Made from the registries by `python scripts/make_reference.py`; a test keeps it true.",
        "## Settings",
        "Flags are the same with two hyphens in front and hyphens inside; `freeze_rules` stands in config files only.",
        table(("key", "what", "default"), settings),
        "## Recipes",
        table(("name", "stages (at most, peak learning rate)", "why", "source"), stages),
        "## Sources",
        table(("name", "what"), ((f"`{row.name}`", row.help) for row in SOURCES)),
        "## Augmentations",
        table(("name", "what"), ((f"`{row.name}`", row.help) for row in AUGMENTS)),
        "## Formats",
        table(
            ("name", "file", "runtime", "tolerance", "what"),
            ((f"`{r.name}`", r.path, r.runtime, f"{r.tolerance:g}", r.help) for r in FORMATS),
        ),
        "## Backbones",
        "Parameters and features are without classifier; top-1 is ImageNet as published. Also called: "
        + ", ".join(f"`{alias}` = `{name}`" for alias, name in BACKBONES.aliases().items())
        + ".",
        backbones(),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
