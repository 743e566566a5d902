"""Formats at their edges: what is decoded bit for bit as Pillow does, what is refused before it can do harm."""

import io
import os
import struct
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from tests.targets import classes
from tlkeras.data import pipeline
from tlkeras.data.audit import audit, near_pairs
from tlkeras.data.examples import Example, from_arrays, make_dataset
from tlkeras.data.split import split
from tlkeras.errors import DataError, OutputError
from tlkeras.modalities.images import decode, formats
from tlkeras.modalities.images import orientation as exif
from tlkeras.modalities.images.file_decoder import Decoder, decoder
from tlkeras.modalities.images.fingerprint import brightness, difference_hashes
from tlkeras.modalities.images.reading import materialise
from tlkeras.modalities.sources import open_source

ROOT = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH = 33, 47
RNG = np.random.default_rng(0)
RGBA = RNG.integers(0, 256, (HEIGHT, WIDTH, 4)).astype("uint8")
stored_pixels = tf.function(
    lambda data: decode._decode(data, exif.padded(data))[0], input_signature=[tf.TensorSpec((), tf.string)], autograph=False
)


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def rgb():
    return Image.fromarray(RGBA[..., :3].copy())


def rgba():
    return Image.fromarray(RGBA)


def animation(kind, **options):
    return encoded(rgb(), kind, save_all=True, append_images=[rgb().transpose(Image.Transpose.FLIP_LEFT_RIGHT)], **options)


AS_PILLOW = {
    "jpeg": lambda: encoded(rgb(), "JPEG"),
    "jpeg_444": lambda: encoded(rgb(), "JPEG", subsampling=0, quality=95),
    "jpeg_progressive": lambda: encoded(rgb(), "JPEG", progressive=True),
    "jpeg_grey": lambda: encoded(rgb().convert("L"), "JPEG"),
    "png": lambda: encoded(rgb(), "PNG"),
    "png_1_bit": lambda: encoded(rgb().convert("1"), "PNG"),
    "png_palette": lambda: encoded(rgb().quantize(200), "PNG"),
    "png_palette_transparent": lambda: encoded(rgb().quantize(200), "PNG", transparency=3),
    "png_alpha": lambda: encoded(rgba(), "PNG"),
    "png_grey_alpha": lambda: encoded(rgba().convert("LA"), "PNG"),
    "webp": lambda: encoded(rgb(), "WEBP"),
    "webp_lossless": lambda: encoded(rgb(), "WEBP", lossless=True),
    "webp_alpha": lambda: encoded(rgba(), "WEBP", lossless=True, exact=True),
    "webp_alpha_lossy": lambda: encoded(rgba(), "WEBP", exact=True),
    "webp_animated": lambda: animation("WEBP", lossless=True),
    "gif": lambda: encoded(rgb(), "GIF"),
    "gif_animated": lambda: animation("GIF"),
    "bmp": lambda: encoded(rgb(), "BMP"),
    "bmp_palette": lambda: encoded(rgb().quantize(200), "BMP"),
    "bmp_1_bit": lambda: encoded(rgb().convert("1"), "BMP"),
    "tiff_lzw": lambda: encoded(rgb(), "TIFF", compression="tiff_lzw"),
    "tiff_cmyk": lambda: encoded(rgb().convert("CMYK"), "TIFF"),
    "tiff_two_pages": lambda: animation("TIFF"),
    "ppm": lambda: encoded(rgb(), "PPM"),
    "ico": lambda: encoded(rgba().resize((32, 32)), "ICO", sizes=[(32, 32)]),
}


def on_white(image):
    """What a viewer with a white ground shows."""
    whole = np.asarray(image.convert("RGBA")).astype("float64")
    alpha = whole[..., 3:] / 255
    return np.floor(whole[..., :3] * alpha + 255 * (1 - alpha) + 0.5).astype("uint8")


@pytest.mark.parametrize("name", AS_PILLOW)
def test_every_format_has_exactly_the_pixels_that_pillow_reads_on_white(name):
    data = AS_PILLOW[name]()
    got = stored_pixels(formats.decodable(data)).numpy()
    assert np.array_equal(got, on_white(Image.open(io.BytesIO(data))))


def test_avif_comes_out_where_pillow_reads_it():
    from PIL import features

    if not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    data = encoded(Image.new("RGB", (16, 16), (200, 30, 60)), "AVIF", quality=100)
    assert np.abs(stored_pixels(formats.decodable(data)).numpy().astype(int) - [200, 30, 60]).max() <= 4


def test_an_8_bit_palette_bmp_is_right_inside_the_graph_too():
    data = encoded(rgb().quantize(200), "BMP")
    assert np.array_equal(stored_pixels(data).numpy(), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_an_animated_webp_is_refused_inside_the_graph_because_decoding_it_corrupts_the_heap():
    for _ in range(20):
        with pytest.raises(tf.errors.InvalidArgumentError):
            stored_pixels(animation("WEBP", lossless=True))


@pytest.mark.parametrize("values", [(0, 30000, 65535), (0, 200, 1000)])
def test_sixteen_bits_are_scaled_alike_in_png_and_tiff(values):
    deep = Image.fromarray(np.array([values], "uint16"))
    expected = [value >> 8 for value in values]
    for kind in ("PNG", "TIFF"):
        assert stored_pixels(formats.decodable(encoded(deep, kind))).numpy()[0, :, 0].tolist() == expected


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_exif_orientation_gives_the_geometry_of_pillow(kind, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    smooth = Image.fromarray(RNG.integers(0, 256, (3, 5, 3)).astype("uint8")).resize((60, 40), Image.Resampling.BICUBIC)
    data = encoded(smooth, kind, exif=exif, **{"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {}))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    got = decode.decode_and_resize(tf.constant(formats.decodable(data)), 24).numpy()
    assert np.abs(got.astype(int) - decode.resize_image(tf.constant(upright), 24).numpy()).max() <= 1


def with_exif(tiff):
    """A JPEG whose Exif segment holds these bytes."""
    block = b"Exif\0\0" + tiff
    plain = encoded(rgb(), "JPEG")
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + plain[2:]


TIFFS = {
    "little": (b"II*\0\x08\0\0\0" + struct.pack("<HHHIHH", 1, 0x112, 3, 1, 6, 0), 6),
    "big": (b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHH", 1, 0x112, 3, 1, 6, 0), 6),
    "long_big": (b"MM\0*\0\0\0\x08" + struct.pack(">HHHII", 1, 0x112, 4, 1, 6), 6),
    "second_field": (b"II*\0\x08\0\0\0" + struct.pack("<HHHIIHHIHH", 2, 0x10F, 2, 1, 0, 0x112, 3, 1, 3, 0), 3),
    "out_of_range": (b"II*\0\x08\0\0\0" + struct.pack("<HHHIHH", 1, 0x112, 3, 1, 77, 0), 1),
    "directory_far_away": (b"II*\0\xff\xff\xff\xff" + b"\0" * 12, 1),
    "too_many_fields": (b"II*\0\x08\0\0\0\xff\xff", 1),
    "cut": (b"II*", 1),
    "empty": (b"", 1),
}


@pytest.mark.parametrize("name", TIFFS)
def test_the_orientation_is_read_in_both_byte_orders_and_forged_blocks_do_no_harm(name):
    tiff, expected = TIFFS[name]
    data = with_exif(tiff)
    assert int(decode.orientation(tf.constant(data))) == expected
    assert decode.decode_and_resize(tf.constant(data), 8).shape == (8, 8, 3)


def test_the_decoder_loads_in_a_process_with_plain_tensorflow_and_answers_the_same(tmp_path):
    module = tf.Module()
    module.f = tf.function(lambda data: decode.decode_and_resize(data, 24), input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
    tf.saved_model.save(module, str(tmp_path / "m"))
    names = ["jpeg", "png_palette", "png_alpha", "png_palette_transparent", "webp_alpha", "bmp_palette", "gif"]
    for name in names:
        (tmp_path / name).write_bytes(AS_PILLOW[name]())
    (tmp_path / "turned").write_bytes(with_exif(TIFFS["little"][0]))
    code = """
import sys, numpy as np, tensorflow as tf
folder, names = sys.argv[1], sys.argv[2:]
f = tf.saved_model.load(folder + "/m").f
np.save(folder + "/out.npy", np.stack([f(tf.constant(open(f"{folder}/{n}", "rb").read())).numpy() for n in names]))
sys.exit("tlkeras" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path), *names, "turned"], check=True, cwd=tmp_path, timeout=120)
    here = [decode.decode_and_resize(tf.constant((tmp_path / name).read_bytes()), 24).numpy() for name in [*names, "turned"]]
    assert np.array_equal(np.load(tmp_path / "out.npy"), np.stack(here))


def test_a_decompression_bomb_is_refused_by_its_header():
    bomb = bytearray(encoded(rgb(), "PNG"))
    bomb[16:24] = struct.pack(">II", 60000, 60000)
    with pytest.raises(DataError, match="60000 x 60000"):
        formats.decodable(bytes(bomb))


def test_T9_a_folder_of_every_format_is_used_whole_and_every_kind_of_damage_is_named(tmp_path):
    for label in ("good", "other"):
        (tmp_path / label).mkdir()
    for number, (name, make) in enumerate(AS_PILLOW.items()):
        (tmp_path / ("good" if number % 2 else "other") / f"{name}.{name.split('_')[0]}").write_bytes(make())
    good = AS_PILLOW["jpeg"]()
    damage = {
        "zero.jpg": (b"", "empty-file"),
        "words.jpg": (b"no picture at all", "not-an-image"),
        "cut.jpg": (good[:-10], "truncated"),
        "cut.png": (AS_PILLOW["png"]()[:-40], "truncated"),
        "cut.gif": (AS_PILLOW["gif"]()[:-200], "truncated"),
        "cut.webp": (AS_PILLOW["webp"]()[:-60], "truncated"),
        "cut.bmp": (AS_PILLOW["bmp"]()[:-900], "truncated"),
        "cut.tiff": (AS_PILLOW["tiff_lzw"]()[:100], "truncated"),
        "phone.heic": (b"\0\0\0\x18ftypheic" + b"\0" * 64, "unsupported"),
    }
    for name, (content, _) in damage.items():
        (tmp_path / "good" / name).write_bytes(content)
    (tmp_path / "good" / "._ghost.jpg").write_bytes(b"\0\5\x16\7")
    (tmp_path / "other" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    store = materialise(open_source(str(tmp_path)), size=24)
    assert len(store) == len(AS_PILLOW)
    assert {(one.path, one.kind) for one in store.skipped} == {
        *((f"good/{name}", kind) for name, (_, kind) in damage.items()),
        ("other/gone.jpg", "unreadable"),
    }
    assert "good/._ghost.jpg" in {note.path for note in store.notes}
    with pytest.raises(DataError, match="10 of 35 files.*and 7 more.*--strict"):
        materialise(open_source(str(tmp_path)), size=24, strict=True)


def test_training_and_predicting_decode_a_turned_file_alike(tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "x.jpg").write_bytes(with_exif(TIFFS["big"][0]))
    store = materialise(open_source(str(tmp_path)), size=24)
    alone = np.zeros((24, 24, 3), "uint8")
    reading = Decoder(24, "stretch").read(Example(id="x", label="", path=tmp_path / "a" / "x.jpg"), alone)
    assert reading.bad is None and np.array_equal(alone, store.inputs[0])
    assert np.array_equal(alone, decode.decode_and_resize(tf.constant(with_exif(TIFFS["big"][0])), 24).numpy())


def test_the_store_does_not_depend_on_the_number_of_threads(tmp_path, monkeypatch):
    for i in range(12):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (40, 50, 3)).astype("uint8")).save(tmp_path / "ab"[i % 2] / f"{i}.jpg")
    seen = []
    for threads in (1, 4):
        monkeypatch.setattr("tlkeras.modalities.images.reading.THREADS", threads)
        monkeypatch.setattr("tlkeras.modalities.images.file_decoder.THREADS", threads)
        decoder.cache_clear()  # the number is part of its graph
        seen.append(materialise(open_source(str(tmp_path)), size=24))
    decoder.cache_clear()
    assert (
        np.array_equal(seen[0].inputs, seen[1].inputs) and seen[0].sha256 == seen[1].sha256 and np.array_equal(seen[0].dhash, seen[1].dhash)
    )


def test_a_memory_map_goes_when_nobody_holds_it_and_needs_room(tmp_path, monkeypatch):
    dataset = from_arrays(RNG.integers(0, 256, (6, 8, 8)).astype("uint8"), list("ababab"))
    store = materialise(dataset, size=8, memory_limit=1, cache_dir=tmp_path)
    assert isinstance(store.inputs, np.memmap) and len(os.listdir(tmp_path)) == 1
    del store
    assert not os.listdir(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10})())
    with pytest.raises(OutputError, match="GB free"):
        materialise(dataset, size=8, memory_limit=1, cache_dir=tmp_path)
    assert not os.listdir(tmp_path)


# === Listing ===


def put(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)


def test_a_class_called_train_is_a_class_and_docs_beside_the_splits_is_none(tmp_path):
    put(tmp_path / "vehicles" / "train" / "1.png", tmp_path / "vehicles" / "plane" / "1.png")
    put(*(tmp_path / "split" / s / c / "1.png" for s in ("train", "val") for c in "ab"), tmp_path / "split" / "docs" / "1.png")
    assert open_source(str(tmp_path / "vehicles")).labels == ("plane", "train")
    listed = open_source(str(tmp_path / "split"))
    assert listed.labels == ("a", "b") and ("stray-file", "docs") in {(note.kind, note.path) for note in listed.notes}


def test_links_in_a_circle_and_pipes_end_nothing(tmp_path):
    put(tmp_path / "a" / "1.png", tmp_path / "b" / "1.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "b" / "pipe.jpg")
    listed = open_source(str(tmp_path))
    assert [one.id for one in listed.examples] == ["a/1.png", "b/1.png"]
    assert {note.path for note in listed.notes} == {"a/again", "b/pipe.jpg"}


def test_T11_a_label_is_the_same_composed_and_decomposed(tmp_path):
    put(tmp_path / unicodedata.normalize("NFD", "für") / "1.png", tmp_path / "x" / "1.png")
    assert open_source(str(tmp_path), target=classes(unicodedata.normalize("NFC", "für"), "x")).examples[0].label == unicodedata.normalize(
        "NFC", "für"
    )


def test_a_label_that_would_break_the_label_file_is_an_error():
    with pytest.raises(DataError, match="cannot be printed"):
        make_dataset("table", [Example(id="1", label="a\nb"), Example(id="2", label="c")])


@pytest.mark.parametrize("bad", [-1, 2, 0.5])
def test_an_index_outside_the_labels_is_an_error(bad):
    with pytest.raises(DataError, match="expected 0 to 1"):
        from_arrays(np.zeros((2, 8, 8), "uint8"), [0, bad], labels=["a", "b"])


def test_pictures_from_0_to_1_are_refused_with_the_way_to_convert_them():
    with pytest.raises(DataError, match=r"\(x \* 255\)"):
        from_arrays(np.full((2, 8, 8, 3), 0.5), ["a", "b"])


def test_a_table_keeps_ids_that_do_not_depend_on_the_line_and_counts_lines_of_quoted_cells(tmp_path):
    (tmp_path / "t.csv").write_text('path,label\nx.png,"a"\nx.png,b\n"y\n.png",b\n,b\n')
    listed = open_source(str(tmp_path / "t.csv"))
    assert [one.id for one in listed.examples] == ["x.png", "x.png#3", "y\\n.png"]
    assert [note.path for note in listed.notes] == ["t.csv:6", "t.csv"]


# === Audit, batches ===


def difference_hash(image):
    return int(difference_hashes(brightness(tf.constant(image)).numpy()))


def test_an_even_picture_has_an_empty_hash_and_a_resized_one_the_same():
    assert difference_hash(np.full((224, 224, 3), 77, "uint8")) == 0
    smooth = Image.fromarray(RNG.integers(0, 256, (5, 6, 3)).astype("uint8")).resize((300, 200), Image.Resampling.BICUBIC)
    one, other = (difference_hash(np.asarray(smooth.resize((side, side), Image.Resampling.BOX))) for side in (224, 96))
    assert (one ^ other).bit_count() <= 3


def test_near_duplicates_among_very_many_alike_are_found_in_time():
    crowd = (RNG.integers(0, 2**16, 40_000).astype("uint64") << np.uint64(24)) | np.uint64(0x3F)
    assert near_pairs(crowd)


def test_a_class_that_is_only_held_out_is_named(tmp_path):
    put(*(tmp_path / "train" / c / "1.png" for c in "ab"), *(tmp_path / "val" / c / "1.png" for c in "abc"))
    store = materialise(open_source(str(tmp_path)), size=8)
    found = audit(store, split(store.sha256, store.strata, [one.split for one in store.examples]))
    assert [one.path for one in found.issues if one.kind == "untrained-class"] == ["c"]


def test_a_class_without_a_weight_is_an_error_that_names_it():
    with pytest.raises(DataError, match="no weight for class id 2"):
        pipeline.batches(
            np.zeros((3, 2), "float32"), np.array([0, 1, 2]), batch_size=2, shuffle=False, seed=0, class_weights={0: 1.0, 1: 1.0}
        )


def test_training_that_goes_on_sees_the_epochs_that_come_next():
    x, y = np.arange(20, dtype="float32")[:, None], np.zeros(20, "int32")
    whole = pipeline.batches(x, y, batch_size=4, shuffle=True, seed=3)
    passes = [np.concatenate([b[0].numpy() for b in whole]) for _ in range(3)]
    later = pipeline.batches(x, y, batch_size=4, shuffle=True, seed=3, first_epoch=2)
    assert np.array_equal(np.concatenate([b[0].numpy() for b in later]), passes[2])
    assert not np.array_equal(passes[0], passes[1])


@pytest.mark.slow
def test_T25_two_fresh_processes_see_the_same_batches_whatever_their_threads(tmp_path):
    code = """
import sys, hashlib, numpy as np
from tests import conftest
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
tf.config.threading.set_inter_op_parallelism_threads(int(sys.argv[1]))
from tlkeras.data import pipeline
from tlkeras.modalities.images.augment import augmentation
x = np.random.default_rng(0).integers(0, 256, (37, 32, 32, 3)).astype("uint8")
data = pipeline.batches(x, np.arange(37), batch_size=8, shuffle=True, seed=5, augment=augmentation("strong"))
digest = hashlib.sha256()
for _ in range(2):
    for images, labels in data:
        digest.update(images.numpy().tobytes() + labels.numpy().tobytes())
print("digest", digest.hexdigest())
"""
    seen = set()
    for threads in ("1", "2", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code, threads],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=200,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        seen.add(next(line for line in done.stdout.splitlines() if line.startswith("digest")))
    assert len(seen) == 1
