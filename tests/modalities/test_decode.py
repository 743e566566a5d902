"""One decoder: every format upright and RGB, equal in files, arrays and graphs."""

import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tlkeras.data.examples import Example
from tlkeras.errors import DataError
from tlkeras.modalities.images import decode, resampling
from tlkeras.modalities.images import orientation as exif
from tlkeras.modalities.images.file_decoder import Decoder, load

SIDE = 12
decode_12 = tf.function(lambda data: decode.decode_and_resize(data, SIDE), input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
orientation = tf.function(decode.orientation, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)


def stored(data):
    """The pixels as a file stores them."""
    return decode._decode(tf.constant(data), exif.padded(tf.constant(data)))[0].numpy()


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
    [("a.jpg", b"", "empty"), ("b.jpg", b"hello, world", "not an image"), ("c.heic", b"\0\0\0\x18ftypheic", "HEIC")],
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


# === Transparency ===


def seen(hidden, kind="PNG", **options):
    """A red square on a transparent ground, whose hidden colour nobody sees."""
    pixels = np.zeros((SIDE, SIDE, 4), "uint8")
    pixels[..., :3] = hidden
    pixels[3:9, 3:9] = (200, 0, 0, 255)
    return encode(Image.fromarray(pixels), kind, **options)


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {}), ("ICO", {"sizes": [(SIDE, SIDE)]})]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_that_look_the_same_on_white_are_the_same(kind, options, channels):
    decoded = [
        decode.decode_and_resize(tf.constant(decode.decodable(seen(hidden, kind, **options))), SIDE, channels=channels).numpy()
        for hidden in (0, 255, 97)
    ]
    assert (decoded[0] == decoded[1]).all() and (decoded[0] == decoded[2]).all()
    assert decoded[0][0, 0, 0] == 255 and decoded[0][5, 5, 0] == (200 if channels == 3 else 60)


def test_half_transparent_pixels_are_mixed_with_white():
    pixels = np.array([[(0, 100, 200, alpha) for alpha in (0, 1, 127, 128, 254, 255)]], "uint8")
    got = stored(encode(Image.fromarray(pixels), "PNG"))[0]
    assert got.tolist() == [[round(c * a / 255 + 255 - a) for c in (0, 100, 200)] for a in (0, 1, 127, 128, 254, 255)]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("transparent", [False, True])
def test_palettes_and_grey_of_few_bits_have_the_pixels_of_pillow_on_white(bits, transparent):
    colours = np.random.default_rng(bits).integers(0, 256, (1 << min(bits, 4), 3)).astype("uint8")
    index = np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % len(colours)
    palette = Image.fromarray(index.astype("uint8")).convert("P")
    palette.putdata(index.ravel().tolist())
    palette.putpalette(colours.tobytes())
    images = [(palette, {"bits": bits, **({"transparency": 0} if transparent else {})})]
    if bits in (1, 8):
        grey = Image.fromarray((index * 255 // (len(colours) - 1)).astype("uint8")).convert("1" if bits == 1 else "L")
        images.append((grey, {"transparency": 0} if transparent else {}))
    for image, options in images:
        data = encode(image, "PNG", **options)
        opened = Image.open(io.BytesIO(data)).convert("RGBA")
        expected = Image.alpha_composite(Image.new("RGBA", opened.size, "white"), opened).convert("RGB")
        assert np.array_equal(stored(data), np.asarray(expected))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_array_and_its_png_give_the_same_picture(channels):
    array = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 4)).astype("uint8")
    from_array = decode.resize_image(tf.constant(decode.as_channels(array, channels)), SIDE).numpy()
    from_bytes = decode.decode_and_resize(tf.constant(decode.encode_png(array)), SIDE, channels=channels).numpy()
    assert np.abs(from_array.astype(int) - from_bytes).max() <= (channels == 1)


def test_the_audit_says_that_transparency_of_a_gif_is_dropped(tmp_path):
    from tlkeras.modalities.images.reading import materialise
    from tlkeras.modalities.sources import open_source

    for label, options in (("a", {"transparency": 0}), ("b", {})):
        (tmp_path / label).mkdir()
        image = quarters().quantize(8)
        image.save(tmp_path / label / "1.gif", **options)
    store = materialise(open_source(str(tmp_path)), size=SIDE)
    assert [(note.kind, note.path) for note in store.notes] == [("transparency-dropped", "a/1.gif")]


# === Photos much larger than the model's input ===


def photo(width, height):
    """Something with large and small structures, which JPEG keeps."""
    y, x = np.mgrid[:height, :width] / min(width, height)
    waves = [np.sin(a * x + b * y) for a, b in ((9, 4), (5, 12), (20, -13))]
    return Image.fromarray(np.stack([127 + 120 * wave for wave in waves], -1).astype("uint8"))


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize(("width", "height"), [(640, 480), (331, 517), (1021, 767)])
def test_a_jpeg_that_is_decoded_smaller_gives_the_image_of_its_full_size(width, height, resize):
    data = encode(photo(width, height), "JPEG", quality=95)
    small = decode.decode_and_resize(tf.constant(data), 32, resize).numpy().astype(int)
    whole = decode.resize_image(tf.constant(stored(data)), 32, resize).numpy()
    assert np.abs(small - whole).max() <= 8 and np.abs(small - whole).mean() < 0.8


@pytest.mark.parametrize(
    ("side", "resize", "ratio"),
    [(127, "stretch", 1), (128, "stretch", 2), (146, "crop", 1), (147, "crop", 2), (255, "pad", 2), (512, "pad", 8)],
)
def test_a_jpeg_is_decoded_smaller_where_that_leaves_twice_the_size_of_the_result(side, resize, ratio):
    index = int(resampling.reduction(tf.constant([side, side]), (32, 32), resize))
    assert resampling.REDUCTIONS[index] == ratio


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(17, 40), (40, 17), (60, 60)])
def test_an_image_is_resized_bit_for_bit_as_by_tensorflow(size, resize):
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (37, 50, 3)).astype("uint8"))
    got = decode.resize_image(image, size, resize).numpy()
    if resize == "crop":
        ratio = resampling.CROP * min(37 / size[0], 50 / size[1])
        height, width = round(ratio * size[0]), round(ratio * size[1])
        image = image[(37 - height) // 2 :, (50 - width) // 2 :][:height, :width]
    call = (
        tf.image.resize_with_pad if resize == "pad" else lambda image, *size, antialias: tf.image.resize(image, size, antialias=antialias)
    )
    assert np.array_equal(got, np.round(call(image, *size, antialias=True).numpy()))


def test_many_files_at_a_time_give_the_pixels_and_hashes_of_each_alone():
    files = [encode(photo(90 + i, 70), kind) for i, kind in enumerate(("JPEG", "PNG", "WEBP", "JPEG"))]
    files[2] = files[2][:60]
    decoder = Decoder(24, "stretch")
    contents = [load(Example(id=str(i), label="a"), data) for i, data in enumerate(files)]
    index, images, hashes = decoder.decode(contents)
    assert index.tolist() == [0, 1, 3]
    for i, image, dhash in zip(index, images, hashes, strict=True):
        alone = np.zeros((24, 24, 3), "uint8")
        assert decoder.read(Example(id="a", label="a"), alone, files[i]).dhash == dhash
        assert np.array_equal(alone, image)
