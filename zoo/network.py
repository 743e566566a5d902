"""A published entry as a backbone: `zoo:NAME[/VERSION]`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

from tlkeras.backbones.registry import BACKBONES
from tlkeras.backbones.row import Backbone
from tlkeras.errors import UnknownName, ZooError, reason
from tlkeras.weights.sources import ZooModel
from tlkeras.zoo.store import Entry, Zoo, copied, default_root, verify_files

PREFIX = "zoo:"
MODEL, VOCABULARY = "model.keras", "tokenizer"  # files and folders of an entry
RECORD = "backbone"  # key of the manifest of an entry


def row(name: str, above: tuple[str, ...] = ()) -> Backbone:
    """Returns the row of a published network, with its layers up to `features`.

    Args:
        name: of the entry.
        above: entries that were made from it.

    Raises:
        ZooError: when there is no such entry, it is damaged, has no Keras model, or is made from itself.
    """
    entry = Zoo(default_root()).get(name)
    if str(entry) in above:
        raise ZooError(
            f"{entry} names itself as its backbone ({' <- '.join([*above, str(entry)])}); its manifest was changed; publish it again"
        )
    wrong = verify_files(entry)
    if wrong:
        raise ZooError(f"{entry} has changed since it was published: {wrong[0]}")
    if MODEL not in entry.files:
        raise ZooError(f"{entry} has no {MODEL}, so it cannot be a backbone")
    files = [name for name in entry.files if name.partition("/")[0] in (MODEL, VOCABULARY)]
    try:
        base = _base(entry, above)
        licence = str(entry.manifest["licences"]["backbone weights"]["licence"])
        size = int(entry.manifest["metadata"].get("image_size", base.input_size))
        sections = _sections(entry.manifest.get("sections", entry.manifest.get("stages", base.sections)))
    except UnknownName as error:
        raise ZooError(f"{entry} was made from a backbone that this tlkeras does not have: {error}") from error
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ZooError(f"the manifest of {entry} does not say what it was made from ({reason(error)}); publish it again") from error
    return dataclasses.replace(
        base,
        name=f"{PREFIX}{entry}",
        origin=base.origin or base.name,
        pooling="vector",
        input_size=size,
        sections=sections,
        weights=(ZooModel(path=str(entry.path / MODEL), copies=partial(copied, entry, files)),),
        license=licence,
    )


def _base(entry: Entry, above: tuple[str, ...]) -> Backbone:
    """Returns the row of what an entry was made from, which may itself be an entry; where that is not recorded, it must still be there."""
    if RECORD in entry.manifest:
        return recorded(entry.manifest[RECORD])
    origin = str(entry.manifest["config"]["backbone"])
    return row(origin.removeprefix(PREFIX), (*above, str(entry))) if origin.startswith(PREFIX) else BACKBONES.get(origin)


# === Records ===


def record(row: Backbone) -> dict[str, Any]:
    """Returns what runs and entries keep of the row of their backbone: enough to do without an entry that it comes from."""
    own = {"sections": [list(section) for section in row.sections]} if row.origin else {}
    return {"name": row.name, "row": row.origin or row.name, **own, "licence": row.license, "source": row.source}


def recorded(content: Mapping[str, Any]) -> Backbone:
    """Returns the row of a record; that of a published network has no weights to load, as the entry may be gone.

    Raises:
        KeyError, TypeError, ValueError: when it is no record.
        UnknownName: when the tables have no such row.
    """
    base = dataclasses.replace(BACKBONES.get(str(content["row"])), license=str(content["licence"]), source=str(content["source"]))
    if "sections" not in content:
        return base
    sections = _sections(content["sections"])
    return dataclasses.replace(base, name=str(content["name"]), origin=base.name, sections=sections, weights=())


def _sections(content: Any) -> tuple[tuple[str, str], ...]:
    """Returns names of sections and the patterns of their layers, as a file has them."""
    return tuple((str(section), str(pattern)) for section, pattern in content)
