"""A small picture of an image as the model receives it, as part of an HTML page."""

from __future__ import annotations

import base64
import html
import io

import numpy as np
from PIL import Image

SIDE = 104  # pixels; about twice what a page shows on a phone of ordinary density
QUALITY = 68  # of the JPEG: 2 to 4 kB for a photo
TINY = 48  # pixels; smaller images are shown enlarged with hard edges, as PNG


def thumbnail(array: np.ndarray, name: str) -> str:
    """Returns an `<img>` with the picture in it.

    Args:
        array: uint8 (height, width, channels), 0 to 255. Of other than 1 or 3 channels, the first three are shown, or the first one.
        name: text for people who do not see it.
    """
    channels = array.shape[-1]
    shown = array[..., :3] if channels >= 3 else array[..., 0]
    image = Image.fromarray(np.ascontiguousarray(shown, "uint8"))
    tiny = max(image.size) <= TINY
    content = io.BytesIO()
    if tiny:
        image.save(content, "PNG", optimize=True)
    else:
        image.thumbnail((SIDE, SIDE))
        image.save(content, "JPEG", quality=QUALITY)
    data = base64.b64encode(content.getvalue()).decode()
    kind = "class=tiny " if tiny else ""
    return f'<img {kind}src="data:image/{"png" if tiny else "jpeg"};base64,{data}" width={image.width} height={image.height} alt="{html.escape(name)}">'
