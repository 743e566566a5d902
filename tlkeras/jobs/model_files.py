"""Model files that tlkeras did not write: how their kind is detected, and how they are read without running code inside them."""

from __future__ import annotations

import importlib
import inspect
import io
import json
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import tensorflow as tf
from keras.src.saving import serialization_lib

from tlkeras.errors import ConfigError, ExportError, reason
from tlkeras.export import safety
from tlkeras.export.quiet import quiet_converters
from tlkeras.jobs.lookup import MODEL, model_kind
from tlkeras.weights.keras_file import read_keras

CONFIG, METADATA = "config.json", "metadata.json"


def read(path: str | Path, *, trust: bool = False, modules: Sequence[str] = ()) -> keras.Model:
    """Reads a Keras model file or a SavedModel. The content decides which it is, not the name.

    Args:
        path: path of the file or folder.
        trust: whether code inside it may run, and a SavedModel may touch files.
        modules: modules to import first.

    Raises:
        ConfigError: when it contains code and is not trusted, or a module cannot be imported.
        ExportError: when it cannot be read.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise ExportError(f"no model {str(path)!r}; expected {MODEL}")
    kind = model_kind(path)
    _import(modules)
    if kind == "saved_model":
        return _from_saved_model(path, trust=trust)
    try:
        return (_from_zip if kind == "zip" else _from_hdf5)(path, trust=trust)
    except (ConfigError, ExportError):
        raise
    except Exception as error:  # Keras raises many kinds
        raise _explained(path, error) from error


def _import(modules: Sequence[str]) -> None:
    for name in modules:
        if "" not in sys.path:
            sys.path.insert(0, "")
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(f"cannot import {name!r}: {error}") from error


def _explained(path: Path, error: Exception) -> Exception:
    text, why = str(error), reason(error)
    if "ambda" in text and ("unsafe" in text or "safe_mode" in text):
        return ConfigError(
            f"{str(path)!r} contains a Lambda layer, which is Python code that would run here; replace it with a layer class, "
            "or pass --trust if you know who wrote the file"
        )
    if "OpLambda" in why:  # TFOpLambda, SlicingOpLambda
        return ExportError(
            f"{str(path)!r} calls TensorFlow functions between its layers; only Keras 2 can read these from such files; "
            "save it there as a SavedModel with model.save(FOLDER), and export that"
        )
    if "Could not locate class" in text or "not registered" in text or "Unknown layer" in text:
        why = re.split(r"\.? (?:Please ensure|Make sure)", why)[0]
        return ExportError(f"{str(path)!r} has custom layers: {why}; name the module that registers them with --import MODULE")
    return ExportError(f"cannot read {str(path)!r}: {why}")


# === Keras files ===


def _from_zip(path: Path, *, trust: bool) -> keras.Model:
    """Reads a `.keras` file, or a copy with a config that the installed Keras accepts."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if CONFIG not in names:
                raise ExportError(f"cannot read {str(path)!r}: it is a ZIP archive without {CONFIG}, not a Keras model; expected {MODEL}")
            config = json.loads(archive.read(CONFIG))
            version = json.loads(archive.read(METADATA)).get("keras_version", "") if METADATA in names else ""
    except (zipfile.BadZipFile, OSError, ValueError, AttributeError) as error:
        raise ExportError(f"cannot read {str(path)!r}: {reason(error)}") from error
    changed = accepted(config, str(version), path)
    if not changed and path.suffix == ".keras":
        return _load_zip(path, trust)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.keras"
        if changed:
            _with_config(path, copy, config)
        else:
            shutil.copyfile(path, copy)
        return _load_zip(copy, trust)


def _load_zip(path: Path, trust: bool) -> keras.Model:
    return keras.saving.load_model(path, compile=False, safe_mode=False) if trust else read_keras(path)


def _with_config(path: Path, copy: Path, config: Any) -> None:
    """Copies a `.keras` file with another config."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as changed:
        for info in archive.infolist():
            if info.filename == CONFIG:
                changed.writestr(CONFIG, json.dumps(config))
            else:
                with archive.open(info) as source, changed.open(info.filename, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target)


def _from_hdf5(path: Path, *, trust: bool) -> keras.Model:
    """Reads a file of Keras 2, in memory, so that its config can be changed to what the installed Keras accepts."""
    from keras.src.legacy.saving import legacy_h5_format

    if not trust and serialization_lib.in_safe_mode() is False:
        raise ConfigError("Keras' unsafe deserialisation is switched on in this process; switch it off to read an HDF5 file")
    with h5py.File(io.BytesIO(path.read_bytes()), "r+") as file:
        text = file.attrs.get("model_config")
        if text is None:
            raise ExportError(
                f"cannot read {str(path)!r}: it contains weights without their model; load them into the model and save the whole model, "
                "model.save('model.keras')"
            )
        config = json.loads(text)
        version = file.attrs.get("keras_version", "2")
        if accepted(config, version.decode() if isinstance(version, bytes) else str(version), path):
            file.attrs["model_config"] = json.dumps(config)
        return legacy_h5_format.load_model_from_hdf5(file, compile=False, safe_mode=not trust)


# === What the installed Keras accepts ===


@dataclass(frozen=True, kw_only=True)
class Argument:
    """An argument that one version of Keras writes into a layer's config and another does not accept.

    Args:
        layers: pattern of the class names.
        name: pattern of the argument's name.
        inert: whether a value changes nothing at inference.
    """

    layers: str
    name: str
    inert: Callable[[Any], bool]


def _always(value: Any) -> bool:
    return True


def _off(value: Any) -> bool:
    return value in (None, False)


RECURRENT = r"(RNN|SimpleRNN|GRU|LSTM|ConvLSTM\dD|StackedRNNCells|Bidirectional)(V2|Cell)?"
ARGUMENTS = (
    # Keras 2 gave DepthwiseConv2D the `groups` of Conv2D, of which it made no use.
    Argument(layers=r"(Depthwise|Separable)Conv\dD(Transpose)?|Conv\dDTranspose", name="groups", inert=lambda value: value in (None, 1)),
    # Augmentation passes images through at inference.
    Argument(layers=r"Random\w+|AutoContrast|CutMix|MixUp|RandAugment|AugMix", name="value_range", inert=_always),
    Argument(layers=r"Random\w+", name="rng_type", inert=_always),
    Argument(layers=r"Random\w+", name="data_format", inert=lambda value: value in (None, "channels_last")),
    # For training: where weights begin, and what holds them back.
    Argument(layers=r"\w+", name=r"\w+_(initializer|regularizer|constraint)", inert=_always),
    # Said by the input layer too.
    Argument(layers=r"(?!InputLayer)\w+", name="batch_input_shape", inert=_always),
    # How it is computed, not what.
    Argument(layers=RECURRENT, name="implementation", inert=_always),
    Argument(layers=RECURRENT, name="time_major", inert=_off),
    Argument(layers=r"(Sync)?BatchNormalization(V1|V2)?", name="fused", inert=_always),
    Argument(layers=r"(Sync)?BatchNormalization(V1|V2)?", name="renorm", inert=_off),
    Argument(layers=r"(Sync)?BatchNormalization(V1|V2)?", name="virtual_batch_size", inert=_off),
    Argument(layers=r"(Sync)?BatchNormalization(V1|V2)?", name="adjustment", inert=_off),
    Argument(layers="InputLayer", name="ragged", inert=_off),
    Argument(layers="InputLayer", name="type_spec", inert=_off),
    Argument(layers="InputLayer", name="optional", inert=_off),
    Argument(layers="Embedding", name="input_length", inert=_always),
    Argument(layers="(MultiHead|GroupedQuery|GroupQuery|Additive)?Attention", name="seed", inert=_always),
    Argument(layers=r"\w+", name="quantization_config", inert=_off),
    Argument(layers=r"\w+", name="lora_rank", inert=_off),
    Argument(layers=r"\w+", name="lora_alpha", inert=_off),
)


def accepted(config: Any, version: str, path: Path) -> bool:
    """Changes a config to what the installed Keras accepts, where that changes nothing at inference; whether anything was changed.

    Args:
        config: of a model, as JSON has it; changed in place.
        version: of the Keras that wrote it.
        path: of the file, for messages.

    Raises:
        ExportError: when an argument is not accepted and not inert; the message names it and its layer.
    """
    changed = False
    for layer in _layers(config):
        changed |= _without_arguments(layer, path)
        if not version.startswith("3"):
            changed |= _lone_tensors(layer["config"])
            changed |= _moved(layer)
            changed |= _lone_axis(layer)
    return changed


def _layers(config: Any) -> Iterator[dict[str, Any]]:
    """Yields everything in a config that names a class and its config: models, layers, and what they hold."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str) and isinstance(config.get("config"), dict):
            yield config
        for value in config.values():
            yield from _layers(value)
    elif isinstance(config, list):
        for value in config:
            yield from _layers(value)


def _without_arguments(layer: dict[str, Any], path: Path) -> bool:
    name, config = layer["class_name"], layer["config"]
    dropped = False
    for argument, key in [(argument, key) for key in config for argument in ARGUMENTS if re.fullmatch(argument.name, key)]:
        if key not in config or not re.fullmatch(argument.layers, name) or _accepts(name, key):
            continue
        if not argument.inert(config[key]):
            raise ExportError(
                f"cannot read {str(path)!r}: layer {config.get('name', '')!r} ({name}) has {key}={config[key]!r}, which "
                f"Keras {keras.__version__} does not accept and which changes what the layer computes; with the Keras version that wrote the model, save it "
                "as a SavedModel: model.export(FOLDER), in Keras 2 model.save(FOLDER)"
            )
        del config[key]
        dropped = True
    return dropped


def _accepts(name: str, argument: str) -> bool:
    """Whether the constructor of a Keras layer, or one of its bases, names an argument; True for classes that Keras does not know."""
    layer = getattr(keras.layers, name, None)
    if layer is None:
        return True
    return any(argument in inspect.signature(base.__init__).parameters for base in layer.__mro__ if "__init__" in vars(base))


def _lone_tensors(config: dict[str, Any]) -> bool:
    """Makes the one input or output of a Keras 2 model a tensor: Keras 2 wrote a list of one for both, Keras 3 reads a list of one."""
    changed = False
    for key in ("input_layers", "output_layers"):
        value = config.get(key)
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
            config[key] = value[0]
            changed = True
    return changed


def _moved(layer: dict[str, Any]) -> bool:
    """Names the module of functional models as Keras 3 does: Keras 2 wrote its own, `keras.src.engine.functional`."""
    if not re.fullmatch(r"(tf_)?keras\..*\bengine\.(functional|training)", str(layer.get("module"))):
        return False
    layer.update(module="keras.src.models.functional", class_name="Functional", registered_name=None)
    return True


def _lone_axis(layer: dict[str, Any]) -> bool:
    """Makes the axis of a BatchNormalization a number: Keras 2 wrote a list of one."""
    axis = layer["config"].get("axis")
    if "BatchNormalization" not in layer["class_name"] or not isinstance(axis, list) or len(axis) != 1:
        return False
    layer["config"]["axis"] = axis[0]
    return True


# === SavedModels ===


class _Signature(keras.layers.Layer):
    """One signature of a SavedModel as a layer, for inference; its variables stay those of the SavedModel."""

    def __init__(self, loaded: Any, name: str):
        super().__init__(name="saved_model", trainable=False)
        self.signature = loaded.signatures[name]
        self.loaded = [loaded, loaded]  # Keras would unpack a lone trackable object

    def call(self, inputs: dict[str, Any]) -> dict[str, Any]:
        answers = self.signature(**inputs)
        return {name: answers[name] for name in self._outputs()}

    def compute_output_spec(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {name: keras.KerasTensor(tuple(one.shape), dtype=one.dtype.name, name=name) for name, one in self._outputs().items()}

    def _outputs(self) -> dict[str, Any]:
        """The outputs that are numbers; names of classes, which estimators give too, no other format has."""
        return {name: one for name, one in self.signature.structured_outputs.items() if one.dtype != tf.string}


def saved_models(model: keras.Model) -> list[Any]:
    """Returns the loaded SavedModels inside a model, whose variables must be stored with what is traced from it."""
    return [layer.loaded[0] for layer in model._flatten_layers() if isinstance(layer, _Signature)]


SIGNATURES = ("predict_tensor", "serving_default")


def _from_saved_model(path: Path, *, trust: bool) -> keras.Model:
    """Returns a SavedModel's signature of tensors as a functional model."""
    proto = safety.parse(path)
    if not trust:
        safety.check_saved_model(path)
    try:
        with quiet_converters(), _without_xla(path, proto) as folder:
            loaded = tf.saved_model.load(str(folder), tags=_tags(path, proto))
    except ExportError:
        raise
    except Exception as error:  # TensorFlow raises many kinds
        raise ExportError(f"cannot read {str(path)!r}: {reason(error)}") from error
    signature = _chosen(path, list(loaded.signatures))
    specs = loaded.signatures[signature].structured_input_signature[1]
    _check_signature(path, signature, specs, loaded.signatures[signature].structured_outputs)
    inputs = {name: keras.Input(tuple(one.shape[1:]), dtype=one.dtype.name, name=name) for name, one in specs.items()}
    try:
        return keras.Model(inputs, _Signature(loaded, signature)(inputs), name=re.sub(r"\W", "_", path.resolve().name))
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise ExportError(f"cannot use the signature {signature} of {str(path)!r}: {reason(error)}") from error


def _tags(path: Path, proto: Any) -> list[str]:
    """Returns the tags of the graph for serving; a SavedModel of TensorFlow 1 may hold one for training too."""
    graphs = [list(meta.meta_info_def.tags) for meta in proto.meta_graphs]
    if not graphs:
        raise ExportError(f"cannot read {str(path)!r}: its saved_model.pb contains no graph; it is damaged or empty")
    return next((tags for tags in graphs if "serve" in tags), graphs[0])


def _chosen(path: Path, signatures: list[str]) -> str:
    names = [name for name in SIGNATURES if name in signatures] or (signatures if len(signatures) == 1 else [])
    if not names:
        raise ExportError(f"{str(path)!r} has no signature {' or '.join(SIGNATURES)}; it has {', '.join(signatures) or 'none'}")
    return names[0]


def _check_signature(path: Path, name: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """Refuses signatures that cannot be a model of batches of numbers."""
    where = f"the signature {name} of {str(path)!r}"
    texts = [key for key, one in inputs.items() if one.dtype == tf.string]
    if texts:
        raise ExportError(f"{where} accepts texts or encoded images ({texts[0]}); expected numbers")
    if not inputs:
        raise ExportError(f"{where} accepts no input; expected a batch of numbers")
    for key, one in inputs.items():
        if one.shape.rank is None or one.shape.rank == 0:
            raise ExportError(
                f"{where} accepts {key} of {'unknown rank' if one.shape.rank is None else 'a single number'}; expected a batch"
            )
        if one.shape[0] is not None:
            raise ExportError(
                f"{where} accepts batches of exactly {one.shape[0]} ({key} is {one.shape}); save it with a free batch size, (None, …)"
            )
    numbers = {key: one for key, one in outputs.items() if one.dtype != tf.string}
    if not numbers:
        raise ExportError(f"{where} returns no numbers; expected scores")
    unknown = [key for key, one in numbers.items() if one.shape.rank is None]
    if unknown:
        raise ExportError(f"{where} returns {unknown[0]} of unknown rank; save the model with outputs of known rank")


@contextmanager
def _without_xla(path: Path, proto: Any) -> Iterator[Path]:
    """Yields the SavedModel, or a copy without the attributes that make converters leave calls no runtime has.

    What Keras compiles so are grouped convolutions; their bias is then added, not fused: see `export.graph.no_xla`.
    """
    marked = [(holder, name) for meta in proto.meta_graphs for holder in _attributed(meta.graph_def) for name in XLA if name in holder.attr]
    if not marked:
        yield path
        return
    for meta in proto.meta_graphs:
        _unfuse(meta.graph_def.node)
        for function in meta.graph_def.library.function:
            renamed = _unfuse(function.node_def)
            for key, value in function.ret.items():
                function.ret[key] = renamed.get(value, value)
    for holder, name in marked:
        del holder.attr[name]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(path, Path(folder) / "model"))
        (copy / "saved_model.pb").write_bytes(proto.SerializeToString())
        yield copy


XLA = ("_XlaMustCompile", "_noinline")


def _unfuse(nodes: Any) -> dict[str, str]:
    """Makes `BiasAdd` of what XLA was to compile an addition; returns old name of an output -> new one, in functions."""
    compiled = {node.name for node in nodes if XLA[0] in node.attr}
    added = [node for node in nodes if node.op == "BiasAdd" and node.input[0].partition(":")[0] in compiled]
    renamed = {f"{node.name}:output:0": f"{node.name}:z:0" for node in added}
    for node in added:
        node.op = "AddV2"  # channels stand last: TensorFlow's CPU has no other convolutions
        if "data_format" in node.attr:
            del node.attr["data_format"]
    for node in nodes:
        node.input[:] = [renamed.get(one, one) for one in node.input]
    return renamed


def _attributed(graph: Any) -> Iterator[Any]:
    """Yields what can have attributes: the nodes, the functions, and the nodes of the functions."""
    yield from graph.node
    for function in graph.library.function:
        yield function
        yield from function.node_def
