"""The backbones tlkeras knows: the tables of `rows/`, one file for each library or family. Reading them imports no Keras.

Parameters and feature widths are those of the network without its classifier, and tests build every row to check them.
"""

from __future__ import annotations

from tlkeras.backbones import handles
from tlkeras.backbones.row import Backbone
from tlkeras.backbones.rows import efficientnet_lite, hub_images, hub_texts, keras_applications, scratch, torchvision
from tlkeras.errors import UnknownName
from tlkeras.registry import Registry

BACKBONES: Registry[Backbone] = Registry(
    "backbone",
    [
        *efficientnet_lite.ROWS,
        *keras_applications.ROWS,
        *torchvision.ROWS,
        *hub_images.ROWS,
        *hub_texts.ROWS,
        *scratch.ROWS,
    ],
    aliases={
        **efficientnet_lite.ALIASES,
        **keras_applications.ALIASES,
        **hub_images.ALIASES,
        **hub_texts.ALIASES,
    },
)


def find(name: str) -> Backbone:
    """Returns the row of a name or alias; published networks, `zoo:NAME`, are found by `jobs.backbone_record.find_backbone`.

    Raises:
        UnknownName: listing near names; for an id of a hub, the backbone that is meant.
    """
    if name not in BACKBONES:
        message = handles.hint(name, BACKBONES)
        if message:
            raise UnknownName(message)
    return BACKBONES.get(name)
