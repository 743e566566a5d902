"""The zoo on disk: names, atomic versions, hashes; nothing of it is executed."""

import json
import multiprocessing
import os
import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlkeras.errors import ZooError
from tlkeras.zoo import store
from tlkeras.zoo.compare import diff
from tlkeras.zoo.names import check_name
from tlkeras.zoo.store import Zoo, verify_files


def build(text="a", **more):
    def fill(folder):
        (folder / "variables").mkdir()
        (folder / "variables" / "data").write_text(text)
        (folder / "model.tflite").write_text("model " + text)
        return {"metadata": {}, "artifacts": {"tflite": {"path": "model.tflite", "accuracy": len(text)}}, **more}

    return fill


@pytest.fixture
def zoo(tmp_path):
    return Zoo(tmp_path / "zoo")


def test_versions_count_up_and_hold_every_file_with_its_hash(zoo):
    first, second = zoo.publish("ants", build()), zoo.publish("ants", build("b"))
    assert (first.version, second.version) == (1, 2) and zoo.versions("ants") == [1, 2] and zoo.names() == ["ants"]
    assert set(first.files) == {"model.tflite", "variables/data"} and first.bytes == 8
    assert verify_files(first) == verify_files(zoo.get("ants")) == []
    assert zoo.get("ants/1").version == 1 and [str(one) for one in zoo.list()] == ["ants/1", "ants/2"]


def test_other_users_may_read_what_was_published(zoo):
    assert zoo.publish("ants", build()).path.stat().st_mode & 0o055 == 0o055


def test_a_promoted_version_is_the_one_that_is_got(zoo):
    zoo.publish("ants", build()), zoo.publish("ants", build("b"))
    assert zoo.get("ants").version == 2
    assert zoo.promote("ants/1").stable and zoo.get("ants").version == zoo.get("ants", "stable").version == 1
    with pytest.raises(ZooError, match="stable version"):
        zoo.remove("ants", 1)
    zoo.remove("ants", 1, force=True)
    assert zoo.versions("ants") == [2] and zoo.stable("ants") is None


def test_removing_the_last_version_removes_the_name(zoo):
    zoo.publish("ants", build())
    zoo.remove("ants", 1)
    assert zoo.names() == [] and list(zoo.root.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../up", "a/b/c", "", ".", "..", "A", "a..b", "-a", "a-", "nul", "com1.x", "a b", "é", "a" * 65, "a\0", "a\n"]
)
def test_a_name_that_leads_elsewhere_is_refused(zoo, name):
    with pytest.raises(ZooError):
        zoo.publish(name, build())
    assert not zoo.root.exists()


@given(st.text(max_size=12))
def test_a_name_that_is_taken_is_one_plain_path_component(name):
    try:
        check_name(name)
    except ZooError:
        return
    assert os.path.basename(name) == name and name not in ("", ".", "..") and name.lower() == name and name.isascii()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("ant", "did you mean 'ants'"),
        ("ants/7", "no version 7; its versions are 1"),
        ("ants/x", "not a version"),
        ("ants/stable", "promote ants/1"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(zoo, asked, message):
    zoo.publish("ants", build())
    with pytest.raises(ZooError, match=message):
        zoo.get(asked)


def test_a_builder_that_fails_leaves_nothing(zoo):
    def fail(folder):
        (folder / "half").write_text("x")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        zoo.publish("ants", fail)
    assert list(zoo.root.iterdir()) == []


def damage(path, how):
    target = path / "variables" / "data"
    if how == "flipped":
        target.write_text("b")
    elif how == "missing":
        target.unlink()
    elif how == "added":
        (path / "more").write_text("x")
    else:
        (path / "link").symlink_to("/etc/hostname")


@pytest.mark.parametrize(("how", "said"), [("flipped", "changed"), ("missing", "missing"), ("added", "not in"), ("link", "is a link")])
def test_files_that_are_not_as_published_are_found(zoo, how, said):
    entry = zoo.publish("ants", build())
    damage(entry.path, how)
    assert len(verify_files(entry)) == 1 and said in verify_files(entry)[0]


def test_a_link_is_not_published(zoo):
    def fill(folder):
        (folder / "passwords").symlink_to("/etc/hostname")
        return {"artifacts": {}, "metadata": {}}

    with pytest.raises(ZooError, match="link"):
        zoo.publish("ants", fill)
    assert zoo.names() == []


def test_a_name_that_is_a_link_is_neither_read_nor_written(zoo, tmp_path):
    zoo.publish("ants", build())
    (zoo.root / "bees").symlink_to(tmp_path)
    assert zoo.names() == ["ants"] and zoo.versions("bees") == []
    with pytest.raises(ZooError, match="link"):
        zoo.publish("bees", build())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"files": {}}',
        "[" * 100_000,
        json.dumps({"entry": {}, "artifacts": {}, "metadata": {}, "files": {"../x": {"bytes": 1, "sha256": ""}}}),
        json.dumps({"entry": {}, "artifacts": {}, "metadata": {}, "files": {"/x": {"bytes": 1, "sha256": ""}}}),
        json.dumps({"entry": {}, "artifacts": {"tflite": {"path": "../../x"}}, "files": {}}),
        json.dumps({"entry": {}, "artifacts": {}, "metadata": {}, "files": {"x": {"bytes": "1"}}}),
    ],
    ids=range(9),
)
def test_a_manifest_is_data_that_is_checked(zoo, text):
    entry = zoo.publish("ants", build())
    (entry.path / "manifest.json").write_text(text)
    with pytest.raises(ZooError):
        zoo.get("ants")


def test_the_difference_of_two_entries_is_told_by_file_and_value(zoo):
    a, b = zoo.publish("ants", build(task={"n": 1, "same": 2})), zoo.publish("ants", build("bb", task={"n": 3, "same": 2}))
    found = diff(a, b)
    assert found.changed == {"model.tflite": (7, 8), "variables/data": (1, 2)} and found.added == found.removed == ()
    assert found.values == {"artifacts.tflite.accuracy": (1, 2), "task.n": (1, 3)}


# === More than one process ===


def publish_often(root, count):
    for index in range(count):
        Zoo(root).publish("ants", build(f"{os.getpid()} {index}"))


def start(target, *args):
    process = multiprocessing.get_context("spawn").Process(target=target, args=args)
    process.start()
    return process


def test_two_publishers_at_once_and_a_reader_meet_whole_versions_only(zoo):
    both = [start(publish_often, zoo.root, 10) for _ in range(2)]
    while any(one.is_alive() for one in both):
        assert all(verify_files(entry) == [] for entry in zoo.list())
    assert [one.exitcode for one in both] == [0, 0]
    assert zoo.versions("ants") == list(range(1, 21))
    assert len({(entry.path / "variables" / "data").read_text() for entry in zoo.list()}) == 20


def hang(root):
    def fill(folder):
        (folder / "half").write_text("x")
        time.sleep(60)

    Zoo(root).publish("ants", fill)


def test_a_publisher_that_is_killed_leaves_no_version_and_is_cleaned_up_after(zoo, monkeypatch):
    zoo.publish("ants", build())
    process = start(hang, zoo.root)
    while not list(zoo.root.glob(".publishing-*/half")):
        assert process.is_alive()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert zoo.versions("ants") == [1]
    monkeypatch.setattr(store, "STALE", -1)
    assert zoo.publish("ants", build()).version == 2 and [one.name for one in zoo.root.iterdir()] == ["ants"]
