"""Which section of a backbone a layer belongs to."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from tlkeras.backbones.adapters import PREFIX, SECTION
from tlkeras.errors import FreezeError

HEAD = "head"  # the section of the head's layers
ADAPTER = SECTION  # the section of a channel adapter that has weights
CONTRACT = "contract_"  # layers of the input contract belong to no section


def section_of(layer_names: Sequence[str], sections: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Returns layer name -> section name ("" for the input and its contract, `adapter` for a channel adapter).

    A section ends at the last layer whose name matches its pattern, and owns every layer since the end of the
    section before: Keras numbers layers that their authors did not name, and such layers go by their place. The
    last section reaches to the end.

    Args:
        layer_names: in topological order, as in `model.layers`.
        sections: ordered (section name, shell-style pattern).

    Raises:
        FreezeError: when a pattern matches no layer, or sections overlap.

    Example:
        >>> section_of(["image", "conv", "add", "b_conv", "add_1"], [("a", "add"), ("b", "b_*")])
        {'image': '', 'conv': 'a', 'add': 'a', 'b_conv': 'b', 'add_1': 'b'}
    """
    owners: dict[str, str] = {}
    start = 1 + max([i for i, name in enumerate(layer_names) if name.startswith((CONTRACT, PREFIX)) or i == 0])
    owners.update({name: ADAPTER if name.startswith(PREFIX) else "" for name in layer_names[:start]})
    for position, (section, pattern) in enumerate(sections):
        matching = [i for i, name in enumerate(layer_names) if fnmatch.fnmatchcase(name, pattern)]
        if not matching or matching[-1] < start:
            raise FreezeError(f"section {section!r} ends at no layer: its pattern {pattern!r} matches nothing after the previous section")
        end = len(layer_names) if position == len(sections) - 1 else matching[-1] + 1
        owners.update(dict.fromkeys(layer_names[start:end], section))
        start = end
    return owners
