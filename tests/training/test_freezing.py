"""Rules, flags, BatchNorm, and the proof that frozen means frozen."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import BLOCKS, pictures, tiny_model
from tlkeras.errors import ConfigError, FreezeError
from tlkeras.training import freezing
from tlkeras.training.freeze_rules import matches


def trainable_layers(model):
    return {v.path.split("/")[0] for v in model.trainable_variables}


def apply(model, sections, spec, batch_norm="frozen"):
    return freezing.apply(model, freezing.parse(spec, BLOCKS), sections=sections, batch_norm=batch_norm)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("none", {"head_logits"}),
        ("last:1", {"head_logits", "conv_s2"}),
        ("last:2", {"head_logits", "conv_s2", "conv_s1"}),
        ("from:s1", {"head_logits", "conv_s2", "conv_s1"}),
        ("from:s0", {"head_logits", "conv_s2", "conv_s1", "conv_s0"}),
        ("all", {"head_logits", "conv_s2", "conv_s1", "conv_s0"}),
        ("conv_s0", {"head_logits", "conv_s0"}),
        ("*_s0,*_s2", {"head_logits", "conv_s0", "conv_s2"}),
    ],
)
def test_a_spec_unfreezes_exactly_the_layers_it_names(spec, expected):
    model, sections = tiny_model()
    apply(model, sections, spec)
    assert trainable_layers(model) == expected


@pytest.mark.parametrize("spec", ["last:0", "last:4", "last:x", "from:s9"])
def test_a_section_the_backbone_lacks_is_an_error_that_names_the_choices(spec):
    with pytest.raises(ConfigError, match="s0|last:3"):
        freezing.parse(spec, BLOCKS)


def test_an_idle_rule_is_an_error_that_names_near_layers():
    model, sections = tiny_model()
    with pytest.raises(FreezeError, match="conv_s2"):
        apply(model, sections, "konv_s2")


def test_a_rule_that_earlier_rules_leave_nothing_is_an_error():
    model, _ = tiny_model()
    with pytest.raises(FreezeError, match="earlier rules"):
        freezing.apply(model, [("*", False), ("conv_s1", True)])


def test_a_layer_without_a_rule_is_an_error():
    model, _ = tiny_model()
    with pytest.raises(FreezeError, match="no freeze rule for"):
        freezing.apply(model, [("conv*", True)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["*", "a*", "*b", "ab", "b?", "section:s"]), st.booleans()), max_size=4))
def test_the_first_matching_rule_always_wins_or_the_rules_are_refused(rules):
    paths = {"a": "s", "ab": "", "b1": "s"}
    try:
        taken = freezing.resolve(paths, rules)
    except FreezeError:
        return
    for path, section in paths.items():
        first = next(rule for rule in rules if matches(rule[0], path, section))
        assert taken[path] == first


def test_the_report_shows_layer_rule_parameters_flag_and_batch_norm_mode():
    model, sections = tiny_model()
    apply(model, sections, "last:1")
    rows = {row.path: row for row in freezing.report(model).layers}
    assert rows["conv_s2"].trainable and rows["conv_s2"].rule == "section:s2" and rows["conv_s2"].parameters == 8 * 8 * 9 + 8
    assert rows["bn_s2"].batch_norm == "inference" and not rows["bn_s2"].trainable
    assert set(rows) == {layer.name for layer in model.layers}
    assert "conv_s2" in str(freezing.report(model))


def test_batch_norm_trains_only_where_it_was_opted_in():
    model, sections = tiny_model()
    apply(model, sections, "last:1", batch_norm="train")
    modes = {row.path: row.batch_norm for row in freezing.report(model).layers if row.batch_norm}
    assert modes == {"bn_s0": "inference", "bn_s1": "inference", "bn_s2": "training"}


def test_nested_models_are_flagged_leaf_by_leaf():
    inner, _ = tiny_model()
    inner = keras.Model(inner.input, inner.get_layer("features").output, name="inner")
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, keras.layers.Dense(2, name="top")(inner(inputs)))
    freezing.apply(model, [("inner/conv_s1", True), ("top", True), ("*", False)])
    assert {v.path for v in model.trainable_variables} == {"conv_s1/kernel", "conv_s1/bias", "top/kernel", "top/bias"}


@pytest.mark.parametrize("batch_norm", ["frozen", "train"])
def test_T1_batch_norm_statistics_move_only_when_opted_in(batch_norm):
    model, sections = tiny_model()
    logits = keras.Model(model.input, model.get_layer("head_logits").output)  # softmax may be all zeros and ones
    x, y = pictures(32)
    apply(model, sections, "all", batch_norm=batch_norm)
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    shifted = x.astype("float32") * 5 + 3
    before = [v.numpy() for v in model.non_trainable_variables if "moving" in v.path]
    answers = logits.predict(x, verbose=0)
    model.fit(shifted, y, epochs=1, verbose=0)
    after = [v.numpy() for v in model.non_trainable_variables if "moving" in v.path]
    same = all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert same == (batch_norm == "frozen")
    assert np.array_equal(answers, logits.predict(x, verbose=0)) == (batch_norm == "frozen")


def test_T2_freeze_and_unfreeze_do_what_they_say_even_when_the_parent_says_so_already():
    model, _ = tiny_model()
    everything = trainable_layers(model) - {"bn_s0", "bn_s1", "bn_s2"}
    freezing.freeze(model, "all")
    assert trainable_layers(model) == set()
    freezing.unfreeze(model, "conv_s2")
    assert trainable_layers(model) == {"conv_s2"}
    freezing.unfreeze(model, "all")
    assert trainable_layers(model) == everything


def test_T2_only_the_unfrozen_weights_move_after_a_step():
    model, sections = tiny_model()
    x, y = pictures(32)
    apply(model, sections, "last:1")
    before = {v.path: v.numpy() for v in model.variables}
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=1, verbose=0)
    moved = {v.path.split("/")[0] for v in model.weights if v.path in before and not np.array_equal(before[v.path], v.numpy())}
    assert moved == {"conv_s2", "head_logits"}


def test_T3_flags_changed_after_fit_take_effect_in_the_next_fit():
    model, sections = tiny_model()
    x, y = pictures(32)
    apply(model, sections, "none")
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=1, verbose=0)
    old = model.optimizer
    apply(model, sections, "conv_s0")
    before = {name: model.get_layer(name).kernel.numpy() for name in ("conv_s0", "conv_s1")}
    model.fit(x, y, epochs=1, verbose=0)
    assert model.optimizer is not old
    assert not np.array_equal(before["conv_s0"], model.get_layer("conv_s0").kernel.numpy())
    assert np.array_equal(before["conv_s1"], model.get_layer("conv_s1").kernel.numpy())


def test_a_frozen_weight_that_moved_is_named():
    model, sections = tiny_model()
    apply(model, sections, "none")
    before = freezing.frozen_digests(model)
    model.get_layer("conv_s1").kernel.assign_add(np.full((3, 3, 8, 8), 1e-6, "float32"))
    with pytest.raises(FreezeError, match="conv_s1:kernel"):
        freezing.check_frozen(model, before)


@pytest.mark.parametrize("suffix", ["full.keras", "full.weights.h5"])
@pytest.mark.parametrize("spec", ["none", "last:1", "all"])
def test_T18_what_is_saved_with_layers_frozen_loads_equal_into_a_trainable_model(tmp_path, spec, suffix):
    model, sections = tiny_model()
    x, _ = pictures(6)
    for variable in model.variables:  # equal-shaped blocks with different numbers
        variable.assign(np.random.default_rng(len(variable.path)).random(variable.shape) + 0.1)
    apply(model, sections, spec)
    path = tmp_path / suffix
    if suffix.endswith(".weights.h5"):
        model.save_weights(path)
        loaded, _ = tiny_model()
        loaded.load_weights(path)
    else:
        model.save(path)
        loaded = keras.saving.load_model(path)
    assert np.array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))
