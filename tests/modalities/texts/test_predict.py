"""Ask a model of texts: the text itself, files of texts, standard input."""

import io
import json
import sys

import numpy as np
import pytest

import tlkeras
from tests.modalities.texts.conftest import reviews, sentences
from tests.modalities.texts.test_tokens import ROWS
from tlkeras.cli import main
from tlkeras.config import RunConfig
from tlkeras.errors import DataError
from tlkeras.jobs import finetune


@pytest.fixture(scope="module")
def run(presets, tmp_path_factory):
    out = tmp_path_factory.mktemp("asked") / "run"
    values = {"backbone": ROWS["Bert"], "weights": presets("Bert"), "epochs": 1, "export": "none", "out": str(out)}
    finetune.finetune(RunConfig.from_dict(values), dataset=reviews(40))
    return out


@pytest.fixture(scope="module")
def model(run):
    return tlkeras.load(run)


def test_every_way_to_give_texts_gives_the_same_answers(model, tmp_path):
    texts = [text for text, _ in sentences(40, seed=4)]
    expected = [answer.scores for answer in model.predict(texts)]
    (tmp_path / "a.txt").write_text("\ufeff" + "\r\n".join([*texts[:3], "", *texts[3:]]) + "\n", encoding="utf-8")
    given = [tuple(texts), iter(texts), np.array(texts), [one.encode() for one in texts], tmp_path / "a.txt", [texts[:5], texts[5:]]]
    for one in given:
        answers = model.predict(one)
        assert len(answers) == 40
        for ours, theirs in zip(answers, expected, strict=True):
            assert ours.scores == pytest.approx(theirs, abs=1e-6)
    (alone,) = model.predict(texts[7])
    assert alone.file == texts[7] and alone.scores == pytest.approx(expected[7], abs=1e-6)


def test_patterns_and_dashes_in_texts_are_only_text(model):
    assert [answer.file for answer in model.predict(["is it good?", "[sic] *", "~"])] == ["is it good?", "[sic] *", "~"]


@pytest.mark.parametrize("given", [3, None, [np.zeros(3)]])
def test_what_is_no_text_is_named(model, given):
    with pytest.raises(DataError, match="input 0 is .*expected a text"):
        model.predict(given)


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_the_text_column_of_a_table_is_read(model, tmp_path, ending):
    file = tmp_path / f"reviews.{ending}"
    rows = [("1", "a good film"), ("2", "dull, and long"), ("3", "")]
    if ending == "jsonl":
        file.write_text("\n".join(json.dumps({"id": number, "review": text}) for number, text in rows))
    else:
        mark = {"csv": ",", "tsv": "\t"}[ending]
        file.write_text("\n".join([f"id{mark}review", *(f'{number}{mark}"{text}"' for number, text in rows)]))
    assert [answer.file for answer in model.predict(file)] == ["a good film", "dull, and long"]


def test_a_folder_of_text_files_is_a_text_for_each_file(model, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.txt").write_text("a good film\nand a fine cast")
    (tmp_path / "b" / "c.txt").write_text("dull")
    answers = model.predict(tmp_path)
    assert [answer.file for answer in answers] == [str(tmp_path / "a.txt"), str(tmp_path / "b" / "c.txt")]
    assert answers[0].scores == pytest.approx(model.predict("a good film\nand a fine cast")[0].scores, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, "none.txt: No such file"),
        ("blank.txt", b"\n \n", "blank.txt: this file contains no text"),
        ("latin.txt", b"good\ncaf\xe9\n", "latin.txt: line 2 is not UTF-8"),
        ("two.csv", b"a,b\n1,2\n", "has the columns a, b; expected one named text"),
    ],
)
def test_a_file_of_texts_that_cannot_be_read_is_named(model, tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    good, bad = model.predict_each(["good", tmp_path / name])
    assert good.error is None and message in bad.error


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(main, "_leave", sys.exit)
    monkeypatch.chdir(tmp_path)

    def call(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as stop:
            main.app(["predict", *map(str, arguments)], prog_name="tlkeras")
        out, err = capsys.readouterr()
        return stop.value.code or 0, out.splitlines(), err.splitlines()

    return call


def test_a_text_that_is_the_name_of_a_file_is_explained(command, run, tmp_path):
    (tmp_path / "review.txt").write_text("a good film\n\na dull plot\n")
    code, out, err = command(run, "review.txt", "a good film")
    assert code == 0 and [line.split("\t")[0] for line in out] == ["review.txt", "a good film"]
    assert err == [
        "note: 'review.txt' is a file, and was read as a text; pass --file review.txt (in Python, a Path) to read the texts in it"
    ]
    code, read, err = command(run, "--file", "review.txt")
    assert code == 0 and err == [] and [line.split("\t")[0] for line in read] == ["a good film", "a dull plot"] and read[0] == out[1]


def test_standard_input_is_one_text_per_line(command, run):
    code, out, err = command(run, "-", "--json", stdin="a good film\n\nÜber alles\tdull\n".encode())
    assert code == 0 and err == [] and [json.loads(line)["file"] for line in out] == ["a good film", "Über alles\tdull"]
    code, out, err = command(run, "-", stdin=b"a\tb\n")
    assert out[0].startswith("a b\t") and len(out[0].split("\t")) == 3
    assert command(run, "-", stdin=b"")[2] == ["error: standard input is empty; expected one text per line"]
    assert command(run, "-", stdin=b"caf\xe9")[2] == ["error: standard input: line 1 is not UTF-8; save the file as UTF-8"]
