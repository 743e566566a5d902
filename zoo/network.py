"""A published entry as a backbone: `zoo:NAME[/VERSION]`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from tlkeras.backbones.registry import BACKBONES
from tlkeras.backbones.row import Backbone
from tlkeras.errors import ZooError
from tlkeras.registry import load_function
from tlkeras.weights.sources import ZooModel, chosen_source
from tlkeras.zoo.store import Zoo, copied, default_root, verify_files

if TYPE_CHECKING:  # it loads TensorFlow
    from tlkeras.backbones.load import Arguments, Base

PREFIX = "zoo:"
MODEL, VOCABULARY = "model.keras", "tokenizer"
_loaders: dict[str, str] = {}  # name of a row that was made here -> loader of the row that it was made from


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
    try:
        origin = str(entry.manifest["config"]["backbone"])  # an entry may itself be made from an entry
        licence = str(entry.manifest["licences"]["backbone weights"]["licence"])
    except (KeyError, TypeError) as error:
        raise ZooError(f"the manifest of {entry} does not say what it was made from ({error!r}); publish it again") from None
    base = row(origin.removeprefix(PREFIX), (*above, str(entry))) if origin.startswith(PREFIX) else BACKBONES.get(origin)
    _loaders[f"{PREFIX}{entry}"] = _loaders.get(base.name, base.loader)
    return dataclasses.replace(
        base,
        name=f"{PREFIX}{entry}",
        loader=f"{__name__}:load",
        pooling="vector",
        input_size=int(entry.manifest["metadata"].get("image_size", base.input_size)),
        sections=tuple(
            (section, pattern) for section, pattern in entry.manifest.get("sections", entry.manifest.get("stages", base.sections))
        ),
        weights=(ZooModel(path=str(entry.path / MODEL)),),
        license=licence,
    )


def load(row: Backbone, arguments: Arguments) -> Base:
    """Loads a published network from copies of its files that have the hashes of the manifest; the loader of its row.

    Args:
        row: from `row`.
        arguments: of `tlkeras.backbones.load.load`.

    Raises:
        ZooError: when a file has changed since it was published.
    """
    loader = load_function(_loaders[row.name])
    source = chosen_source(row, arguments.weights)
    if not isinstance(source, ZooModel):
        return loader(row, arguments)
    entry = Zoo(Path(source.path).parents[2]).get(row.name.removeprefix(PREFIX))
    with copied(entry, [name for name in entry.files if name.partition("/")[0] in (MODEL, VOCABULARY)]) as copies:
        return loader(dataclasses.replace(row, weights=(ZooModel(path=str(copies / MODEL)),)), arguments)
