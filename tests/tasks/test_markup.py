"""Texts of unknown origin on cards and screens: what they contain is shown, and nothing of it is obeyed."""

import pytest

from tlkeras.errors import printable
from tlkeras.tasks.markup import code, fenced, markdown_table, plain


@pytest.mark.parametrize("label", ["cat", "a`b", "`", "``<img src=x>``", "a|b", "**bold**", "[x](javascript:y)", "می‌خواهم", "👩‍🔬", ""])
def test_a_code_span_ends_where_its_text_does(label):
    span = code(label)
    fence = span[: len(span) - len(span.lstrip("`"))]
    inner = span[len(fence) : -len(fence)]
    runs = ["".join(run) for run in _runs(inner)]
    assert span.endswith(fence) and fence not in runs
    assert inner.strip(" ") == label.strip(" ")


def _runs(text):
    run = []
    for char in [*text, ""]:
        if char == "`":
            run.append(char)
        elif run:
            yield run
            run = []


def test_a_block_of_code_ends_where_its_text_does():
    block = fenced("data: '\n```\n<script>'", "yaml")
    assert block.startswith("````yaml\n") and block.endswith("\n````")


def test_markup_in_plain_text_is_shown():
    assert plain("<img src=x> [a](b) `c` *d* &lt;") == r"\<img src=x\> \[a\](b) \`c\` \*d\* \&lt;"
    assert plain("CC-BY-4.0, https://example.com/a_b?c=d&e") == "CC-BY-4.0, https://example.com/a_b?c=d&e"


def test_a_label_with_a_bar_stays_in_its_cell():
    assert markdown_table(("class",), [(code("a|b"),)]).splitlines()[-1] == r"| `a\|b` |"


def test_what_a_terminal_obeys_is_spelled_out_and_words_stay_whole():
    assert printable("a\x1b[31m\nb\x9b\u202ec\u2028d\udcff") == "a\\x1b[31m\\nb\\x9b\\u202ec\\u2028d\\udcff"
    assert printable("New\u00a0York, می‌خواهم, 👩‍🔬") == "New\u00a0York, می‌خواهم, 👩‍🔬"
