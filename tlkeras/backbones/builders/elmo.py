"""ELMo: characters -> convolutions -> highways -> two bidirectional LSTMs, as AllenNLP published it.

Peters et al. 2018, Deep contextualized word representations, https://arxiv.org/abs/1802.05365. KerasHub has no ELMo. Layout of
the files and every convention: allenai/allennlp, `modules/elmo.py`, `modules/elmo_lstm.py`; allenai/bilm-tf, `bilm/training.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras import initializers, layers, ops

from tlkeras.backbones import alternatives
from tlkeras.backbones.builders.hub_texts import TOKEN_IDS, TextModel
from tlkeras.backbones.row import Backbone, Sections
from tlkeras.data.reader_process import ReaderError
from tlkeras.data.trial import read_apart
from tlkeras.errors import ConfigError, WeightsMismatch, WeightsUnavailable
from tlkeras.files import read_json
from tlkeras.modalities.texts import characters
from tlkeras.modalities.texts.tokenizers import TOKENIZERS
from tlkeras.modalities.texts.tokens import Tokens
from tlkeras.weights.layers import ProjectedLSTM
from tlkeras.weights.sources import is_path

ACTIVATIONS = ("relu", "tanh")
IN_FILE = characters.KINDS - 1  # rows of the embedding in a file: the row of the filling is not there
OPTIONS, WEIGHTS = "options.json", "weights.hdf5"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of an ELMo, as in its `options.json`.

    Args:
        characters: per word, with the marks of its start and end.
        embedding: width of a character.
        filters: (width, number) of each convolution.
        activation: of the convolutions.
        highways: number of highway layers.
        layers: number of bidirectional LSTMs.
        units: width of their memory.
        projection: width of one direction's output.
        cell_clip, projection_clip: see `ProjectedLSTM`.
        skip: whether the input of the second LSTM and of those above is added to their output.
    """

    characters: int = characters.WIDTH
    embedding: int = 16
    filters: tuple[tuple[int, int], ...] = ()
    activation: str = "relu"
    highways: int = 1
    layers: int = 2
    units: int = 1024
    projection: int = 128
    cell_clip: float | None = 3.0
    projection_clip: float | None = 3.0
    skip: bool = True

    def __post_init__(self) -> None:
        counts = (self.characters, self.embedding, self.layers, self.units, self.projection, *(n for pair in self.filters for n in pair))
        if not self.filters or any(not isinstance(one, int) or one < 1 for one in counts) or self.highways < 0:
            raise ValueError(f"sizes must be whole numbers, 1 or more; got {self}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation is {self.activation!r}; expected {' or '.join(ACTIVATIONS)}")
        if max(width for width, _ in self.filters) > self.characters:
            raise ValueError(f"a filter is wider than the {self.characters} characters of a word")

    @property
    def filter_count(self) -> int:
        """Number of all filters: width of a word before it is projected."""
        return sum(number for _, number in self.filters)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns path in the HDF5 file -> shape, of every array that the network needs."""
        wide, out, gates = self.filter_count, self.projection, 4 * self.units
        shapes: dict[str, tuple[int, ...]] = {"char_embed": (IN_FILE, self.embedding)}
        for index, (width, number) in enumerate(self.filters):
            shapes |= {f"CNN/W_cnn_{index}": (1, width, self.embedding, number), f"CNN/b_cnn_{index}": (number,)}
        for index in range(self.highways):
            for gate in ("carry", "transform"):
                shapes |= {f"CNN_high_{index}/W_{gate}": (wide, wide), f"CNN_high_{index}/b_{gate}": (wide,)}
        shapes |= {"CNN_proj/W_proj": (wide, out), "CNN_proj/b_proj": (out,)}
        for direction in range(2):
            for index in range(self.layers):
                cell = _cell(direction, index)
                shapes |= {f"{cell}/W_0": (2 * out, gates), f"{cell}/B": (gates,), f"{cell}/W_P_0": (self.units, out)}
        return shapes

    @property
    def parameters(self) -> int:
        """Number of parameters of the network, the row of the filling included."""
        return sum(int(np.prod(shape)) for shape in self.shapes().values()) + self.embedding


def _cell(direction: int, layer: int) -> str:
    return f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"


def text(row: Backbone, choice: str) -> TextModel:
    """Builds an ELMo with its weights; its vocabulary are the bytes.

    Args:
        row: its row.
        choice: a folder with `options.json` and `weights.hdf5` as AllenNLP publishes them (also `…_options.json` and
            `…_weights.hdf5`), or `none` for random weights in the sizes of the row's options.

    Raises:
        WeightsUnavailable: when they are not available.
        WeightsMismatch: when the files contain something else.
        ConfigError: when the row's options do not describe a network.
    """
    if choice == "none":
        return _text_model(row, network(sizes_of(row.options), row.name))
    if not is_path(choice):
        raise WeightsUnavailable(f"{row.name} has no weights to download; {alternatives.ways(row)}")
    sizes, arrays = read(row, Path(choice).expanduser())
    elmo = network(sizes, row.name)
    fill(elmo.model, sizes, arrays)
    return _text_model(row, elmo)


# === The network ===


@dataclass(frozen=True, kw_only=True)
class Network:
    """The layers of an ELMo.

    Args:
        model: int32 character ids (batch, words, characters) -> one float32 (batch, words, 2 projections) for each layer: the
            convolutions' output twice, and what each bidirectional LSTM gives, forward beside backward. Zero in the filling.
        mask: bool (batch, words), where a word of the text is: neither filling nor the marks of start and end.
        sizes: its sizes.
    """

    model: keras.Model
    mask: Any
    sizes: Sizes


def network(sizes: Sizes, name: str) -> Network:
    """Builds the network with random weights, drawn as `bilm/training.py` draws them."""
    ids = keras.Input((None, sizes.characters), dtype="int32", name=TOKEN_IDS)
    is_word = ops.greater(ops.max(ids, axis=-1), 0)  # (batch, words)

    # === Characters ===
    x = layers.Embedding(characters.KINDS, sizes.embedding, embeddings_initializer=_uniform(1.0), name="char_embedding")(ids)
    convolutions = []
    for index, (width, number) in enumerate(sizes.filters):
        kernel = _uniform(0.05) if sizes.activation == "relu" else _normal(width * sizes.embedding)
        convolved = layers.Conv2D(number, (1, width), kernel_initializer=kernel, name=f"char_conv{index}")(x)
        # The largest over a word: (batch, words, places, filters) -> (batch, words, filters)
        convolutions.append(layers.Activation(sizes.activation, name=f"char_found{index}")(ops.max(convolved, axis=2)))
    x = layers.Concatenate(name="char_filters")(convolutions) if len(convolutions) > 1 else convolutions[0]
    for index in range(sizes.highways):
        x = _highway(x, sizes.filter_count, f"char_highway{index}")
    x = layers.Dense(sizes.projection, kernel_initializer=_normal(sizes.filter_count), name="char_projection")(x)
    x = x * ops.expand_dims(ops.cast(is_word, x.dtype), -1)

    # === LSTMs: the directions never see each other ===
    inputs, outputs = {"forward": x, "backward": x}, [layers.Concatenate(name="char_twice")([x, x])]
    for index in range(sizes.layers):
        for direction, below in inputs.items():
            above = ProjectedLSTM(
                sizes.units,
                sizes.projection,
                cell_clip=sizes.cell_clip,
                projection_clip=sizes.projection_clip,
                backward=direction == "backward",
                name=f"lstm{index}_{direction}",
            )([below, is_word])
            inputs[direction] = layers.Add(name=f"lstm{index}_{direction}_skip")([above, below]) if index and sizes.skip else above
        outputs.append(layers.Concatenate(name=f"lstm{index}")(list(inputs.values())))
    return Network(model=keras.Model(ids, outputs, name=name.replace(".", "_")), mask=_words(is_word), sizes=sizes)


def _words(is_word: Any) -> Any:
    """Returns the places that have a place before and a place behind them: all but the marks of start and end."""
    nowhere = ops.zeros_like(is_word[:, :1])
    before, behind = ops.concatenate([nowhere, is_word[:, :-1]], axis=1), ops.concatenate([is_word[:, 1:], nowhere], axis=1)
    return ops.logical_and(before, behind)


def _highway(x: Any, width: int, name: str) -> Any:
    """Srivastava et al. 2015, https://arxiv.org/abs/1505.00387; here the gate is what is let through of the transformed."""
    start = initializers.Constant(-2.0)
    gate = layers.Dense(width, "sigmoid", kernel_initializer=_normal(width), bias_initializer=start, name=f"{name}_carry")(x)
    changed = layers.Dense(width, "relu", kernel_initializer=_normal(width), name=f"{name}_transform")(x)
    return gate * changed + (1.0 - gate) * x


def _uniform(most: float) -> Any:
    return initializers.RandomUniform(-most, most)


def _normal(inputs: int) -> Any:
    return initializers.RandomNormal(stddev=inputs**-0.5)


def sections(sizes: Sizes) -> Sections:
    """Returns the sections of a network: the last convolution layer's end, then each pair of LSTMs."""
    return (("char_cnn", "char_projection"), *((f"layer{index}", f"lstm{index}_*") for index in range(sizes.layers)))


def _text_model(row: Backbone, elmo: Network) -> TextModel:
    kind = TOKENIZERS.get(row.tokenizer)
    width = elmo.sizes.characters
    start, end = characters.mark(characters.SENTENCE_START, width), characters.mark(characters.SENTENCE_END, width)
    tokens = Tokens(kind=kind, tokenizer=characters.Words(width=width), start=start, end=end, pad=0, length=row.input_size)
    return TextModel(model=elmo.model, mask=elmo.mask, tokens=tokens, sections=sections(elmo.sizes))


# === Sizes ===


def sizes_of(options: Mapping[str, Any]) -> Sizes:
    """Returns the sizes from a row's options; `filters` is WIDTHxNUMBER, joined by `+`.

    Raises:
        ConfigError: when they do not describe a network.
    """
    try:
        pairs = [one.split("x") for one in options["filters"].split("+")]
        return Sizes(
            embedding=options["embedding"],
            filters=tuple((int(width), int(number)) for width, number in pairs),
            highways=options["highways"],
            units=options["units"],
            projection=options["projection"],
        )
    except ValueError as error:
        raise ConfigError(f"the options do not describe an ELMo: {error}; for example, filters are 1x32+2x32+3x64") from error


def _sizes_in(path: Path) -> Sizes:
    try:
        options = read_json(path)
        cnn, lstm = options["char_cnn"], options["lstm"]
        return Sizes(
            characters=cnn["max_characters_per_token"],
            embedding=cnn["embedding"]["dim"],
            filters=tuple((width, number) for width, number in cnn["filters"]),
            activation=cnn["activation"],
            highways=cnn.get("n_highway") or 0,
            layers=lstm["n_layers"],
            units=lstm["dim"],
            projection=lstm["projection_dim"],
            cell_clip=lstm.get("cell_clip"),
            projection_clip=lstm.get("proj_clip"),
            skip=bool(lstm.get("use_skip_connections")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise WeightsMismatch(f"{path.name!r} is not an options file of an ELMo: {reason}; expected AllenNLP's options.json") from error


# === Files ===


def read(row: Backbone, folder: Path) -> tuple[Sizes, dict[str, np.ndarray]]:
    """Reads a folder as AllenNLP publishes it. Only arrays that the options require are read, and only from this folder.

    Args:
        row: its row, for messages.
        folder: where the files are.

    Returns:
        The sizes, and path in the file -> float32 array.

    Raises:
        WeightsUnavailable: when a file is missing.
        WeightsMismatch: when a file contains something else.
    """
    sizes = _sizes_in(_file(row, folder, OPTIONS))
    path = _file(row, folder, WEIGHTS)
    try:
        read_apart("hdf5", path)
        with h5py.File(path, "r") as file:
            return sizes, {name: _array(file, name, shape) for name, shape in sizes.shapes().items()}
    except ReaderError as error:
        raise WeightsMismatch(f"{path.name!r} cannot be read: {error}; download it again") from error
    except OSError as error:
        raise WeightsMismatch(
            f"{path.name!r} is not a complete HDF5 file ({' '.join(str(error).split())[:120]}); download it again"
        ) from error
    except ValueError as error:
        raise WeightsMismatch(f"{path.name!r} does not match its options: {error}") from error


def _file(row: Backbone, folder: Path, name: str) -> Path:
    """Returns the one file of a folder with this name, or with it behind a `_`."""
    paths = [path for path in (folder / name, *sorted(folder.glob(f"*_{name}"))) if path.is_file()]
    if len(paths) != 1:
        got = ", ".join(path.name for path in paths) or ("no such file" if folder.is_dir() else "no such folder")
        raise WeightsUnavailable(f"expected one {name} (or …_{name}) in the folder {str(folder)!r}, found {got}; {alternatives.ways(row)}")
    return paths[0]


def _array(file: h5py.File, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns an array that stands in this very file: a link could name any file of this machine."""
    entry: Any = file
    for part in name.split("/"):
        link = entry.get(part, getlink=True) if isinstance(entry, h5py.Group) else None
        if link is None:
            raise ValueError(f"it lacks {name}")
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{name} is a link to somewhere else")
        entry = entry[part]
    if not isinstance(entry, h5py.Dataset) or entry.external or entry.is_virtual or entry.dtype.kind != "f":
        raise ValueError(f"{name} is not an array of floats in this file")
    if entry.shape != shape:
        raise ValueError(f"{name} has the shape {entry.shape}, expected {shape}")
    array = entry[...].astype("float32")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains values that are not finite")
    return array


def fill(model: keras.Model, sizes: Sizes, arrays: Mapping[str, np.ndarray]) -> None:
    """Puts the arrays of a file into a network of these sizes."""
    embedding = arrays["char_embed"]
    filling = np.zeros_like(embedding[:1])  # id 0 is added: the file knows no filling of words
    values = {"char_embedding": [np.concatenate([filling, embedding])]}
    for index in range(len(sizes.filters)):
        values[f"char_conv{index}"] = [arrays[f"CNN/W_cnn_{index}"], arrays[f"CNN/b_cnn_{index}"]]
    for index in range(sizes.highways):
        for gate in ("carry", "transform"):
            values[f"char_highway{index}_{gate}"] = [arrays[f"CNN_high_{index}/W_{gate}"], arrays[f"CNN_high_{index}/b_{gate}"]]
    values["char_projection"] = [arrays["CNN_proj/W_proj"], arrays["CNN_proj/b_proj"]]
    for direction, suffix in enumerate(("forward", "backward")):
        for index in range(sizes.layers):
            cell = _cell(direction, index)
            both, bias = arrays[f"{cell}/W_0"], arrays[f"{cell}/B"].copy()
            bias[2 * sizes.units : 3 * sizes.units] += 1  # TensorFlow 1 adds it when it computes
            parts = [both[: sizes.projection], both[sizes.projection :], bias, arrays[f"{cell}/W_P_0"]]
            values[f"lstm{index}_{suffix}"] = parts
    for name, weights in values.items():
        model.get_layer(name).set_weights(weights)
