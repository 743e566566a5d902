"""A planted word and a planted step: maps of texts and sequences find them, depend on the weights, and beat random maps."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers
from scipy.stats import spearmanr

from tests.explain.conftest import TARGET
from tlkeras.explain.explainer import Explainer
from tlkeras.explain.faithfulness import curves, random_map, randomised
from tlkeras.modalities.sequences.inputs import Sequences
from tlkeras.modalities.texts.inputs import Texts
from tlkeras.tasks import classification
from tlkeras.tasks.registry import TASKS

COUNT = 12  # inputs that are explained
CASES = [
    ("text", "occlusion"),
    ("text", "integrated-gradients"),
    ("text", "attention-rollout"),
    ("sequence", "occlusion"),
    ("sequence", "integrated-gradients"),
]
of_every_case = pytest.mark.parametrize(("modality", "method"), CASES)

# === Texts: one word tells the class ===

TELLING = (("dull", "poor", "weak"), ("fine", "good", "great"))  # of the first class, of the second
FILLERS = [f"w{index}" for index in range(40)]
VOCABULARY = ["", *TELLING[0], *TELLING[1], *FILLERS]
LENGTH, WIDTH = 12, 8  # tokens, and numbers of an embedding


class Spaced:
    """A tokeniser of words between spaces."""

    start, end, pad, length = None, None, 0, LENGTH

    def __call__(self, texts):
        rows = [[VOCABULARY.index(word) for word in text.split()] for text in texts]
        return np.array([row + [self.pad] * (LENGTH - len(row)) for row in rows], "int32")

    def lengths(self, ids):
        return (ids != self.pad).sum(axis=1)


def reader():
    """Returns a network of one block of attention, with weights by hand: it looks at the telling word and adds up what that says."""
    ids = keras.Input((LENGTH,), dtype="int32", name="ids")
    embedding, attention = layers.Embedding(len(VOCABULARY), WIDTH), layers.MultiHeadAttention(1, WIDTH)
    x = embedding(ids)
    x = layers.Add()([x, attention(x, x)])
    model = keras.Model(ids, classification.build_head(layers.GlobalAveragePooling1D(name="features")(x), TARGET, 0.0), name="reader")
    vectors = np.random.default_rng(0).normal(size=(len(VOCABULARY), WIDTH)) * 0.3
    vectors[:, 0], vectors[1:7, 0] = 0.0, 3.0  # whether a word tells
    vectors[:, 1], vectors[1:4, 1], vectors[4:7, 1] = vectors[:, 1] / 3, -1.0, 1.0  # what
    vectors[0] = 0.0
    embedding.set_weights([vectors])
    same, none, asks = np.eye(WIDTH), np.zeros((1, WIDTH)), 4.0 * np.eye(WIDTH)[:1]
    inward = same[:, None]  # (width, heads, width of a head)
    attention.set_weights([0 * inward, asks, inward, none, inward, none, same[None], none[0]])
    kernel = np.zeros((WIDTH, 2))
    kernel[1] = -1.5, 1.5
    model.get_layer("head_logits").set_weights([kernel, np.zeros(2)])
    return model


def planted_word():
    rng = np.random.default_rng(1)
    texts, where = [], []
    for index in range(COUNT):
        words = [str(word) for word in rng.choice(FILLERS, rng.integers(7, LENGTH), replace=False)]
        at = int(rng.integers(0, len(words) + 1))
        words.insert(at, str(rng.choice(TELLING[index % 2])))
        texts.append(" ".join(words))
        where.append({at})
    tokens = Spaced()
    return SimpleNamespace(model=reader(), inputs=Texts(tokens=tokens), arrays=[tokens([text]) for text in texts], texts=texts, where=where)


# === Sequences: a few steps tell it ===

STEPS, PULSE = 32, 3


def planted_steps(n, seed):
    """Returns n noisy sequences with a pulse in the first or the second feature, their classes, and the steps of the pulse."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, STEPS, 2)).astype("float32") * 0.3, np.arange(n) % 2
    starts = rng.integers(0, STEPS - PULSE, n)
    for index, start in enumerate(starts):
        x[index, start : start + PULSE, y[index]] += 3
    return x, y, [set(range(start - 1, start + PULSE + 1)) for start in starts]


def planted_step():
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((STEPS, 2), name="sequence")
    for _ in range(2):
        x = layers.Conv1D(8, 3, padding="same", activation="relu")(x)
    model = keras.Model(inputs, classification.build_head(layers.GlobalAveragePooling1D(name="features")(x), TARGET, 0.0), name="listener")
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    x, y, _ = planted_steps(256, seed=1)
    model.fit(x, y, epochs=8, batch_size=32, verbose=0)
    x, _, where = planted_steps(COUNT, seed=2)
    arrays = list(x[:, None])
    return SimpleNamespace(model=model, inputs=Sequences(time=STEPS, features=2), arrays=arrays, texts=[""] * COUNT, where=where)


# === Both ===


@pytest.fixture(scope="module")
def planted():
    """Modality -> a network that finds what is planted, inputs in which something is, and where."""
    subjects = {"text": planted_word(), "sequence": planted_step()}
    for subject in subjects.values():
        subject.scores = [np.asarray(subject.model.predict_on_batch(array)) for array in subject.arrays]
        assert [int(scores[0].argmax()) for scores in subject.scores] == [index % 2 for index in range(COUNT)]
    return subjects


@pytest.fixture(scope="module")
def explained(planted):
    """Returns a function: (modality, method) -> explainer, samples, and the maps with one value for each word or step, computed once."""
    known = {}

    def get(modality, method):
        if (modality, method) not in known:
            subject = planted[modality]
            explainer = Explainer(subject.model, TASKS.get("classification"), TARGET, subject.inputs, method=method)
            samples = [explainer.sample(array, "one", text) for array, text in zip(subject.arrays, subject.texts, strict=True)]
            known[modality, method] = explainer, samples, maps_of(explainer, samples, subject)
        return known[modality, method]

    return get


def maps_of(explainer, samples, subject):
    """Returns the maps of what the network answered with its own weights."""
    found = []
    for sample, scores in zip(samples, subject.scores, strict=True):
        (explanation,) = explainer.explain([sample], scores)
        found.append(explanation.values.reshape(len(explanation.values), -1).sum(axis=1))
    return found


def hits(maps, subject):
    return np.mean([int(values.argmax()) in where for values, where in zip(maps, subject.where, strict=True)])


@of_every_case
def test_the_highest_word_or_step_is_the_planted_one(modality, method, planted, explained):
    assert hits(explained(modality, method)[2], planted[modality]) >= 0.9  # by chance 0.15 at most


@of_every_case
def test_a_map_changes_when_the_weights_are_random(modality, method, planted, explained):
    explainer, samples, maps = explained(modality, method)
    found, correlations = [], []
    for seed in range(4):
        with randomised(planted[modality].model, seed):
            others = maps_of(explainer, samples, planted[modality])
        found.append(hits(others, planted[modality]))
        pairs = zip(maps, others, strict=True)
        correlations += [abs(spearmanr(*pair).statistic) if np.ptp(pair[1]) else 0.0 for pair in pairs]
    assert np.mean(found) <= 0.6 and np.mean(correlations) < 0.6  # of each map by its size: maps that are turned over do not cancel others


@of_every_case
def test_deleting_what_a_map_shows_harms_more_and_inserting_it_helps_more_than_at_random(modality, method, planted, explained):
    explainer, samples, maps = explained(modality, method)
    own, chance = [], []
    for index, (sample, values) in enumerate(zip(samples, maps, strict=True)):
        column = index % 2
        own.append(curves(explainer.network, sample, column, values))
        chance += [curves(explainer.network, sample, column, random_map(explainer.network, sample, seed)) for seed in range(2)]
    deleted, inserted = ([np.mean([getattr(one, name) for one in part]) for part in (own, chance)] for name in ("deleted", "inserted"))
    assert deleted[0] < deleted[1] - 0.05 and inserted[0] > inserted[1] + 0.05
