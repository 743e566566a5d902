"""Weights of other libraries: `.pth` and `.safetensors` give the same network as PyTorch has, or are refused."""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.helpers import outputs
from tests.weights.golden.filling import filled, picture
from tlkeras.backbones import load as loading
from tlkeras.backbones.registry import BACKBONES
from tlkeras.errors import WeightsMismatch
from tlkeras.registry import load_function
from tlkeras.weights import formats as files
from tlkeras.weights import layouts, safetensors_file, torch_pickle

GOLDEN = Path(__file__).parent / "golden"
FIGURES = json.loads((GOLDEN / "torch.json").read_text())
NUMBERS = json.loads((GOLDEN / "checkpoints.json").read_text())
QUICK = ("resnet18_torch", "mobilenet_v2_torch,timm", "efficientnet_lite0,timm")
NETWORKS = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in FIGURES if name not in QUICK)]


def saved(tmp_path, name, change=lambda entries: entries):
    """A `.safetensors` file of the network that the golden figures are of."""
    save_file(change(filled(FIGURES[name]["entries"])), tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def without(*names):
    return lambda entries: {name: value for name, value in entries.items() if not name.startswith(names)}


# === The same network ===


@pytest.mark.parametrize("name", NETWORKS)
def test_a_checkpoint_gives_the_features_that_torch_computes(tmp_path, name):
    golden = FIGURES[name]
    base = loading.load(name.partition(",")[0], image_size=golden["size"], weights=str(saved(tmp_path, name)))
    got = outputs(base.model, picture()).mean(axis=(1, 2))[0, :64]
    scale = np.abs(golden["features"]).max()
    np.testing.assert_allclose(got, golden["features"], atol=2e-4 * scale)
    # The files of whole networks hold the classifier; nobody is left to guess what became of it.
    (note,) = base.notes if not name.startswith("vgg") else ("classifier",)
    assert "classifier" in note
    keras.backend.clear_session()


def test_densenet_is_read_with_the_names_of_its_published_file(tmp_path):
    layout = layouts.LAYOUTS.get("torchvision_densenet")
    modern = FIGURES["densenet121"]["entries"]
    dotted = {name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): np.zeros(1) for name in modern}
    renamed = layouts.named(layout, dotted)
    assert renamed.keys() == {name for name in modern if not name.endswith("num_batches_tracked")}


WITH_LAYOUT = [row for row in BACKBONES if row.layouts]
SMALLEST = {
    min((row for row in WITH_LAYOUT if row.family == family), key=lambda row: row.params).name for family in {r.family for r in WITH_LAYOUT}
}
LAID_OUT = [
    pytest.param(row, id=row.name, marks=[] if row.name in SMALLEST and row.params < 5e6 else pytest.mark.slow) for row in WITH_LAYOUT
]


@pytest.mark.parametrize("row", LAID_OUT)
def test_every_layout_of_a_row_names_each_variable_once(row):
    model = load_function(row.builder)(row, row.min_size)
    for name in row.layouts:
        found = layouts.expected(layouts.LAYOUTS.get(name), list(files.leaves(model)))
        assert len(found) == len({id(variable) for variable, _ in found.values()}) == len(model.weights)


def test_the_wheels_checkpoint_is_read_by_its_layout_and_says_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKERAS_CACHE", str(tmp_path))
    base = loading.load("efficientnet_lite0", image_size=64)
    assert base.notes == () and float(np.abs(base.model.weights[0].numpy()).max()) > 0


# === Refused, with what differs ===


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (without("layer2.0.conv1"), [r"- layer2_0_conv1/kernel <- layer2.0.conv1.weight (128, 64, 3, 3)  only in the backbone"]),
        (lambda entries: {**entries, "aux.weight": np.zeros((2, 2), "float32")}, ["+ aux.weight (2, 2)  only in the file"]),
        (lambda entries: {**entries, "bn1.bias": np.zeros(3, "float32")}, ["! stem_bn/beta <- bn1.bias (64,)  in the file bn1.bias (3,)"]),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_told_entry_by_entry(tmp_path, change, lines):
    path = saved(tmp_path, "resnet18_torch", change)
    with pytest.raises(WeightsMismatch) as told:
        loading.load("resnet18_torch", image_size=32, weights=str(path))
    assert "1 difference;" in str(told.value)
    for line in lines:
        assert line in str(told.value)


def test_the_list_of_a_wrong_network_is_short(tmp_path):
    path = saved(tmp_path, "resnet18_torch")
    with pytest.raises(WeightsMismatch) as told:
        loading.load("resnet34_torch", image_size=32, weights=str(path))
    told = str(told.value).splitlines()
    assert len(told) == 12 and told[-1].strip().startswith("and ") and all(line.strip()[0] in "-+!" for line in told[1:-1])


def test_a_row_without_a_layout_names_those_that_have_one(tmp_path):
    path = saved(tmp_path, "resnet18_torch")
    with pytest.raises(WeightsMismatch, match="resnet50 accepts no PyTorch checkpoints.*resnet"):
        loading.load("resnet50", image_size=32, weights=str(path))


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth"])
def test_a_lone_file_is_no_text_backbone(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(WeightsMismatch, match=r"needs a folder, because config.json and the vocabulary"):
        loading.load("bert", weights=str(tmp_path / name))


# === The format of PyTorch ===


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth", "training.pth", "training_legacy.pth"])
def test_what_torch_saves_is_read(name):
    found = torch_pickle.read(GOLDEN / name)
    expected = {key: value for key, value in NUMBERS.items() if not name.startswith("training") or key[0].isdigit() or key == "turned"}
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(np.asarray(found[key], "float32"), np.array(value, "float32"), rtol=1e-6)


@pytest.mark.parametrize(("name", "message"), [("module.pth", r"torch\.nn\.modules.*state_dict\(\) alone"), ("script.pt", "TorchScript")])
def test_what_is_more_than_tensors_is_refused(name, message):
    with pytest.raises(WeightsMismatch, match=message):
        torch_pickle.read(GOLDEN / name)


def archive(tmp_path, data, *, members=None, compress=zipfile.ZIP_STORED):
    """An archive as torch.save writes it, with a pickle of one's own."""
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w", compress) as out:
        out.writestr("x/data.pkl", data)
        for name, content in (members or {}).items():
            out.writestr(name, content)
    return path


def tensor(shape, strides, *, size=4, offset=0, key="0"):
    """The pickle of {"w": tensor}, written by hand in the opcodes that PyTorch's pickles have."""

    def number(value):
        return b"J" + int(value).to_bytes(4, "little", signed=True)

    def text(value):
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    def tuple_of(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + number(size) + b"tQ"
    built = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + tuple_of(shape) + tuple_of(strides) + b"\x89}tR"
    return b"\x80\x02}" + text("w") + built + b"s."


def test_a_tensor_written_by_hand_is_read(tmp_path):
    numbers = np.arange(4, dtype="<f4").tobytes()
    path = archive(tmp_path, tensor((2, 2), (1, 2)), members={"x/data/0": numbers, "x/byteorder": "little"})
    np.testing.assert_array_equal(torch_pickle.read(path)["w"], [[0, 2], [1, 3]])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": tensor((3, 3), (3, 1))}, "beyond its storage"),
        ({"data": tensor((2,), (1,), offset=-1)}, "beyond its storage"),
        ({"data": tensor((2,), (-1,), offset=1)}, "beyond its storage"),
        ({"data": tensor((100000, 100000), (0, 0))}, "beyond its storage"),  # one number, forty gigabytes
        ({"data": tensor((2,), (1,), size=1 << 28)}, "not a complete"),
        ({"data": tensor((2,), (1,), key="../../secret")}, "not a complete"),
        ({"data": b"\x80\x02cposix\nsystem\n(X\x04\x00\x00\x00truetR."}, "posix.system"),
        ({"data": b"\x80\x02cbuiltins\neval\n."}, "builtins.eval"),
        ({"data": b"\x80\x02]."}, "contains a list"),
        ({"data": b"\x80\x02}."}, "no named tensors"),
        ({"data": tensor((2,), (1,))[:40]}, "not a complete"),
        ({"data": tensor((2,), (1,)), "byteorder": "big"}, "big-endian"),
    ],
)
def test_an_archive_that_lies_is_refused(tmp_path, given, message):
    members = {"x/data/0": np.zeros(4, "<f4").tobytes(), "x/byteorder": given.get("byteorder", "little")}
    with pytest.raises(WeightsMismatch, match=message):
        torch_pickle.read(archive(tmp_path, given["data"], members=members))


def built(state_of, state):
    """The pickle of {"w": tensor} in which something has its state set: BUILD, as a `__reduce__` with a state writes it."""
    whole = tensor((2,), (1,))
    return whole.replace(state_of, state_of + state + b"b", 1)


STATES = [
    b"(J\x03\x00\x00\x00X\x01\x00\x00\x00<NNNJ\x04\x00\x00\x00J\x40\x00\x00\x00J\x40\x00\x00\x00t",  # of a NumPy data type: another item size and flags
    b"}X\x01\x00\x00\x00aJ\x01\x00\x00\x00s",  # attributes
    b"(N}X\x0c\x00\x00\x00__defaults__Nst",  # slots
]


@pytest.mark.parametrize("state", STATES, ids=["of a data type", "attributes", "slots"])
@pytest.mark.parametrize(
    "state_of",
    [b"ctorch\nFloatStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"tQ", b"\x89}tR"],
    ids=["a data type", "a function", "a storage", "a tensor"],
)
def test_a_checkpoint_that_sets_the_state_of_something_is_refused_and_changes_nothing(tmp_path, state_of, state):
    members = {"x/data/0": np.arange(4, dtype="<f4").tobytes(), "x/byteorder": "little"}
    before = [(one.itemsize, one.flags, one.alignment) for one in torch_pickle.STORAGES.values()]
    with pytest.raises(WeightsMismatch, match="not a complete PyTorch checkpoint"):
        torch_pickle.read(archive(tmp_path, built(state_of, state), members=members))
    assert [(one.itemsize, one.flags, one.alignment) for one in torch_pickle.STORAGES.values()] == before


def test_a_state_dict_with_metadata_is_read(tmp_path):
    ordered = b"\x80\x02ccollections\nOrderedDict\n)R" + tensor((2,), (1,))[3:-1]
    data = ordered + b"}X\x09\x00\x00\x00_metadata}sX\x03\x00\x00\x00getNsb."
    members = {"x/data/0": np.arange(4, dtype="<f4").tobytes(), "x/byteorder": "little"}
    np.testing.assert_array_equal(torch_pickle.read(archive(tmp_path, data, members=members))["w"], [0, 1])


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path):
    path = archive(tmp_path, tensor((2,), (1,)), members={"x/data/0": bytes(10_000_000)}, compress=zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsMismatch, match="overlap or are compressed"):
        torch_pickle.read(path)


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth"])
def test_a_checkpoint_cut_short_anywhere_is_refused(tmp_path, name):
    whole = (GOLDEN / name).read_bytes()
    for end in range(0, len(whole) - 1, 97):
        (tmp_path / "cut.pth").write_bytes(whole[:end])
        with pytest.raises(WeightsMismatch):
            torch_pickle.read(tmp_path / "cut.pth")


# === safetensors ===


def test_an_index_gives_the_tensors_of_all_its_files(tmp_path):
    save_file({"module.a": np.ones(2, "float32")}, tmp_path / "1.safetensors")
    save_file({"b": np.zeros(3, "float16")}, tmp_path / "2.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"module.a": "1.safetensors", "b": "2.safetensors"}}))
    assert {name: value.shape for name, value in safetensors_file.read(index).items()} == {"a": (2,), "b": (3,)}


@pytest.mark.parametrize("places", [{"a": "../out.safetensors"}, {"a": "gone.safetensors"}, {"a": 3}, ["a"], 7])
def test_an_index_that_leaves_its_folder_is_refused(tmp_path, places):
    (tmp_path / "in").mkdir()
    save_file({"a": np.ones(2, "float32")}, tmp_path / "out.safetensors")
    index = tmp_path / "in" / "m.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(WeightsMismatch, match=r"in the same folder|not an index"):
        safetensors_file.read(index)


def test_a_safetensors_file_cut_short_is_refused(tmp_path):
    save_file({"a": np.ones(200, "float32")}, tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    for end in (4, 20, len(whole) - 8):
        (tmp_path / "cut.safetensors").write_bytes(whole[:end])
        with pytest.raises(WeightsMismatch, match="not a complete safetensors"):
            safetensors_file.read(tmp_path / "cut.safetensors")
