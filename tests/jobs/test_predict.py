"""Ask a model: what it accepts from Python and from the command line, and what it says of the rest."""

import io
import json
import shutil
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

import tlkeras
import tlkeras.zoo
from tests.helpers import pictures
from tlkeras.cli import main
from tlkeras.errors import ConfigError, DataError, ExportError, ZooError
from tlkeras.export.formats import FORMATS
from tlkeras.export.runtimes import RUNTIMES, choose
from tlkeras.jobs import benchmark, evaluate, publish
from tlkeras.zoo.store import Zoo


@pytest.fixture(scope="module")
def run(run_of_photos):
    """The folder of a run on images of three colours."""
    return run_of_photos[0].run.root


@pytest.fixture(scope="module")
def model(run):
    return tlkeras.load(run)


@pytest.fixture(scope="module")
def zoo(run, tmp_path_factory):
    zoo = Zoo(tmp_path_factory.mktemp("asked-zoo") / "models")
    publish.publish(run, "colours", zoo)
    return zoo


@pytest.fixture
def photos(tmp_path):
    """A folder of images, one of them deeper, with a text, a hidden file and a damaged image between them."""
    x, _ = pictures(4, size=40, seed=3)
    folder = tmp_path / "photos"
    (folder / "c").mkdir(parents=True)
    for name, array in zip(("a.png", "b.jpg", "c/d.png"), x[:3], strict=True):
        Image.fromarray(array).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "e.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    return folder


# === From Python ===


def test_every_way_to_give_one_image_gives_one_answer(model, photos):
    import tensorflow as tf

    path = photos / "a.png"
    array, content = np.asarray(Image.open(path)), path.read_bytes()
    given = [str(path), path, array, Image.open(path), content, bytearray(content), io.BytesIO(content).getvalue(), tf.constant(array)]
    expected = model.predict(path)[0].scores
    assert len(expected) == 3
    for one in (*given, [path], (one for one in [path]), np.array([str(path)])):
        (answer,) = model.predict(one)
        assert answer.scores == pytest.approx(expected, abs=1e-6)
    assert [answer.label for answer in model.predict(given)] == [model.predict(path)[0].label] * len(given)


def test_a_batch_of_images_is_as_many_answers(model):
    x, _ = pictures(40, size=24, seed=5)
    answers = model.predict(x)
    assert len(answers) == 40 and answers[7].file == "input 7"
    assert answers[39].scores == pytest.approx(model.predict(x[39])[0].scores, abs=1e-6)
    assert len(model.predict([x[:2], x[2]])) == 3 and len(model.predict(x[..., 0])) == 40 and len(model.predict(x[0, ..., 0])) == 1
    assert model.predict([]) == []


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16", "HSV"])
def test_pil_images_of_every_mode_are_read(model, mode):
    rgb = Image.fromarray(pictures(1, size=20)[0][0])
    image = Image.fromarray(np.arange(400, dtype="uint16").reshape(20, 20) * 100) if mode == "I;16" else rgb.convert(mode)
    assert image.mode == mode and model.predict(image)[0].label in model.labels


def test_a_pil_image_answers_as_its_file_does_turned_by_exif(model, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pictures(1, size=40)[0][0][:20]).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    ours, theirs = model.predict([Image.open(tmp_path / "turned.jpg"), tmp_path / "turned.jpg"])
    assert ours.scores == pytest.approx(theirs.scores, abs=0.01)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((4, 4, 3)), r"float64 from 0 to 0.*\(x \* 255\)"),
        (np.full((4, 4, 3), 200.0), r"pass x\.round\(\)"),
        (np.zeros((4, 4, 3), "int64"), r"pass x\.round\(\)"),
        (np.zeros((4, 4, 5), "uint8"), r"shape \(4, 4, 5\)"),
        (np.zeros((0, 4, 3), "uint8"), r"shape \(0, 4, 3\)"),
        (7, "input 0 is int"),
        (None, "input 0 is NoneType"),
        (b"words", "input 0: the content is no"),
        ("nowhere.png", "nowhere.png: No such file"),
        ("nowhere/*.png", "no file matches"),
    ],
)
def test_what_is_no_image_is_named_with_what_was_expected(model, given, message):
    with pytest.raises(DataError, match=message):
        model.predict(given)


def test_an_open_file_is_its_content(model, photos):
    with (photos / "a.png").open("rb") as file:
        (answer,) = model.predict(file)
    assert answer.scores == model.predict(photos / "a.png")[0].scores


def test_top_k_gives_the_best_labels_best_first(model, photos):
    every, best = model.predict(photos / "a.png")[0], model.predict(photos / "a.png", top_k=2)[0]
    assert list(every.scores) == list(model.labels) and len(best.scores) == 2
    assert (
        list(best.scores.values()) == sorted(every.scores.values(), reverse=True)[:2]
        and next(iter(best.scores)) == best.label == every.label
    )
    assert len(model.predict(photos / "a.png", top_k=99)[0].scores) == 3
    with pytest.raises(ConfigError, match="top_k is 0"):
        model.predict(photos / "a.png", top_k=0)


def test_a_folder_is_every_image_in_it_in_order_and_the_rest_is_told(model, photos):
    told = []
    answers = list(model.predict_each(photos, tell=told.append))
    assert [answer.file for answer in answers] == [str(photos / name) for name in ("a.png", "b.jpg", "c/d.png", "e.png")]
    assert [answer.error is None for answer in answers] == [True, True, True, False]
    assert told == [f"skipped {photos / 'notes.txt'}: .txt is not an image format"]


def test_many_skipped_files_are_counted(model, photos):
    for index in range(20):
        (photos / f"{index}.md").touch()
    told = []
    list(model.predict_each(photos, tell=told.append))
    assert len(told) == 6 and told[-1] == f"skipped 16 more files in {photos}"


def test_a_pattern_is_every_file_that_matches(model, photos):
    assert [answer.file for answer in model.predict(str(photos / "**" / "[ad].png"))] == [
        str(photos / "a.png"),
        str(photos / "c" / "d.png"),
    ]
    strange = photos / "[1].png"
    shutil.copy(photos / "a.png", strange)
    assert [answer.file for answer in model.predict(str(strange))] == [str(strange)]


# === Open once ===


def test_a_run_its_model_and_its_artifacts_are_opened_by_their_paths(run, photos):
    expected = tlkeras.load(run).predict(photos / "a.png")[0]
    for place, runtime in (
        ("", "keras"),
        ("model.keras", "keras"),
        ("exports", "tensorflow"),
        ("exports/saved_model", "tensorflow"),
        ("exports/model.tflite", "ai-edge-litert"),
        ("exports/model.onnx", "onnxruntime"),
    ):
        opened = tlkeras.load(run / place)
        assert opened.runtime.startswith(runtime) and opened.labels == ("blue", "green", "red")
        assert opened.predict(photos / "a.png")[0].scores == pytest.approx(expected.scores, abs=1e-4)


def test_an_entry_is_opened_by_its_name_and_by_its_folders(run, zoo, photos, monkeypatch):
    expected = tlkeras.load(run).predict(photos / "a.png")[0]
    monkeypatch.setenv("TLKERAS_ZOO", str(zoo.root))
    folder = zoo.root / "colours"
    for target in ("colours/1", "zoo:colours", folder, folder / "1" / "model.keras"):
        assert tlkeras.load(target).predict(photos / "a.png")[0].scores == pytest.approx(expected.scores, abs=1e-4)
    monkeypatch.delenv("TLKERAS_ZOO")
    assert tlkeras.load("colours", zoo=zoo.root).entry.version == 1
    assert [answer.label for answer in tlkeras.predict("colours", [photos / "a.png"], zoo=zoo.root)] == [expected.label]


def test_zoo_load_and_load_are_one_class(zoo):
    from tlkeras.evaluation.prediction import Model

    assert type(tlkeras.zoo.load("colours", root=zoo.root)) is type(tlkeras.load("zoo:colours", zoo=zoo.root))
    assert isinstance(tlkeras.zoo.load("colours", root=zoo.root), Model)


def test_every_name_of_a_runtime_on_the_card_is_accepted(zoo):
    entry = zoo.get("colours")
    names = {
        name.strip(" `")
        for line in (entry.path / "README.md").read_text().splitlines()
        if line.startswith("| `")
        for name in (line.split("|")[1], *line.split("|")[-2].split(","))
    }
    names = {name for name in names if name in FORMATS or name.split(" ")[-1][:1].isdigit() and len(name.split(" ")) > 1}
    assert {"saved_model", "tflite", "onnx"} < names and len(names) >= 6
    readers = {name: choose(name, entry.manifest["artifacts"], of="it")[1] for name in names}
    assert set(readers.values()) == {"saved_model", "c_api", "tflite", "onnx", *(["openvino"] if find_spec("openvino") else [])}
    same = {"saved_model": ("savedmodel", "tensorflow"), "tflite": ("litert", "TFLite", "ai-edge-litert"), "onnx": ("onnxruntime", "ONNX")}
    for reader, others in same.items():
        assert {choose(name, entry.manifest["artifacts"], of="it")[1] for name in others} == {reader}


def test_every_reader_of_a_format_is_a_runtime():
    readers = {reader for row in FORMATS for reader in (row.reader, *row.also)}
    assert readers == {row.reader for row in RUNTIMES}


@pytest.mark.parametrize("where", ["run", "entry"])
def test_a_runtime_that_is_not_there_lists_each_name_once(run, zoo, where):
    kind, call = (
        (ExportError, lambda: tlkeras.load(run, runtime="tourch"))
        if where == "run"
        else (ZooError, lambda: tlkeras.zoo.load("colours", runtime="tourch", root=zoo.root))
    )
    with pytest.raises(kind, match=r"it has keras, tensorflow \(saved_model\), litert \(tflite\), onnxruntime \(onnx\)$"):
        call()


def test_an_artifact_runs_in_its_own_runtimes_only(run):
    assert tlkeras.load(run / "exports" / "model.tflite", runtime="tflite").runtime.startswith("ai-edge-litert")
    with pytest.raises(ExportError, match="runs in litert; received the runtime 'onnx'"):
        tlkeras.load(run / "exports" / "model.tflite", runtime="onnx")
    with pytest.raises(ExportError, match="runs in keras, received the runtime 'onnx'"):
        tlkeras.load(run / "model.keras", runtime="onnx")


def test_a_run_without_artifacts_says_so(run, tmp_path):
    for name in ("config.yaml", "labels.txt", "model.keras"):
        shutil.copy(run / name, tmp_path / name)
    with pytest.raises(ExportError, match=r"has no artifacts.*'onnx'; it has keras$"):
        tlkeras.load(tmp_path, runtime="onnx")


def test_an_artifact_of_other_inputs_says_that_it_cannot_be_asked(run, tmp_path):
    shutil.copytree(run / "exports", tmp_path / "exports")
    path = tmp_path / "exports" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["metadata"]["image_size"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="has no 'image_size'.*call the artifact in its own runtime"):
        tlkeras.load(tmp_path / "exports" / "model.onnx")
    path.write_text(json.dumps({**manifest, "labels": None, "metadata": {"image_size": "32", "resize": "stretch"}}))
    with pytest.raises(DataError, match="has no labels"):
        tlkeras.load(tmp_path / "exports" / "model.onnx")


# === Configs ===


@pytest.mark.parametrize(("function", "config"), [(tlkeras.evaluate, tlkeras.EvaluateConfig), (tlkeras.benchmark, tlkeras.BenchmarkConfig)])
def test_a_config_is_accepted_as_it_is_and_names_the_examples(function, config, run):
    with pytest.raises(DataError, match="nowhere"):
        function(run, None, config(data="nowhere"))


# === What is no target ===


def test_what_is_no_run_or_artifact_says_what_it_is(run, zoo, photos, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "net.pth").write_bytes(b"weights")
    for target, what in (
        (photos / "a.png", r"an image \(PNG\)"),
        (photos / "notes.txt", "a .txt file"),
        (tmp_path / "net.pth", "a file of weights"),
        (tmp_path / "empty", "an empty folder"),
        (photos, "a folder that contains a.png, b.jpg"),
        (run.parent, "not a run itself but contains the run colours"),
        (zoo.root, "a zoo with the entries colours"),
    ):
        for call in (tlkeras.load, evaluate.evaluate, benchmark.benchmark):
            with pytest.raises(DataError, match=f"is {what}.*expected the folder of a run"):
                call(target)


def test_a_part_of_a_run_is_not_benchmarked_but_its_run_is_named(run):
    with pytest.raises(DataError, match="expected the folder of its run"):
        benchmark.benchmark(run / "exports" / "model.onnx")


@pytest.mark.parametrize("name", ["", " ", None])
def test_an_empty_name_of_a_model_is_not_the_current_folder(run, monkeypatch, name):
    monkeypatch.chdir(run.root)
    with pytest.raises(DataError, match=f"received {name!r}; expected the folder of a run"):
        tlkeras.load(name)


def test_a_mistyped_entry_lists_the_near_one(zoo):
    with pytest.raises(DataError, match="did you mean the entry 'colours'"):
        tlkeras.load("colour", zoo=zoo.root)


# === The command ===


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs `tlkeras predict` in this process: arguments -> (exit code, lines of output, lines of errors)."""
    monkeypatch.setattr(main, "_leave", sys.exit)

    def call(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as stop:
            main.app(["predict", *map(str, arguments)], prog_name="tlkeras")
        out, err = capsys.readouterr()
        return stop.value.code or 0, out.splitlines(), err.splitlines()

    return call


def test_the_command_answers_folders_files_and_patterns_and_goes_on_after_a_bad_file(command, run, photos):
    code, out, err = command(run, photos, photos / "none.png", photos / "*.jpg")
    assert code == 1 and [line.split("\t")[0] for line in out] == [str(photos / one) for one in ("a.png", "b.jpg", "c/d.png", "b.jpg")]
    assert len(err) == 3 and err[0].startswith("skipped ") and "e.png: " in err[1] and "none.png: No such file" in err[2]
    assert command(run, photos / "a.png", photos / "b.jpg")[0] == 0


def test_the_command_gives_the_best_labels_and_json(command, run, photos):
    _, (line,), _ = command(run, photos / "a.png", "--top-k", "2")
    name, first, score, second, other = line.split("\t")
    assert name == str(photos / "a.png") and first != second and float(score) >= float(other)
    code, out, err = command(run, photos / "a.png", photos / "e.png", "--json")
    good, bad = map(json.loads, out)
    assert code == 1 and len(err) == 1 and set(good["scores"]) == {"red", "green", "blue"} and good["label"] == first
    assert bad["file"] == str(photos / "e.png") and "error" in bad
    assert list(json.loads(command(run, photos / "a.png", "--json", "--top-k", "1")[1][0])["scores"]) == [first]


def test_standard_input_is_paths_or_one_image(command, run, photos):
    paths = f"{photos / 'a.png'}\n\n{photos / 'b.jpg'}\r\n".encode()
    expected = command(run, photos / "a.png", photos / "b.jpg")[1]
    assert command(run, "-", stdin=paths)[1] == expected
    (line,) = command(run, "-", stdin=(photos / "a.png").read_bytes())[1]
    assert line.split("\t")[0] == "-" and line.split("\t")[1:] == expected[0].split("\t")[1:]


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        ([], b"", "nothing to predict"),
        (["-"], b"", "standard input is empty; expected one path per line"),
        (["-", "-"], b"x", "- is given twice"),
        (["-"], b"\xff\xfe\x00damaged", "-: the content is no"),
        (["-"], b"\x93NUMPY\x01\x00cut", "cannot read the array on standard input"),
        (["{tmp}"], b"", "this folder contains no image files"),
        (["x" * 5000], b"", "File name too long"),
        (["--file", "x.txt"], b"", "--file reads texts"),
        (["{tmp}", "--runtime", "torch"], b"", "no artifact for the runtime 'torch'"),
    ],
)
def test_a_mistake_is_one_line(command, run, tmp_path, arguments, stdin, message):
    code, out, err = command(run, *[one.format(tmp=tmp_path) for one in arguments], stdin=stdin)
    assert code == 1 and out == [] and len(err) == 1 and err[0].startswith("error: ") and message in err[0], err


def test_an_empty_name_is_reported_and_is_not_the_current_folder(command, run, photos, monkeypatch):
    monkeypatch.chdir(photos)
    code, out, err = command(run, photos / "a.png", "")
    assert code == 1 and len(out) == 1 and err == ["error: an input is empty; expected a file, a folder or a pattern"]


def test_names_that_are_all_wrong_have_a_line_of_json_each(command, run):
    code, out, err = command(run, "gone.png", "gone/*.png", "--json")
    assert code == 1 and len(err) == 2
    assert list(map(json.loads, out)) == [
        {"file": "gone.png", "error": "gone.png: No such file or directory"},
        {"file": "gone/*.png", "error": "gone/*.png: no file matches this pattern"},
    ]


def test_the_command_asks_entries_and_runtimes(command, zoo, photos):
    expected = command("colours", photos / "a.png", "--zoo", zoo.root)[1]
    for runtime in ("litert", "onnxruntime"):
        assert command("zoo:colours", photos / "a.png", "--zoo", zoo.root, "--runtime", runtime)[1] == expected
