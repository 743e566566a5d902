"""A published entry as a backbone: `zoo:NAME[/VERSION]`."""

from __future__ import annotations

import dataclasses

from tlkeras.backbones.registry import BACKBONES
from tlkeras.backbones.row import Backbone
from tlkeras.errors import ZooError
from tlkeras.weights.sources import ZooModel
from tlkeras.zoo.store import Zoo, default_root, verify_files

PREFIX = "zoo:"


def row(name: str) -> Backbone:
    """Returns the row of a published network, with its layers up to `features`.

    Raises:
        ZooError: when there is no such entry, it is damaged, or has no Keras model.
    """
    entry = Zoo(default_root()).get(name)
    wrong = verify_files(entry)
    if wrong:
        raise ZooError(f"{entry} has changed since it was published: {wrong[0]}")
    if "model.keras" not in entry.files:
        raise ZooError(f"{entry} has no model.keras, so it cannot be a backbone")
    origin = str(entry.manifest["config"]["backbone"])  # an entry may itself be made from an entry
    base = row(origin.removeprefix(PREFIX)) if origin.startswith(PREFIX) else BACKBONES.get(origin)
    return dataclasses.replace(
        base,
        name=f"{PREFIX}{entry}",
        pooling="vector",
        input_size=int(entry.manifest["metadata"].get("image_size", base.input_size)),
        sections=tuple(
            (section, pattern) for section, pattern in entry.manifest.get("sections", entry.manifest.get("stages", base.sections))
        ),
        weights=(ZooModel(path=str(entry.path / "model.keras")),),
        license=entry.manifest["licences"]["backbone weights"]["licence"],
    )
