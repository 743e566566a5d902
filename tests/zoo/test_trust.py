"""What a publisher, and a reader of a zoo, may rely on: nothing but what was verified is published, and what was changed is found."""

import dataclasses
import json
import multiprocessing
import shutil
import sys

import numpy as np
import pytest

from tests.zoo import server_files
from tlkeras.backbones.load import load as load_backbone
from tlkeras.errors import ExportError, MissingPackage, ZooError
from tlkeras.export import manifest as manifests
from tlkeras.jobs import opening as run_opening
from tlkeras.jobs import publish
from tlkeras.zoo import check, load, manifest, network, opening, serving, signing, store
from tlkeras.zoo.check import verify
from tlkeras.zoo.manifest import read_manifest
from tlkeras.zoo.store import Zoo


@pytest.fixture
def copied(small_run, tmp_path):
    """A copy of a finished run, which a test may damage."""
    return shutil.copytree(small_run.run.root, tmp_path / "run")


@pytest.fixture
def entry(published, tmp_path):
    """A published entry in a zoo of its own, which a test may damage."""
    zoo, original = published
    shutil.copytree(zoo.root, tmp_path / "zoo")
    return Zoo(tmp_path / "zoo").get(original.name)


def rewritten(path, change):
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


FILES = {
    "tensorflow": "saved_model.pb",
    "c_api": "variables/variables.data-00000-of-00001",
    "litert": "model.tflite",
    "onnxruntime": "model.onnx",
    "openvino": "model.onnx",
    "keras": "model.keras",
}


def appended(path):
    with path.open("ab") as file:
        file.write(b"\0")


def refused(run, tmp_path, match):
    with pytest.raises((ZooError, ExportError), match=match):
        publish.publish(run, "colours", Zoo(tmp_path / "new"), data_licence="CC0", data_source="made up")
    assert not Zoo(tmp_path / "new").names()


# === Publishing ===


def test_a_link_in_the_artifacts_is_not_followed(copied, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (copied / "exports/client/secret").symlink_to(tmp_path / "secret")
    refused(copied, tmp_path, "secret' is a link")


def test_a_model_that_is_a_link_is_not_published(copied, tmp_path):
    (copied / "model.keras").rename(tmp_path / "elsewhere.keras")
    (copied / "model.keras").symlink_to(tmp_path / "elsewhere.keras")
    refused(copied, tmp_path, "model.keras' is a link")


def test_an_artifact_that_is_a_link_to_a_folder_is_not_published(copied, tmp_path):
    (copied / "exports/saved_model").rename(tmp_path / "elsewhere")
    (copied / "exports/saved_model").symlink_to(tmp_path / "elsewhere")
    refused(copied, tmp_path, "saved_model' is a link")


@pytest.mark.parametrize("file", ["model.tflite", "model.onnx", "saved_model/variables/variables.data-00000-of-00001"])
def test_an_artifact_that_is_not_the_verified_one_is_not_published(copied, tmp_path, file):
    appended(copied / "exports" / file)
    refused(copied, tmp_path, "has changed since it was verified")


def test_a_model_that_is_not_the_one_of_the_run_is_not_published(copied, tmp_path):
    appended(copied / "model.keras")
    refused(copied, tmp_path, "has changed since the run wrote it")


def test_what_no_export_wrote_is_not_published(copied, tmp_path):
    (copied / "exports/notes.txt").write_text("private")
    entry = publish.publish(copied, "colours", Zoo(tmp_path / "new"), data_licence="CC0", data_source="made up")
    assert "notes.txt" not in entry.files and not (entry.path / "notes.txt").exists()


@pytest.mark.parametrize("path", ["../model.keras", "/etc/passwd", "..", "", "a/b", 3, None])
def test_a_manifest_that_leads_elsewhere_is_refused(copied, tmp_path, path):
    rewritten(copied / "exports/manifest.json", lambda content: content["artifacts"]["tflite"].update(path=path))
    refused(copied, tmp_path, "expected the name of a file beside it" if isinstance(path, str) else f"path is {path}; expected str")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("labels.txt", b"\xff\xfe"),
        ("labels.txt", "rouge\ngrün\n".encode()),
        ("labels.txt", "rouge\ngrün\n蓝\nvert\n".encode()),
        ("metrics.json", b"[" * 100_000),
        ("metrics.json", b"{}"),
        ("metrics.json", b"[1]"),
        ("environment.json", b"\0"),
        ("backbone.json", b"{}"),
        ("backbone.json", b'{"row": "no_such_row", "licence": "MIT", "source": ""}'),
        ("predictions.csv", b"a,b\n1,2\n"),
        ("predictions.csv", b"\xff"),
        ("target.json", b"{}"),
        ("target.json", b'{"kind": "class", "labels": 3}'),
    ],
)
def test_a_damaged_file_of_a_run_is_named_in_one_line(copied, tmp_path, file, content):
    from tlkeras.errors import TlkerasError

    (copied / file).write_bytes(content)
    with pytest.raises(TlkerasError) as caught:
        publish.publish(copied, "colours", Zoo(tmp_path / "new"), data_licence="CC0", data_source="made up")
    assert "\n" not in str(caught.value) and file in str(caught.value) and len(str(caught.value)) < 700
    assert not Zoo(tmp_path / "new").names()


def test_an_artifact_that_was_changed_is_not_opened(copied):
    import tlkeras

    appended(copied / "exports/model.tflite")
    with pytest.raises(ExportError, match=r"model.tflite' has changed since it was verified as tflite"):
        tlkeras.load(copied / "exports/model.tflite")


@pytest.mark.parametrize("runtime", FILES)
def test_an_artifact_of_a_run_that_is_exchanged_while_it_is_opened_is_the_one_that_was_hashed(copied, runtime, monkeypatch):
    import tlkeras

    x = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype("float32")
    expected = tlkeras.load(copied, runtime=runtime).scores(x)
    name = FILES[runtime] if runtime in ("keras", "litert", "onnxruntime", "openvino") else f"saved_model/{FILES[runtime]}"
    path = copied / name if runtime == "keras" else copied / "exports" / name

    def exchanged(function):
        def opened(*arguments):
            path.write_bytes(b"another file")
            return function(*arguments)

        return opened

    for function in ("open_artifact", "read_keras"):
        monkeypatch.setattr(run_opening, function, exchanged(getattr(run_opening, function)))
    np.testing.assert_array_equal(tlkeras.load(copied, runtime=runtime).scores(x), expected)
    assert path.read_bytes() == b"another file"


@pytest.mark.parametrize("target", ["", "model.keras"])
def test_a_model_of_a_run_that_was_changed_is_not_opened_and_the_line_says_what_to_do(copied, target):
    import tlkeras
    from tlkeras.errors import DataError

    appended(copied / "model.keras")
    with pytest.raises(DataError, match="model.keras' has changed since the run wrote it") as caught:
        tlkeras.load(copied / target, runtime="keras")
    assert "\n" not in str(caught.value) and f"`tlkeras export FILE.keras --labels {copied / 'labels.txt'}`" in str(caught.value)
    with pytest.raises(DataError, match="has changed since the run wrote it"):
        tlkeras.export_model(copied / target, formats="tflite", reporter=None)


def test_a_model_that_was_trained_further_is_opened_under_another_name(copied):
    import keras

    import tlkeras

    model = keras.saving.load_model(copied / "model.keras")
    model.trainable_variables[-1].assign_add(np.ones(3))
    model.save(copied / "mine.keras")
    assert tlkeras.load(copied / "mine.keras").target.labels == tlkeras.load(copied).target.labels


@pytest.mark.parametrize("content", ["{}", '{"model": {}}', '{"model": 3}', "damaged"])
def test_a_run_of_before_its_hash_was_recorded_can_be_opened(copied, content):
    import tlkeras

    (copied / "metrics.json").write_text(content)
    appended(copied / "model.keras")
    assert tlkeras.load(copied).target.labels


def test_labels_that_are_not_those_of_the_model_are_not_used(copied):
    import tlkeras
    from tlkeras.errors import DataError

    (copied / "target.json").unlink()
    (copied / "labels.txt").write_text("rouge\n蓝\n", encoding="utf-8")
    with pytest.raises(DataError, match="answers 3 scores, and labels.txt has 2 labels"):
        tlkeras.load(copied)


# === Reading ===


def test_manifests_and_labels_state_their_format(copied, entry):
    zoo = Zoo(entry.path.parent.parent)
    zoo.promote(str(entry))
    paths = (copied / "exports/manifest.json", entry.path / "manifest.json", entry.path.parent / store.LABELS)
    assert [json.loads(path.read_text(encoding="utf-8"))["format"] for path in paths] == [1, 1, 1]


def test_reversed_labels_in_a_manifest_are_found(entry):
    rewritten(entry.path / "manifest.json", lambda content: content["labels"].reverse())
    with pytest.raises(ZooError, match="has changed since it was published"):
        load("colours", root=entry.path.parent.parent)


@pytest.mark.parametrize("key", ["labels", "metadata", "inputs", "outputs", "config", "data", "licences", "metrics"])
def test_values_of_other_types_in_a_manifest_without_a_hash_are_found(entry, key):
    def change(content):
        del content["entry"]["sha256"]
        content[key] = 3

    rewritten(entry.path / "manifest.json", change)
    with pytest.raises(ZooError, match=f"{key} is 3; expected"):
        read_manifest(entry.path)


def test_one_damaged_entry_does_not_hide_the_others(entry):
    zoo = Zoo(entry.path.parent.parent)
    shutil.copytree(entry.path, entry.path.parent / "2")
    (entry.path.parent / "2/manifest.json").write_text("{")
    damaged = []
    assert [str(one) for one in zoo.list(lambda name, error: damaged.append(name))] == ["colours/1"] and damaged == ["colours/2"]
    publish.renew(zoo)
    assert "colours" in (zoo.root / serving.CONFIG).read_text()


def test_an_entry_whose_promoted_version_is_unknown_is_left_out_of_the_servers_configuration(entry):
    zoo = Zoo(entry.path.parent.parent)
    shutil.copytree(entry.path.parent, zoo.root / "others")
    (entry.path.parent / store.LABELS).write_text("{")
    notes = []
    config = server_files.parse_models_config(serving.models_config(zoo, notes.append))
    assert [model.name for model in config.model_config_list.config] == ["others"]
    assert len(notes) == 1 and "colours is left out of models.config" in notes[0]


def test_an_entry_made_from_itself_is_refused(entry, monkeypatch):
    def change(content):
        del content[network.RECORD]  # as entries were before they recorded the row
        content["config"]["backbone"] = "zoo:colours"
        content["entry"]["sha256"] = manifest.digest(content)

    rewritten(entry.path / "manifest.json", change)
    monkeypatch.setenv("TLKERAS_ZOO", str(entry.path.parent.parent))
    with pytest.raises(ZooError, match="names itself as its backbone"):
        network.row("colours")


@pytest.mark.parametrize("runtime", FILES)
def test_what_is_opened_is_what_was_hashed(entry, runtime, monkeypatch):
    """A file that another process changes after the hashes were compared is found when it is copied."""
    monkeypatch.setattr(opening, "verify_files", lambda entry: appended(entry.path / FILES[runtime]) or [])
    with pytest.raises(ZooError, match=f"has changed since it was published: {FILES[runtime]}"):
        load("colours", root=entry.path.parent.parent, runtime=runtime)


def test_what_is_verified_is_what_was_hashed(entry, monkeypatch):
    monkeypatch.setattr(check, "verify_files", lambda entry: appended(entry.path / "model.tflite") or [])
    (files,) = verify(entry)
    assert files.problem == "colours/1 has changed since it was published: model.tflite; download it again, or publish it again"


def test_a_published_backbone_is_what_was_hashed(entry, monkeypatch):
    monkeypatch.setenv("TLKERAS_ZOO", str(entry.path.parent.parent))
    row = network.row("colours")
    assert load_backbone(row).model.get_layer("pretrained_features")
    appended(entry.path / "model.keras")
    with pytest.raises(ZooError, match="colours/1 has changed since it was published: model.keras"):
        load_backbone(row)


@pytest.mark.parametrize("name", ["model.tflite", "model.onnx", "model.keras", "."])
def test_a_part_of_an_entry_that_was_changed_is_not_opened(entry, name):
    import tlkeras

    assert tlkeras.load(entry.path / name).target.labels
    changed = "variables/variables.data-00000-of-00001" if name == "." else name
    appended(entry.path / changed)
    with pytest.raises(ExportError, match=f"has changed since it was published: {changed}"):
        tlkeras.load(entry.path / name)


# === Two publishers ===


def _renewing(root, times):
    zoo = Zoo(root)
    for _ in range(times):
        publish.renew(zoo)


def test_a_reader_never_meets_half_of_the_servers_configuration(entry):
    root = entry.path.parent.parent
    publish.renew(Zoo(root))
    context = multiprocessing.get_context("fork") if sys.platform == "linux" else multiprocessing.get_context("spawn")
    processes = [context.Process(target=_renewing, args=(root, 100)) for _ in range(2)]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        server_files.parse_models_config((root / serving.CONFIG).read_text())
        assert "colours" in (root / serving.CONFIG).read_text()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert {path.name for path in root.iterdir()} == {"colours", "models.config", "compose.yaml"}


# === Signatures ===


@pytest.fixture
def keys(tmp_path):
    """Files of a secret key without a password, and of its public key."""
    minisign = pytest.importorskip("minisign", reason="py-minisign is not installed: pip install 'tlkeras[sign]'")
    pair = minisign.KeyPair.generate()
    (tmp_path / "secret").write_bytes(bytes(pair.secret_key))
    (tmp_path / "public").write_bytes(bytes(pair.public_key))
    return tmp_path / "secret", tmp_path / "public"


def signed(name, zoo, secret):
    def fill(folder):
        np.save(folder / "model.npy", np.arange(3))
        return {"artifacts": {}, "metadata": {}}

    return zoo.publish(name, fill, signing.signer(secret))


def test_a_signed_entry_is_its_publishers(tmp_path, keys):
    secret, public = keys
    entry = signed("ants", Zoo(tmp_path / "zoo"), secret)
    assert store.verify_files(entry) == []
    assert signing.check_signature(entry, public) == "tlkeras ants/1"
    assert signing.check_signature(entry, public.read_text().splitlines()[1]) == "tlkeras ants/1"


def test_another_key_a_changed_manifest_and_a_copied_signature_are_found(tmp_path, keys):
    import minisign

    secret, public = keys
    zoo = Zoo(tmp_path / "zoo")
    first, second = signed("ants", zoo, secret), signed("ants", zoo, secret)
    other = bytes(minisign.KeyPair.generate().public_key)
    (tmp_path / "other").write_bytes(other)
    with pytest.raises(ZooError, match="does not belong to its manifest and this key"):
        signing.check_signature(first, tmp_path / "other")
    for name in (manifest.MANIFEST, manifest.SIGNATURE):
        shutil.copyfile(first.path / name, second.path / name)
    with pytest.raises(ZooError, match="was made for 'tlkeras ants/1'"):
        signing.check_signature(zoo.get("ants", 2), public)
    rewritten(first.path / manifest.MANIFEST, lambda content: content.update(labels=["a"]))
    with pytest.raises(ZooError, match="does not belong to its manifest and this key"):
        signing.check_signature(first, public)


def test_a_manifest_that_is_exchanged_after_it_was_read_does_not_pass_with_its_own_signature(tmp_path, keys):
    secret, public = keys
    zoo = Zoo(tmp_path / "zoo")
    entry = signed("ants", zoo, secret)
    signed("ants", Zoo(tmp_path / "other"), secret)
    for name in (manifest.MANIFEST, manifest.SIGNATURE):
        shutil.copyfile(tmp_path / "other/ants/1" / name, entry.path / name)
    assert signing.check_signature(zoo.get("ants"), public)
    older = dataclasses.replace(entry, manifest={**entry.manifest, "labels": ["a"]})
    with pytest.raises(ZooError, match="has changed since it was read"):
        signing.check_signature(older, public)


def test_an_entry_without_a_signature_fails_where_one_is_asked_for(entry, keys):
    checks = verify(entry, public_key=str(keys[1]))
    assert [check.what for check in checks] == ["files", "signature"] and "has no signature" in checks[1].problem


@pytest.mark.parametrize("content", [b"", b"no key", b"x" * 20_000])
def test_what_is_no_key_is_refused_in_one_line(tmp_path, keys, content):
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(ZooError) as caught:
        signing.signer(tmp_path / "key")
    assert "\n" not in str(caught.value)


def test_without_the_package_the_command_to_install_it_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "minisign", None)
    with pytest.raises(MissingPackage, match=r"pip install 'tlkeras\[sign\]'"):
        signing.signer(tmp_path / "key")


def test_a_password_is_asked_for_or_read_from_the_environment(tmp_path, monkeypatch, keys):
    import minisign

    pair = minisign.KeyPair.generate()
    pair.secret_key.encrypt("word", opslimit=32768, memlimit=16 * 1024**2)
    (tmp_path / "encrypted").write_bytes(bytes(pair.secret_key))
    with pytest.raises(ZooError, match="is encrypted"):
        signing.signer(tmp_path / "encrypted")
    with pytest.raises(ZooError, match="wrong password"):
        signing.signer(tmp_path / "encrypted", lambda: "other")
    monkeypatch.setenv(signing.PASSWORD, "word")
    assert signing.signer(tmp_path / "encrypted")(b"content", "ants/1")


def test_a_manifest_of_artifacts_with_odd_content_is_refused(tmp_path):
    base = {"labels": ["a"], "metadata": {}, "artifacts": {}}
    for change in (
        {"labels": "a"},
        {"labels": [1]},
        {"metadata": []},
        {"metadata": {"a": 1}},
        {"artifacts": []},
        {"artifacts": {"tflite": 3}},
    ):
        (tmp_path / "manifest.json").write_text(json.dumps({**base, **change}))
        with pytest.raises(ExportError):
            manifests.read_manifest(tmp_path)
