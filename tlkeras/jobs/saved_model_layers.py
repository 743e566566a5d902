"""SavedModels that tlkeras did not write, read as functional models."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tlkeras.errors import ExportError, reason
from tlkeras.export import safety
from tlkeras.export.quiet import quiet_converters


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


def read_saved_model(path: Path, *, trust: bool) -> keras.Model:
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
    texts = [key for key, tensor in inputs.items() if tensor.dtype == tf.string]
    if texts:
        raise ExportError(f"{where} accepts texts or encoded images ({texts[0]}); expected numbers")
    if not inputs:
        raise ExportError(f"{where} accepts no input; expected a batch of numbers")
    for key, tensor in inputs.items():
        if tensor.shape.rank is None or tensor.shape.rank == 0:
            raise ExportError(
                f"{where} accepts {key} of {'unknown rank' if tensor.shape.rank is None else 'a single number'}; expected a batch"
            )
        if tensor.shape[0] is not None:
            raise ExportError(
                f"{where} accepts batches of exactly {tensor.shape[0]} ({key} is {tensor.shape}); save it with a free batch size, (None, …)"
            )
    numbers = {key: tensor for key, tensor in outputs.items() if tensor.dtype != tf.string}
    if not numbers:
        raise ExportError(f"{where} returns no numbers; expected scores")
    unknown = [key for key, tensor in numbers.items() if tensor.shape.rank is None]
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
