"""Small text networks in the layout of KerasHub presets, and texts to train them on."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import outputs
from tlkeras.data.examples import Example, make_dataset
from tlkeras.modalities.texts.tokens import load as load_tokens
from tlkeras.weights.keras_file import read_keras

WORDS = "the a film plot cast is was good great fine bad poor dull very so and but not it this".split()
GOOD, BAD = ("good", "great", "fine"), ("bad", "poor", "dull")


def sentences(n=120, seed=0):
    """Returns n short reviews, whose one adjective tells their class, and the classes."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(n):
        mood = GOOD if index % 2 else BAD
        words = [str(one) for one in rng.choice(["the", "a", "film", "plot", "cast", "is", "was", "very", "so"], rng.integers(1, 9))]
        words.insert(int(rng.integers(0, len(words) + 1)), str(rng.choice(mood)))
        found.append((" ".join(words), "positive" if index % 2 else "negative"))
    return found


def reviews(n=120, seed=0):
    """Returns the same as a dataset."""
    return make_dataset("reviews", [Example(id=f"{i}", label=y, text=x) for i, (x, y) in enumerate(sentences(n, seed))])


STRANGE = [
    "",
    " ",
    "\t\n",
    "x" * 2000,
    "😀 日本語 text",
    "a\x00b",
    "[CLS] hi <s>",
    "Wörld ÜN é",
    "nb\u00a0sp\u3000x",
    "don't—stop…",
    "good " * 60,
]


def check_raw_strings(result):
    """A SavedModel answers strange texts as the model does: one alone, all together, none; what is too long is cut."""
    model, tokens = read_keras(result.run.model), load_tokens(result.run.root / "tokenizer")
    serve = tf.saved_model.load(str(result.run.exports / "saved_model")).signatures["serving_default"]
    assert len(tokens(STRANGE)[0]) == tokens.length  # the long ones are longer than that
    expected = outputs(model, tokens(STRANGE))
    together = serve(text=tf.constant([one.encode() for one in STRANGE]))
    np.testing.assert_allclose(together["scores"], expected, atol=1e-5)
    labels = (result.run.root / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert [one.decode() for one in together["label"].numpy()] == [labels[one] for one in expected.argmax(axis=1)]
    for index in (0, 4, 5, len(STRANGE) - 1):
        alone = serve(text=tf.constant([STRANGE[index].encode()]))["scores"]
        np.testing.assert_allclose(alone, expected[index : index + 1], atol=1e-5)
    assert serve(text=tf.constant([], tf.string))["scores"].shape == (0, len(labels))


SIZES = {"num_layers": 2, "hidden_dim": 16, "intermediate_dim": 32, "max_sequence_length": 32}
EXTRA = {  # None: not told
    "FNet": {"num_heads": None},
    "T5": {"max_sequence_length": None},
    "Gemma": {"max_sequence_length": None, "num_heads": None, "num_query_heads": 2, "num_key_value_heads": 1, "head_dim": 8},
    "Albert": {"num_groups": 1, "num_inner_repetitions": 1, "embedding_dim": 8},
    "Electra": {"embedding_dim": 8},
    "DebertaV3": {"bucket_size": 8},
}


LETTERS = [chr(one) for one in range(33, 127)]


def word_piece():
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *LETTERS, *(f"##{one}" for one in LETTERS)]
    return {"vocabulary": list(dict.fromkeys(pieces))}


def byte_pair(specials):
    from keras_hub.src.tokenizers.byte_pair_tokenizer import bytes_to_unicode

    tokens = list(dict.fromkeys([*specials, *bytes_to_unicode()[1], "Ġg", "oo", "Ġb"]))
    return {"vocabulary": {token: i for i, token in enumerate(tokens)}, "merges": ["Ġ g", "o o", "Ġ b"]}


def sentence_piece(specials):
    import sentencepiece

    model = io.BytesIO()
    lines = (" ".join(WORDS) + " " + text for text, _ in sentences(200, seed=1))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=44, model_type="unigram", minloglevel=2, **specials
    )
    return {"proto": model.getvalue()}


ALBERT = {
    "pad_id": 0,
    "unk_id": 1,
    "bos_id": 2,
    "eos_id": 3,
    "pad_piece": "<pad>",
    "unk_piece": "<unk>",
    "bos_piece": "[CLS]",
    "eos_piece": "[SEP]",
    "user_defined_symbols": "[MASK]",
}
DEBERTA = {**ALBERT, "bos_id": 1, "eos_id": 2, "unk_id": 3, "pad_piece": "[PAD]", "unk_piece": "[UNK]"}
T5 = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "pad_piece": "<pad>", "eos_piece": "</s>", "unk_piece": "<unk>"}
GEMMA = {**T5, "eos_id": 1, "bos_id": 2, "unk_id": 3, "eos_piece": "<eos>", "bos_piece": "<bos>"}
XLM = {"unk_id": 0, "bos_id": 1, "eos_id": 2}
VOCABULARIES = {
    "Bert": word_piece,
    "DistilBert": word_piece,
    "Electra": word_piece,
    "Roberta": lambda: byte_pair(["<s>", "<pad>", "</s>", "<mask>"]),
    "GPT2": lambda: byte_pair(["<|endoftext|>"]),
    "OPT": lambda: byte_pair(["<pad>", "</s>", "<s>", "<mask>"]),
    "Albert": lambda: sentence_piece(ALBERT),
    "FNet": lambda: sentence_piece(ALBERT),
    "DebertaV3": lambda: sentence_piece(DEBERTA),
    "T5": lambda: sentence_piece(T5),
    "Gemma": lambda: sentence_piece(GEMMA),
    "XLMRoberta": lambda: sentence_piece(XLM),
}
# The other families with the same kinds of tokenisers (word pieces, byte pairs, SentencePiece) are slow.
QUICK = ("Bert", "GPT2", "Albert")


def families(apps=VOCABULARIES):
    """Returns families as parameters: one of each kind of tokeniser by default, all of them among the slow tests."""
    return [app if app in QUICK else pytest.param(app, marks=pytest.mark.slow) for app in apps]


def preset(app, folder):
    """Writes a small random network of a KerasHub class with a small vocabulary, as `save_to_preset` does."""
    import keras_hub

    keras.utils.set_random_seed(0)
    tokenizer = getattr(keras_hub.models, f"{app}Tokenizer")(**VOCABULARIES[app]())
    sizes = {**SIZES, "vocabulary_size": tokenizer.vocabulary_size(), "num_heads": 2, **EXTRA.get(app, {})}
    sizes = {name: size for name, size in sizes.items() if size is not None}
    if app == "Electra":
        sizes["vocab_size"] = sizes.pop("vocabulary_size")
    backbone = getattr(keras_hub.models, f"{app}Backbone")(**sizes)
    backbone.save_to_preset(str(folder))
    tokenizer.save_to_preset(str(folder))
    return folder


@pytest.fixture(scope="session")
def presets(tmp_path_factory):
    """Returns a function: KerasHub class -> folder of a small preset, made once."""
    made = {}

    def get(app):
        if app not in made:
            made[app] = preset(app, tmp_path_factory.mktemp("presets") / app)
        return str(made[app])

    return get
