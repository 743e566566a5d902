"""Every file is read once; bad ones are skipped and told; splits stay put; the audit names what is odd."""

import io
import os

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tlkeras.data import pipeline
from tlkeras.data.audit import audit, near_pairs
from tlkeras.data.examples import from_arrays
from tlkeras.data.split import split
from tlkeras.errors import DataError
from tlkeras.modalities.images import file_decoder
from tlkeras.modalities.images.augment import augment, augmentation, draws, width
from tlkeras.modalities.images.augmentations import AUGMENTS
from tlkeras.modalities.images.reading import materialise
from tlkeras.modalities.sources import open_source


def noise(seed, size=40):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size, size, 3)).astype("uint8"))


def jpeg(seed):
    out = io.BytesIO()
    noise(seed).save(out, "JPEG")
    return out.getvalue()


def folder(root, per_class=4, classes=("a", "b")):
    for number, label in enumerate(classes):
        (root / label).mkdir(parents=True, exist_ok=True)
        for i in range(per_class):
            (root / label / f"{i}.jpg").write_bytes(jpeg(100 * number + i))
    return root


def stored(root, **options):
    return materialise(open_source(str(root)), size=16, **options)


def split_store(store, **options):
    return split(store.sha256, store.strata, [e.split for e in store.examples], **options)


BAD = {
    "empty.jpg": (b"", "empty-file"),
    "text.jpg": (b"these are words", "not-an-image"),
    "cut.jpg": (jpeg(7)[:-200], "truncated"),
    "cut_by_ten.jpg": (jpeg(8)[:-10], "truncated"),
    "phone.heic": (b"\0\0\0\x18ftypheic" + b"\0" * 50, "unsupported"),
    "broken.tiff": (b"II*\0" + b"\xff" * 60, "truncated"),
}


def test_graphs_that_decode_are_traced_once_for_all_images_of_one_size(tmp_path, monkeypatch):
    traced, on_cpu = [], file_decoder._on_cpu
    monkeypatch.setattr(file_decoder, "_on_cpu", lambda *arguments: traced.append(arguments) or on_cpu(*arguments))
    for name in ("some", "others"):
        materialise(open_source(str(folder(tmp_path / name))), size=17)  # which no other test reads
    assert len(traced) == 1


def test_T9_bad_files_are_skipped_with_path_and_reason_and_good_ones_are_all_used(tmp_path):
    folder(tmp_path)
    for name, (content, _) in BAD.items():
        (tmp_path / "a" / name).write_bytes(content)
    noise(1).convert("CMYK").save(tmp_path / "b" / "cmyk.jpg")
    noise(2).save(tmp_path / "b" / "picture.webp")
    noise(3).convert("RGBA").save(tmp_path / "b" / "alpha.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "b" / "one.png")
    store = stored(tmp_path)
    assert len(store) == 12
    assert {(issue.path, issue.kind) for issue in store.skipped} == {(f"a/{name}", kind) for name, (_, kind) in BAD.items()}
    assert all(issue.reason and issue.action == "skipped" for issue in store.skipped)
    assert len(list(tmp_path.rglob("*.*"))) == 12 + len(BAD)  # nothing was deleted


def test_T9_with_strict_bad_files_are_an_error_that_names_the_first(tmp_path):
    folder(tmp_path)
    (tmp_path / "a" / "cut.jpg").write_bytes(jpeg(7)[:-200])
    with pytest.raises(DataError, match="a/cut.jpg.*--strict"):
        stored(tmp_path, strict=True)


def test_rows_stay_with_their_files_when_others_are_skipped(tmp_path):
    folder(tmp_path)
    clean = stored(tmp_path)
    (tmp_path / "a" / "0_bad.jpg").write_bytes(b"")
    with_bad = stored(tmp_path)
    assert [e.id for e in with_bad.examples] == [e.id for e in clean.examples]
    assert np.array_equal(with_bad.inputs, clean.inputs) and np.array_equal(with_bad.strata, clean.strata)


def test_a_class_without_a_readable_picture_is_an_error_that_says_why(tmp_path):
    folder(tmp_path)
    for file in (tmp_path / "a").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match="class 'a'.*empty"):
        stored(tmp_path)


def test_a_missing_file_of_a_table_is_skipped(tmp_path):
    folder(tmp_path)
    rows = "".join(f"{label}/{i}.jpg,{label}\n" for label in "ab" for i in range(4))
    (tmp_path / "t.csv").write_text(f"path,label\n{rows}a/gone.jpg,a\n")
    store = materialise(open_source(str(tmp_path / "t.csv")), size=16)
    assert len(store) == 8 and store.skipped[0].kind == "unreadable"


def test_large_sets_are_memory_mapped_and_equal(tmp_path):
    folder(tmp_path / "data")
    mapped = stored(tmp_path / "data", memory_limit=10, cache_dir=tmp_path)
    assert isinstance(mapped.inputs, np.memmap)
    assert np.array_equal(mapped.inputs, stored(tmp_path / "data").inputs)


# === Audit ===


def test_duplicates_leaks_contradictions_and_wrong_endings_are_named(tmp_path):
    for label in ("a", "b"):
        for part in ("train", "test"):
            folder(tmp_path / part, 3, (label,))
    for part, seed in (("train", 0), ("test", 50)):
        for label in ("a", "b"):
            for i in range(3):
                (tmp_path / part / label / f"{i}.jpg").write_bytes(jpeg(seed + i + (20 if label == "b" else 0)))
    (tmp_path / "train" / "a" / "copy.jpg").write_bytes((tmp_path / "train" / "a" / "0.jpg").read_bytes())
    (tmp_path / "test" / "a" / "leak.jpg").write_bytes((tmp_path / "train" / "a" / "1.jpg").read_bytes())
    (tmp_path / "train" / "b" / "wrong.jpg").write_bytes((tmp_path / "train" / "a" / "2.jpg").read_bytes())
    noise(900).save(tmp_path / "train" / "b" / "really_png.jpg", "PNG")
    store = stored(tmp_path)
    found = {(issue.kind, issue.path) for issue in audit(store, split_store(store)).issues}
    assert ("duplicate", "train/a/copy.jpg") in found
    assert ("contradicting-labels", "train/b/wrong.jpg") in found
    assert ("wrong-extension", "train/b/really_png.jpg") in found
    leak = [path for kind, path in found if kind == "duplicate-across-splits"]
    assert leak and leak[0] in ("test/a/leak.jpg", "train/a/1.jpg")


def test_a_slightly_changed_picture_is_a_near_duplicate(tmp_path):
    folder(tmp_path)
    smooth = noise(5, 6).resize((64, 64), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "a" / "x.png")
    smooth.resize((60, 60)).save(tmp_path / "a" / "y.jpg", quality=80)
    store = stored(tmp_path)
    kinds = {issue.path for issue in audit(store, split_store(store)).issues if issue.kind.startswith("near-duplicate")}
    assert kinds == {"a/y.jpg"}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), max_size=20), st.integers(0, 63), st.integers(0, 63))
def test_pairs_within_three_bits_are_always_found(values, one, other):
    base = 0x0F0F_3C3C_AA55_1234
    hashes = np.array([base, *values, base ^ (1 << one) ^ (1 << other)], "uint64")
    pairs = near_pairs(hashes)
    assert any(second == len(hashes) - 1 for _, second in pairs)
    assert all(bin(int(hashes[i]) ^ int(hashes[j])).count("1") <= 3 for i, j in pairs)


def test_single_pictures_and_extreme_imbalance_are_told(tmp_path):
    folder(tmp_path, 1, ("lonely",))
    folder(tmp_path, 25, ("many",))
    store = stored(tmp_path)
    assert {"single-example-class", "imbalance"} <= set(audit(store, split_store(store)).counts)


# === Splits ===


hashes = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 2)), min_size=1, max_size=60, unique_by=lambda pair: pair[0])


def as_splits(pairs, seed=0, **options):
    found = split([str(h) for h, _ in pairs], np.array([c for _, c in pairs]), [None] * len(pairs), seed=seed, **options)
    return {name: {pairs[i][0] for i in getattr(found, name)} for name in ("train", "val", "test")}


@settings(max_examples=60, deadline=None)
@given(hashes, st.integers(0, 5))
def test_splits_are_disjoint_complete_and_leave_every_class_something_to_learn_from(pairs, seed):
    parts = as_splits(pairs, seed)
    assert sum(len(part) for part in parts.values()) == len(pairs) == len(set.union(*parts.values()))
    assert {c for h, c in pairs if h in parts["train"]} == {c for _, c in pairs}
    for label in range(3):
        members = {h for h, c in pairs if c == label}
        if len(members) >= 4:
            assert members & parts["val"] and members & parts["test"]


def test_adding_files_moves_no_other():
    first = [(h, h % 2) for h in range(400)]
    before, after = as_splits(first), as_splits(first + [(h, h % 2) for h in range(400, 800)])
    for name, members in before.items():
        assert members <= after[name]


def test_copies_stay_together_and_fractions_are_met():
    pairs = [(h // 2, 0) for h in range(4000)]
    found = split([str(h) for h, _ in pairs], np.zeros(4000, int), [None] * 4000, val_split=0.2, test_split=0.1)
    parts = [{pairs[i][0] for i in part} for part in (found.train, found.val, found.test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert abs(len(found.val) / 4000 - 0.2) < 0.03 and abs(len(found.test) / 4000 - 0.1) < 0.03


@pytest.mark.parametrize(
    ("given_names", "options", "expected"),
    [
        (("train", "val"), {}, {"train", "val"}),
        (("train", "val"), {"test_split": 0.3}, {"train", "val", "test"}),
        (("train", "test"), {}, {"train", "val", "test"}),
        (("train", "test"), {"val_split": 0.0}, {"train", "test"}),
        ((None,), {"val_split": 0.0, "test_split": 0.0}, {"train"}),
    ],
)
def test_splits_of_the_source_win_and_others_are_made_only_when_asked_for(given_names, options, expected):
    names = [given_names[i % len(given_names)] for i in range(60)]
    found = split([str(i) for i in range(60)], np.arange(60) % 2, names, **options)
    assert {name for name in ("train", "val", "test") if len(getattr(found, name))} == expected
    if "test" in given_names:
        assert set(found.test) == {i for i, name in enumerate(names) if name == "test"}


# === Batches ===


def collected(data):
    seen = [(x.numpy(), y.numpy()) for x, y in data]
    return [np.concatenate(parts) for parts in zip(*seen, strict=True)]


def test_T12_labels_and_pictures_come_from_the_same_pass():
    x = np.arange(50, dtype="uint8").reshape(50, 1, 1, 1) * np.ones((1, 4, 4, 3), "uint8")
    images, labels = collected(pipeline.batches(x, np.arange(50), batch_size=8, shuffle=True, seed=3))
    assert np.array_equal(images[:, 0, 0, 0].astype(int), labels) and set(labels) == set(range(50))
    assert not np.array_equal(labels, np.arange(50))


def test_each_pass_has_an_order_of_its_own_and_two_pipelines_agree():
    x, y = np.zeros((40, 4), "float32"), np.arange(40)
    one, two = (pipeline.batches(x, y, batch_size=7, shuffle=True, seed=1) for _ in range(2))
    first, second = collected(one)[1], collected(one)[1]
    assert not np.array_equal(first, second)
    assert np.array_equal(first, collected(two)[1]) and np.array_equal(second, collected(two)[1])


@pytest.mark.parametrize("name", AUGMENTS.names())
def test_T25_augmentation_depends_on_seed_epoch_and_example_alone(name):
    x = np.random.default_rng(0).integers(0, 255, (20, 16, 16, 3)).astype("float32")
    numbers = draws(20, 1, 2, width(AUGMENTS.get(name)))
    whole = augment(tf.constant(x), tf.constant(numbers), name).numpy()
    halves = [augment(tf.constant(x[i : i + 5]), tf.constant(numbers[i : i + 5]), name).numpy() for i in range(0, 20, 5)]
    assert np.array_equal(whole, np.concatenate(halves))
    assert whole.shape == x.shape and whole.min() >= 0 and whole.max() <= 255
    assert np.array_equal(whole, x) == (name == "none")


def test_T14_what_is_given_is_not_changed():
    x = np.random.default_rng(0).integers(0, 255, (10, 16, 16, 3)).astype("uint8")
    kept = x.copy()
    for _ in pipeline.batches(
        x, np.zeros(10, int), batch_size=3, shuffle=True, seed=0, augment=augmentation("strong"), class_weights={0: 2.0}
    ):
        pass
    assert np.array_equal(x, kept)


def test_class_weights_follow_their_examples():
    y = np.array([0, 1, 1, 0, 2])
    for _, labels, weights in pipeline.batches(
        np.zeros((5, 2), "float32"), y, batch_size=2, shuffle=True, seed=0, class_weights={0: 1.0, 1: 2.0, 2: 3.0}
    ):
        assert np.array_equal(weights.numpy(), labels.numpy() + 1.0)


def test_arrays_become_the_pictures_their_files_would_be(tmp_path):
    arrays = np.stack([np.asarray(noise(i)) for i in range(4)])
    for i, array in enumerate(arrays):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.fromarray(array).save(tmp_path / "ab"[i % 2] / f"{i}.png")
    from_files = stored(tmp_path)
    from_memory = materialise(from_arrays(arrays[[0, 2, 1, 3]], ["a", "a", "b", "b"]), size=16)
    assert np.array_equal(from_files.inputs, from_memory.inputs)


def test_a_pipe_or_a_device_that_a_table_names_is_skipped_without_waiting(tmp_path):
    folder(tmp_path)
    os.mkfifo(tmp_path / "a" / "pipe.png")
    rows = "".join(f"{label}/{i}.jpg,{label}\n" for label in "ab" for i in range(4))
    (tmp_path / "t.csv").write_text(f"path,label\n{rows}a/pipe.png,a\n/dev/zero,b\n")
    store = stored(tmp_path / "t.csv")
    assert len(store) == 8 and {issue.reason for issue in store.skipped} == {"not a regular file"}


def test_files_that_cannot_be_read_are_counted_by_class(tmp_path):
    folder(tmp_path)
    for name in ("a/0.jpg", "a/1.jpg", "b/0.jpg"):
        (tmp_path / name).write_bytes(b"")
    (note,) = stored(tmp_path).notes
    assert note.kind == "lost-examples" and note.reason == "3 of 8 files are skipped: 'a' 2 of 4, 'b' 1 of 4"


def test_strict_counts_the_rows_of_a_table_that_cannot_be_used(tmp_path):
    folder(tmp_path)
    rows = "".join(f"{label}/{i}.jpg,{label}\n" for label in "ab" for i in range(4))
    (tmp_path / "t.csv").write_text(f"path,label\n{rows}a/0.jpg,\n")
    with pytest.raises(DataError, match="1 of 9 files.*t.csv:10.*without a label"):
        stored(tmp_path / "t.csv", strict=True)
