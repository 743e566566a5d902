"""`tlkeras weights list|fetch|path|clear`: the weights of each backbone, and the cache."""

from __future__ import annotations

from collections.abc import Callable

import typer

from tlkeras.cli.echo import echo, echo_json

NAME = typer.Argument(None, help="Backbone or family. [default: all]", metavar="BACKBONE", show_default=False)


def _debug() -> bool:
    return typer.Option(False, "--debug", help="Show tracebacks.")


def show(name: str | None = NAME, json_out: bool = typer.Option(False, "--json", help="Print JSON."), debug: bool = _debug()) -> None:
    """List every source of weights with its origin, state, size, licence and sha256."""
    from tlkeras.backbones.registry import BACKBONES
    from tlkeras.jobs.backbone_record import find_backbone
    from tlkeras.modalities.registry import MODALITIES
    from tlkeras.weights.cache import status

    rows = [find_backbone(name)] if name else list(BACKBONES)
    sources = status(rows)
    if json_out:
        records = [{"backbone": source.row.name, "kind": source.kind, "where": source.where, "state": source.state} for source in sources]
        sizes = [{"bytes": source.bytes, "licence": source.row.license, "sha256": source.sha256} for source in sources]
        echo_json([{**a, **b} for a, b in zip(records, sizes, strict=True)])
        return
    for source in sources:
        size = f"{source.bytes / 1e6:.1f} MB" if source.bytes else ""
        echo(
            f"{source.row.name:<24} {source.kind:<6} {source.state:<21} {size:>9}  {source.row.license:<13} {source.where}  {source.sha256[:16]}".rstrip()
        )
    for row in rows:
        if not row.weights:
            ways = f"--weights {MODALITIES.get(row.modality).weights}" + (
                " (of Keras, PyTorch or safetensors)" if row.layouts else ", or `tlkeras pretrain`"
            )
            echo(f"{row.name:<24} -      {ways}")


def fetch(name: str = typer.Argument(help="Backbone or family.", metavar="BACKBONE"), debug: bool = _debug()) -> None:
    """Download the weights of a backbone now, so that later runs need no network."""
    from tlkeras.cli.screen import start_tensorflow
    from tlkeras.jobs.backbone_record import find_backbone
    from tlkeras.weights.cache import status

    row = find_backbone(name)
    start_tensorflow()
    from tlkeras.backbones.load import load

    load(row)
    paths = [str(path) for one in status([row]) for path in (*one.paths, *([one.theirs] if one.theirs else []))]
    echo(f"{row.name}: {', '.join(paths) or 'in the cache of the library that downloaded it'}")


def path(debug: bool = _debug()) -> None:
    """Print the folder of the cache."""
    from tlkeras.files import cache_dir

    echo(str(cache_dir()))


def clear(name: str | None = NAME, debug: bool = _debug()) -> None:
    """Delete the cached weights of one backbone, or of all."""
    from tlkeras.backbones.registry import BACKBONES
    from tlkeras.files import cache_dir
    from tlkeras.jobs.backbone_record import find_backbone
    from tlkeras.weights import cache

    freed = cache.clear([find_backbone(name)] if name else list(BACKBONES))
    echo(f"{freed / 1e6:.1f} MB freed in {cache_dir()}")


COMMANDS: dict[str, Callable[..., None]] = {"list": show, "fetch": fetch, "path": path, "clear": clear}
