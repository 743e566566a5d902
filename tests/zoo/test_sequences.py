"""Entries of sequences and of images with other channels: publish, open, ask; what their cards and warm-up records say."""

import json
import subprocess
import sys

import numpy as np
import pytest

import tlkeras
import tlkeras.zoo
from tests.zoo import server_files
from tlkeras.config import RunConfig
from tlkeras.data.examples import from_arrays
from tlkeras.errors import DataError
from tlkeras.jobs import finetune, publish
from tlkeras.zoo import serving
from tlkeras.zoo.check import verify
from tlkeras.zoo.store import Zoo


@pytest.fixture(scope="module")
def sequences(run_of, entry_of):
    return run_of("sequence").run.root, entry_of("sequence")


@pytest.fixture(scope="module")
def bands(tmp_path_factory):
    x = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 4), "uint8")
    values = {
        "backbone": "cnn",
        "weights": "none",
        "epochs": 1,
        "image_size": 16,
        "channels": 4,
        "export": "saved_model",
        "backbone_options": ["filters1=4", "filters2=4", "dense=8"],
    }
    root = tmp_path_factory.mktemp("bands")
    finetune.finetune(RunConfig.from_dict({**values, "out": str(root / "run")}), dataset=from_arrays(x, ["water", "wood"] * 12))
    return root / "run", publish.publish(root / "run", "bands", Zoo(root / "zoo"))


def test_an_entry_of_sequences_answers_files_and_arrays_in_every_runtime(sequences, tmp_path):
    run, entry = sequences
    array = np.stack([np.arange(4.0), np.zeros(4)], axis=1)
    np.save(tmp_path / "a.npy", array)
    np.savetxt(tmp_path / "a.csv", array, delimiter=",")
    root = entry.path.parent.parent
    expected = tlkeras.load(run).predict(array)[0].scores
    for runtime in ("keras", "tensorflow", "onnxruntime"):
        model = tlkeras.zoo.load(entry.name, runtime=runtime, root=root)
        answers = model.predict([array, tmp_path / "a.npy", str(tmp_path / "a.csv"), np.stack([array, array]), tmp_path])
        assert len(answers) == 7 and model.labels == ("flat", "up")
        for answer in answers:
            assert answer.scores == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((3, 5)), r"input 0 has the shape \(3, 5\), float64; expected numbers \(time, 2\)"),
        ("none.npy", "none.npy: No such file"),
        (4, "input 0 is int"),
    ],
)
def test_what_is_no_sequence_is_named(sequences, given, message):
    with pytest.raises(DataError, match=message):
        tlkeras.load(sequences[0]).predict(given)


@pytest.mark.parametrize("kind", ["sequences", "bands"])
def test_the_card_of_an_entry_of_tensors_uses_its_words(kind, request):
    _, entry = request.getfixturevalue(kind)
    card = (entry.path / "README.md").read_text(encoding="utf-8")
    noun, file = {"sequences": ("sequence", "sequence.npy"), "bands": ("image", "image.npy")}[kind]
    assert f"assigns one of its classes to any {noun}" in card and f'predict("{file}")' in card and "image_bytes" not in card
    assert ("image" in card.lower().replace("docker image", "")) == (kind == "bands")
    assert "MediaPipe" not in card and ".jpg" not in card


def test_the_calls_on_its_card_send_what_the_model_takes(sequences, tmp_path):
    _, entry = sequences
    np.save(tmp_path / "sequence.npy", np.ones((6, 2), "float32"))
    line = serving.curl_call(entry.name, encoded=None, file="sequence.npy").split("|\n")[0].replace("python", sys.executable, 1)
    sent = json.loads(subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True).stdout)
    assert np.shape(sent["instances"]) == (1, 6, 2)
    program = serving.grpc_call(entry.name, encoded=None, file="sequence.npy", tensor=entry.manifest["inputs"][0]["name"])
    compile(program, "call.py", "exec")
    assert program in (entry.path / "README.md").read_text(encoding="utf-8")


def test_an_entry_of_sequences_verifies(sequences):
    assert not [one.problem for one in verify(sequences[1]) if one.problem]


@pytest.mark.parametrize("kind", ["sequences", "bands"])
def test_its_warm_up_records_are_answered(kind, request):
    import tensorflow as tf

    _, entry = request.getfixturevalue(kind)
    loaded = tf.saved_model.load(str(entry.path))
    requests = server_files.read_warmup(entry.path)
    assert {signature for signature, _ in requests} == {"predict_tensor", "serving_default"}
    for signature, inputs in requests:
        answers = loaded.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        assert len(answers["scores"]) == len(next(iter(inputs.values())))
