"""The public functions: what can be checked is reported before TensorFlow loads, and settings are config keys."""

import inspect
import json
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

import tlkeras
from tests.test_docstrings import PUBLIC
from tlkeras import config as configs
from tlkeras.config import FlatConfig
from tlkeras.errors import ConfigError, DataError, UnknownName
from tlkeras.jobs import export_request

CALLS = {
    "finetune": "tlkeras.finetune('missing')",
    "finetune-out": "tlkeras.finetune('digits', backbone='cnn', weights='none', out='full')",
    "compare": "tlkeras.compare(['missing', 'other'])",
    "evaluate": "tlkeras.evaluate('missing')",
    "predict": "tlkeras.predict('missing', 'a.png')",
    "load": "tlkeras.load('missing')",
    "export": "tlkeras.export_model('missing')",
    "export-format": "tlkeras.export_model('full', formats='onx')",
    "export-key": "tlkeras.export_model('full', format='onnx')",
    "pretrain": "tlkeras.pretrain('missing', name='x')",
    "pretrain-name": "tlkeras.pretrain(name='A b')",
    "pretrain-objective": "tlkeras.pretrain(name='x', backbone='cnn', objective='elbo')",
    "publish": "tlkeras.publish('missing', 'x')",
    "benchmark": "tlkeras.benchmark('missing')",
    "benchmark-threads": "tlkeras.benchmark('missing', threads='1,x')",
}


EACH = """
import json, sys, tlkeras
results = {}
for name, call in json.loads(sys.argv[1]).items():
    try:
        eval(call)
    except tlkeras.TlkerasError as error:
        results[name] = ["tensorflow" in sys.modules, str(error)]
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """Name of a call -> whether TensorFlow was loaded by it or by one before it, and the text of its error."""
    folder = tmp_path_factory.mktemp("calls")
    (folder / "full").mkdir()
    (folder / "full" / "file").touch()
    done = subprocess.run([sys.executable, "-c", EACH, json.dumps(CALLS)], cwd=folder, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    return json.loads(line)


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_is_reported_without_tensorflow(name, reported):
    loaded, message = reported[name]
    assert not loaded and len(message.splitlines()) == 1


def classifier():
    inputs = keras.Input((4,), name="x")
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="scores")(inputs), name="tiny")


def test_a_model_is_exported_with_a_config_and_keys_that_win(tmp_path):
    config = tlkeras.ExportModelConfig(formats="onnx", labels=["a", "b"])
    (artifact,) = tlkeras.export_model(classifier(), tmp_path / "out", config, labels=["c", "d"], reporter=None)
    assert artifact.format == "onnx"
    assert (tmp_path / "out" / "labels.txt").read_text(encoding="utf-8").split() == ["c", "d"]


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"data": "photos/"}, ConfigError, "--data is for runs"),
        ({"data_dir": "tfds/"}, ConfigError, "--data-dir is for runs"),
        ({"formats": "none"}, ConfigError, "no formats to export"),
        ({"formats": "onx"}, UnknownName, "did you mean 'onnx'"),
        ({"labels": "labels.txt"}, ConfigError, "labels.txt"),
        ({"calibration": "photos/"}, DataError, "expected real examples"),
    ],
)
def test_settings_that_mean_nothing_for_a_model_are_refused(values, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        export_request.check(classifier(), values)


@pytest.mark.parametrize("key", ["labels", "calibration", "input_range", "trust", "modules"])
def test_settings_that_a_run_answers_itself_are_refused(key, tmp_path):
    (tmp_path / "config.yaml").write_text("backbone: cnn\n")
    (tmp_path / "labels.txt").write_text("a\nb\n")
    value = {"labels": ["a"], "calibration": "x/", "input_range": "0-1", "trust": True, "modules": ["m"]}[key]
    with pytest.raises(ConfigError, match="is for other models; a run has its own"):
        export_request.check(tmp_path, {key: value})


def test_labels_are_read_from_their_file_once_they_are_checked(tmp_path):
    (tmp_path / "labels.txt").write_text("none\nnone of these\n")
    request = export_request.check(classifier(), {"labels": tmp_path / "labels.txt"})
    assert request.config.labels == ("none", "none of these") and request.run is None


def test_pretrain_refuses_what_is_no_source():
    with pytest.raises(ConfigError, match="received a ndarray; expected a PretrainConfig"):
        tlkeras.pretrain(np.zeros(3), name="x")


def test_an_evaluation_does_not_leave_out_folds_without_a_word(tmp_path):
    with pytest.raises(ConfigError, match=r"expected tlkeras\.cross_validate\(RUN, '5'\)"):
        tlkeras.evaluate(tmp_path, cross_validate="5")


# === Settings ===

FUNCTIONS = [function for function in PUBLIC.values() if inspect.isfunction(function)]
ACCEPTED = {name for function in FUNCTIONS for name in re.findall(r"\w+Config", str(inspect.signature(function).parameters.get("config")))}
CONFIGS = {name for name in configs.__all__ if inspect.isclass(cls := getattr(configs, name)) and FlatConfig in cls.__bases__}


def test_the_config_of_every_job_is_public_and_every_config_is_of_a_public_job():
    assert ACCEPTED == CONFIGS == {name for name in tlkeras.__all__ if name.endswith("Config")}


@pytest.mark.parametrize(("name", "config"), [("evaluate", "EvaluateConfig"), ("benchmark", "BenchmarkConfig")])
def test_what_is_no_config_is_refused(name, config):
    with pytest.raises(ConfigError, match=f"received a int; expected a {config} or a mapping of its keys"):
        PUBLIC[name]("missing", None, 7)


@pytest.mark.parametrize(("name", "key"), [("evaluate", "seed"), ("benchmark", "threads")])
def test_keys_of_a_call_win_over_those_of_its_config(name, key):
    with pytest.raises(ConfigError, match=f"{key}.* is 'x'"):
        PUBLIC[name]("missing", None, {key: 1}, **{key: "x"})
