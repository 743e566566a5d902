"""Label files as editors and other tools write them."""

import pytest

from tlkeras.data.labels import read_labels
from tlkeras.errors import ConfigError

NAMES = ("cat", "dog", "great owl")


@pytest.mark.parametrize(
    "content",
    [
        b"cat\ndog\ngreat owl\n",
        b"\xef\xbb\xbfcat\r\ndog\r\ngreat owl\r\n",
        b"cat\rdog\rgreat owl",
        b"\ncat  \n\n  dog\t\ngreat owl\n\n",
        "cat\r\ndog\r\ngreat owl\r\n".encode("utf-16"),
    ],
    ids=["plain", "notepad", "old mac", "spaces and blank lines", "utf-16"],
)
def test_what_editors_add_is_no_part_of_a_label(tmp_path, content):
    (tmp_path / "labels.txt").write_bytes(content)
    assert read_labels(tmp_path / "labels.txt") == (NAMES, None)


@pytest.mark.parametrize("line", ["{} {}", "{}: {}", "{}\t{}", "{},{}"])
def test_class_ids_before_the_labels_are_left_out_and_reported(tmp_path, line):
    (tmp_path / "labels.txt").write_text("".join(line.format(index, name) + "\n" for index, name in enumerate(NAMES)))
    labels, note = read_labels(tmp_path / "labels.txt")
    assert labels == NAMES and "cat, dog, great owl" in note


@pytest.mark.parametrize("labels", [("3 doors", "5 doors"), ("0 stars", "1 stars"), ("1 cat", "2 dog"), ("0", "1", "2"), ("0 cat", "dog")])
def test_numbers_that_are_part_of_the_labels_stay(tmp_path, labels):
    (tmp_path / "labels.txt").write_text("\n".join(labels))
    assert read_labels(tmp_path / "labels.txt") == (labels, None)


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "is empty"), (b"cat\ncat\n", "'cat' twice"), (b"caf\xe9\n", "not UTF-8"), (None, "cannot read --labels")]
)
def test_a_file_that_is_no_list_of_labels_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_labels(tmp_path / "labels.txt")
