"""`tlkeras explain`: what is written, and what is refused before TensorFlow loads."""

import json
import shutil

import justhtml
import numpy as np
import pytest
from PIL import Image

import tlkeras
from tests.cli.test_usage import run as command
from tests.modalities.test_registry import DATASETS, passed
from tlkeras.errors import ConfigError, DataError, OutputError, UnknownName
from tlkeras.evaluation.report_data import EXAMPLES, read_gallery
from tlkeras.explain.registry import SUBJECTS, methods_for
from tlkeras.modalities.items import Item
from tlkeras.modalities.registry import MODALITIES
from tlkeras.registry import load_function


@pytest.fixture(scope="module", params=SUBJECTS.names())
def run(request, run_of):
    return request.param, run_of(request.param).run.root


def test_every_modality_is_explained_by_default_and_written(run, tmp_path):
    modality, root = run
    inputs = passed(DATASETS[modality]())[:2]
    result = tlkeras.explain(root, inputs, out=str(tmp_path / "maps"))
    content = json.loads((tmp_path / "maps" / "explanations.json").read_text(encoding="utf-8"))
    assert content["method"] == result.method == methods_for(modality)[0].name and len(result) == len(content["explanations"]) == 2
    answers = tlkeras.load(root).predict(inputs)
    for explanation, record, answer in zip(result, content["explanations"], answers, strict=True):
        assert explanation.label == answer.label and explanation.score == pytest.approx(answer.score, abs=1e-5)
        assert np.array(record["values"]).shape == explanation.values.shape == tuple(record["shape"])
        np.testing.assert_allclose(record["values"], explanation.values, rtol=1e-4)
        assert (tmp_path / "maps" / record["image"]).stat().st_size > 500
        assert record["scale"] == "log-odds" and record["number"] == pytest.approx(explanation.number)
        small = load_function(SUBJECTS.get(modality).thumbnail)(record, tmp_path / "maps", "one")
        assert {"image": "<img", "text": "<mark", "sequence": "<svg"}[modality] in small


def test_integrated_gradients_add_up_for_every_modality(run):
    modality, root = run
    for explanation in tlkeras.explain(root, passed(DATASETS[modality]())[:2], method="integrated-gradients"):
        figures = explanation.details["completeness"]
        assert abs(figures["sum"] - figures["difference"]) <= max(
            0.01 * abs(figures["difference"]), 1e-5 * np.abs(explanation.values).sum() + 1e-6
        )


def test_the_function_can_be_called_after_the_package_is_imported():
    import tlkeras.explain.registry

    assert callable(tlkeras.explain)
    with pytest.raises(DataError, match="no run, artifact or entry 'nothing'"):
        tlkeras.explain("nothing", "a.jpg")


def test_the_command_writes_into_the_run_and_replaces_what_it_wrote_before(run_of, tmp_path, capsys):
    root = run_of("image").run.root
    photos, out = tmp_path / "photos", tmp_path / "maps"
    photos.mkdir()
    Image.fromarray(np.full((20, 30, 3), 200, "uint8")).save(photos / "one.png")
    (photos / "two\x1b.jpg").write_bytes(b"no image")
    for limit in (1, 9):
        code = command("explain", root, "--data", photos, "--method", "gradient", "--out", out, "--limit", limit, "--quiet")
        assert code == (1 if limit == 9 else 0)
    printed = capsys.readouterr()
    assert (
        "gradient · log-odds" in printed.out
        and f"wrote {out}" in printed.out
        and "two\\x1b.jpg" in printed.err
        and "\x1b" not in printed.err
    )
    assert sorted(path.suffix for path in out.iterdir()) == [".json", ".png", ".png"]


def test_the_command_prints_json(run_of, capsys):
    root = run_of("text").run.root
    assert command("explain", root, "--data", "a good film", "--method", "gradient", "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["words"] == ["a", "good", "film"] and not (root / "explanations").exists()


def test_without_data_the_examples_of_the_report_are_explained_and_shown_below_them(run_of_photos, tmp_path, capsys):
    root = tmp_path / "run"
    shutil.copytree(run_of_photos[0].run.root, root)
    assert command("explain", root, "--method", "gradient", "--limit", 5, "--quiet") == 0
    content = json.loads((root / "explanations" / "explanations.json").read_text(encoding="utf-8"))
    shown = read_gallery(root / EXAMPLES).thumbnails
    names = [record["file"] for record in content["explanations"]]
    assert len(set(names)) == 5 and set(names) <= set(shown)
    page = (root / "report.html").read_text(encoding="utf-8")
    assert all(f"{name}: what speaks for {record['label']}" in page for name, record in zip(names, content["explanations"], strict=True))
    assert "The second image shows what speaks for the answer of the model, by gradient." in page


@pytest.mark.parametrize("modality", ["image", "text"])
def test_the_report_says_which_label_was_asked_for(modality, run_of, tmp_path):
    root, dataset = tmp_path / "run", DATASETS[modality]()
    shutil.copytree(run_of(modality).run.root, root)
    name = next(iter(read_gallery(root / EXAMPLES).thumbnails))
    example = next(example for example in dataset.examples if example.id == name)
    inputs = [Item(name=name, value=example.array if example.text is None else example.text)]
    label = dataset.labels[0]
    tlkeras.explain(root, inputs, method="occlusion", label=label, out=str(root / "explanations"))
    page = (root / "report.html").read_text(encoding="utf-8")
    what, colour = ("Marked words speak", "orange") if modality == "text" else ("The second image shows what speaks", "red")
    assert f"{what} for “{label}” ({colour}) or against it (blue), by occlusion." in page and "for the answer of the model" not in page


def test_explanations_of_every_modality_are_part_of_the_report(run, tmp_path):
    modality, root = run
    shutil.copytree(root, tmp_path / "run")
    thumbnails = read_gallery(tmp_path / "run" / EXAMPLES).thumbnails
    examples = {example.id: example for example in DATASETS[modality]().examples}
    inputs = [
        Item(name=name, value=examples[name].array if examples[name].text is None else examples[name].text) for name in list(thumbnails)[:3]
    ]
    tlkeras.explain(tmp_path / "run", inputs, out=str(tmp_path / "run" / "explanations"))
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    method = methods_for(modality)[0]
    mark = {"text": "<p class=text><mark", "sequence": 'class="spark strip"'}.get(modality, "what speaks for")
    assert mark in page and f"by {method.name}." in page and ("against it (blue)" in page) == method.signed
    assert not justhtml.JustHTML(page, collect_errors=True).errors


def test_what_the_report_shows_can_be_explained_only_where_it_is(run_of_photos, tmp_path):
    root = tmp_path / "run"
    shutil.copytree(run_of_photos[0].run.root, root)
    (root / EXAMPLES).unlink()
    with pytest.raises(ConfigError, match="keeps no examples of its report; pass --data with images"):
        tlkeras.explain(root)


@pytest.mark.parametrize("artifact", ["saved_model", "model.tflite", "model.onnx"])
def test_an_artifact_is_refused_and_its_run_named(run_of, artifact):
    root = run_of("image").run.root
    with pytest.raises(ConfigError, match="need the layers and gradients of the Keras model.*pass .*, the run that it belongs to"):
        tlkeras.explain(root / "exports" / artifact, "a.jpg")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"method": "gradcam2"}, UnknownName, "no method 'gradcam2'"),
        ({"label": "blue"}, ConfigError, "predicts no 'blue'; known: green, red"),
        ({"output": "size"}, ConfigError, "no target 'size'; the model predicts one target"),
        ({"data": "nowhere.jpg"}, DataError, "nowhere.jpg: No such file"),
        ({"top": 0}, ConfigError, "top is 0; expected 1 or more"),
    ],
)
def test_what_is_wrong_is_one_line(run_of, settings, error, message):
    with pytest.raises(error, match=message):
        tlkeras.explain(run_of("image").run.root, **settings)


def test_methods_of_other_modalities_are_refused_with_those_of_this_one(run_of):
    for modality in ("text", "sequence"):
        with pytest.raises(ConfigError, match=f"grad-cam explains image models; methods for {modality} models: occlusion"):
            tlkeras.explain(run_of(modality).run.root, "x", method="grad-cam")


def test_a_folder_with_other_files_is_not_overwritten(run_of, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds something other than explanations"):
        tlkeras.explain(run_of("image").run.root, passed(DATASETS["image"]())[:1], out=str(tmp_path))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_every_modality_can_be_explained():
    assert SUBJECTS.names() == MODALITIES.names()
