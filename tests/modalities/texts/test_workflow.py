"""Texts end to end: fine-tune, export, evaluate each artifact, publish, predict."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.helpers import outputs
from tests.modalities.texts.conftest import VOCABULARIES, check_raw_strings, reviews, sentences
from tests.modalities.texts.test_tokens import ROWS
from tlkeras.backbones.registry import BACKBONES
from tlkeras.cli.main import app as command
from tlkeras.config import RunConfig
from tlkeras.errors import ConfigError
from tlkeras.jobs import evaluate, examples, export_run, finetune, predict, publish
from tlkeras.jobs.plan import resolve
from tlkeras.zoo import load
from tlkeras.zoo.store import Zoo

FORMATS = ("saved_model", "tflite", "onnx")
SERVING = {"FNet": ("saved_model",)}


def config(presets, app, out, **more):
    formats = ",".join(SERVING.get(app, FORMATS))
    values = {"backbone": ROWS[app], "weights": presets(app), "out": str(out), "export": formats, "epochs": 12, "learning_rate": 0.01}
    return RunConfig.from_dict({**values, "recipe": "full", **more})


@pytest.fixture(scope="module")
def bert(presets, tmp_path_factory):
    root = tmp_path_factory.mktemp("bert")
    with (root / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("review", "stars"), *sentences(160)])
    more = {"data": str(root / "reviews.csv"), "label_column": "stars", "export": "saved_model,tflite,mobile,onnx"}
    return finetune.finetune(config(presets, "Bert", root / "run", **more, max_drop=1.0))


# One of each kind of tokeniser: the tests below train BERT (WordPiece) and export it to every format, tests/modalities/texts/test_elmo.py ELMo
# (characters). The SavedModel holds the tokeniser; what converters see is the network, as in tests/export and among the slow tests.
QUICK = {"GPT2": ("saved_model",), "Albert": ("saved_model", "tflite")}  # byte pairs, SentencePiece
EVERY = {app: SERVING.get(app, FORMATS) for app in VOCABULARIES if app != "Bert"}


@pytest.mark.parametrize(
    ("app", "formats"),
    [pytest.param(*one, id=one[0]) for one in QUICK.items()]
    + [pytest.param(*one, id=f"{one[0]}-every-format", marks=pytest.mark.slow) for one in EVERY.items()],
)
def test_every_family_of_text_backbones_is_trained_exported_and_verified(presets, app, formats, tmp_path):
    given = config(presets, app, tmp_path / "run", epochs=1, export=",".join(formats))
    result = finetune.finetune(given, dataset=reviews(24))
    assert set(result.metrics["exports"]) == set(formats)
    for one in result.metrics["exports"].values():
        assert one["relative_diff"] < 1e-3 and one["agreement"] == 1.0
    check_raw_strings(result)


def test_T21_the_saved_model_of_bert_takes_strange_texts(bert):
    check_raw_strings(bert)


MISSING = """
import sys
from importlib.abc import MetaPathFinder
class Without(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow_text":
            raise ImportError("No module named 'tensorflow_text'")
sys.meta_path.insert(0, Without())
from tlkeras import errors
from tlkeras.export.read import open_artifact
from tlkeras.jobs import opening
for target in sys.argv[1:]:
    try:
        opening.open_target(target)
    except errors.TlkerasError as error:
        print(type(error).__name__, error)
sys.meta_path.pop(0)
print("tensorflow_text" in sys.modules, open_artifact(sys.argv[1]).runtime)
"""


@pytest.fixture(scope="module")
def bare(bert):
    """What a process says that opens the SavedModel and the run without tensorflow-text, and the SavedModel again with it."""
    command = [sys.executable, "-c", MISSING, str(bert.run.exports / "saved_model"), str(bert.run.root)]
    return subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8").stdout.splitlines()


def test_T21_without_tensorflow_text_the_error_says_what_to_install(bare):
    artifact, run, _ = bare
    assert artifact.startswith("ExportError cannot open") and run.startswith("MissingPackage word_piece")
    assert all("pip install tensorflow-text" in line for line in (artifact, run))


def test_T21_a_saved_model_opens_in_a_process_that_has_not_imported_tensorflow_text(bare):
    assert bare[-1].startswith("False tensorflow 2.")


def test_a_small_bert_learns_which_adjectives_are_kind(bert):
    assert bert.metrics["test"]["accuracy"] >= 0.9
    exported = {name: one["accuracy"] for name, one in bert.metrics["exports"].items()}
    assert set(exported) == {"saved_model", "tflite", "mobile", "onnx"}
    assert {exported[name] for name in FORMATS} == {bert.metrics["test"]["accuracy"]}


@pytest.mark.slow  # `mobile` is one of the files in whole numbers
def test_a_small_bert_is_exported_in_whole_numbers(bert, tmp_path):
    formats = ["tflite-int8", "onnx-int8"]
    artifacts = export_run.export_run(bert.run.root, formats, tmp_path / "out")  # each verified, or an error
    assert [artifact.format for artifact in artifacts] == formats and all(artifact.verdict.accuracy > 0.5 for artifact in artifacts)


@pytest.mark.parametrize("artifact", ["saved_model", "model.tflite", "model.onnx"])
def test_every_artifact_evaluates_as_the_model(bert, artifact):
    found = evaluate.evaluate(bert.run.exports / artifact)
    assert found.score.accuracy == bert.metrics["test"]["accuracy"] and found.part == "test"


def test_predict_takes_texts(bert):
    done = CliRunner().invoke(command, ["predict", str(bert.run.root), "a great film", "the plot is dull"])
    assert [line.split("\t")[1] for line in done.output.splitlines()] == ["positive", "negative"], done.output


def test_features_can_be_cached_once_and_layers_unfrozen(presets, tmp_path):
    brief = {"epochs": 1, "export": "none"}
    frozen = finetune.finetune(config(presets, "Bert", tmp_path / "a", recipe="feature-extraction", **brief), dataset=reviews(60))
    assert frozen.metrics["phases"][0]["examples_computed_once"] == 60
    last = finetune.finetune(config(presets, "Bert", tmp_path / "b", unfreeze="last:1", **brief), dataset=reviews(60))
    assert last.metrics["phases"][0]["examples_computed_once"] == 60 and last.metrics["test"]["n"]


def test_batches_are_cut_to_their_longest_text_and_the_answers_stay(presets, bert):
    model = load_model(bert)
    ids = np.array([[2, 10, 11, 3, 0, 0, 0, 0]], "int32")
    np.testing.assert_allclose(outputs(model, ids), outputs(model, ids[:, :4]), atol=1e-5)


def load_model(result):
    from tlkeras.weights.keras_file import read_keras

    return read_keras(result.run.model)


def test_a_published_entry_answers_texts_in_every_runtime(bert, tmp_path):
    zoo = Zoo(tmp_path / "zoo")
    entry = publish.publish(bert.run.root, "reviews", zoo)
    texts = ["a great film", "the plot is dull", "very fine cast", ""]
    answers = {
        runtime: [one.label for one in load("reviews", runtime=runtime, root=zoo.root).predict(texts)]
        for runtime in ("keras", "savedmodel", "tflite", "onnx")
    }
    assert len({tuple(one) for one in answers.values()}) == 1
    card = (entry.path / "README.md").read_text(encoding="utf-8")
    assert '{"instances": [{"text": "a text"}]}' in card and "picture" not in card
    from tlkeras.zoo import check

    assert not [one.problem for one in check.verify(entry) if one.problem]


def test_the_python_client_gives_the_labels_that_we_predict(bert):
    texts = [text for text, _ in sentences(12, seed=9)]
    done = subprocess.run(
        [sys.executable, "-I", str(bert.run.exports / "client" / "classify.py"), *texts],
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    ours = [one.label for one in predict.predict(bert.run.exports / "model_mobile.tflite", texts)]
    assert [line.split("\t")[1] for line in done.stdout.splitlines()] == ours


# MediaPipe still uses a deprecated way of NumPy.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mediapipe_loads_the_bert_file_alone_and_its_labels_are_ours(bert, tmp_path):
    pytest.importorskip("mediapipe", reason="MediaPipe is in the extra `test`")
    from mediapipe.tasks import python as tasks
    from mediapipe.tasks.python import text

    alone = tmp_path / "alone.tflite"
    alone.write_bytes((bert.run.exports / "model.tflite").read_bytes())
    options = text.TextClassifierOptions(base_options=tasks.BaseOptions(model_asset_path=str(alone)), max_results=1)
    texts = [one for one, _ in sentences(12, seed=9)]
    with text.TextClassifier.create_from_options(options) as classifier:
        theirs = [classifier.classify(one).classifications[0].categories[0].category_name for one in texts]
    assert theirs == [one.label for one in predict.predict(bert.run.root, texts)]


def test_the_manifest_says_what_the_model_takes(bert):
    manifest = json.loads((bert.run.exports / "manifest.json").read_text())
    assert manifest["metadata"]["modality"] == "text" and manifest["inputs"][0]["name"] == "token_ids"
    assert manifest["inputs"][0]["shape"] == [None, None]


# === What is refused ===


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backbone": "bert", "augment": "flip"}, "augmentations are for images"),
        ({"backbone": "bert", "image_size": 64}, "accepts texts"),
        ({"backbone": "efficientnet", "max_length": 64}, "accepts images"),
        ({"backbone": "fnet", "export": "tflite"}, "Fourier"),
        ({"backbone": "fnet", "export": "onnx-int8"}, "Fourier"),
        ({"backbone": "elmo", "export": "tflite-int8"}, "loops in floats"),
        ({"backbone": "elmo", "export": "onnx-fp16"}, "graphs with loops"),
    ],
)
def test_options_of_the_other_modality_are_errors(values, message):
    with pytest.raises(ConfigError, match=message):
        finetune.finetune(RunConfig.from_dict(values), dataset=reviews(20))


def test_texts_for_a_backbone_of_pictures_are_an_error(tmp_path):
    values = {"backbone": "mobilenet_v3_small", "weights": "none", "image_size": 32, "out": str(tmp_path / "run")}
    with pytest.raises(ConfigError, match="backbones for texts: bert"):
        finetune.finetune(RunConfig.from_dict(values), dataset=reviews(20))
    assert not (tmp_path / "run").exists()


def test_random_weights_are_refused_because_a_vocabulary_comes_with_weights(tmp_path):
    with pytest.raises(ConfigError, match="vocabulary"):
        finetune.finetune(RunConfig.from_dict({"backbone": "bert", "weights": "none", "out": str(tmp_path / "r")}), dataset=reviews(20))


def test_a_folder_of_another_network_is_told(presets, tmp_path):
    with pytest.raises(Exception, match="contains no"):
        examples.build(resolve(RunConfig.from_dict({"backbone": "gpt2", "weights": presets("Bert")})), 2)


def test_every_text_row_names_its_class_tokenizer_and_licence():
    import keras_hub

    from tlkeras.backbones.pooling import POOLINGS
    from tlkeras.modalities.texts.tokenizers import TOKENIZERS

    for row in BACKBONES:
        if row.modality == "text" and row.builder.endswith("hub:text"):
            assert hasattr(keras_hub.models, f"{row.app}Backbone") and row.license and row.source
            assert TOKENIZERS.get(row.tokenizer) and POOLINGS.get(row.pooling)
            presets = getattr(keras_hub.models, f"{row.app}Backbone").presets
            for source in row.weights:
                if source.kind == "hub":
                    assert presets[source.preset]["metadata"]["params"] == row.params


def test_a_run_of_texts_is_exported_again_with_its_vocabulary(bert, tmp_path):
    (artifact,) = export_run.export_run(bert.run.root, ["tflite"], tmp_path / "out")
    assert artifact.verdict.accuracy == pytest.approx(bert.metrics["exports"]["tflite"]["accuracy"])
    for name in ("tokenizer/tokenizer.json", "client/classify.py"):
        assert (tmp_path / "out" / name).read_bytes() == (bert.run.exports / name).read_bytes().replace(b"model_mobile", b"model")
