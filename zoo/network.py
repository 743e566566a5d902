"""A published entry as a backbone: `zoo:NAME[/VERSION]`."""

from __future__ import annotations

import dataclasses

from tlkeras.backbones.registry import BACKBONES
from tlkeras.backbones.row import Backbone
from tlkeras.errors import ZooError
from tlkeras.weights.sources import ZooModel
from tlkeras.zoo.store import Zoo, default_root, verify_files

PREFIX = "zoo:"


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
    if "model.keras" not in entry.files:
        raise ZooError(f"{entry} has no model.keras, so it cannot be a backbone")
    try:
        origin = str(entry.manifest["config"]["backbone"])  # an entry may itself be made from an entry
        licence = str(entry.manifest["licences"]["backbone weights"]["licence"])
    except (KeyError, TypeError) as error:
        raise ZooError(f"the manifest of {entry} does not say what it was made from ({error!r}); publish it again") from None
    base = row(origin.removeprefix(PREFIX), (*above, str(entry))) if origin.startswith(PREFIX) else BACKBONES.get(origin)
    return dataclasses.replace(
        base,
        name=f"{PREFIX}{entry}",
        pooling="vector",
        input_size=int(entry.manifest["metadata"].get("image_size", base.input_size)),
        sections=tuple(
            (section, pattern) for section, pattern in entry.manifest.get("sections", entry.manifest.get("stages", base.sections))
        ),
        weights=(ZooModel(path=str(entry.path / "model.keras")),),
        license=licence,
    )
