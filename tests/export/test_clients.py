"""The client programs of models without a label for each score: run alone, they print what the artifact predicts."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import tlkeras
from tests.modalities.test_registry import NETWORKS
from tests.modalities.texts.conftest import preset, reviews
from tests.tasks.test_everywhere import dataset_of, patches
from tlkeras.config import RunConfig
from tlkeras.jobs import finetune, publish
from tlkeras.zoo.store import Zoo

SETTINGS = {"weights": "none", "recipe": "full", "epochs": 2, "learning_rate": 0.01, "export": "tflite"}
TEXTS = ["the film is so good", "a dull plot", "Wörld 日本 don't", ""]


def trained(task, modality, out, **more):
    config = RunConfig.from_dict({**SETTINGS, **NETWORKS[modality], **more, "out": str(out)})
    return finetune.finetune(config, dataset=dataset_of(modality, task), reporter=None).run.exports


@pytest.fixture(scope="module", params=["several", pytest.param("regression", marks=pytest.mark.slow)])
def task(request):
    return request.param


# Each task and each number of channels once by default.
IMAGES = [("several", 3), ("regression", 1), ("several", 1), ("regression", 3)]

PUBLISHED = IMAGES[0]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(case, id=f"{case[0]}-{case[1]}", marks=pytest.mark.slow if index > 1 else ()) for index, case in enumerate(IMAGES)
    ],
)
def images_exported(request, tmp_path_factory):
    task, channels = request.param
    if request.param is PUBLISHED:  # tests/tasks looks at the same run
        return task, request.getfixturevalue("run_of_several_targets").run.exports
    return task, trained(task, "image", tmp_path_factory.mktemp("images") / "run", channels=channels)


@pytest.fixture(scope="module")
def characters_exported(task, tmp_path_factory):
    return trained(task, "text", tmp_path_factory.mktemp("characters") / "run")


@pytest.fixture(scope="module")
def word_pieces_exported(task, tmp_path_factory):
    root = tmp_path_factory.mktemp("word_pieces")
    network = {"backbone": "bert", "weights": str(preset("Bert", root / "preset")), "backbone_options": []}
    return trained(task, "text", root / "run", **network)


@pytest.fixture(scope="module")
def integers_exported(task, tmp_path_factory):
    """Images in, and answers out, as 8-bit integers."""
    values = {**SETTINGS, **NETWORKS["image"], "image_size": 24, "epochs": 30, "learning_rate": 0.003, "max_drop": 1.0}
    out = str(tmp_path_factory.mktemp("integers") / "run")
    config = RunConfig.from_dict({**values, "export": "tflite-int8", "tflite_io": "uint8", "out": out})
    return finetune.finetune(config, dataset=patches(task), reporter=None).run.exports


def printed(exports, inputs, program="predict.py"):
    """Returns what the program prints of each input in a process of its own: name -> number."""
    command = [sys.executable, "-I", str(exports / "client" / program), *map(str, inputs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [str(value) for value in inputs]
    return [dict(zip(row[1::2], map(float, row[2::2]), strict=True)) for row in rows]


def named(answer, prefix=""):
    """Returns an answer as the program prints it: the best label, the labels that hold, or all numbers."""
    if "targets" in answer:
        return {name: value for part, own in answer["targets"].items() for name, value in named(own, f"{part}=").items()}
    scores = answer.get("scores", {})
    chosen = answer["values"] if "values" in answer else {label: scores[label] for label in answer.get("labels", [answer.get("label")])}
    return {name if prefix == f"{name}=" else prefix + name: value for name, value in chosen.items()}


def check(exports, inputs, artifact="model.tflite", step=1e-4):
    """Compares the program with the artifact, and returns what it printed."""
    expected = [named(answer.to_dict()) for answer in tlkeras.load(exports / artifact).predict(inputs)]
    answers = printed(exports, inputs)
    assert answers == [pytest.approx(answer, rel=1e-5, abs=step) for answer in expected] and any(expected)
    return answers


def saved(x, folder):
    paths = [folder / f"{index:02}.png" for index in range(len(x))]
    for path, image in zip(paths, x, strict=True):
        Image.fromarray(image).save(path)
    return paths


def test_the_program_prints_what_the_artifact_predicts_of_images(images_exported, tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype("uint8")
    answers = check(images_exported[1], saved(x, tmp_path))
    assert len({tuple(answer.values()) for answer in answers}) == len(x)


def test_the_program_prints_the_numbers_that_integers_stand_for(integers_exported, task, tmp_path):
    paths = saved(np.stack([example.array for example in patches(task).examples[:12]]), tmp_path)
    answers = check(integers_exported, paths, "model_int8.tflite")
    greys = [answer["grey"] for answer in answers]
    assert max(greys) - min(greys) > 20  # in the units of the data, 0 to 100
    assert task != "several" or len({sum(name.startswith("lit=") for name in answer) for answer in answers}) > 1


@pytest.mark.slow
def test_the_program_prints_what_the_artifact_predicts_of_texts_in_bytes(characters_exported):
    check(characters_exported, TEXTS)


@pytest.mark.slow
def test_the_program_prints_what_the_artifact_predicts_of_texts_in_word_pieces(word_pieces_exported):
    check(word_pieces_exported, TEXTS)


@pytest.mark.slow
def test_the_program_prints_scores_where_a_classifier_of_texts_answers_with_integers(tmp_path):
    network = {**NETWORKS["text"], "backbone": "bert", "weights": str(preset("Bert", tmp_path / "preset")), "backbone_options": []}
    values = {**SETTINGS, **network, "export": "tflite-int8", "tflite_io": "uint8", "max_drop": 1.0, "out": str(tmp_path / "run")}
    exports = finetune.finetune(RunConfig.from_dict(values), dataset=reviews(48), reporter=None).run.exports
    expected = [(answer.label, answer.score) for answer in tlkeras.load(exports / "model_int8.tflite").predict(TEXTS)]
    answers = printed(exports, TEXTS, "classify.py")
    assert answers == [{label: pytest.approx(score, abs=1e-4)} for label, score in expected]


def test_a_file_beside_the_program_says_what_every_score_is(images_exported):
    task, exports = images_exported
    groups = json.loads((exports / "client" / "columns.json").read_text(encoding="utf-8"))["groups"]
    reads = {"regression": ["values"], "several": ["largest", "thresholds", "values"]}
    assert [group["read"] for group in groups] == reads[task]
    target = json.loads(json.loads((exports / "manifest.json").read_text(encoding="utf-8"))["metadata"]["target"])
    parts = target.get("parts", [target])
    assert [group["columns"] for group in groups] == [part["labels"] for part in parts]
    assert [group["name"] for group in groups] == ([part["name"] for part in parts] if task == "several" else [""])
    assert [group["thresholds"] for group in groups if "thresholds" in group] == [
        part["facts"]["thresholds"] for part in parts if part["kind"] == "labels"
    ]


def test_there_is_no_program_for_classifiers_where_there_are_no_classes(images_exported):
    assert {path.name for path in (images_exported[1] / "client").iterdir()} == {"predict.py", "columns.json"}


@pytest.mark.parametrize("images_exported", [PUBLISHED], indirect=True)
def test_the_card_of_an_entry_names_the_program_which_runs_there(images_exported, tmp_path):
    exports = images_exported[1]
    entry = publish.publish(exports.parent, "entry", Zoo(tmp_path / "zoo"), data_licence="CC0", data_source="generated", reporter=None)
    (phones,) = [line for line in (entry.path / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("On phones")]
    assert "`client/predict.py`" in phones and "`client/columns.json`" in phones and "Kotlin" not in phones
    paths = saved(np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3)).astype("uint8"), tmp_path)
    assert printed(entry.path, paths) == printed(exports, paths)
