"""Texts of unknown origin on cards and screens: what they contain is shown, and nothing of it is obeyed."""

import re
import shlex
from types import SimpleNamespace

import pytest

from tlkeras.backbones.registry import BACKBONES
from tlkeras.cli.finetune import next_commands
from tlkeras.config import RunConfig
from tlkeras.errors import printable
from tlkeras.tasks import classification_pages
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


HOSTILE = "a`b` <img src=x onerror=alert(1)> | [c](javascript:d)"


def test_labels_on_a_card_stay_in_their_code_spans():
    row = {"label": HOSTILE, "precision": 0.5, "recall": 0.5, "f1": 0.5, "n": 1}
    content = {"labels": [HOSTILE, "b"], "task": "image classification", "metrics": {}, "classes": [row], "held_out": "test"}
    content["weaknesses"] = {"worst": [row], "confused": [{"label": HOSTILE, "predicted": HOSTILE, "n": 1, "of": 2}]}
    text = "\n".join(body for _, body in classification_pages.card(content, "image"))
    spans = re.sub(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", "", text)
    assert "<img" in text and "<img" not in spans and "javascript" not in spans


def test_the_line_for_docker_is_one_argument_for_each_part_whatever_the_folder_is_called(tmp_path):
    root = tmp_path / "a b;$(touch canary)`c`'d'"
    run = SimpleNamespace(root=root, exports=root / "exports")
    result = SimpleNamespace(
        run=run, config=RunConfig(data="x"), metrics={"exports": {"saved_model": {}, "tflite": {}}}, backbone=BACKBONES.get("cnn")
    )
    words = shlex.split(dict(next_commands(result))["serve"])
    assert words[:4] == ["docker", "run", "-p", "8501:8501"] and words[-1] == "tensorflow/serving"
    assert words[4:-1] == ["-v", f"{root / 'exports' / 'saved_model'}:/models/{root.name}/1", "-e", f"MODEL_NAME={root.name}"]
