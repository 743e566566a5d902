"""Evaluations: intervals, another run, slices and corruptions."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import tlkeras
from tests.helpers import pictures
from tests.modalities.test_registry import DATASETS
from tlkeras.cli.main import app
from tlkeras.config import RunConfig, read_yaml, to_yaml
from tlkeras.errors import ConfigError, DataError
from tlkeras.evaluation.parts.from_files import EVALUATIONS
from tlkeras.evaluation.robustness import corruptions_of
from tlkeras.evaluation.slice_columns import columns_of
from tlkeras.jobs import evaluate, finetune
from tlkeras.modalities.registry import MODALITIES

TINY = {
    "backbone": "cnn",
    "image_size": 16,
    "backbone_options": ["filters1=4", "filters2=4", "dense=8"],
    "weights": "none",
    "export": "none",
}


def content(path):
    return json.loads(path.read_text(encoding="utf-8"))


# === Every modality ===


@pytest.mark.parametrize("name", MODALITIES.names())
def test_a_run_of_a_modality_is_sliced_corrupted_and_compared_and_everything_is_stored(name, run_of):
    run, dataset = run_of(name).run, DATASETS[name]()
    settings = {"slices": columns_of(name), "corruptions": True, "against": str(run.root)}
    found = tlkeras.evaluate(run.root, dataset, part="all", **settings)
    stored = content(run.evaluation)
    assert stored == json.loads(json.dumps({"version": 1, **found.to_dict()}))
    assert stored["accuracy"] == stored["figures"]["label"]["figures"]["accuracy"]["value"]
    assert stored["against"]["targets"]["label"]["figures"]["accuracy"]["difference"] == 0
    assert set(stored["corruptions"]["label"]["kinds"]) == {row.name for row in corruptions_of(name)}
    assert {row["column"] for row in stored["slices"]["label"]["slices"]} <= set(columns_of(name))
    assert [name for name in EVALUATIONS if name in stored] == [
        "figures",
        "against",
        "slices",
        "corruptions",
    ]
    page = run.report.read_text(encoding="utf-8")
    assert all(f">{title}<" in page for title in ("Figures with intervals", "Compared with another run", "Slices", "Corruptions"))
    assert str(run.root.parent) not in page  # reports are shared
    text = "\n".join(found.lines())
    assert all(part in text for part in ("accuracy", "compared with", "slices", "corruptions"))


def test_an_artifact_is_compared_with_its_model_in_its_own_runtime(run_of):
    run = run_of("image").run
    before = run.evaluation.read_bytes() if run.evaluation.is_file() else None
    found = tlkeras.evaluate(run.exports / "model.tflite", DATASETS["image"](), part="all", against=str(run.root))
    assert "LiteRT" in found.runtime or "litert" in found.runtime.lower()
    assert found.against["targets"]["label"]["mcnemar"]["p"] == 1.0
    assert (run.evaluation.read_bytes() if run.evaluation.is_file() else None) == before  # it is the file of the Keras model


# === Another run, and columns of a table ===


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of images, of which those from one site have the wrong label."""
    folder = tmp_path_factory.mktemp("table")
    x, y = pictures(90, classes=2)
    rows = ["path,label,site,age"]
    for at, image in enumerate(x):
        Image.fromarray(image).save(folder / f"{at}.png")
        site = ("north", "south", "east")[at // 2 % 3]
        label = ("red", "green")[y[at] ^ (site == "south")]
        rows.append(f"{at}.png,{label},{site},{at % 30}")
    path = folder / "table.csv"
    path.write_text("\n".join([*rows, ""]))
    return path


@pytest.fixture(scope="module")
def runs(table, tmp_path_factory):
    """Two runs on the table that differ in their seeds, and so in their splits."""
    folder = tmp_path_factory.mktemp("runs")
    settings = {**TINY, "recipe": "full", "epochs": 2, "learning_rate": 0.01, "data": str(table), "test_split": 0.4}
    configs = [RunConfig.from_dict({**settings, "seed": seed, "out": str(folder / f"seed{seed}")}) for seed in (0, 1)]
    return [finetune.finetune(config, reporter=None).run for config in configs]


def test_runs_of_other_splits_are_compared_on_what_is_held_out_from_both(runs, capsys):
    found = tlkeras.evaluate(runs[0].root, against=str(runs[1].root), reporter=None)
    part = found.against["targets"]["label"]
    assert 0 < part["n"] < found.score.n
    screen = CliRunner().invoke(app, ["evaluate", str(runs[0].root), "--against", str(runs[1].root)])
    assert screen.exit_code == 0 and "held out from both" in screen.output and "McNemar" in screen.output, screen.output


def test_columns_of_a_table_slice_its_examples(runs, table):
    found = tlkeras.evaluate(runs[0].root, part="all", slices="site,age,brightness", reporter=None)
    slices = {row["slice"]: row for row in found.slices["label"]["slices"]}
    assert {row["column"] for row in slices.values()} == {"site", "age", "brightness"}
    assert sum(row["n"] for row in slices.values() if row["column"] == "age") == 90
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    answers = tlkeras.load(runs[0].root).predict([table.parent / path for path, *_ in rows])
    for site in ("north", "south", "east"):
        right = [answer.label == label for answer, (_, label, own, _) in zip(answers, rows, strict=True) if own == site]
        assert slices[f"site = {site}"]["n"] == len(right) and slices[f"site = {site}"]["value"] == pytest.approx(np.mean(right))


def test_a_run_whose_table_names_groups_is_evaluated_by_whole_groups(runs, tmp_path):
    folder = tmp_path / "grouped"
    shutil.copytree(runs[0].root, folder)
    (folder / "config.yaml").write_text(to_yaml(read_yaml(folder / "config.yaml") | {"group_column": "age"}))
    settings = {"part": "all", "slices": "site", "corruptions": True, "against": str(runs[1].root), "reporter": None}
    found, apart = (tlkeras.evaluate(root, **settings) for root in (folder, runs[0].root))
    parts = (found.figures["label"], found.against["targets"]["label"], found.slices["label"])
    assert [part["groups"] for part in parts] == [30] * 3 and "mcnemar" not in parts[1]
    assert apart.figures["label"]["groups"] is None and "mcnemar" in apart.against["targets"]["label"]
    own, other = (part.corruptions["label"]["clean"] for part in (found, apart))
    assert own["value"] == other["value"] and own["low"] != other["low"]
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "draw whole groups, of which there are 30" in text and "30 groups, which are drawn as a whole" in text


def test_a_later_evaluation_on_the_same_examples_keeps_what_was_found_before(runs):
    tlkeras.evaluate(runs[1].root, part="all", slices="site", reporter=None)
    tlkeras.evaluate(runs[1].root, part="all", reporter=None)
    assert {"figures", "slices"} <= set(content(runs[1].evaluation))
    tlkeras.evaluate(runs[1].root, part="val", reporter=None)
    stored = content(runs[1].evaluation)
    assert "slices" not in stored and stored["split"] == "val"


def test_the_command_line_prints_intervals_and_json(runs):
    screen = CliRunner().invoke(app, ["evaluate", str(runs[0].root), "--split", "all", "--slices", "site"])
    assert screen.exit_code == 0 and "95 % bootstrap intervals" in screen.output and "site = south" in screen.output, screen.output
    printed = CliRunner().invoke(app, ["evaluate", str(runs[0].root), "--json", "--quiet", "--seed", "3"])
    figures = json.loads(printed.stdout)["figures"]["label"]
    assert figures["figures"]["log_loss"]["low"] < figures["figures"]["log_loss"]["high"] and set(figures["labels"]) == {"green", "red"}


def test_a_damaged_record_of_an_earlier_evaluation_is_replaced(runs):
    runs[0].evaluation.write_text('{"version": 1, "figures"')
    tlkeras.evaluate(runs[0].root, part="val", reporter=None)
    assert content(runs[0].evaluation)["split"] == "val"


# === Errors ===


@pytest.fixture
def copy_of(runs, table, tmp_path):
    """Returns a function: (change of the lines of the table, label map) -> a copy of a run, on a changed copy of the table."""

    def copied(change, labels=("green", "red")):
        head, *rows = table.read_text().splitlines()
        (table.parent / "other.csv").write_text("\n".join([head, *map(change, rows), ""]))
        folder = tmp_path / "copy"
        shutil.copytree(runs[0].root, folder)
        config = read_yaml(folder / "config.yaml") | {"data": str(table.parent / "other.csv"), "test_split": 0.5}
        (folder / "config.yaml").write_text(to_yaml(config))
        target = content(folder / "target.json") | {"labels": list(labels)}
        (folder / "target.json").write_text(json.dumps(target))
        (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
        return str(folder)

    return copied


def linked(row):
    """Returns a row that names the same file in another way."""
    return f"./{row}"


COPIES = {
    "no example is held out from both": (linked, ("green", "red")),
    "shared examples have other labels": (
        lambda row: row.replace("red", "x").replace("green", "red").replace("x", "green"),
        ("green", "red"),
    ),
    "expected models of the same target to compare": (lambda row: row.replace("red", "hot").replace("green", "cold"), ("cold", "hot")),
}


def test_examples_of_one_name_and_another_content_are_not_the_same(runs, table, tmp_path):
    for at, image in enumerate(pictures(90, classes=2, seed=1)[0]):
        Image.fromarray(image).save(tmp_path / f"{at}.png")
    shutil.copy(table, tmp_path / table.name)
    other = tmp_path / "copy"
    shutil.copytree(runs[0].root, other)
    (other / "config.yaml").write_text(to_yaml(read_yaml(other / "config.yaml") | {"data": str(tmp_path / table.name)}))
    with pytest.raises(DataError, match="no example is held out from both models"):
        tlkeras.evaluate(runs[0].root, against=str(other), reporter=None)


@pytest.mark.parametrize("text", COPIES)
def test_models_that_cannot_be_compared_are_refused_in_one_line(text, runs, copy_of):
    with pytest.raises(DataError, match=text) as error:
        tlkeras.evaluate(runs[0].root, against=copy_of(*COPIES[text]), reporter=None)
    assert "\n" not in str(error.value)


ERRORS = [
    ({"slices": "colour"}, DataError, "has no column 'colour', and none of that name is computed; did you mean 'blur'"),
    ({"slices": "sit"}, DataError, "did you mean 'site'"),
    ({"slices": "length"}, DataError, "no column 'length'"),
    ({"against": "missing"}, DataError, "missing"),
    ({"slice": "site"}, ConfigError, "did you mean 'slices'"),
]


@pytest.mark.parametrize(("settings", "kind", "text"), ERRORS, ids=[str(settings) for settings, _, _ in ERRORS])
def test_what_is_wrong_is_said_in_one_line_before_anything_is_scored(runs, settings, kind, text, monkeypatch):
    monkeypatch.setattr(evaluate, "open_target", lambda target: pytest.fail("a model was opened"))
    with pytest.raises(kind, match=text) as error:
        tlkeras.evaluate(runs[0].root, reporter=None, **settings)
    assert "\n" not in str(error.value)
