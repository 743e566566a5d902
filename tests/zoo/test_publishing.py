"""From a run to an entry: what is in it, what its card says, and that it answers as the run does in every runtime."""

import json
import shutil

import numpy as np
import pytest

import tlkeras
from tests.export.helpers import graph_ops
from tests.helpers import pictures
from tests.zoo import server_files
from tlkeras.backbones.registry import find
from tlkeras.errors import DataError, OutputError, ZooError
from tlkeras.jobs import publish
from tlkeras.modalities.images import decode
from tlkeras.progress import Reporter
from tlkeras.zoo import load, serving, signing
from tlkeras.zoo.bundle import take_out
from tlkeras.zoo.check import verify
from tlkeras.zoo.entry_recipes import read_recipes
from tlkeras.zoo.manifest import digest
from tlkeras.zoo.store import Zoo, verify_files


def test_T22_an_entry_is_a_version_folder_of_tensorflow_serving(published):
    _, entry = published
    names = {path.name for path in entry.path.iterdir()}
    assert {"saved_model.pb", "variables", "assets.extra", "model.tflite", "model_int8.tflite", "model.onnx"} <= names
    assert {"model.keras", "labels.txt", "manifest.json", "README.md", "verification.npz", "client"} <= names
    assert verify_files(entry) == [] and entry.path.name == "1"
    assert not [node for node in graph_ops(entry.path) if node.op in ("PyFunc", "EagerPyFunc")]


def test_T22_publishing_twice_makes_two_versions_and_leaves_the_first_alone(small_run, tmp_path):
    zoo = Zoo(tmp_path / "zoo")
    first = publish.publish(small_run.run.root, "colours", zoo)
    before = dict(first.files)
    second = publish.publish(small_run.run.root, "colours", zoo)
    assert [first.version, second.version] == [1, 2] and zoo.get("colours", 1).files == before
    assert {path.name for path in zoo.root.iterdir()} == {"colours", "models.config", "compose.yaml"}


def test_T22_warm_up_records_are_prediction_logs_of_real_examples_and_replay(published):
    import tensorflow as tf

    _, entry = published
    requests = server_files.read_warmup(entry.path)
    assert {name for name, _ in requests} == {"predict_tensor", "serving_default", "embed"}
    loaded = tf.saved_model.load(str(entry.path))
    for signature, inputs in requests:
        answers = loaded.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        assert all(len(value) == len(next(iter(inputs.values()))) for value in answers.values())
        if signature == "serving_default":
            assert set(answers) == {"label", "scores", "class_id", "status", "known"} and set(answers["status"].numpy()) == {b"ok"}


@pytest.mark.parametrize("runtime", ["keras", "savedmodel", "tflite", "onnx", "tflite-int8"])
def test_every_runtime_gives_the_same_answers_for_paths_arrays_and_bytes(published, tmp_path, runtime):
    zoo, _ = published
    x, _ = pictures(3, size=40, seed=8)
    (tmp_path / "0.png").write_bytes(decode.encode_png(x[0]))
    given = [tmp_path / "0.png", x[1], decode.encode_png(x[2])]
    reference = load("colours", runtime="keras", root=zoo.root).predict(given)
    model = load("colours", runtime=runtime, root=zoo.root)
    got = model.predict(given)
    # Three short epochs leave scores that hardly differ; int8 may be a step off.
    tolerance = 0.1 if runtime == "tflite-int8" else 1e-4
    for ours, theirs in zip(got, reference, strict=True):
        np.testing.assert_allclose(list(ours.scores.values()), list(theirs.scores.values()), atol=tolerance)
        assert list(ours.scores) == ["grün", "rouge", "蓝"] and ours.score == ours.scores[ours.label]
    assert model.predict([]) == []


@pytest.mark.parametrize("given", [np.zeros((4, 4, 3)), b"damaged", "nowhere.png"], ids=["floats", "bytes", "path"])
def test_what_is_no_picture_is_named(published, given):
    zoo, _ = published
    with pytest.raises(DataError, match=r"input 0|nowhere\.png"):
        load("colours", runtime="onnx", root=zoo.root).predict([given])


def test_a_runtime_that_an_entry_lacks_is_told_with_those_it_has(published):
    zoo, _ = published
    with pytest.raises(
        ZooError, match=r"'tflite-fp16'; it has keras, tensorflow \(saved_model\), litert \(tflite, tflite-int8\), onnxruntime \(onnx\)$"
    ):
        load("colours", runtime="tflite-fp16", root=zoo.root)


def test_verify_hashes_the_files_and_runs_every_artifact(published):
    _, entry = published
    checks = verify(entry)
    assert [one.problem for one in checks] == [None] * len(checks)
    assert {one.what for one in checks} == {"files", "saved_model", "tflite", "tflite-int8", "onnx"}
    assert any("C API" in one.detail for one in checks)


@pytest.fixture
def copy(published, tmp_path):
    shutil.copytree(published[0].root, tmp_path / "zoo")
    return Zoo(tmp_path / "zoo")


def test_verify_finds_an_artifact_that_answers_otherwise_though_its_hash_was_renewed(copy):
    entry = copy.get("colours")
    shutil.copy(entry.path / "model_int8.tflite", entry.path / "model.tflite")
    manifest = json.loads((entry.path / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["model.tflite"] = manifest["files"]["model_int8.tflite"]
    del manifest["artifacts"]["saved_model"]  # which takes longest to run, and is as it was
    manifest["entry"]["sha256"] = digest(manifest)
    (entry.path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    wrong = [one for one in verify(copy.get("colours")) if one.problem]
    assert [one.what for one in wrong] == ["tflite"] and "differ by" in wrong[0].problem


def test_a_changed_file_is_neither_run_nor_loaded(copy):
    entry = copy.get("colours")
    (entry.path / "model.onnx").write_bytes(b"x")
    assert len(verify(entry)) == 1
    with pytest.raises(ZooError, match=r"model\.onnx: changed"):
        load("colours", runtime="tflite", root=copy.root)


def test_the_card_tells_what_people_must_know(published):
    _, entry = published
    text = (entry.path / "README.md").read_text(encoding="utf-8")
    for part in (
        "95 % interval",
        "macro-F1",
        "Known weaknesses",
        "fingerprint",
        "trained from scratch",
        "CC0",
        "curl",
        "grpc",
        "onnxruntime",
        "TensorFlow Serving answers `known`, 1 or 0; `tlkeras.zoo.load` with the runtimes `keras`, `tensorflow` gives each answer a field `known`",
        "TFLite and ONNX files cannot tell",
    ):
        assert part in text
    assert "grün" in text and "recipe: " in text and "`model_int8.tflite`" in text


def test_the_card_of_a_run_from_arrays_claims_neither_source_nor_licence(small_run, tmp_path):
    warned = []

    class Listener(Reporter):
        def warn(self, text):
            warned.append(text)

    entry = publish.publish(small_run.run.root, "arrays", Zoo(tmp_path), reporter=Listener())
    text = (entry.path / "README.md").read_text(encoding="utf-8")
    assert "digits" not in text and "UCI" not in text
    assert "| data | not stated | not stated (arrays passed from Python, called 'arrays') |" in text
    (line,) = warned
    assert line.startswith("this run was trained on arrays") and "--data-source and --data-licence" in line


@pytest.mark.parametrize(
    ("weights", "licence"),
    [
        ("pretrained", "Apache-2.0"),
        ("wheel", "Apache-2.0"),
        ("none", "none needed"),
        ("mine/model.keras", "not stated"),
        ("preset", "not stated"),
    ],
)
def test_the_card_claims_the_licence_of_published_weights_for_these_alone(weights, licence):
    record = publish.weights_record(find("efficientnet_lite0"), weights)
    assert licence in record["licence"] and "mine/" not in record["source"]


def test_what_is_no_finished_run_is_not_published(tmp_path, published):
    with pytest.raises(DataError, match="not a finished run"):
        publish.publish(tmp_path, "x", published[0])


# === What TensorFlow Serving is given ===


def test_models_config_is_a_model_server_config_of_every_entry(small_run, tmp_path):
    zoo = Zoo(tmp_path)
    for _ in range(2):
        publish.publish(small_run.run.root, "colours", zoo)
    publish.publish(small_run.run.root, "others", zoo)
    zoo.promote("colours/1")
    publish.renew(zoo)
    config = server_files.parse_models_config((tmp_path / "models.config").read_text())
    one, other = config.model_config_list.config
    assert (one.name, one.base_path, one.model_platform) == ("colours", "/models/colours", "tensorflow")
    assert list(one.model_version_policy.specific.versions) == [1, 2] and dict(one.version_labels) == {"stable": 1, "canary": 2}
    assert other.model_version_policy.latest.num_versions == 1


def test_the_compose_file_serves_the_zoo_read_only_on_this_computer():
    import yaml

    service = yaml.safe_load(serving.compose_file())["services"]["serving"]
    assert service["volumes"] == [".:/models:ro"] and all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "--model_config_file=/models/models.config" in service["command"] and ":" in service["image"]


def test_the_curl_call_sends_what_the_rest_api_takes(tmp_path):
    import base64
    import subprocess

    (tmp_path / "image.jpg").write_bytes(bytes(range(256)) * 20)
    line = serving.curl_call("colours").split("|\n")[0]
    sent = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert json.loads(sent) == json.loads(server_files.rest_body([(tmp_path / "image.jpg").read_bytes()]))
    assert base64.b64decode(json.loads(sent)["instances"][0]["image_bytes"]["b64"]) == bytes(range(256)) * 20
    assert serving.curl_call("colours", 3).endswith("/v1/models/colours/versions/3:predict")


def test_the_grpc_program_is_python():
    compile(serving.grpc_call("colours"), "call.py", "exec")


# === Copies and recipes ===


@pytest.mark.parametrize("name", ["out", "out.zip", "out.tar.gz"])
def test_an_entry_is_taken_out_as_a_folder_or_an_archive(published, tmp_path, name):
    _, entry = published
    made = take_out(entry, tmp_path / name)
    if made.is_dir():
        assert (made / "manifest.json").is_file()
    else:
        shutil.unpack_archive(made, tmp_path / "unpacked")
        assert verify_files(Zoo(tmp_path / "unpacked").get("colours", 1)) == []
    with pytest.raises(OutputError, match="already exists"):
        take_out(entry, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_run_is_published_with_the_signature_of_a_key(small_run, tmp_path):
    minisign = pytest.importorskip("minisign", reason="py-minisign is not installed: pip install 'tlkeras[sign]'")
    pair = minisign.KeyPair.generate()
    (tmp_path / "secret").write_bytes(bytes(pair.secret_key))
    (tmp_path / "public").write_bytes(bytes(pair.public_key))
    entry = tlkeras.publish(small_run.run.root, "colours", zoo=tmp_path / "zoo", sign=tmp_path / "secret", reporter=None)
    assert signing.check_signature(entry, tmp_path / "public") == "tlkeras colours/1"
    with pytest.raises(ZooError, match="cannot sign with"):
        tlkeras.publish(small_run.run.root, "colours", zoo=tmp_path / "zoo", sign=tmp_path / "no", reporter=None)


@pytest.mark.parametrize("recipe", read_recipes(), ids=lambda one: one.name)
def test_a_recipe_is_a_config_that_a_run_takes(recipe):
    from tlkeras.jobs import plan

    assert plan.effective(recipe.config).export.formats[0] == "saved_model" and recipe.path.stem == recipe.name


def test_a_recipe_whose_data_is_not_there_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKERAS_DATA", str(tmp_path))
    (recipe,) = read_recipes(name="hymenoptera")
    assert publish.build(recipe, Zoo(tmp_path / "zoo")) is None
