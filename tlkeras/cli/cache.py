"""`tlkeras cache list|clear`: decoded images and features that are kept between runs."""

from __future__ import annotations

from collections.abc import Callable

import typer

from tlkeras.cli.echo import echo, echo_json


def show(
    json_out: bool = typer.Option(False, "--json", help="Print JSON."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    """List what is kept: kind, rows, size, when it was used last, and from what it was computed."""
    import time

    from tlkeras.jobs.cache import packs, user_cache

    listed = packs()
    if json_out:
        fields = [{"kind": pack.kind, "rows": len(pack.rows), "bytes": pack.bytes, "used": pack.used} for pack in listed]
        echo_json([{**row, "contract": pack.contract} for row, pack in zip(fields, listed, strict=True)])
        return
    for pack in listed:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(pack.used))
        echo(f"{pack.kind:<8} {len(pack.rows):>8,} rows {pack.bytes / 1e6:>9,.1f} MB  used {used}  {pack.contract.split(';')[0]}")
    cache = user_cache()
    total = sum(pack.bytes for pack in listed)
    echo(f"{total / 1e6:,.1f} of at most {cache.limit / 1e6:,.0f} MB in {cache.folder} (TLKERAS_CACHE, TLKERAS_CACHE_SIZE)")


def clear(debug: bool = typer.Option(False, "--debug", help="Show tracebacks.")) -> None:
    """Delete everything that is kept; later runs compute it again."""
    from tlkeras.jobs.cache import clear, user_cache

    echo(f"{clear() / 1e6:,.1f} MB freed in {user_cache().folder}")


COMMANDS: dict[str, Callable[..., None]] = {"list": show, "clear": clear}
