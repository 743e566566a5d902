"""Flags are derived from config keys, and YAML files hold the same keys."""

import keras
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from tlkeras.cli.main import app
from tlkeras.cli.options import NOT_FLAGS
from tlkeras.config import (
    BenchmarkConfig,
    EvaluateConfig,
    ExplainConfig,
    ExportModelConfig,
    PretrainConfig,
    RecommendConfig,
    RunConfig,
    keys,
)

CONFIGS = {
    "finetune": RunConfig,
    "export": ExportModelConfig,
    "pretrain": PretrainConfig,
    "evaluate": EvaluateConfig,
    "benchmark": BenchmarkConfig,
    "recommend": RecommendConfig,
    "explain": ExplainConfig,
}
KEYS = [pytest.param(command, item, id=f"{command}-{item.key}") for command, config in CONFIGS.items() for item in keys(config)]


def options(command):
    """Returns flag -> option of a command."""
    return {flag: option for option in get_command(app).commands[command].params for flag in option.opts}


@pytest.mark.parametrize(("command", "item"), KEYS)
def test_every_key_is_a_flag_or_listed_as_none(command, item):
    flag = item.flag or "--" + item.key.replace("_", "-")
    listed = item.key in NOT_FLAGS.get(CONFIGS[command], ())
    assert (flag in options(command)) != listed


@pytest.mark.parametrize(("command", "item"), KEYS)
def test_the_help_of_a_flag_is_that_of_its_key(command, item):
    option = options(command).get(item.flag or "--" + item.key.replace("_", "-"))
    if option is not None:
        assert option.help.startswith(item.help)
        assert item.unset is None or item.unset in option.help


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    inputs = keras.Input((4,), name="x")
    keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(inputs)).save(path)
    return path


def test_an_export_reads_its_settings_from_a_file(model, tmp_path):
    (tmp_path / "export.yaml").write_text("formats: [onnx]\nlabels: [yes it is, none]\nmax-drop: 1e-2\n")
    done = invoke("export", model, "--config", tmp_path / "export.yaml", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "labels.txt").read_text(encoding="utf-8") == "yes it is\nnone\n"
    assert (tmp_path / "out" / "model.onnx").is_file() and not (tmp_path / "out" / "model.tflite").exists()


# What is asked for cannot be done, so that nothing runs: the message says which settings arrived.
@pytest.mark.parametrize(
    ("command", "text", "flags", "message"),
    [
        ("export", "formats: onx\n", (), "no export format 'onx'"),
        ("export", "formats: onx\n", ("--formats", "tflit"), "no export format 'tflit'"),
        ("export", "format: onnx\n", (), "unknown config key 'format'"),
        ("export", "opset: 3\n", (), "opset is 3"),
        ("pretrain", "backbone: cnn\nobjective: elbo\n", (), "objective is 'elbo'"),
        ("pretrain", "backbone: cnn\nobjective: elbo\n", ("--objective", "next-step"), "objective is 'next-step'"),
        ("pretrain", "epochs: 0\n", (), "epochs is 0"),
        ("pretrain", "unfreeze: all\n", (), "unknown config key 'unfreeze'"),
    ],
)
def test_a_file_has_the_keys_of_the_flags_and_flags_win(command, text, flags, message, model, tmp_path, monkeypatch):
    monkeypatch.setattr("tlkeras.cli.main._leave", lambda code: (_ for _ in ()).throw(SystemExit(code)))
    (tmp_path / "settings.yaml").write_text(text)
    subject = [model] if command == "export" else ["--name", "x"]
    done = invoke(command, *subject, "--config", tmp_path / "settings.yaml", *flags)
    assert done.exit_code == 1 and message in done.output


def test_a_flag_of_a_list_with_a_name_of_its_own_may_be_repeated(model, tmp_path, monkeypatch):
    monkeypatch.setattr("tlkeras.cli.main._leave", lambda code: (_ for _ in ()).throw(SystemExit(code)))
    done = invoke("export", model, "--out", tmp_path / "out", "--formats", "onnx", "--import", "json", "--import", "no_such_module_x")
    assert done.exit_code == 1 and "cannot import 'no_such_module_x'" in done.output
