"""What is kept between runs is what was computed, or it is computed again."""

import json
import os
import time

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.faults import fault
from tlkeras import files
from tlkeras.cli.main import app
from tlkeras.data import row_cache
from tlkeras.data.row_cache import RowCache
from tlkeras.errors import ConfigError
from tlkeras.modalities.images.reading import materialise
from tlkeras.modalities.sources import open_source

ROWS = np.arange(40, dtype="float32").reshape(10, 4)


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def cache(tmp_path, monkeypatch, warnings):
    monkeypatch.setattr(row_cache, "WORTH", 0.0)
    return RowCache(folder=tmp_path / "cache" / "rows", warn=warnings.append)


def collection(cache, contract="a contract"):
    return cache.collection("features", contract, ROWS[0].nbytes)


def add(cache, keys, contract="a contract"):
    collection(cache, contract).add(((str(key), {"fact": key}, ROWS[key]) for key in keys), len(keys))


def read(cache, key, contract="a contract"):
    into = np.zeros(4, "float32")
    return into if collection(cache, contract).read(str(key), into) else None


def test_rows_of_several_packs_come_back_with_their_facts_and_other_contracts_have_none(cache):
    add(cache, range(4))
    add(cache, range(4, 10))
    assert all(np.array_equal(read(cache, key), ROWS[key]) for key in range(10))
    assert collection(cache).fact("7") == {"fact": 7}
    assert "7" not in collection(cache, "another contract") and "99" not in collection(cache)


@fault(
    "the cache is truncated, altered, or parts of it are gone",
    "when it is read",
    "a warning; what is damaged is deleted and computed again",
)
@pytest.mark.parametrize("damage", ["cut", "altered", "gone", "index cut", "index altered", "index gone"])
def test_a_damaged_pack_is_dropped_with_a_warning_and_its_rows_are_not_used(cache, warnings, damage):
    add(cache, range(10))
    (folder,) = [path for path in cache.folder.glob("*/*") if path.is_dir()]
    path = folder / ("index.json" if damage.startswith("index") else "rows.bin")
    content = path.read_bytes()
    if damage.endswith("gone"):
        path.unlink()
    else:
        path.write_bytes(content[:-3] if damage.endswith("cut") else content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    opened = collection(cache)
    read_back = [opened.read(str(key), np.zeros(4, "float32")) for key in reversed(range(10))]
    assert not all(read_back)
    if damage != "index gone":
        assert len(warnings) == 1 and "deleted" in warnings[0] and not folder.exists()
    add(cache, range(10))
    assert np.array_equal(read(cache, 9), ROWS[9])


def test_the_packs_that_were_not_used_for_longest_make_room(cache):
    for index, contract in enumerate("abc"):
        add(cache, range(10), contract)
        (path,) = collection(cache, contract).folder.glob("*/index.json")
        os.utime(path, (index, index))
    collection(cache, "a").touch()
    size = max(pack.bytes for pack in cache.packs())
    small = RowCache(folder=cache.folder, limit=2 * size + ROWS.nbytes + 10)
    add(small, range(10), "d")
    assert [bool(read(small, 3, contract) is not None) for contract in "abcd"] == [True, False, True, True]
    add(RowCache(folder=cache.folder, limit=100), range(10), "e")  # larger than all of the cache
    assert read(cache, 3, "e") is None and read(cache, 3, "d") is not None


def test_a_file_that_has_just_changed_has_no_signature_and_every_change_gives_another(tmp_path, monkeypatch):
    monkeypatch.setattr(row_cache, "SETTLED", 1.0)
    path = tmp_path / "a.jpg"
    path.write_bytes(b"1")
    assert row_cache.signature(path) is None and row_cache.signature(tmp_path / "gone") is None
    time.sleep(row_cache.SETTLED + 0.1)
    before = row_cache.signature(path)
    assert before is not None
    times = path.stat()
    path.write_bytes(b"2")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # the same size and time of the last change
    assert row_cache.signature(path) is None
    time.sleep(row_cache.SETTLED + 0.1)
    assert row_cache.signature(path) != before


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("5000", 5000), ("1.5 GB", 1_500_000_000), ("20mb", 20_000_000), ("", 10**10)])
def test_the_size_comes_from_the_environment(monkeypatch, text, size):
    monkeypatch.setenv(row_cache.SIZE, text)
    assert row_cache.limit() == size and (row_cache.open_cache() is None) == (size == 0)


def test_a_size_that_is_none_is_an_error(monkeypatch):
    monkeypatch.setenv(row_cache.SIZE, "much")
    with pytest.raises(ConfigError, match="much.*500MB"):
        row_cache.limit()


# === Images ===


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for i in range(6):
        (folder / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(np.random.default_rng(i).integers(0, 256, (40, 50, 3)).astype("uint8"))
        image.save(folder / "ab"[i % 2] / f"{i}.{'jpg' if i < 5 else 'png'}", format="JPEG")
    (folder / "a" / "damaged.jpg").write_bytes(b"\xff\xd8\xff nothing")
    old = time.time() - 100
    for path in folder.rglob("*.*"):
        os.utime(path, (old, old))
    return folder


def stored(store):
    return (store.inputs.tobytes(), store.sha256, store.dhash.tolist(), store.notes, store.skipped, [one.id for one in store.examples])


def test_images_from_the_cache_are_those_of_the_files_and_are_not_decoded_again(photos, cache, monkeypatch):
    plain = stored(materialise(open_source(str(photos)), size=24))
    assert stored(materialise(open_source(str(photos)), size=24, cache=cache)) == plain
    assert stored(materialise(open_source(str(photos)), size=24, cache=cache)) == plain
    assert [(pack.kind, len(pack.rows)) for pack in cache.packs()] == [("images", 6)]
    monkeypatch.setattr("tlkeras.modalities.images.file_decoder.Decoder.decode", None)
    (photos / "a" / "damaged.jpg").unlink()  # damaged files are looked at again each time
    assert stored(materialise(open_source(str(photos)), size=24, cache=cache))[:3] == plain[:3]


def test_a_file_that_changed_is_decoded_again(photos, cache):
    before = materialise(open_source(str(photos)), size=24, cache=cache)
    (photos / "a" / "0.jpg").write_bytes((photos / "b" / "1.jpg").read_bytes())
    after = materialise(open_source(str(photos)), size=24, cache=cache)
    ids = [one.id for one in before.examples]
    assert not np.array_equal(before.inputs[ids.index("a/0.jpg")], after.inputs[ids.index("a/0.jpg")])
    assert np.array_equal(after.inputs[ids.index("a/0.jpg")], after.inputs[ids.index("b/1.jpg")])


def test_files_that_have_not_changed_are_not_read_again(photos, cache, monkeypatch):
    monkeypatch.setattr(row_cache, "SETTLED", -1.0)
    (photos / "a" / "damaged.jpg").unlink()
    plain = stored(materialise(open_source(str(photos)), size=24, cache=cache))
    monkeypatch.setattr("tlkeras.modalities.images.reading.load", None)
    assert stored(materialise(open_source(str(photos)), size=24, cache=cache)) == plain


def test_a_cached_row_that_is_damaged_is_decoded_again(photos, cache, warnings):
    plain = stored(materialise(open_source(str(photos)), size=24, cache=cache))
    (path,) = cache.folder.glob("*/*/rows.bin")
    path.write_bytes(path.read_bytes()[:100])
    assert stored(materialise(open_source(str(photos)), size=24, cache=cache)) == plain and len(warnings) == 1


def test_another_size_is_another_contract(photos, cache):
    materialise(open_source(str(photos)), size=24, cache=cache)
    store = materialise(open_source(str(photos)), size=16, cache=cache)
    assert np.array_equal(store.inputs, materialise(open_source(str(photos)), size=16).inputs)


# === The command ===


def test_the_command_lists_what_is_kept_and_deletes_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKERAS_CACHE", str(tmp_path))
    monkeypatch.setenv(row_cache.SIZE, "1GB")
    add(RowCache(folder=files.cache_dir() / "rows"), range(10))

    def run(*arguments):
        done = CliRunner().invoke(app, ["cache", *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    listed = run("list")
    assert "10 rows" in listed and "1,000 MB" in listed
    (pack,) = json.loads(run("list", "--json"))
    assert (pack["kind"], pack["rows"], pack["contract"]) == ("features", 10, "a contract")
    assert "MB freed" in run("clear") and "rows" not in run("list").split("\n")[0].split(" of at most")[0]
