"""What headers state is what decoders find, and a GIF without its later frames gives the pixels of the whole."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.hostile import images
from tlkeras.errors import DataError
from tlkeras.modalities.images import headers

KINDS = {name: options["format"].lower() for name, options in images.FORMATS.items() if options["format"].lower() in headers.SIZES}


@pytest.mark.parametrize("name", KINDS)
def test_a_header_states_the_size_of_the_image(name):
    data = images.image(name, (70, 50))
    assert headers.SIZES[KINDS[name]](data) == (70, 50) == Image.open(io.BytesIO(data)).size


def animated(sizes):
    """A GIF whose frames have these sizes, each of one colour."""
    buffer = io.BytesIO()
    frames = [Image.new("P", size, index + 1) for index, size in enumerate(sizes)]
    for frame in frames:
        frame.putpalette([value for index in range(256) for value in (index * 40 % 256, index * 90 % 256, 7)])
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], loop=0)
    return buffer.getvalue()


@pytest.mark.parametrize("sizes", [[(30, 20)], [(30, 20)] * 5, [(30, 20), (10, 10), (5, 20)]])
def test_a_gif_without_its_later_frames_gives_the_same_pixels(sizes):
    data = animated(sizes)
    short = headers.first_frame(data)
    assert len(short) <= len(data) and (len(sizes) == 1 or len(short) < len(data))
    whole, first = (tf.io.decode_image(content, channels=3, expand_animations=False).numpy() for content in (data, short))
    np.testing.assert_array_equal(whole, first)


def test_a_gif_whose_later_frames_are_larger_stays_whole():
    data = images.gif(1)[:-1] + images.gif(1, size=(60, 60))[19:]
    assert headers.first_frame(data) == data


def test_a_gif_with_very_many_pixels_in_larger_frames_is_refused():
    data = images.gif(1)[:-1] + images.gif(50, size=(4000, 4000))[19:]
    with pytest.raises(DataError, match="the 51 frames of the GIF have"):
        headers.first_frame(data)
