"""Keys, defaults, types: every one declared once, every mistake named."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkeras import config as configs
from tlkeras.backbones.registry import BACKBONES
from tlkeras.config import RunConfig
from tlkeras.errors import ConfigError
from tlkeras.jobs import plan


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
