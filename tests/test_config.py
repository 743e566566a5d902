"""Keys, defaults, types: every one declared once, every mistake named."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkeras import config as configs
from tlkeras.config import RunConfig
from tlkeras.errors import ConfigError


def test_what_is_stored_reads_back_as_the_same_config(tmp_path):
    config = RunConfig.from_dict(
        {"backbone": "vgg16", "learning-rate": 1e-4, "export": "onnx,tflite", "freeze_rules": [["a*", True], ["*", False]]}
    )
    path = tmp_path / "config.yaml"
    path.write_text(configs.to_yaml(config.to_dict(), comments=True), encoding="utf-8")
    assert RunConfig.from_dict(configs.read_yaml(path)) == config


@pytest.mark.parametrize("key", [one.key for one in configs.keys()])
def test_every_key_has_help_and_a_default_to_show(key):
    one = next(k for k in configs.keys() if k.key == key)
    assert one.help.endswith(".") and one.default_text


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
