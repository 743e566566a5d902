"""Several targets at once: the weights of their losses, parts of any name, each beside its own run, pages, and runtimes."""

import csv
import dataclasses
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from typer.testing import CliRunner

import tlkeras
from tests.conftest import ROOT
from tests.helpers import outputs
from tests.modalities.test_registry import ARTIFACTS
from tests.targets import CLASS, SET, TARGETS, values
from tests.tasks.test_everywhere import same
from tests.tasks.test_training import config_of, dataset_of, images
from tlkeras import models
from tlkeras.cli.main import app
from tlkeras.data.examples import Example
from tlkeras.data.target import Target
from tlkeras.errors import ConfigError
from tlkeras.jobs import benchmark, finetune, publish, single
from tlkeras.jobs.run_folder import Run
from tlkeras.registry import load_function
from tlkeras.tasks import several, weighting
from tlkeras.tasks.registry import TARGET, TASKS, Options
from tlkeras.zoo.store import Zoo

TASK = TASKS.get("several")
ALL = TARGETS["several"]
NAMES = [part.name for part in ALL.parts]
UNCERTAIN = Options(target_weights="uncertainty")


def learnt(options=None, n=12):
    """Returns the target with the facts of n examples, and their targets."""
    y = TASK.targets_of([Example(id="", label=value) for value in values("several", n)], ALL)
    return TASK.learnt(ALL, y, options or Options()), y


def scores_of(n, extra=0):
    """Returns scores between 0 and 1, those of the class adding up to 1."""
    scores = np.random.default_rng(0).uniform(0.05, 0.95, (n, len(ALL.labels) + extra)).astype("float32")
    scores[:, :3] /= scores[:, :3].sum(axis=1, keepdims=True)
    return scores


def losses_of_parts(target, y, scores):
    """Returns the loss of each part alone, (parts, n)."""
    return np.array(
        [
            keras.losses.get(part.task.keras_loss(part.target))(part.targets_in(y)[TARGET], tf.constant(scores[:, part.scores]))
            for part in several.parts_of(target)
        ]
    )


# === Weights of the losses ===


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, [1, 1, 1]),
        ("", [1, 1, 1]),
        (" tags = 0.5 ", [1, 0.5, 1]),
        ("label=2,place=1e-3,", [2, 1, 1e-3]),
        ("tags=1,tags=3", [1, 3, 1]),
    ],
)
def test_weights_are_those_asked_for_and_1(text, expected):
    assert weighting.weights_of(ALL, Options(target_weights=text)) == dict(zip(NAMES, map(float, expected), strict=True))


def test_weights_by_uncertainty_are_asked_for_by_a_word():
    assert weighting.weights_of(ALL, Options(target_weights=" uncertainty ")) == weighting.UNCERTAINTY


def test_the_name_of_a_part_may_contain_an_equals_sign():
    target = Target.several([dataclasses.replace(CLASS, name="a=b"), SET])
    assert weighting.weights_of(target, Options(target_weights="a=b=3"))["a=b"] == 3.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tgas=2", "no target 'tgas'; did you mean 'tags'"),
        ("tags", "expected uncertainty, or NAME=WEIGHT, comma-separated"),
        ("uncertain", "expected uncertainty"),
        *((f"tags={value}", f"'tags' the weight '{value}'; expected a number above 0") for value in ("two", "", "0", "-1", "nan", "inf")),
    ],
)
def test_weights_that_fit_no_target_or_are_no_positive_numbers_are_errors(text, message):
    with pytest.raises(ConfigError, match=message):
        weighting.check(ALL, Options(target_weights=text))


def test_the_loss_is_the_sum_of_those_of_the_parts_each_times_its_weight():
    target, y = learnt(Options(target_weights="label=2,tags=0.5,place=3"))
    scores = scores_of(12)
    by_hand = np.array([2, 0.5, 3]) @ losses_of_parts(target, y, scores)
    np.testing.assert_allclose(TASK.keras_loss(target)(y[TARGET], tf.constant(scores)), by_hand, rtol=1e-5)


def test_the_loss_by_uncertainty_is_exp_of_minus_s_times_the_loss_plus_half_of_s():
    target, y = learnt(UNCERTAIN)
    scores = scores_of(12, extra=3)
    s = scores[:, -3:].T * 4 - 2
    scores[:, -3:] = s.T
    by_hand = (np.exp(-s) * losses_of_parts(target, y, scores) + s / 2).sum(axis=0)
    np.testing.assert_allclose(TASK.keras_loss(target)(y[TARGET], tf.constant(scores)), by_hand, rtol=1e-5)


def test_the_loss_by_uncertainty_is_smallest_where_s_is_the_logarithm_of_twice_the_loss():
    target, y = learnt(UNCERTAIN)
    scores = scores_of(12)
    best = np.log(2 * losses_of_parts(target, y, scores).mean(axis=1))

    def mean_loss(s):
        columns = np.concatenate([scores, np.tile(s, (12, 1))], axis=1, dtype="float32")
        return float(np.mean(TASK.keras_loss(target)(y[TARGET], tf.constant(columns))))

    smallest = mean_loss(best)
    assert smallest == pytest.approx((1 + best).sum() / 2, rel=1e-5)
    for step in (0.1 * np.eye(3), -0.1 * np.eye(3), np.eye(3)):
        assert all(mean_loss(best + direction) > smallest + 1e-3 for direction in step)


def test_the_weights_of_classes_change_the_loss_of_a_class_alone():
    plain, y = learnt(n=10)  # four of the first class, three of each other
    weighed, _ = learnt(Options(class_weights=True), n=10)
    facts = weighed.parts[0].facts["class_weights"]
    assert facts == pytest.approx([10 / 12, 10 / 9, 10 / 9])
    scores = scores_of(10)
    by_hand = losses_of_parts(weighed, y, scores)
    by_hand[0] *= np.array(facts)[y[TARGET][:, 0].astype(int)]
    losses = np.asarray(TASK.keras_loss(weighed)(y[TARGET], tf.constant(scores)))
    np.testing.assert_allclose(losses, by_hand.sum(axis=0), rtol=1e-5)
    assert not np.allclose(losses, TASK.keras_loss(plain)(y[TARGET], tf.constant(scores)))


# === The model that is trained and the one that is kept ===


def test_what_only_the_loss_needs_leaves_no_layer_and_no_column_behind():
    target, _ = learnt(UNCERTAIN)
    task = models.build("cnn", target, image_size=16, weights="none", task="several")
    x = images(4).astype("float32")
    before, names = outputs(task.model, x), [layer.name for layer in task.model.layers]
    changed = several.transform(task)
    assert set(changed.sections) == {layer.name for layer in changed.model.layers} and changed.sections[several.VARIANCES] == "head"
    changed.model.get_layer(several.VARIANCES).bias.assign([0.1, -0.2, 0.3])
    np.testing.assert_allclose(outputs(changed.model, x)[:, -3:], [[1, -2, 3]] * 4, rtol=1e-6)
    after = several.finish(changed)
    assert [layer.name for layer in after.model.layers] == names and after.sections == task.sections
    np.testing.assert_array_equal(outputs(after.model, x), before)
    assert list(after.target.facts["learnt_weights"].values()) == pytest.approx(np.exp([-1, 2, -3]), rel=1e-5)


def test_without_uncertainty_the_model_is_trained_as_it_is():
    target, _ = learnt()
    task = models.build("cnn", target, image_size=16, weights="none", task="several")
    assert several.transform(task) is task and several.finish(task) is task


# === Names of parts ===

ODD = [
    ("a b", "a.b", "a-b"),  # equal where only letters and digits are left
    ("a 1", "a 12", "a.1"),  # the third one's number makes it the second
    ("颜色", "label", "größe"),
    ("target0", "颜色", "色"),
    ("scores", "head", "features"),
    ("log_variances", "Log_Variances", "log variances"),
]


def renamed(names, n=24):
    """Returns examples whose parts have these names."""
    dataset = dataset_of("several", n)
    parts = [dataclasses.replace(part, name=name) for part, name in zip(dataset.target.parts, names, strict=True)]
    return dataclasses.replace(dataset, target=Target.several(parts))


@pytest.mark.parametrize("names", ODD, ids="/".join)
def test_layers_and_outputs_have_names_of_their_own_whatever_the_parts_are_called(names):
    target = renamed(names).target
    prefixes = [part.prefix for part in several.parts_of(target)]
    assert len(set(prefixes)) == 3 and all(prefix.isascii() for prefix in prefixes)
    task = several.transform(models.build("cnn", target.with_facts(weights="uncertainty"), image_size=16, weights="none", task="several"))
    assert several.finish(task).model.output_shape[-1] == len(target.labels)
    answers = TARGETS["several"], target
    by_name, renamed_outputs = (load_function(TASK.signature)(tf.constant(scores_of(2)), tf.constant([True, True]), one) for one in answers)
    assert len(renamed_outputs) == len(by_name)


@pytest.mark.slow
@pytest.mark.parametrize("names", ODD, ids="/".join)
def test_parts_of_any_name_are_trained_exported_and_answered_by_their_names(names, tmp_path):
    config = config_of("several", tmp_path / "run", export="saved_model", target_weights="uncertainty")
    result = finetune.finetune(config, dataset=renamed(names), reporter=None)
    for model in (result.run.root, result.run.exports / "saved_model"):
        (answer,) = tlkeras.load(model).predict([images(1)[0]])
        assert list(answer.targets) == list(names)
    with result.run.predictions.open(encoding="utf-8", newline="") as file:
        titles = csv.DictReader(file).fieldnames
    assert {title.partition("/")[0] for title in titles} == {"split", "example", *names}


# === Verdict ===


def test_the_drop_is_that_of_the_part_that_loses_most():
    target, y = learnt()
    good = np.concatenate([np.eye(3)[y[TARGET][:, 0].astype(int)], y[TARGET][:, 1:]], axis=1).astype("float32")
    for part in several.parts_of(target):
        scores = good.copy()
        scores[:, part.scores] = good[::-1, part.scores]
        alone = load_function(part.task.judge)(scores[:, part.scores], good[:, part.scores], part.targets_in(y), part.target)
        verdict = several.judge(scores, good, y, target)
        assert verdict.drop == alone.drop > 0 and part.target.name in verdict.sentence
        assert alone.agreement < verdict.agreement < 1


# === A run ===


def trained(folder):
    """Returns a run of three targets with weights by uncertainty, and each of them alone; its task follows from the data."""
    settings = {"target_weights": "uncertainty", "compare_single": True, "class_weights": True, "loss": "huber", "recipe": "full"}
    config = config_of(None, folder / "run", export=",".join(ARTIFACTS), **settings)
    return finetune.finetune(config, dataset=dataset_of("several", 60), reporter=None)


@pytest.fixture(scope="module")
def run(run_of_several_targets):
    return run_of_several_targets


def target_in(folder):
    return Target.from_dict(json.loads((folder / "target.json").read_text(encoding="utf-8")))


def test_learnt_weights_are_in_the_target_and_in_every_manifest(run):
    weights = target_in(run.run.root).facts["learnt_weights"]
    assert list(weights) == NAMES and all(value > 0 and value != 1 for value in weights.values())
    manifest = json.loads((run.run.exports / "manifest.json").read_text(encoding="utf-8"))
    assert Target.from_dict(json.loads(manifest["metadata"]["target"])) == target_in(run.run.root)


def splits_of(folder):
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return {(row["split"], row["example"]) for row in csv.DictReader(file)}


def test_each_target_is_trained_alone_on_the_same_splits_with_the_same_settings(run):
    assert list(run.metrics["single"]) == NAMES
    for name in NAMES:
        folder = run.run.root / "single" / name
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        assert splits_of(folder) == splits_of(run.run.root)
        assert {split: metrics["data"][split] for split in ("train", "val", "test")} == {
            split: run.metrics["data"][split] for split in ("train", "val", "test")
        }
        for split in ("val", "test"):
            both = run.metrics["single"][name][split]
            assert both == {"together": run.metrics[split]["targets"][name], "alone": metrics[split]}


def test_a_target_alone_is_trained_with_the_options_that_mean_something_to_it(run):
    trained = {name: json.loads((run.run.root / "single" / name / "metrics.json").read_text())["config"] for name in NAMES}
    assert [trained[name]["class_weights"] for name in NAMES] == [True, True, False]
    assert [trained[name]["loss"] for name in NAMES] == [None, None, "huber"]


def test_the_report_has_the_comparison_and_sections_of_each_target(run):
    page = run.run.report.read_text(encoding="utf-8")
    assert "Together and alone" in page and "Learnt weights of the losses" in page
    for name in NAMES:
        assert f"<h3>{name}</h3>" in page and f"{name}: " in page


def test_the_card_of_an_entry_has_a_sentence_and_sections_of_each_target(run, tmp_path):
    entry = publish.publish(run.run.root, "three", Zoo(tmp_path / "zoo"), data_licence="CC0", data_source="made up", reporter=None)
    card = (entry.path / "README.md").read_text(encoding="utf-8")
    assert "3 targets at once" in card
    for name in NAMES:
        assert f"`{name}` (" in card and f"## {name}: " in card


def test_the_benchmark_measures_the_mean_of_the_figures_of_the_parts(run):
    dataset = dataset_of("several", 60)
    (row,) = benchmark.benchmark(run.run.root, data=dataset, formats=("tflite",), threads=(1,), reporter=None).rows
    parts = tlkeras.evaluate(run.run.exports / "model.tflite", dataset, part="all").score.to_dict()["targets"]
    figures = [parts[name][figure] for name, figure in zip(NAMES, ("accuracy", "micro_f1", "r2"), strict=True)]
    assert row.accuracy == pytest.approx(np.mean(figures), abs=1e-6) and len(set(figures)) == 3


def test_the_c_api_answers_as_keras(run):
    whole, other = tlkeras.load(run.run.root), tlkeras.load(run.run.root, runtime="c_api")
    assert other.runtime != whole.runtime and "C API" in other.runtime
    for one, another in zip(whole.predict(images(5)), other.predict(images(5)), strict=True):
        assert same(another.to_dict(), one.to_dict())


def test_each_target_has_intervals_slices_corruptions_and_a_comparison(run):
    settings = {"slices": "brightness", "corruptions": True, "against": str(run.run.exports / "model.tflite")}
    found = tlkeras.evaluate(run.run.root, dataset_of("several", 60), part="all", **settings)
    for part in (found.figures, found.slices, found.corruptions, found.against["targets"]):
        assert list(part) == NAMES
    assert [found.figures[name]["headline"] for name in NAMES] == ["accuracy", "micro_f1", "relative_mae"]
    assert all(part["words"].count("no difference is shown") for part in found.against["targets"].values())
    text = "\n".join(found.lines())
    assert all(f"{name}:" in text for name in NAMES) and "Wilcoxon" in text and "McNemar" in text


def test_names_that_files_cannot_tell_apart_have_folders_of_their_own():
    names = ["a b", "a.b", "A b", "a-b-1", "a-b", "größe", "w_1"]
    folders = single.folders(names, Run(ROOT))
    assert list(folders) == names and len({path.name.casefold() for path in folders.values()}) == len(names)
    assert {path.parent for path in folders.values()} == {ROOT / "single"}
    assert folders["größe"].name == "größe" and folders["w_1"].name == "w_1"


@pytest.mark.parametrize(
    "held_out",
    [*(pytest.param({name: 0}, marks=pytest.mark.slow) for name in ("val_split", "test_split")), {"val_split": 0, "test_split": 0}],
    ids="-".join,
)
def test_what_is_held_out_is_held_out_from_each_target_alone(held_out, tmp_path):
    config = config_of("several", tmp_path / "run", compare_single=True, **held_out)
    data = finetune.finetune(config, dataset=dataset_of("several", 30), reporter=None).metrics["data"]
    for name in NAMES:
        alone = json.loads((tmp_path / "run" / "single" / name / "metrics.json").read_text(encoding="utf-8"))["data"]
        assert [alone[split] for split in ("train", "val", "test")] == [data[split] for split in ("train", "val", "test")]


def test_a_run_is_complete_where_one_of_its_targets_alone_fails(tmp_path, monkeypatch):
    def fail(*_):
        raise ConfigError("no more")

    monkeypatch.setattr(single, "config_of", fail)
    with pytest.raises(ConfigError, match="no more"):
        finetune.finetune(config_of("several", tmp_path / "run", compare_single=True), dataset=dataset_of("several", 30), reporter=None)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics["test"]["targets"]) == NAMES and (tmp_path / "run" / "report.html").is_file()


# === Command line ===


COMMAND = ["finetune", "--data", "photos.csv", "--label-column", "about it,height", "--compare-single", "--backbone", "cnn"]
COMMAND += ["--image-size", "16", "--weights", "none", "--epochs", "2", "--export", "none"]


def started(folder):
    """Returns how a command is started in a folder."""
    return {"cwd": folder, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "capture_output": True, "text": True, "check": False}


def write_table(folder):
    (folder / "photos").mkdir()
    rows = []
    for i, (x, (label, _, (height, _))) in enumerate(zip(images(30), values("several", 30), strict=True)):
        Image.fromarray(x).save(folder / "photos" / f"{i}.png")
        rows.append((f"photos/{i}.png", f"c{label}", height + i / 100))
    with (folder / "photos.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "about it", "height"), *rows])


def test_the_command_line_trains_columns_of_a_table_together_and_alone(tmp_path, monkeypatch):
    write_table(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*COMMAND, "--out", "run"])
    assert done.exit_code == 0, done.output[-3000:]
    told = done.output
    assert "training about it alone, to compare" in told and "training height alone, to compare" in told
    assert "about it accuracy" in told and "height R²" in told and "Traceback" not in told
    assert sorted(path.name for path in (tmp_path / "run" / "single").iterdir()) == ["about-it", "height"]


@pytest.mark.slow
def test_several_workers_train_each_target_alone_together(tmp_path):
    write_table(tmp_path)
    launched = ["launch", "--workers", "2", "--logs", "logs", "--", *COMMAND, "--recipe", "full"]
    done = subprocess.run([sys.executable, "-m", "tlkeras.cli.main", *launched, "--out", "two"], **started(tmp_path), timeout=500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    one = subprocess.run([sys.executable, "-m", "tlkeras.cli.main", *COMMAND, "--recipe", "full", "--out", "one"], **started(tmp_path))
    assert one.returncode == 0, one.stderr[-3000:]
    single_process, workers = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert workers["placement"]["workers"] == 2 and same(workers["single"], single_process["single"])
