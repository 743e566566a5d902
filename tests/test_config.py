"""Keys, defaults, types: every one declared once, every mistake named."""

import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkeras import config as configs
from tlkeras.backbones.registry import BACKBONES
from tlkeras.config import BenchmarkConfig, EvaluateConfig, ExplainConfig, ExportModelConfig, PretrainConfig, RunConfig, TrainConfig
from tlkeras.errors import ConfigError
from tlkeras.jobs import plan


def test_what_is_stored_reads_back_as_the_same_config(tmp_path):
    config = RunConfig.from_dict(
        {"backbone": "vgg16", "learning-rate": 1e-4, "export": "onnx,tflite", "freeze_rules": [["a*", True], ["*", False]]}
    )
    path = tmp_path / "config.yaml"
    path.write_text(configs.to_yaml(config.to_dict(), comments=True), encoding="utf-8")
    assert RunConfig.from_dict(configs.read_yaml(path)) == config


CONFIGS = (RunConfig, ExportModelConfig, PretrainConfig, EvaluateConfig, BenchmarkConfig, ExplainConfig)
KEYS = [pytest.param(item, id=f"{config.__name__}-{item.key}") for config in CONFIGS for item in configs.keys(config)]


@pytest.mark.parametrize("item", KEYS)
def test_every_key_has_help_and_a_default_to_show(item):
    assert item.help.endswith(".") and item.default_text


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_of_each_job_is_written_and_read_back(config, tmp_path):
    values = {"labels": ["none", "b, c"], "formats": ["onnx"], "epochs": 3, "threads": [4], "data": "photos/", "max_drop": 0.1}
    built = config.from_dict({key: value for key, value in values.items() if key in [item.key for item in configs.keys(config)]})
    path = tmp_path / "config.yaml"
    path.write_text(configs.to_yaml(built.to_dict(), comments=True, config=config), encoding="utf-8")
    assert config.from_dict(configs.read_yaml(path)) == built != config()


def test_an_update_changes_the_keys_that_are_named():
    config = RunConfig(data="a/", epochs=3, out="x", train=TrainConfig(batch_size=8))
    changed = config.updated(data="b/", out=None, batch_norm="train")
    assert changed == RunConfig(data="b/", epochs=3, batch_norm="train", train=TrainConfig(batch_size=8))
    assert config.updated(train=TrainConfig(epochs=9)).train == TrainConfig(epochs=9)
    assert config.data.source == "a/"


@pytest.mark.parametrize("values", [{"batchsize": 8}, {"epochs": 0}, {"unfreeze": "all", "freeze_rules": [["*", True]]}])
def test_an_update_is_checked_like_a_config(values):
    with pytest.raises(ConfigError):
        RunConfig().updated(**values)


def test_a_config_written_by_the_first_release_is_read():
    text = pathlib.Path(__file__).with_name("golden") / "config-0.1.yaml"
    config = RunConfig.from_dict(configs.read_yaml(text))
    assert config.model.backbone == "efficientnet_lite0" and config.export.formats == ("saved_model", "tflite", "onnx")


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (ExportModelConfig, {"labels": 3}, "a file with one label per line, or a list"),
        (ExportModelConfig, {"labels": " "}, "empty"),
        (ExportModelConfig, {"input_range": "0-2"}, "expected 0-255, 0-1, -1-1"),
        (ExportModelConfig, {"activation": "softmax"}, "pass --labels"),
        (ExportModelConfig, {"tflite_io": "int4"}, "expected float32, int8, uint8"),
        (PretrainConfig, {"backbone_options": "dense"}, "NAME=VALUE"),
        (PretrainConfig, {"limit": 0}, "limit is 0"),
        (BenchmarkConfig, {"threads": "0"}, "expected numbers such as 1,2"),
        (BenchmarkConfig, {"threads": []}, "expected numbers such as 1,2"),
    ],
)
def test_a_bad_value_of_another_job_is_an_error(config, values, message):
    with pytest.raises(ConfigError, match=message):
        config.from_dict(values)


def test_limits_that_are_not_set_are_those_of_a_run():
    config = ExportModelConfig(formats="onnx", max_drop=0.5)
    assert (config.limits.max_drop, config.limits.opset, config.limits.formats) == (0.5, configs.ExportConfig.opset, ("onnx",))


def test_an_unknown_key_is_an_error_that_lists_near_ones():
    with pytest.raises(ConfigError, match="unknown config key 'batchsize'.*batch_size"):
        RunConfig.from_dict({"batchsize": 8})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": "many"}, "expected int"),
        ({"epochs": True}, "expected int"),
        ({"batch_size": 2.5}, "expected int"),
        ({"val_split": 0.95}, "val_split"),
        ({"val_split": 0.5, "test_split": 0.5}, "at most 0.9"),
        ({"learning_rate": -1}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"batch_norm": "thaw"}, "frozen"),
        ({"resize": "strech"}, "stretch"),
        ({"unfreeze": "all", "freeze_rules": [["*", True]]}, "both set"),
        ({"freeze_rules": ["*"]}, "pattern, true or false"),
        ({"export": 3}, "comma-separated"),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_key(values, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig.from_dict(values)


@pytest.mark.parametrize(
    ("text", "message"), [("- a\n- b\n", "expected `key: value`"), ("a: [", "is not YAML"), (b"\xff\xfe\x00", "cannot read|not YAML")]
)
def test_a_file_that_is_no_mapping_is_an_error(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=message):
        configs.read_yaml(path)


def test_numbers_that_yaml_reads_as_text_are_numbers(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("learning_rate: 1e-4\n")
    assert RunConfig.from_dict(configs.read_yaml(path)).train.learning_rate == 1e-4


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=12), st.one_of(st.none(), st.integers(), st.text(max_size=5), st.booleans()), max_size=4))
def test_whatever_a_file_holds_it_is_a_config_or_a_config_error(values):
    try:
        RunConfig.from_dict(values)
    except ConfigError:
        pass


@pytest.mark.parametrize(
    ("values", "rate"),
    [
        ({"recipe": "full"}, 1e-4),
        ({"unfreeze": "last:2"}, 1e-4),
        ({"recipe": "feature-extraction"}, 3e-3),
        ({"recipe": "full", "learning_rate": 2e-5}, 2e-5),
        ({"recipe": "full", "backbone": "bert_base"}, 5e-5),
    ],
)
def test_a_backbone_with_a_rate_of_its_own_is_fine_tuned_at_it_unless_told_otherwise(values, rate):
    resolved = plan.resolve(RunConfig.from_dict({"backbone": "minilm_l6", **values}))
    (phase, _), *_ = plan.phases(resolved, [name for name, _ in BACKBONES.get("minilm_l6").sections])
    assert resolved.config.train.learning_rate == phase.learning_rate == rate
