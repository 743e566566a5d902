"""What commands print is shown by a terminal, and not obeyed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.hostile.records import ENTRY
from tlkeras.cli import echo
from tlkeras.cli.main import app
from tlkeras.errors import is_obeyed
from tlkeras.zoo.store import Zoo

ESCAPE = "\x1b]0;title\x07"


@given(st.text())
def test_json_is_the_same_value_and_has_nothing_that_a_terminal_obeys(text):
    written = echo.json_text({"text": text})
    assert json.loads(written) == {"text": text}
    assert not any(map(is_obeyed, written.replace("\n", "")))


def test_lines_and_tabs_stay(capsys):
    echo.echo("a\tb\nc")
    assert capsys.readouterr().out == "a\tb\nc\n"


@pytest.fixture
def zoo(tmp_path):
    """A zoo with an entry whose publisher means harm."""

    def build(folder):
        for name in ENTRY["files"]:
            (folder / name).write_text(f"# A card{ESCAPE}\n")
        artifacts = {f"onnx{ESCAPE}": ENTRY["artifacts"]["onnx"]}
        return {name: value for name, value in {**ENTRY, "artifacts": artifacts}.items() if name not in ("entry", "files")}

    zoo = Zoo(tmp_path / "zoo")
    zoo.publish("photos", build)
    zoo.publish("photos", lambda folder: {**build(folder), "config": {"backbone": ESCAPE}})
    return zoo


@pytest.mark.parametrize("command", ["list", "show photos", "show photos --json", "diff photos/1 photos/2"])
def test_an_entry_cannot_send_commands_to_the_terminal(zoo, command):
    done = CliRunner().invoke(app, ["zoo", *command.split(), "--zoo", str(zoo.root)])
    assert done.exit_code == 0, done.output
    assert "title" in done.output and "\x1b" not in done.output and "\x07" not in done.output


def test_a_card_that_cannot_be_read_is_an_error_on_one_line(zoo):
    (zoo.root / "photos/2/README.md").unlink()
    done = CliRunner().invoke(app, ["zoo", "show", "photos", "--zoo", str(zoo.root)])
    assert done.exit_code == 1 and done.output.startswith("error: cannot read the card of photos/2"), done.output


def test_an_entry_of_an_unknown_task_does_not_hide_the_others(zoo):
    zoo.publish("later", lambda folder: _of_task(zoo, folder, "segmentation"))
    done = CliRunner().invoke(app, ["zoo", "list", "--zoo", str(zoo.root)])
    assert done.exit_code == 1 and "photos/2" in done.output and "later/1" in done.output and "no task 'segmentation'" in done.output


def _of_task(zoo, folder, task):
    (folder / "model.onnx").write_bytes(b"x")
    manifest = zoo.get("photos").manifest
    return {**{key: manifest[key] for key in ("labels", "artifacts")}, "metadata": {"task": task}}
