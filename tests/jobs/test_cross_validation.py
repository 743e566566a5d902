"""Cross-validation, review and relabelling of small runs, in one process each."""

import csv
import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

import tlkeras
from tests.helpers import pictures
from tests.targets import TARGETS, values
from tlkeras import files
from tlkeras.cli.main import app
from tlkeras.config import EvaluateConfig
from tlkeras.data import sheets
from tlkeras.data.examples import Example, make_dataset
from tlkeras.errors import ConfigError, DataError, MissingPackage, OutputError
from tlkeras.evaluation.report_data import EXAMPLES, Gallery, read_gallery
from tlkeras.jobs import out_of_fold, review
from tlkeras.jobs.opening import load
from tlkeras.tasks.registry import TASKS
from tlkeras.training import feature_cache

SMALL = {
    "backbone": "cnn",
    "weights": "none",
    "image_size": 16,
    "backbone_options": ["filters1=4", "filters2=4", "dense=8"],
    "export": "none",
}
PROBE = {**SMALL, "recipe": "linear-probe"}
COUNT = 60
GROUPS = [f"p{i // 3}" for i in range(COUNT)]


def images(count=COUNT, noise=60, wrong=()):
    """Returns noisy pictures of three colours; the labels of some are wrong."""
    x, y = pictures(count, classes=3)
    x = np.clip(x.astype(int) + np.random.default_rng(0).integers(-noise, noise + 1, x.shape), 0, 255).astype("uint8")
    y[list(wrong)] = (y[list(wrong)] + 1) % 3
    return x, np.array(["red", "green", "blue"])[y]


def finetuned(folder, x, y, **settings):
    dataset = settings.pop("dataset", None) or tlkeras.from_arrays(x, y, groups=settings.pop("groups", None))
    return tlkeras.finetune(dataset, out=str(folder / "run"), reporter=None, **{**PROBE, **settings})


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Returns the same run with folds and without, and how many examples each call of a prefix computed while there were folds."""
    x, y = images(wrong=[5])
    alone = finetuned(tmp_path_factory.mktemp("alone"), x, y, groups=GROUPS)
    calls, compute = [], feature_cache.compute

    def counted(prefix, inputs, *more, **named):
        calls.append(len(inputs))
        return compute(prefix, inputs, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_cache, "compute", counted)
        folded = finetuned(tmp_path_factory.mktemp("folded"), x, y, groups=GROUPS, cross_validate="2x2")
    return alone, folded, calls


def test_the_prefix_is_computed_once_for_all_folds_and_the_final_model(runs):
    assert runs[2] == [COUNT]


def test_the_final_model_is_as_without_folds(runs):
    alone, folded, _ = runs
    models = [load(result.run.root).model for result in (alone, folded)]
    assert all(np.array_equal(a, b) for a, b in zip(models[0].get_weights(), models[1].get_weights(), strict=True))
    assert folded.metrics["test"] == alone.metrics["test"] and "cross_validation" not in alone.metrics


def test_the_run_and_its_report_have_estimates_and_out_of_fold_scores(runs):
    result = runs[1]
    content = result.metrics["cross_validation"]
    assert content == json.loads(result.run.cross_validation.read_text()) and content["groups"] == 20
    assert (content["folds"], content["repeats"], len(content["rows"])) == (2, 2, 4) and content["examples"] == COUNT
    accuracies = [row["figures"]["accuracy"] for row in content["rows"]]
    part = content["figures"]["accuracy"]
    assert part["mean"] == pytest.approx(np.mean(accuracies)) and part["low"] < part["mean"] < part["high"]
    page = result.run.report.read_text(encoding="utf-8")
    assert "<h2>Cross-validation</h2>" in page and "The estimates are from the folds" in page
    arrays = files.read_npz(result.run.out_of_fold_scores)
    assert arrays["scores"].shape == (COUNT, 3) and np.isfinite(arrays["scores"]).all() and arrays["folds"].shape == (2, COUNT)
    with result.run.out_of_fold.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["example"] for row in rows] == arrays["example"].tolist()
    assert {row["split"] for row in rows} == {"train", "val", "test"}


def test_neither_folds_nor_splits_separate_a_group(runs):
    result = runs[1]
    folds = files.read_npz(result.run.out_of_fold_scores)["folds"].reshape(2, 20, 3)
    assert (folds == folds[:, :, :1]).all()
    with result.run.out_of_fold.open(encoding="utf-8-sig", newline="") as file:
        splits = [row["split"] for row in csv.DictReader(file)]
    assert all(len(set(splits[i : i + 3])) == 1 for i in range(0, COUNT, 3))


def test_a_linear_probe_equals_logistic_regression_of_scikit_learn_fold_by_fold(runs, tmp_path):
    from sklearn.linear_model import LogisticRegression

    run, config = out_of_fold._run_of(runs[0].run.root)
    plan, dataset = out_of_fold.planned(config.updated(cross_validate=2, **out_of_fold.AGAIN), tlkeras.from_arrays(*images(wrong=[5])))
    folded = review.cross_validate(run, plan, dataset, probe=False, reporter=tlkeras.SILENT)
    ((features,),) = folded.result.shared.known.values()
    y = folded.data.store.strata
    for (_, _, learn, test), row in zip(folded.result.folds.pairs(), folded.result.content["rows"], strict=True):
        deviation = features[learn].std(0)
        scale = np.sqrt(np.maximum(deviation, 1e-6 * deviation.mean()) * deviation.mean())
        x = (features - features[learn].mean(0)) / scale
        solved = LogisticRegression(C=1 / (row["details"]["strength"] * len(learn)), max_iter=1000, tol=1e-6).fit(x[learn], y[learn])
        assert folded.result.scores[test] == pytest.approx(solved.predict_proba(x[test]), abs=0.01)
        assert row["figures"]["accuracy"] == pytest.approx((solved.predict(x[test]) == y[test]).mean(), abs=1 / len(test))


def test_training_by_steps_starts_from_the_same_weights_and_holds_out_validation_in_each_fold(tmp_path):
    x, y = images(36)
    result = finetuned(tmp_path, x, y, recipe="full", epochs=1, cross_validate=2)
    rows = result.metrics["cross_validation"]["rows"]
    assert all(row["val"] > 0 and row["train"] + row["val"] + row["test"] == 36 for row in rows)
    assert result.metrics["timing"]["cross-validation"] > 0


@pytest.mark.parametrize("task", [pytest.param("multilabel", marks=pytest.mark.slow), "several"])
def test_other_tasks_have_estimates_and_reviews(task, tmp_path):
    pytest.importorskip("cleanlab")
    x, _ = images(48)
    kind = TASKS.get(task).target
    examples = [Example(id=f"{i}", label=value, array=x[i]) for i, value in enumerate(values(kind, 48))]
    dataset = make_dataset("d", examples, target=TARGETS[kind])
    result = finetuned(tmp_path, None, None, dataset=dataset, cross_validate=2)
    assert result.metrics["cross_validation"]["figures"]
    content = tlkeras.review(result.run.root, dataset=dataset, reporter=None).content
    assert content["examples"] == 48 and content["counts"]["mistakes"] > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cross_validate": "1"}, "'cross_validate' is '1'; expected 2 folds or more"),
        ({"cross_validate": "many"}, "expected 2 folds or more, and repeats if any, for example 5 or 10x3"),
        ({"cross_validate": 61}, "asks for 61 folds, and there are 60 different examples"),
    ],
)
def test_folds_that_cannot_be_are_refused(settings, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        finetuned(tmp_path, *images(), **settings)


def test_a_finished_run_is_cross_validated_again(runs):
    alone = runs[0]
    content = tlkeras.cross_validate(alone.run.root, 2, dataset=tlkeras.from_arrays(*images(wrong=[5]), groups=GROUPS), reporter=None)
    assert content == json.loads(alone.run.cross_validation.read_text()) and content["recipe"] == "linear-probe"
    assert "<h2>Cross-validation</h2>" in alone.run.report.read_text(encoding="utf-8")
    first = [row["figures"] for row in runs[1].metrics["cross_validation"]["rows"] if not row["repeat"]]
    assert [row["figures"] for row in content["rows"]] == first


def test_folds_are_of_the_runs_own_source(runs):
    with pytest.raises(ConfigError, match="leave out --data and --split"):
        EvaluateConfig(cross_validate="3", split="test")
    with pytest.raises(DataError, match="which the run does not store"):
        tlkeras.cross_validate(runs[0].run.root, 3, reporter=None)
    with pytest.raises(DataError, match="is not the folder of a finished run"):
        tlkeras.review(runs[0].run.exports, reporter=None)


# === Review and corrections ===


@pytest.fixture(scope="module")
def reviewed(runs, tmp_path_factory):
    pytest.importorskip("cleanlab")
    table = tmp_path_factory.mktemp("review") / "review.csv"
    return tlkeras.review(runs[1].run.root, dataset=tlkeras.from_arrays(*images(wrong=[5]), groups=GROUPS), out=table, reporter=None)


def test_a_review_lists_the_wrong_label_and_uses_the_scores_of_the_run(reviewed):
    rows = {row["example"]: row for row in reviewed.rows if row["suspicion"] == review.LABEL}
    right = images()[1][5]
    assert rows["arrays/5"]["suggested"] == right != rows["arrays/5"]["given"]
    assert tuple(sheets.read_sheet(reviewed.table)[0]) == review.COLUMNS
    assert reviewed.content == json.loads((reviewed.table.parent / "errors.json").read_text())
    assert reviewed.content["basis"] == "Labels are judged by the out-of-fold scores of the run."


def test_a_review_in_the_folder_of_its_run_is_in_the_report_with_a_picture_of_every_suspect(runs, tmp_path):
    root = tmp_path / "run"
    shutil.copytree(runs[1].run.root, root)
    files.write_json(root / EXAMPLES, Gallery(noun="image").to_dict())  # as where none of them was held out
    content = tlkeras.review(root, dataset=tlkeras.from_arrays(*images(wrong=[5]), groups=GROUPS), reporter=None).content
    suspects = [row["example"] for row in content["label_errors"]]
    assert suspects and set(suspects) == set(read_gallery(root / EXAMPLES).thumbnails)
    page = (root / "report.html").read_text(encoding="utf-8")
    assert "<h2>Probable label errors</h2>" in page and all(f'title="{name}"' in page for name in suspects)


def test_corrections_are_applied_counted_and_leave_the_source_as_it_is(reviewed, tmp_path):
    rows = sheets.read_sheet(reviewed.table)
    table = tmp_path / "corrected.csv"
    sheets.write_sheet(table, [{**row, "corrected": row["suggested"] if row["example"] == "arrays/5" else ""} for row in rows])
    with table.open("a", encoding="utf-8", newline="") as file:
        csv.writer(file).writerow(["arrays/7", *[""] * (len(review.COLUMNS) - 2), "(drop)"])
    x, y = images(wrong=[5])
    result = finetuned(tmp_path, x, y, relabel=str(table))
    assert result.metrics["data"]["train"] + result.metrics["data"]["val"] + result.metrics["data"]["test"] == COUNT - 1
    issues = json.loads(result.run.audit.read_text())["issues"]
    assert [issue["reason"] for issue in issues if issue["kind"] == "relabelled"] == [
        "1 labels corrected, 1 examples left out, 0 labels confirmed"
    ]
    assert y[5] == images(wrong=[5])[1][5]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"example": "arrays/99", "corrected": "red"}, "corrects 1 examples that arrays does not have; the first is 'arrays/99'"),
        ({"example": "arrays/9", "corrected": "rde"}, "corrects 'arrays/9' to 'rde', which is no label; did you mean 'red'"),
        ({"example": "arrays/9", "corrected": ""}, "corrects nothing: its column 'corrected' is empty"),
        ({"example": "arrays/9", "label": "red"}, "has the columns example, label; expected the columns example and corrected"),
    ],
)
def test_a_correction_that_cannot_be_is_refused_in_one_line(row, message, tmp_path):
    sheets.write_sheet(tmp_path / "r.csv", [row])
    with pytest.raises(DataError, match=message) as error:
        finetuned(tmp_path, *images(), relabel=str(tmp_path / "r.csv"))
    assert "\n" not in str(error.value)


def test_a_table_with_corrections_is_not_overwritten(runs, tmp_path):
    sheets.write_sheet(tmp_path / "r.csv", [{"example": "arrays/9", "corrected": "red"}])
    with pytest.raises(OutputError, match="has 1 corrections, which would be lost"):
        tlkeras.review(runs[1].run.root, dataset=tlkeras.from_arrays(*images()), out=tmp_path / "r.csv", reporter=None)


def test_a_review_says_how_to_install_what_it_needs(runs, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match="needs the package 'cleanlab', which is not installed; pip install 'tlkeras\\[review\\]'"):
        tlkeras.review(runs[1].run.root, reporter=None)


@pytest.mark.slow
def test_ten_folds_of_rt_polarity_by_a_linear_probe(shared_data, tmp_path):
    settings = {"backbone": "minilm_l6", "recipe": "linear-probe", "export": "none", "cross_validate": 10}
    result = tlkeras.finetune(str(shared_data / "rt_polarity" / "rt_polarity.csv"), out=str(tmp_path / "run"), reporter=None, **settings)
    part = result.metrics["cross_validation"]["figures"]["accuracy"]
    assert part["mean"] == pytest.approx(0.763, abs=0.01) and part["high"] - part["low"] < 0.05
    assert files.read_npz(result.run.out_of_fold_scores)["scores"].shape == (10_662, 2)


def test_the_command_shows_a_short_table_and_the_next_step(tmp_path, monkeypatch):
    pytest.importorskip("cleanlab")
    monkeypatch.setattr(out_of_fold, "FOLDS", "2")
    x, y = images(wrong=[5, 9])
    np.savez(tmp_path / "data.npz", x=x, y=y)
    tlkeras.finetune(str(tmp_path / "data.npz"), out=str(tmp_path / "run"), reporter=None, **PROBE)
    done = CliRunner().invoke(app, ["review", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "probable label errors" in done.output and "--relabel" in done.output and "no out-of-fold scores" in done.output
    assert (tmp_path / "run" / "review.csv").is_file() and (tmp_path / "run" / "out_of_fold.npz").is_file()
