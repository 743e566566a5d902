"""One decoder: every format upright and RGB, equal in files, arrays and graphs."""

import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tlkeras.data import decode
from tlkeras.errors import DataError

SIDE = 12
decode_12 = tf.function(lambda data: decode.decode_and_resize(data, SIDE), input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
orientation = tf.function(decode.orientation, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)


def quarters(mode="RGB"):
    """A picture whose four quarters differ, so that every turn and flip shows."""
    rgb = np.zeros((SIDE, SIDE, 3), "uint8")
    rgb[:6, :6], rgb[:6, 6:], rgb[6:, :6], rgb[6:, 6:] = (250, 10, 10), (10, 250, 10), (10, 10, 250), (240, 240, 240)
    return Image.fromarray(rgb).convert(mode)


def encode(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


CASES = {
    "rgb.png": lambda: encode(quarters(), "PNG"),
    "palette.png": lambda: encode(quarters().quantize(8), "PNG"),
    "rgba.png": lambda: encode(quarters("RGBA"), "PNG"),
    "rgb.bmp": lambda: encode(quarters(), "BMP"),
    "palette.bmp": lambda: encode(quarters().quantize(8), "BMP"),
    "rgb.tiff": lambda: encode(quarters(), "TIFF"),
    "lzw.tiff": lambda: encode(quarters(), "TIFF", compression="tiff_lzw"),
    "first_of_two.gif": lambda: encode(quarters(), "GIF", save_all=True, append_images=[Image.new("RGB", (SIDE, SIDE))]),
    "lossless.webp": lambda: encode(quarters(), "WEBP", lossless=True),
    "first_of_two.webp": lambda: encode(quarters(), "WEBP", lossless=True, save_all=True, append_images=[Image.new("RGB", (SIDE, SIDE))]),
    "high.jpg": lambda: encode(quarters(), "JPEG", quality=100, subsampling=0),
}


@pytest.mark.parametrize("name", CASES)
def test_every_format_comes_out_as_the_same_rgb_picture(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(CASES[name]())
    got = decode_12(decode.read_image_bytes(path)).numpy()
    assert got.shape == (SIDE, SIDE, 3) and got.dtype == np.uint8
    assert np.abs(got.astype(int) - np.asarray(quarters()).astype(int)).max() <= (30 if name.endswith("jpg") else 1)


def test_grey_becomes_three_equal_channels(tmp_path):
    for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF"):
        path = tmp_path / f"grey.{kind.lower()}"
        path.write_bytes(encode(quarters("L"), kind))
        got = decode_12(decode.read_image_bytes(path)).numpy()
        assert np.array_equal(got[..., 0], got[..., 1]) and np.array_equal(got[..., 1], got[..., 2])
        assert got.max() > 200


def test_cmyk_jpeg_comes_out_in_its_colours(tmp_path):
    path = tmp_path / "cmyk.jpg"
    path.write_bytes(encode(quarters("CMYK"), "JPEG", quality=100))
    got = decode_12(decode.read_image_bytes(path)).numpy().astype(int)
    assert np.abs(got[2, 2] - np.array([250, 10, 10])).max() < 40 and np.abs(got[9, 2] - np.array([10, 10, 250])).max() < 40


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path, kind):
    path = tmp_path / f"deep.{kind.lower()}"
    path.write_bytes(encode(Image.fromarray(np.full((SIDE, SIDE), 30000, "uint16")), kind))
    got = decode_12(decode.read_image_bytes(path)).numpy()
    assert abs(int(got[5, 5, 0]) - 30000 // 257) <= 1


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_undone_as_pillow_does(tmp_path, kind, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    path = tmp_path / f"turned.{kind.lower()}"
    path.write_bytes(encode(quarters().crop((0, 0, 12, 8)), kind, exif=exif, **options))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    got = decode_12(decode.read_image_bytes(path)).numpy()
    assert np.abs(got.astype(int) - expected.astype(int)).max() <= 40
    for row, column in ((1, 1), (1, 10), (10, 1), (10, 10)):
        assert np.abs(got[row, column].astype(int) - expected[row, column].astype(int)).max() <= 30


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120), st.sampled_from([b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x00\x00\x00WEBPEXIF", b""]))
def test_whatever_the_bytes_the_orientation_is_a_number_from_1_to_8(data, head):
    assert 1 <= int(orientation(tf.constant(head + data))) <= 8


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [("a.jpg", b"", "empty"), ("b.jpg", b"hello, world", "no picture"), ("c.heic", b"\0\0\0\x18ftypheic", "HEIC")],
)
def test_what_is_no_picture_says_why(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=reason):
        decode.read_image_bytes(tmp_path / name)


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_an_array_and_its_png_give_the_same_picture(resize):
    array = np.random.default_rng(0).integers(0, 255, (37, 50, 3)).astype("uint8")
    from_array = decode.resize_image(tf.constant(array), 24, resize).numpy()
    from_bytes = decode.decode_and_resize(tf.constant(decode.encode_png(array)), 24, resize).numpy()
    assert np.array_equal(from_array, from_bytes)


def test_crop_keeps_the_aspect_ratio_and_pad_keeps_the_whole_picture():
    wide = np.zeros((32, 64, 3), "uint8")
    wide[:, :8] = 255
    assert decode.resize_image(tf.constant(wide), 16, "crop").numpy().max() == 0
    padded = decode.resize_image(tf.constant(wide), 16, "pad").numpy()
    assert padded[8, 0, 0] == 255 and padded[0].max() == 0


def test_one_pixel_is_a_picture():
    got = decode_12(encode(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG")).numpy()
    assert (got == [9, 8, 7]).all()
