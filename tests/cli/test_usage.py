"""Mistakes on the command line, each one line with what was probably meant; completion; bugs. None of this loads TensorFlow."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.conftest import ROOT
from tlkeras.backbones.registry import BACKBONES
from tlkeras.cli import main, usage, zoo
from tlkeras.cli.finetune import next_commands
from tlkeras.config import RunConfig
from tlkeras.errors import DataError
from tlkeras.jobs.run_folder import Run
from tlkeras.zoo.store import Zoo


def run(*arguments):
    """Runs `tlkeras` in this process; returns its exit code."""
    with pytest.raises(SystemExit) as stop:
        main.app([str(one) for one in arguments], prog_name="tlkeras")
    return stop.value.code or 0


def commands(app, path=()):
    """Yields (words, command) of every command below a Typer app."""
    import typer.main

    def below(group, path):
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from below(command, (*path, name))
            else:
                yield (*path, name), command

    yield from below(typer.main.get_command(app), path)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("train", "`tlkeras finetune`"),
        ("fit", "`tlkeras finetune`"),
        ("finetun", "`tlkeras finetune`"),
        ("trian", "`tlkeras finetune`"),
        ("test", "`tlkeras evaluate`"),
        ("infer", "`tlkeras predict`"),
        ("classify", "`tlkeras predict`"),
        ("convert", "`tlkeras export`"),
        ("serve", "`tlkeras zoo publish`"),
        ("publish", "`tlkeras zoo publish`"),
        ("zoo lst", "`tlkeras zoo list`"),
        ("check_install", "`tlkeras check-install`"),
        ("finetune photos", "--data photos"),
        ("finetune run.yaml", "--config run.yaml"),
        ("finetune resnet50", "--backbone resnet50"),
        ("config init photos", "--data photos"),
        ("finetune --epoch 3", "`--epochs`"),
        ("finetune --lr 0.1", "`--learning-rate`"),
        ("finetune --learning_rate 0.1", "`--learning-rate`"),
        ("finetune --output runs/a", "`--out`"),
        ("finetune -epochs 3", "`--epochs`"),
        ("finetune --workers 2", "`tlkeras launch`"),
        ("--epochs 3", "`tlkeras finetune`"),
        ("launch --worker 2 finetune", "`--workers`"),
        ("launch --workers 2 finetune --epoch 3", "`--epochs`"),
        ("launch finetune --workers 2", "an option of `tlkeras launch`"),
        ("predict run -5", "write -- before"),
        ("zoo show a b", "`tlkeras zoo show --help`"),
        ("predict", "missing argument"),
        ("finetune --epochs many", "invalid value for '--epochs'"),
        ("nonsense", "the commands are finetune, launch"),
    ],
)
def test_a_mistyped_line_is_one_line_that_says_what_was_probably_meant(capsys, typed, meant):
    assert run(*typed.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and meant in err, err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "", "a.jpg"], "argument RUN_OR_ARTIFACT is empty"),
        (["export", " "], "argument MODEL is empty"),
        (["export", "model.keras", "--out", ""], "--out is empty; expected DIR, or leave it out"),
        (["finetune", "--data", ""], "--data is empty; expected SOURCE, or leave it out"),
        (["evaluate", "run", "--data="], "--data is empty"),
        (["predict", "run", "--file", "a.txt", "--file", ""], "--file is empty"),
        (["launch", "--logs", "", "finetune"], "--logs is empty"),
        (["launch", "finetune", "--out", ""], "--out is empty"),
        (["finetune", "--label-separator", ""], "--label-separator is empty; expected CHARACTERS"),
    ],
)
def test_an_empty_value_is_reported_and_is_no_name_of_the_current_folder(capsys, arguments, message):
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and message in err, err


def test_a_blank_may_separate_labels(capsys, monkeypatch):
    monkeypatch.setattr(main, "_leave", sys.exit)
    assert run("finetune", "--label-separator", " ", "--data", "no-such.csv") == 1
    assert "no-such.csv" in capsys.readouterr().err
    assert RunConfig.from_dict({"label_separator": " "}).data.label_separator == " "


def test_every_word_of_another_tool_leads_to_a_command_or_an_option_that_there_is():
    from tlkeras.cli.usage import COMMANDS, OPTIONS

    known = {" ".join(path): command for path, command in commands(main.app)}
    flags = {flag for command in known.values() for parameter in command.params for flag in parameter.opts}
    for target in COMMANDS.values():
        words = target.split()
        assert target in known or words[0] in ("--version", "--help") or words[0] in known and words[1] in flags, target
    assert set(OPTIONS.values()) <= flags | {"--help"}


def test_launch_takes_the_command_with_and_without_dashes(monkeypatch, tmp_path):

    from tlkeras.distribution import launch

    started = []
    monkeypatch.setattr(launch, "run", lambda clusters, command, logs, tell, **_: started.append((len(clusters), list(command))))
    for dashes in ([], ["--"], ["tlkeras"]):
        assert run("launch", "--workers", "3", "--logs", tmp_path, *dashes, "finetune", "--epochs", "1", "--backbone", "cnn") == 0
    assert started == [(3, [sys.executable, "-u", "-m", "tlkeras", "finetune", "--epochs", "1", "--backbone", "cnn"])] * 3


def test_launch_with_another_command_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(main, "_leave", sys.exit)
    assert run("launch", "--workers", "2", "evaluate", "runs/a") == 1
    assert "tlkeras launch runs finetune, received 'evaluate'" in capsys.readouterr().err


@pytest.mark.parametrize(("path", "command"), list(commands(main.app)), ids=lambda one: " ".join(one) if isinstance(one, tuple) else "")
def test_every_command_has_debug_and_explains_mistyped_arguments(path, command):
    assert isinstance(command, usage.Command), f"register {' '.join(path)} with cls=usage.Command"
    assert "--debug" in [flag for parameter in command.params for flag in parameter.opts], path


def test_a_bug_keeps_its_traceback_below_a_line_that_says_what_to_report(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/tlkeras", "predict", "a run", "x.png"])

    def broken(debug=False):
        raise ZeroDivisionError("no examples\nat all")

    with pytest.raises(ZeroDivisionError):
        main.guarded(broken)(debug=False)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("error: ZeroDivisionError: no examples at all; this is a bug in tlkeras")
    assert "`tlkeras predict 'a run' x.png`" in err


def test_an_error_raised_on_purpose_is_one_line_and_a_traceback_with_debug(capsys, monkeypatch):
    monkeypatch.setattr(main, "_leave", sys.exit)

    def refused(debug=False):
        raise DataError("no such thing")

    with pytest.raises(SystemExit):
        main.guarded(refused)(debug=False)
    assert capsys.readouterr().err == "error: no such thing\n"
    with pytest.raises(DataError):
        main.guarded(refused)(debug=True)


# === Other ways in ===


def call(*arguments, **environment):
    command = [sys.executable, "-m", "tlkeras", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False)


def test_python_m_tlkeras_is_the_command():
    done = call("--version")
    assert done.returncode == 0 and done.stdout.strip() == main.__version__
    assert call("train").stderr == "error: no command 'train'; did you mean `tlkeras finetune`?\n"


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("tlkeras fine", ["finetune"]),
        ("tlkeras finetune --backbone resnet50_v", ["resnet50_v2", "resnet50_v2_a1h"]),
        ("tlkeras finetune --recipe ful", ["full"]),
        ("tlkeras finetune --export onnx,tflite-f", ["onnx,tflite-fp16"]),
        ("tlkeras finetune --learning", ["--learning-rate"]),
    ],
)
def test_the_shell_completes_commands_options_and_names(line, completed):
    words = line.split()
    done = call(_TLKERAS_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    assert done.stdout.split() == completed, done.stderr


def test_the_shell_completes_folders_of_runs(tmp_path, monkeypatch):
    from tlkeras.cli.complete import run_folders

    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    (tmp_path / "runs" / "a" / "config.yaml").touch()
    monkeypatch.chdir(tmp_path)
    assert run_folders("") == run_folders("runs/") == ["runs/a"] and run_folders("other") == []


def test_completion_can_be_installed_for_every_shell():
    assert "--install-completion" in call("--help").stdout
    for shell in ("bash", "zsh", "fish"):
        assert "TLKERAS_COMPLETE" in call(_TLKERAS_COMPLETE=f"source_{shell}").stdout


# === tlkeras zoo diff ===


def entries(root):
    """A zoo with three versions, the first two alike."""
    store = Zoo(root)
    for weights in (b"a", b"a", b"b"):

        def fill(folder, weights=weights):
            (folder / "saved_model.pb").write_bytes(weights)
            return {"artifacts": {"saved_model": {"path": "."}}, "labels": ["x", "y"], "metadata": {}}

        store.publish("net", fill)
    return store


def test_diff_of_equal_entries_says_that_there_are_no_differences(tmp_path, capsys):
    entries(tmp_path)
    zoo.diff("net/1", "net/2", root=str(tmp_path))
    assert capsys.readouterr().out == "no differences between net/1 and net/2: the same files, figures and settings\n"
    zoo.diff("net/2", "net/3", root=str(tmp_path))
    assert capsys.readouterr().out == "~ saved_model.pb: 1 -> 1 bytes\n"


@pytest.mark.parametrize(
    ("settings", "sample"),
    [({}, "IMAGE.jpg"), ({"backbone": "bert"}, "'a text'"), ({"backbone": "rnn"}, "SEQUENCE.csv"), ({"channels": 5}, "ARRAY.npy")],
)
def test_the_next_commands_of_a_run_name_inputs_of_its_kind(settings, sample, tmp_path):
    config = RunConfig.from_dict(settings)
    result = SimpleNamespace(run=Run(tmp_path), config=config, metrics={"exports": {}}, backbone=BACKBONES.get(config.model.backbone))
    commands = [line for title, line in next_commands(result) if line.startswith("tlkeras predict")]
    assert commands[0] == f"tlkeras predict {tmp_path} {sample}"
    assert len(commands) == (2 if sample == "IMAGE.jpg" else 1)  # a folder of images
