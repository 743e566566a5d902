"""What is wrong with settings or data is reported in one line, and before TensorFlow loads."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import tlkeras
from tests.targets import classes
from tlkeras.config import RunConfig, TrainConfig, keys, read_yaml
from tlkeras.data.examples import Example, from_arrays, make_dataset
from tlkeras.data.sources.registry import is_passed, recorded
from tlkeras.data.target import Target
from tlkeras.distribution.cluster import Cluster
from tlkeras.errors import ConfigError, DataError, OutputError, WeightsError
from tlkeras.jobs import finetune_request, preflight
from tlkeras.jobs.dry_run import describe
from tlkeras.jobs.plan import resolve
from tlkeras.modalities.images import formats
from tlkeras.modalities.sources import open_source

REVIEWS = "text,label\n" + "".join(f"review {i},{'good' if i % 2 else 'bad'}\n" for i in range(8))


@pytest.fixture
def photos(tmp_path):
    for label, count in (("ant", 7), ("bee", 3)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8), (i * 20, 0, 0)).save(tmp_path / "photos" / label / f"{i}.png")
    (tmp_path / "photos" / "ant" / "notes.xyz").write_text("x")
    return tmp_path / "photos"


@pytest.fixture
def reviews(tmp_path):
    (tmp_path / "reviews.csv").write_text(REVIEWS)
    return tmp_path / "reviews.csv"


def arrays(n=12):
    return from_arrays(np.zeros((n, 8, 8, 3), "uint8"), ["ab"[i % 2] for i in range(n)])


# === Before TensorFlow ===

COMMANDS = {
    "finetune": ["finetune", "--data", "missing"],
    "finetune-modality": ["finetune", "--backbone", "rnn", "--data", "reviews.csv"],
    "dry-run": ["finetune", "--data", "missing", "--dry-run"],
    "pretrain": ["pretrain", "--name", "x", "--data", "missing"],
    "pretrain-modality": ["pretrain", "--name", "x", "--backbone", "rnn", "--data", "reviews.csv"],
    "sample": ["sample", "x", "--data", "missing"],
    "evaluate": ["evaluate", "run", "--data", "missing"],
    "evaluate-no-run": ["evaluate", "missing"],
    "benchmark": ["benchmark", "run", "--data", "missing"],
    "export": ["export", "model.keras", "--out", "new", "--calibration", "missing"],
    "export-folder": ["export", "run/.."],
    "predict-missing-files": ["predict", "run", "gone.jpg"],
    "predict-pattern": ["predict", "run", "gone/*.jpg"],
    "predict-empty": ["predict", "run", ""],
    "predict-texts": ["predict", "run", "--file", "reviews.csv"],
    "predict-missing-text-run": ["predict", "gone", "a text"],
    "predict-runtime": ["predict", "bare", "reviews.csv", "--runtime", "torch"],
    "publish-name": ["zoo", "publish", "run", "--name", "A b"],
    "publish-no-run": ["zoo", "publish", "missing", "--name", "ab"],
    "finetune-out": ["finetune", "--data", "reviews.csv", "--backbone", "bert", "--out", "run"],
    "evaluate-report": ["evaluate", "run/report.html"],
    "compare-no-run": ["compare", "run", "missing"],
    "report-no-run": ["report", "missing"],
    "report-unfinished": ["report", "run"],
    "benchmark-no-artifacts": ["benchmark", "bare"],
    **{f"zoo-{verb}-no-entry": ["zoo", verb, "gone/1"] for verb in ("verify", "promote", "remove")},
    "publish-no-artifacts": ["zoo", "publish", "bare", "--name", "ab"],
    "finetune-missing-files": ["finetune", "--data", "paths.csv", "--backbone", "cnn", "--weights", "none"],
    "finetune-damaged-arrays": ["finetune", "--data", "cut.npz"],
    "finetune-weights": ["finetune", "--data", "reviews.csv", "--backbone", "bert", "--weights", "gone"],
    "finetune-folds": ["finetune", "--data", "reviews.csv", "--backbone", "bert", "--cross-validate", "9"],
    "finetune-loss": ["finetune", "--data", "reviews.csv", "--backbone", "bert", "--loss", "huber"],
    "finetune-target-weights": [
        *"finetune --data several.csv --backbone bert --label-column label,stars".split(),
        "--target-weights",
        "star=2",
    ],
}


# Imports the command once, and runs each one in a copy of the process and in a folder of its own.
EACH = """
import atexit, json, os, resource, sys
from tlkeras.cli import main
import tlkeras.jobs.choice, tlkeras.jobs.evaluation_request  # what most commands import; counted for each of them

def run(folder, arguments):
    os.chdir(folder)
    for stream, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), stream)
    main._leave = lambda code: (print('tensorflow' in sys.modules), sys.stdout.flush(), os._exit(code))
    atexit.register(lambda: print('tensorflow' in sys.modules))  # where it ends in the usual way
    sys.argv = ['tlkeras', *arguments]
    main.main()

imported = resource.getrusage(resource.RUSAGE_SELF)
results = {}
for name, arguments in json.loads(sys.argv[1]).items():
    child = os.fork()
    if not child:
        run(name, arguments)
        sys.exit()
    _, status, used = os.wait4(child, 0)
    seconds = sum(usage.ru_utime + usage.ru_stime for usage in (imported, used))
    results[name] = {"code": os.waitstatus_to_exitcode(status), "seconds": seconds}
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """Name of a command -> its exit status, the seconds of the processor that it took with its imports, and what it printed."""
    root = tmp_path_factory.mktemp("commands")
    folder = root / "template"
    (folder / "run").mkdir(parents=True)
    (folder / "reviews.csv").write_text(REVIEWS)
    (folder / "run" / "config.yaml").write_text('backbone: "cnn"\ndata: "digits"\n')
    (folder / "run" / "labels.txt").write_text("a\nb\n")
    for file in ("report.html", "metrics.json", "model.keras"):
        (folder / "run" / file).touch()
    shutil.copytree(folder / "run", folder / "bare")  # a run that was not exported
    (folder / "run" / "exports").mkdir()
    (folder / "run" / "exports" / "manifest.json").write_text("{}")
    (folder / "model.keras").write_bytes(b"PK\x03\x04")
    (folder / "paths.csv").write_text("path,label\n" + "".join(f"gone/{i}.jpg,{'ab'[i % 2]}\n" for i in range(8)))
    (folder / "cut.npz").write_bytes(b"PK\x03\x04 and no more")
    (folder / "several.csv").write_text("text,label,stars\n" + "".join(f"review {i},{'ab'[i % 2]},{i}.5\n" for i in range(8)))
    for name in COMMANDS:
        shutil.copytree(folder, root / name)
    arguments = [sys.executable, "-c", EACH, json.dumps(COMMANDS)]
    done = subprocess.run(arguments, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    return {name: {**results[name], **{stream: (root / name / stream).read_text() for stream in ("stdout", "stderr")}} for name in COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_reports_wrong_data_in_one_line_without_tensorflow(name, reported):
    done = reported[name]
    assert done["stderr"].startswith("error: ") and len(done["stderr"].splitlines()) == 1, done["stderr"]
    assert done["code"] == 1 and done["stdout"] == "False\n"
    assert done["seconds"] < 2


@pytest.mark.parametrize("call", ["tlkeras.finetune('missing')", "tlkeras.evaluate('missing')", "tlkeras.finetune('reviews.csv')"])
def test_a_python_call_reports_wrong_data_without_tensorflow(call, tmp_path, reviews):
    code = f"import sys, tlkeras\ntry: {call}\nexcept tlkeras.TlkerasError: print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


IMPOSSIBLE = {
    "no weights file or folder 'gone.h5'": {"weights": "gone.h5#sha256=ab"},
    "efficientnet_lite0 has no weights of the kind 'hub'; instead: --weights FILE": {"weights": "hub"},
    "cnn has no pretrained weights; instead: .*, or --weights none for random ones": {"backbone": "cnn"},
    "cnn has no option 'depth'; it has filters1": {"backbone": "cnn", "weights": "none", "backbone_options": ["depth=3"]},
    "image_size is 16; efficientnet_lite0 accepts 32 pixels or more": {"image_size": 16},
    "needs 9 validation examples, and there are at most 0": {"conformal": 0.1, "val_split": 0.0},
    "teacher is 'gone', which is not the folder of a finished run": {"teacher": "gone", "recipe": "distill"},
    "the teacher has seen examples that the folds test on": {"teacher": "gone", "recipe": "distill", "cross_validate": 2},
    "asks for 13 folds, and there are 12 different examples": {"cross_validate": 13},
    "asks for 9 folds, and there are 8 different examples": {"cross_validate": 9, "limit": 8},
    "needs 19 validation examples, and there are at most 12": {"conformal": 0.05},
    "mixup is 0.2, and recipe 'linear-probe' solves the head exactly here": {"mixup": 0.2, "recipe": "linear-probe"},
}


@pytest.mark.parametrize("message", IMPOSSIBLE)
def test_what_settings_ask_of_the_examples_in_vain_is_refused_when_these_are_opened(message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = resolve(RunConfig.from_dict(IMPOSSIBLE[message]))
    with pytest.raises((ConfigError, WeightsError), match=message):
        preflight.open_examples(plan, arrays())


def test_there_are_as_many_folds_as_groups():
    dataset = from_arrays(np.zeros((12, 8, 8, 3), "uint8"), ["ab"[i % 2] for i in range(12)], groups=[f"p{i // 4}" for i in range(12)])
    with pytest.raises(ConfigError, match="asks for 4 folds, and there are 3 groups"):
        preflight.open_examples(resolve(RunConfig(cross_validate=4)), dataset)
    preflight.open_examples(resolve(RunConfig(cross_validate=3)), dataset)


# === Backbone and data ===


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("rnn", "accepts sequences, and .* contains images; backbones for images: efficientnet"),
        ("bert", "accepts texts, and .* contains images"),
    ],
)
def test_a_backbone_that_does_not_fit_images_is_an_error_that_names_some_that_do(photos, backbone, message):
    with pytest.raises(ConfigError, match=message):
        preflight.open_examples(resolve(RunConfig(data=photos, backbone=backbone)))


@pytest.mark.parametrize("backbone", ["efficientnet", "cnn", "rnn"])
def test_a_backbone_that_does_not_fit_texts_is_an_error_that_names_some_that_do(reviews, backbone):
    with pytest.raises(ConfigError, match=r"contains texts; backbones for texts: bert, .*--list-backbones"):
        preflight.open_examples(resolve(RunConfig(data=reviews, backbone=backbone)))


def test_a_backbone_that_does_not_fit_sequences_is_an_error_that_names_some_that_do():
    sequences = make_dataset("steps", [Example(id=str(i), label="ab"[i % 2], array=np.zeros((4, 2), "float32")) for i in range(4)])
    with pytest.raises(ConfigError, match="contains sequences; backbones for sequences: rnn"):
        preflight.open_examples(resolve(RunConfig(backbone="cnn")), sequences)


# === Files of images ===


def test_a_class_without_a_file_that_can_be_an_image_is_an_error_before_anything_is_decoded(photos):
    for file in (photos / "bee").iterdir():
        file.write_bytes(b"no image at all")
    with pytest.raises(DataError, match=r"no image of class 'bee' can be read; the first of its 3 files is 'bee/0.png': the content is no"):
        preflight.open_examples(resolve(RunConfig(data=photos, backbone="cnn", weights="none")))


def test_a_class_with_one_file_that_can_be_an_image_goes_on(photos):
    for name in ("0.png", "1.png"):
        (photos / "bee" / name).write_bytes(b"no image at all")
    assert len(preflight.open_examples(resolve(RunConfig(data=photos, backbone="cnn", weights="none"))).examples) == 10


def test_of_each_class_no_file_is_opened_behind_the_first_that_can_be_an_image(photos, monkeypatch):
    opened = []
    monkeypatch.setattr(formats, "unreadable", lambda path: opened.append(path.name))
    preflight.open_examples(resolve(RunConfig(data=photos, backbone="cnn", weights="none")))
    assert opened == ["0.png", "0.png"]


def test_the_folder_of_a_run_is_checked_in_the_first_worker_alone(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "kept.txt").touch()
    config = RunConfig(out=str(tmp_path / "run"))
    with pytest.raises(OutputError, match="is not overwritten"):
        preflight.check_out(config)
    monkeypatch.setenv("TF_CONFIG", Cluster(addresses=("a:1", "b:1"), index=1).tf_config())
    preflight.check_out(config)  # it writes elsewhere, and the first worker may have begun


# === Dry run ===


def test_a_dry_run_describes_the_data(photos):
    text = describe(RunConfig(data=photos), open_source(str(photos)))
    assert text.startswith("data: 10 images from folder") and "2 classes:\n  ant: 7\n  bee: 3\n" in text
    assert "splits: train about 7, val about 2, test about 2, by content" in text
    assert "note: not-an-image (1): ant/notes.xyz: .xyz is no" in text and "(ignored)" in text


def test_a_dry_run_shows_the_splits_that_a_source_has(tmp_path):
    (tmp_path / "t.csv").write_text("text,label,split\na,x,train\nb,y,train\nc,x,test\nd,y,val\n")
    assert "splits: train 2, val 1, test 1, from the source" in describe(RunConfig(), open_source(str(tmp_path / "t.csv")))


# === Arguments of Python calls ===


@pytest.mark.parametrize(
    "config", ["photos/", {"data": "photos/"}, RunConfig(data="photos/"), None], ids=["source", "mapping", "config", "keys"]
)
def test_finetune_accepts_a_source_a_mapping_a_config_or_keys(config):
    flat = {"epochs": 3} | ({"data": "photos/"} if config is None else {})
    settings, dataset = finetune_request.settings(config, None, flat)
    assert settings == RunConfig.from_dict({"data": "photos/", "epochs": 3}) and dataset is None


def test_finetune_accepts_examples_first():
    dataset = arrays()
    assert finetune_request.settings(dataset, None, {"epochs": 3}) == (RunConfig(epochs=3), dataset)


@pytest.mark.parametrize(
    ("config", "dataset", "flat", "message"),
    [
        ("photos/", None, {"data": "others/"}, "pass one of them"),
        (arrays(), arrays(), {}, "two datasets"),
        (3, None, {}, r"received a int; expected .* tlkeras.finetune\('photos/', backbone='efficientnet'\)"),
        ("photos/", None, {"epoch": 3}, "unknown config key 'epoch'; did you mean 'epochs'"),
    ],
)
def test_arguments_that_contradict_each_other_are_one_clear_line(config, dataset, flat, message):
    with pytest.raises(ConfigError, match=message):
        finetune_request.settings(config, dataset, flat)


def test_a_config_takes_flat_keys_or_whole_parts():
    config = RunConfig(data="photos/", export="onnx", epochs=3, train=TrainConfig(batch_size=8))
    assert (config.data.source, config.export.formats, config.train.epochs, config.train.batch_size) == ("photos/", ("onnx",), 3, 8)
    with pytest.raises(ConfigError, match="unknown config key 'epoch'"):
        RunConfig(epoch=3)


# === Empty values ===

NAMES = [key.key for key in keys() if key.key != "freeze_rules" and key.type is not bool]


BLANK = {"label_separator"}  # blanks may separate labels


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in NAMES for value in ("", "  ") if value == "" or name not in BLANK])
def test_an_empty_text_is_an_error_for_every_key(name, value):
    with pytest.raises(ConfigError, match=f"'{name}' is"):
        RunConfig.from_dict({name: value})


def test_an_empty_text_in_a_config_file_is_an_error(tmp_path):
    (tmp_path / "c.yaml").write_text("unfreeze: ''\n")
    with pytest.raises(ConfigError, match="'unfreeze' is '', which is empty; expected SPEC, or leave it out"):
        RunConfig.from_dict(read_yaml(tmp_path / "c.yaml"))


@pytest.mark.parametrize("value", [",", ["onnx", ""], [" "]])
def test_an_empty_name_in_a_list_is_an_error(value):
    with pytest.raises(ConfigError, match="'export' is .* which is empty"):
        RunConfig.from_dict({"export": value})


def test_an_empty_source_is_an_error_and_not_the_current_folder():
    with pytest.raises(DataError, match="the source is ''"):
        open_source("")


# === Where examples come from ===


def test_a_source_is_recorded_as_it_was_named_and_arrays_by_their_name(photos):
    assert recorded(open_source(str(photos))) == str(photos) and recorded(open_source(None)) == "digits"
    assert recorded(arrays()) == "dataset:arrays" and is_passed(recorded(arrays()))


def test_what_stands_for_arrays_cannot_be_opened():
    with pytest.raises(DataError, match="arrays that a Python call passed, which are not stored; pass --data or dataset="):
        open_source("dataset:arrays")


def test_the_public_calls_are_the_light_ones():
    assert tlkeras.finetune.__module__ == tlkeras.evaluate.__module__ == "tlkeras.jobs.api"


def test_examples_of_another_label_map_are_given_that_of_the_model():
    few = from_arrays(np.zeros((2, 8, 8), "uint8"), ["cat", "zebra"])
    chosen = preflight.examples_for(RunConfig(data="digits"), classes("cat", "dog", "zebra"), few)
    assert chosen.dataset.labels == ("cat", "dog", "zebra") and chosen.own is None


def test_numbers_in_another_order_are_refused():
    dataset = from_arrays(np.zeros((2, 8, 8), "uint8"), np.array([[0.5, 2.5], [1.5, 3.5]]), labels=["a", "v"], kind="numbers")
    with pytest.raises(DataError, match="has the targets a, v; expected v, a, in this order"):
        preflight.examples_for(RunConfig(data="digits"), Target(kind="numbers", labels=("v", "a")), dataset)


def test_calibration_needs_an_image(tmp_path):
    with pytest.raises(DataError, match="no image in the calibration folder"):
        preflight.check_calibration(str(tmp_path))


@pytest.mark.parametrize("names", [("weight", "price"), ("price", "size")])
def test_several_targets_of_arrays_with_other_names_or_in_another_order_are_not_taken_for_those_of_the_model(names):
    def dataset(*columns):
        return from_arrays(list("abcd"), {name: [0.5, 1.5, 2.5, 3.5 + i] for i, name in enumerate(columns)})

    with pytest.raises(
        DataError, match=f"has the targets {', '.join(names)}; expected price, weight, in this order, as the model predicts"
    ):
        preflight.examples_for(None, dataset("price", "weight").target, dataset(*names))
