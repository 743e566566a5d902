"""Which numbers a model trains in, on which device, and that verification is exact: guards for GPUs that run on a CPU."""

import contextlib
import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import BLOCKS, pictures, tiny_model
from tests.targets import classes
from tlkeras import startup
from tlkeras.backbones.registry import BACKBONES
from tlkeras.data import pipeline
from tlkeras.distribution import gradients, strategies
from tlkeras.distribution.strategies import ONE_DEVICE, Distribution, open_distribution
from tlkeras.errors import ExportMismatch
from tlkeras.evaluation.prediction import keras_scores
from tlkeras.export import parity, processes
from tlkeras.export.formats import FORMATS
from tlkeras.export.graph import Graph, precision_gap
from tlkeras.export.onnx_graph import write
from tlkeras.export.parity import Samples
from tlkeras.export.spec import ExportSpec
from tlkeras.export.verifier import Verifier, check
from tlkeras.modalities.images.augment import augmentation
from tlkeras.modalities.images.file_decoder import Decoder
from tlkeras.models import TaskModel
from tlkeras.tasks.registry import TASKS
from tlkeras.training import phases as run
from tlkeras.training import precision
from tlkeras.training.freeze_rules import parse
from tlkeras.training.recipes.registry import Phase

pytestmark = pytest.mark.usefixtures("graphs")

GPU = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")


@pytest.fixture
def one_gpu(monkeypatch):
    """Makes TensorFlow name a GPU that is not there; returns its details, to be changed."""
    details = {"compute_capability": (9, 0), "device_name": "NVIDIA H100 80GB HBM3"}
    visible = {"GPU": [GPU]}
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind=None: visible.get(kind, []))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [GPU] if kind == "GPU" else [])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda devices, kind: visible.update({kind: devices}))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    return details


# === Devices ===


@pytest.mark.parametrize("name", ["auto", "cpu", "mirrored:1", "mirrored:2"])
def test_no_placement_names_the_empty_device_which_means_the_cpu(name):
    assert "" not in open_distribution(name).devices
    assert "" not in ONE_DEVICE.devices and "" not in Distribution(name="x").devices


def test_a_gpu_is_named_where_there_is_one(one_gpu):
    assert open_distribution("auto").devices == ("/gpu:0",)


def test_placement_cpu_hides_the_gpu_from_this_process_and_from_those_that_verify(one_gpu):
    assert "CUDA_VISIBLE_DEVICES" not in startup.verification_environment() or os.environ.get("CUDA_VISIBLE_DEVICES")
    opened = open_distribution("cpu")
    assert opened.devices == ("/cpu:0",) and opened.strategy is None
    assert tf.config.get_visible_devices("GPU") == []
    assert startup.verification_environment()["CUDA_VISIBLE_DEVICES"] == "-1"


def test_placement_cpu_still_computes_on_the_cpu_where_the_gpu_is_in_use_already(one_gpu, monkeypatch):
    def refuse(devices, kind):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", refuse)
    opened = strategies.open_cpu(None)
    assert opened.devices == ("/cpu:0",) and isinstance(opened.strategy, tf.distribute.OneDeviceStrategy)


def test_the_decoder_runs_on_the_cpu():
    graph = Decoder(16, "stretch")._from_bytes.graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    elsewhere = [node.name for node in nodes if node.op not in ("Placeholder", "NoOp", "Identity") and "CPU" not in node.device.upper()]
    assert len(nodes) > 100 and not elsewhere


def test_images_go_to_the_device_as_bytes_unless_they_are_augmented():
    x, y = pictures(4)
    for augment, dtype in (("none", tf.uint8), ("flip", tf.float32)):
        data = pipeline.batches(x, y, batch_size=2, shuffle=False, seed=0, augment=augmentation(augment))
        assert data.element_spec[0].dtype == dtype


# === Mixed precision ===


@pytest.mark.parametrize(("capability", "policy"), [((9, 0), "bfloat16"), ((8, 0), "bfloat16"), ((7, 5), "float16"), ((6, 1), "float16")])
def test_bfloat16_is_taken_where_the_gpu_has_it(one_gpu, capability, policy):
    one_gpu["compute_capability"] = capability
    assert precision.mixed_policy() == f"mixed_{policy}"


def test_bfloat16_is_taken_on_a_cpu():
    assert precision.mixed_policy() == "mixed_bfloat16"


def fit(policy, spec, distribution, tmp_path, monkeypatch):
    """Trains the tiny model under a dtype policy for an epoch; returns the optimizer that fitted it, and the model."""
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(policy)
        model, sections = tiny_model()
    finally:
        keras.config.set_dtype_policy(before)
    for layer in model.layers:
        if layer.name == "conv_s0":
            layer.kernel.assign(layer.kernel / 100)
    used = []
    plain = keras.Model.fit
    monkeypatch.setattr(keras.Model, "fit", lambda self, *args, **kwargs: (used.append(self.optimizer), plain(self, *args, **kwargs))[1])
    task = TaskModel(
        model=model,
        backbone=BACKBONES.get("cnn"),
        task=TASKS.get("classification"),
        target=classes("a", "b"),
        sections=sections,
        section_names=list(BLOCKS),
    )
    x, y = pictures(12)
    parts = {name: run.Examples(inputs=x[:size], y=y[:size]) for name, size in (("train", 12), ("val", 3), ("test", 3))}
    phase = Phase(name="s", unfreeze=spec, epochs=1, learning_rate=1e-3, weight_decay=0.0, warmup=0.0)
    run.run(task, [(phase, parse(spec, list(BLOCKS)))], parts, run.Options(batch_size=6, checkpoints=tmp_path, distribution=distribution))
    return used[0], model


PLACES = [("all", "one device"), ("none", "mirrored:2"), ("last:1", "one device"), ("all", "mirrored:2")]


@pytest.mark.parametrize(
    ("policy", "spec", "place"),
    [
        *(("mixed_float16", *place) for place in PLACES[:2]),
        *((policy, *PLACES[0]) for policy in ("float32", "mixed_bfloat16")),
        *(pytest.param("mixed_float16", *place, marks=pytest.mark.slow) for place in PLACES[2:]),
        *(pytest.param(policy, *place, marks=pytest.mark.slow) for policy in ("float32", "mixed_bfloat16") for place in PLACES[1:]),
    ],
)
def test_the_loss_is_scaled_wherever_layers_compute_in_float16(policy, spec, place, tmp_path, monkeypatch):
    distribution = ONE_DEVICE if place == "one device" else open_distribution(place)
    optimizer, model = fit(policy, spec, distribution, tmp_path, monkeypatch)
    assert not model.compiled and "AdamW" not in model.to_json()  # what is saved needs no class of tlkeras to be read
    # A frozen backbone leaves a head that computes in float16 too.
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    assert all(np.isfinite(weight.numpy()).all() for weight in model.weights)


def test_an_overflow_on_any_replica_skips_the_step_on_all():
    strategy = open_distribution("mirrored:2").strategy

    def overflowing():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return gradients.overflowing_together([tf.where(replica == 1, float("inf"), tf.ones((2,))), None])[0]

    values = strategy.experimental_local_results(strategy.run(tf.function(overflowing)))
    assert all(not np.isfinite(value.numpy()).any() for value in values)


def test_gradients_that_are_finite_everywhere_are_left_alone():
    strategy = open_distribution("mirrored:2").strategy
    values = strategy.experimental_local_results(strategy.run(tf.function(lambda: gradients.overflowing_together([tf.ones((2,))])[0])))
    assert all(value.numpy().tolist() == [1.0, 1.0] for value in values)


# === TF32 ===


def rounded(value):
    """Returns float32 numbers with the 10 bits of mantissa that TF32 keeps."""
    return (value.view("uint32") + np.uint32(1 << 12) & np.uint32(0xFFFFE000)).view("float32")


@pytest.fixture
def traced(monkeypatch):
    """A traced model whose outputs are as rough as an Ampere GPU makes them while TensorFlow may use TF32, and samples."""
    model, _ = tiny_model()
    graph = Graph(model, ExportSpec(labels=("a", "b", "c")))
    network = graph.network

    def on_ampere(*given):
        answers = network(*given)
        if not tf.config.experimental.tensor_float_32_execution_enabled():
            return answers
        return {name: tf.constant(rounded(rounded(value.numpy()) * np.float32(1.003))) for name, value in answers.items()}

    monkeypatch.setattr(Graph, "network", property(lambda self: on_ampere))
    x, _ = pictures(4)
    yield graph, Samples(inputs={"image": x.astype("float32")}), network
    assert tf.config.experimental.tensor_float_32_execution_enabled()  # left as it was


def verified(graph, samples, network, tmp_path, monkeypatch):
    expected = parity.reference(graph, samples, None)
    monkeypatch.setattr(Graph, "network", property(lambda self: network))  # the file holds the network itself
    row, path = FORMATS.get("onnx"), tmp_path / "model.onnx"
    write(graph, path, row.options())
    return check(row, path, samples, expected, graph.interface)


def test_the_reference_is_computed_in_float32_where_the_device_has_tf32(traced, tmp_path, monkeypatch):
    assert verified(*traced, tmp_path, monkeypatch).relative_diff < 1e-5


def test_a_reference_in_tf32_fails_verification(traced, tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "tensor_float32", lambda enabled: contextlib.nullcontext())
    with pytest.raises(ExportMismatch, match="the outputs differ by"):
        verified(*traced, tmp_path, monkeypatch)


def test_the_process_that_verifies_multiplies_in_float32_and_takes_no_more_gpu_memory_than_it_needs(tmp_path, monkeypatch):
    spy = tmp_path / "runner.py"
    spy.write_text(
        "import json, os, sys, numpy as np\n"
        "job = json.loads(sys.stdin.readline())\n"
        "np.savez(job['answers'])\n"
        "names = ('NVIDIA_TF32_OVERRIDE', 'TF_FORCE_GPU_ALLOW_GROWTH')\n"
        "print(json.dumps({name: os.environ.get(name) for name in names}), flush=True)\n"
    )
    monkeypatch.setattr(processes, "RUNNER", spy)
    graph = Graph(tiny_model()[0], ExportSpec())
    with Verifier(Samples(inputs={"image": np.zeros((3, 16, 16, 3))}), graph.interface) as verifier:
        _, environment = verifier.outputs(verifier.start(FORMATS.get("onnx"), tmp_path))
    assert environment == {"NVIDIA_TF32_OVERRIDE": "0", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def test_steps_may_use_tf32_while_features_and_scores_never_do(tmp_path, monkeypatch):
    seen = {"fit": set(), "other": set()}
    plain_fit, plain_predict = keras.Model.fit, keras.Model.predict_on_batch
    allowed = tf.config.experimental.tensor_float_32_execution_enabled

    def watched_fit(self, *args, **kwargs):
        seen["fit"].add(allowed())
        return plain_fit(self, *args, **kwargs)

    def watched_predict(self, *args, **kwargs):
        seen["other"].add(allowed())
        return plain_predict(self, *args, **kwargs)

    monkeypatch.setattr(keras.Model, "fit", watched_fit)
    monkeypatch.setattr(keras.Model, "predict_on_batch", watched_predict)
    model, sections = tiny_model()
    task = TaskModel(
        model=model,
        backbone=BACKBONES.get("cnn"),
        task=TASKS.get("classification"),
        target=classes("a", "b"),
        sections=sections,
        section_names=list(BLOCKS),
    )
    x, y = pictures(9)
    parts = {name: run.Examples(inputs=x[:size], y=y[:size]) for name, size in (("train", 9), ("val", 3), ("test", 3))}
    phase = Phase(name="s", unfreeze="none", epochs=1, learning_rate=1e-3)
    for tf32 in (True, False):
        run.run(task, [(phase, parse("none", list(BLOCKS)))], parts, run.Options(checkpoints=tmp_path, tf32=tf32))
        assert seen["fit"] == {tf32} and seen["other"] == {False}
        seen["fit"].clear()


@pytest.mark.parametrize("compute", [lambda model, x: keras_scores(model, x), precision_gap], ids=["scores", "gap"])
def test_what_artifacts_are_compared_with_is_never_computed_in_tf32(compute, monkeypatch):
    allowed = []
    plain = keras.Model.predict_on_batch

    def watched(self, *args):
        allowed.append(tf.config.experimental.tensor_float_32_execution_enabled())
        return plain(self, *args)

    monkeypatch.setattr(keras.Model, "predict_on_batch", watched)
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        model, _ = tiny_model()
    finally:
        keras.config.set_dtype_policy(before)
    compute(model, pictures(2)[0])
    assert allowed and not any(allowed)


def test_a_run_records_the_gpu_and_whether_its_products_are_tf32(one_gpu):
    model, _ = tiny_model()
    assert precision.record(model, tf32=True) == {"compute_dtype": "float32", "tf32": True, "gpus": ["NVIDIA H100 80GB HBM3"]}
    assert precision.describe(precision.record(model, tf32=True)) == "training in float32, products in TF32, on NVIDIA H100 80GB HBM3"
    one_gpu["compute_capability"] = (7, 5)  # a T4 has no TF32
    assert precision.record(model, tf32=True)["tf32"] is False
    assert json.dumps(precision.record(model, tf32=False))
