"""Texts are explained in words, whatever the tokeniser makes of them."""

import copy

import numpy as np
import pytest

from tests.modalities.texts import conftest as texts
from tests.modalities.texts.test_tokens import ROWS
from tlkeras import models
from tlkeras.explain.attention_rollout import rolled
from tlkeras.explain.explainer import Explainer, usable
from tlkeras.explain.registry import methods_for
from tlkeras.explain.text_pages import drawn, level, marked, page
from tlkeras.explain.words import without, words_of
from tlkeras.modalities.texts.inputs import Texts

LENGTH = 96  # tokens; small vocabularies spell most words letter by letter
TEXT = "The plot was dull, but this cast isn't bad at all!"
WORDS = ["The", "plot", "was", "dull", ",", "but", "this", "cast", "isn't", "bad", "at", "all", "!"]
ATTENDING = ("Bert", "DistilBert", "Electra", "Roberta", "XLMRoberta", "Albert", "GPT2", "OPT")  # the attention of Keras


@pytest.fixture(scope="module", params=[app if app == "Bert" else pytest.param(app, marks=pytest.mark.slow) for app in texts.VOCABULARIES])
def built(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(texts.SIZES, "max_sequence_length", LENGTH)
        folder = texts.preset(request.param, tmp_path_factory.mktemp("preset") / request.param)
    task = models.build(ROWS[request.param], 2, weights=str(folder))
    explainer = Explainer(task.model, task.task, task.target, Texts(tokens=task.tokens.limited(LENGTH)), method="occlusion")
    return request.param, task, explainer


def explained(built, method, text=TEXT):
    """Returns the explanation of a text by a method, and the text as a sample; all methods share one network, which is traced once."""
    _, task, first = built
    explainer, inputs = copy.copy(first), first.inputs
    explainer.method = usable(first.network, inputs.modality, method)
    sample = explainer.sample(inputs.read(text), text, text)
    (explanation,) = explainer.explain([sample], task.model.predict_on_batch(sample.array))
    return explanation, sample


def test_words_are_found_whole_and_their_tokens_are_all_tokens(built):
    app, task, _ = built
    tokens = task.tokens.limited(LENGTH)
    words = words_of(TEXT, tokens)
    if "SentencePiece" in type(tokens.tokenizer).__name__:  # a vocabulary of 44 pieces has one unknown piece for several words
        assert "".join(word.text for word in words).replace(" ", "") == TEXT.replace(" ", "") and len(words) > 4
    else:
        assert [word.text for word in words] == WORDS
    head, length = int(tokens.start is not None), int(tokens.lengths(tokens([TEXT]))[0]) - int(tokens.end is not None)
    assert [words[0].first, words[-1].last] == [head, length]
    assert all(before.last == word.first and word.seen for before, word in zip(words, words[1:], strict=False))


def test_every_method_values_every_word_or_is_refused_with_methods_that_do(built):
    app = built[0]
    for row in methods_for("text"):
        if row.refusal and app not in ATTENDING:
            with pytest.raises(Exception, match="has no attention layer that gives its scores; methods that can: occlusion"):
                explained(built, row.name)
            continue
        explanation, sample = explained(built, row.name)
        assert explanation.values.shape == (len(sample.words),) == (len(explanation.words),) and np.isfinite(explanation.values).all()
        assert explanation.signed or explanation.values.min() >= 0
        assert np.ptp(explanation.values) > 0
        if "completeness" in explanation.details:
            assert explanation.details["completeness"]["gap"] <= 0.01
            assert explanation.values.sum() == pytest.approx(explanation.details["completeness"]["sum"], rel=1e-3)


def test_words_beyond_the_longest_text_are_not_seen(built):
    _, task, _ = built
    words = words_of(TEXT * 40, task.tokens.limited(20))
    assert words[0].seen and not words[-1].seen
    assert max(word.last for word in words) <= 20


def test_a_text_without_words_has_an_empty_map(built):
    for row in methods_for("text")[:2]:
        assert explained(built, row.name, "   ")[0].values.shape == (0,)


# === Without a network ===


class Letters:
    """A tokeniser whose tokens are pairs of letters over the whole text: it joins the end of a word with the beginning of the next."""

    start = end = None
    length = 10_000

    def __call__(self, texts):
        rows = [[hash(text[i : i + 2]) % 997 + 1 for i in range(0, len(text), 2)] for text in texts]
        width = max(1, max(map(len, rows)))
        return np.array([row + [0] * (width - len(row)) for row in rows])

    def lengths(self, ids):
        return (ids != 0).sum(axis=1)


def test_words_that_share_a_token_are_one():
    words = words_of("ab cde fg", Letters())  # ab| c|de| f|g
    assert [word.text for word in words] == ["ab", "cde", "fg"]
    assert [word.text for word in words_of("abc de", Letters())] == ["abc de"]  # ab|c |de: the third letter has no token of its own


def test_words_of_scripts_without_spaces_are_characters():
    words = words_of("映画good", Letters())
    assert "".join(word.text for word in words) == "映画good"


def test_a_text_loses_words_and_keeps_its_spaces_single():
    words = words_of("a b c", Letters())
    joined = [word.text for word in words]
    assert without("a b c", words, np.zeros(len(words), bool)) == "a b c"
    assert without("a b c", words, np.ones(len(words), bool)) == ""
    assert joined


def test_attention_that_is_spread_evenly_rolls_out_evenly():
    even = np.full((2, 4, 4), 0.25)
    np.testing.assert_allclose(rolled([even]), 0.5 * np.eye(4) + 0.125)
    np.testing.assert_allclose(rolled([even] * 40), 0.25, atol=1e-6)
    np.testing.assert_allclose(rolled([np.eye(3)[None]] * 3), np.eye(3))


def test_levels_of_words_are_classes():
    assert [level(value, 1.0) for value in (1.0, 0.99, 0.5, 0.1, 0.01, 0.0, -0.3, -1.0)] == ["p5", "p5", "p3", "p1", "", "", "n2", "n5"]
    assert level(0.0, 0.0) == ""


def test_pages_of_texts_are_safe_whatever_the_text(built):
    text = "good <b>bad</b> & \x00\x0b ]]> 😀 日本"
    explanation, sample = explained(built, "occlusion", text)
    html, svg = page([explanation], [sample])["index.html"], drawn(explanation, sample)[".svg"]
    assert "<b>" not in html and "<script" not in html and "&lt;" in marked(explanation, sample)
    import xml.dom.minidom

    xml.dom.minidom.parseString(svg)
