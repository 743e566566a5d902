"""What is kept between runs: decoded images and features."""

from __future__ import annotations

from tlkeras import files
from tlkeras.data.row_cache import Pack, RowCache, limit

__all__ = ["Pack", "clear", "packs", "user_cache"]


def user_cache() -> RowCache:
    """Returns the user's cache: the folder `rows` in `TLKERAS_CACHE` or the user's cache folder, of at most `TLKERAS_CACHE_SIZE`."""
    return RowCache(folder=files.cache_dir() / "rows", limit=limit())


def packs() -> list[Pack]:
    """Returns what is kept, the pack that was used last first."""
    return user_cache().packs()


def clear() -> int:
    """Deletes what is kept; returns the number of bytes freed. Runs that are going on compute again what they miss."""
    return user_cache().clear()
