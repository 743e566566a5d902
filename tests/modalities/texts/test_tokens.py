"""Texts to token ids: what is cut, what is filled, and the same ids in programs without TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.modalities.texts.conftest import STRANGE, VOCABULARIES, families, sentences
from tlkeras.backbones.load import load
from tlkeras.backbones.registry import BACKBONES
from tlkeras.errors import DataError
from tlkeras.modalities.texts.tokens import load as load_tokens

ROWS = {row.app: row.name for row in reversed(list(BACKBONES)) if row.modality == "text"}
FAST = [app for app in VOCABULARIES if BACKBONES.get(ROWS[app]).tokenizer in ("word_piece", "byte_pair")]


@pytest.fixture(scope="session")
def tokens_of(presets):
    made = {}

    def get(app):
        if app not in made:
            made[app] = load(ROWS[app], weights=presets(app)).tokens
        return made[app]

    return get


@pytest.mark.parametrize("app", families())
def test_T21_strange_texts_are_cut_and_filled(tokens_of, app):
    tokens = tokens_of(app).limited(12)
    ids = tokens(STRANGE)
    assert ids.dtype == np.int32 and ids.shape == (len(STRANGE), 12)
    assert (tokens.lengths(ids) <= 12).all()
    if tokens.start is not None:
        assert (ids[:, 0] == tokens.start).all()
    if tokens.end is not None:
        last = ids[np.arange(len(ids)), tokens.lengths(ids) - 1]
        assert (last == tokens.end).all()


@pytest.mark.parametrize("app", families())
def test_ids_that_are_cut_are_those_of_a_smaller_length(tokens_of, app):
    tokens = tokens_of(app)
    texts = ["one two three four five six seven eight nine ten", "one", "", "three words here"]
    for length in (3, 5, 8, 13, tokens.length):
        shorter = tokens.limited(length)
        cut = shorter.cut(tokens(texts))
        assert cut is None or np.array_equal(cut, shorter(texts))
        if tokens.end is None or tokens.end != tokens.pad:
            assert cut is not None


@pytest.mark.parametrize("app", families())
def test_a_text_has_the_same_ids_alone_and_among_others(tokens_of, app):
    tokens = tokens_of(app)
    texts = [text for text, _ in sentences(20)]
    together = tokens(texts)
    for index, text in enumerate(texts):
        alone = tokens([text])[0]
        assert together[index, : len(alone)].tolist() == alone.tolist()
        assert (together[index, len(alone) :] == tokens.pad).all()


@pytest.mark.parametrize("app", families())
def test_what_was_saved_gives_the_same_ids(tokens_of, app, tmp_path):
    tokens = tokens_of(app).limited(16)
    tokens.save(tmp_path)
    np.testing.assert_array_equal(load_tokens(tmp_path)(STRANGE), tokens(STRANGE))


@pytest.mark.parametrize("app", families(FAST))
def test_tokenizer_json_gives_the_same_ids_without_tensorflow(tokens_of, app, tmp_path):
    from tokenizers import Tokenizer

    tokens = tokens_of(app).limited(16)
    tokens.save(tmp_path)
    fast = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    texts = [text for text, _ in sentences(50)] + ["Good!", "it's so, so bad."]
    ours = tokens(texts)
    for one, row in zip(texts, ours, strict=True):
        length = tokens.lengths(row[None])[0]
        assert fast.encode(one).ids[: max(length, 1)] == row[:length].tolist(), one


# Greek capital sigma becomes another letter at the end of a word, which `tokenizers` does not know.
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs", "Cn", "Co"], exclude_characters="Σς"), max_size=30))
def test_word_pieces_of_any_text_are_the_same_without_tensorflow(tokens_of, text):
    tokens = tokens_of("Bert")
    row = tokens([text])[0]
    assert tokens.fast().encode(text).ids == row[: tokens.lengths(row[None])[0]].tolist()


def test_the_function_for_graphs_takes_no_texts_at_all(tokens_of):
    encode = tf.function(tokens_of("Bert").encode, input_signature=[tf.TensorSpec((None,), tf.string)])
    assert encode(tf.constant([], tf.string)).shape == (0, 1)


def test_a_damaged_folder_is_told(tmp_path):
    (tmp_path / "tokens.json").write_text("{}")
    with pytest.raises(DataError, match="cannot read the tokenizer"):
        load_tokens(tmp_path)
