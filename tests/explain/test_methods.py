"""A map means something: it finds a planted patch, depends on the weights, and beats random maps; contributions add up."""

import keras
import numpy as np
import pytest
from scipy.ndimage import uniform_filter
from scipy.stats import spearmanr

from tests.explain.conftest import PATCH, SIDE, TARGET, explained
from tlkeras.errors import ConfigError, UnknownName
from tlkeras.explain.array_networks import intervals
from tlkeras.explain.explainer import Explainer
from tlkeras.explain.explanation import resized
from tlkeras.explain.faithfulness import curves, random_map, randomised
from tlkeras.explain.integrated_gradients import GAP
from tlkeras.explain.registry import METHODS, methods_for
from tlkeras.modalities.images.inputs import Images
from tlkeras.registry import load_function
from tlkeras.tasks import classification
from tlkeras.tasks.registry import TASKS

OF_IMAGES = [row.name for row in methods_for("image") if row.by_answer]
# The slope of a network that averages its features is nearly the same everywhere: what these two show is not where the patch is.
POINTING = [name for name in OF_IMAGES if name not in ("gradient", "smoothgrad")]
of_every_method = pytest.mark.parametrize("method", OF_IMAGES)


@pytest.fixture(scope="module")
def maps(finder):
    """Method -> the maps of all images, of the size of the images."""
    found = {}
    for method in OF_IMAGES:
        explainer = Explainer(finder.model, TASKS.get("classification"), TARGET, Images(size=SIDE, resize="stretch"), method=method)
        found[method] = np.stack([resized(one.values, SIDE, SIDE) for one in explained(explainer, finder.images)])
    return found


@pytest.mark.parametrize("method", POINTING)
def test_the_highest_point_of_a_map_is_in_the_planted_patch(method, maps, finder):
    hits = []
    for values, patch in zip(maps[method], finder.where, strict=True):
        rows, columns = np.nonzero(patch)
        row, column = np.unravel_index(uniform_filter(values, 5).argmax(), values.shape)
        hits.append(rows.min() - 1 <= row <= rows.max() + 1 and columns.min() - 1 <= column <= columns.max() + 1)
    assert np.mean(hits) >= 0.85  # by chance (PATCH + 2)² / SIDE², 0.11
    assert PATCH + 2 < SIDE / 2


@of_every_method
def test_a_map_changes_when_the_weights_are_random(method, maps, finder, explainer_of):
    again = explained(explainer_of(method), finder.images[:4])
    with randomised(finder.model):
        changed = explained(explainer_of(method), finder.images[:4], ["green" if label == 0 else "red" for label in finder.labels[:4]])
    for index, (same, other) in enumerate(zip(again, changed, strict=True)):
        np.testing.assert_allclose(resized(same.values, SIDE, SIDE), maps[method][index], rtol=1e-3, atol=1e-5)
        assert other.number != pytest.approx(same.number, rel=0.05)
    pairs = [(resized(one.values, SIDE, SIDE).ravel(), values.ravel()) for one, values in zip(changed, maps[method], strict=False)]
    # Of each map by its size: a map that is turned over does not cancel another one.
    assert np.mean([abs(spearmanr(*pair).statistic) if np.ptp(pair[0]) else 0.0 for pair in pairs]) < 0.6


@of_every_method
def test_deleting_what_a_map_shows_harms_more_and_inserting_it_helps_more_than_at_random(method, maps, finder, explainer_of):
    explainer, layer = explainer_of(method), finder.model.get_layer("head_logits")
    before = layer.get_weights()
    try:
        layer.set_weights([array / 8 for array in before])  # it is less sure, so that each step shows
        for index in np.flatnonzero(finder.labels == 1)[:3]:  # the network calls an empty image green
            sample = explainer.sample(finder.images[index : index + 1], "red")
            own = curves(explainer.network, sample, 1, maps[method][index], cells=12)
            chance = [curves(explainer.network, sample, 1, random_map(explainer.network, sample, seed, 12), cells=12) for seed in range(2)]
            assert own.deleted < min(one.deleted for one in chance) and own.inserted > max(one.inserted for one in chance)
            assert own.deletion[0] == pytest.approx(own.insertion[-1]) and own.deletion[-1] == pytest.approx(own.insertion[0])
    finally:
        layer.set_weights(before)


def test_contributions_of_integrated_gradients_add_up_to_one_percent(finder, explainer_of):
    explainer = explainer_of("integrated-gradients")
    for one in explained(explainer, finder.images):
        figures = one.details["completeness"]
        assert figures["gap"] <= GAP
        assert one.values.sum() == pytest.approx(figures["sum"], rel=1e-4)
        assert figures["empty"] + figures["difference"] == pytest.approx(one.number, rel=1e-4)


def test_log_odds_are_explained_where_the_probability_is_saturated(finder, explainer_of):
    layer = finder.model.get_layer("head_logits")
    before = layer.get_weights()
    try:
        layer.set_weights([200 * array for array in before])
        (sure,) = explained(explainer_of("gradient"), finder.images[:1])
        x = keras.ops.convert_to_tensor(finder.images[:1].astype("float32"))
        assert finder.model.predict(x, verbose=0).max() == 1.0  # as a probability in float32, whatever a few pixels do
        assert sure.scale == "log-odds" and sure.number > 17 and sure.values.max() > 0.1
    finally:
        layer.set_weights(before)


def test_what_speaks_for_one_of_two_classes_speaks_against_the_other(finder, explainer_of):
    explainer = explainer_of("integrated-gradients")
    first, second = (explained(explainer, finder.images[:1], [label])[0] for label in TARGET.labels)
    np.testing.assert_allclose(first.values, -second.values, atol=1e-3 * np.abs(first.values).max())
    assert first.number == pytest.approx(-second.number, rel=1e-4)


def test_grad_cam_adds_up_to_the_answer_of_a_linear_head_on_mean_features(finder, explainer_of):
    layer = finder.model.get_layer("head_logits")
    kernel, bias = layer.get_weights()
    explainer = explainer_of("grad-cam")
    sample = explainer.sample(finder.images[:1], "one")
    features = keras.Model(finder.model.input, finder.model.get_layer("conv2").output)(finder.images[:1].astype("float32"))
    expected = np.maximum(np.asarray(features)[0] @ (kernel[:, 1] - kernel[:, 0]) / SIDE**2, 0)
    (one,) = explainer.explain([sample], finder.model.predict(finder.images[:1].astype("float32"), verbose=0), "red")
    np.testing.assert_allclose(one.values, expected, atol=1e-5)
    assert one.details["layer"] == "conv2"


def test_the_likeliest_labels_are_explained_first(finder, explainer_of):
    explainer = explainer_of("gradient")
    sample = explainer.sample(finder.images[1:2], "one")
    found = explainer.explain([sample], np.array([[0.1, 0.9]]), top=2)
    assert [one.label for one in found] == ["red", "green"]
    assert found[0].score == pytest.approx(0.9)


def test_a_method_that_needs_positions_is_refused_with_methods_that_do_not():
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Dense(4, activation="relu", name="features")(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, classification.build_head(x, TARGET, 0.0), name="flat")
    options = (model, TASKS.get("classification"), TARGET, Images(size=8, resize="stretch"))
    # The input itself has positions, but is no layer of the network.
    with pytest.raises(ConfigError, match="grad-cam cannot explain this model: flat has no layer with positions.*occlusion"):
        Explainer(*options, method="grad-cam")
    with pytest.raises(ConfigError, match="attention-rollout cannot explain this model"):
        Explainer(*options, method="attention-rollout")
    assert Explainer(*options).method.name == "occlusion"


def test_an_unknown_method_lists_near_ones(explainer_of):
    with pytest.raises(UnknownName, match="no method 'gradcamm'; did you mean"):
        explainer_of("gradcamm")


@pytest.mark.parametrize("method", METHODS.names())
def test_functions_that_a_row_names_can_be_loaded(method):
    row = METHODS.get(method)
    assert callable(load_function(row.function)) and (not row.refusal or callable(load_function(row.refusal)))
    assert row.source.startswith("https://") and row.help


@pytest.mark.parametrize(("length", "size", "stride"), [(10, 3, 1), (10, 3, 2), (10, 4, 4), (5, 9, 4), (1, 1, 1)])
def test_windows_cover_everything(length, size, stride):
    covered = np.zeros(length, int)
    for start, end in intervals(length, size, stride):
        covered[start:end] += 1
        assert end - start == min(size, length)
    assert covered.all()
