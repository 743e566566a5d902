"""What people see while they wait: bars on a terminal, lines elsewhere, nothing on request."""

import io
import re
import subprocess
import sys

import pytest
from rich.console import Console

import tlkeras
from tests.conftest import ROOT
from tlkeras import progress as reporting
from tlkeras.errors import ConfigError
from tlkeras.progress import Lines, Reporter, Screen, score_text

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def drawn(width=80):
    """Returns a screen that draws as on a terminal of a width, and where it draws."""
    out = io.StringIO()
    return Screen(console=Console(file=out, width=width, force_terminal=True, highlight=False)), out


def piped():
    """Returns a screen that writes as into a pipe, and what it wrote."""
    out = io.StringIO()
    return Screen(console=Console(file=out, width=80, force_terminal=False, highlight=False, soft_wrap=True)), out


# === Bars ===


def test_a_bar_its_count_and_the_time_left_fit_into_80_columns():
    screen, out = drawn()
    figure = "epoch 13/60 loss 0.123 val loss 0.456 val accuracy 0.987"
    with screen.live():
        for done in range(0, 12001, 400):
            screen.progress("score validation", done, 12000, figure)
            screen._bars.refresh()
            if done == 8000:
                frame = out.getvalue()
    lines = [line for line in re.split(r"[\r\n]+", CONTROL.sub("", frame)) if line.strip()]
    assert all(len(line) <= 80 for line in lines)
    assert re.search(r"━.* 8000/12000 +(\d+:)+\d\d left +epoch", lines[-1])


def test_the_screen_can_be_entered_twice():
    screen, out = drawn()
    with screen.live(), screen.live():
        screen.progress("decode", 1, 2)
    assert "1/2" in CONTROL.sub("", out.getvalue())


def test_the_file_that_is_written_is_named_beside_its_bar():
    screen, out = drawn()
    with screen.live():
        screen.pieces("export")(1, 3, "tflite")
    assert "tflite (2/3)" in CONTROL.sub("", out.getvalue())


# === Lines ===


def test_lines_have_no_control_characters_and_name_the_file_that_is_written():
    screen, out = piped()
    tell = screen.pieces("export")
    with screen.live():
        for done, name in enumerate(["saved_model", "tflite", "onnx", ""]):
            tell(done, 3, name)
    assert out.getvalue() == "export: saved_model (1/3)\nexport: tflite (2/3)\nexport: onnx (3/3)\n"


def lines_of(seconds, total, text=lambda done: "", phase="decode"):
    """Returns at which counts a phase that takes some seconds prints a line."""
    lines = Lines()
    return [done for done in range(total + 1) if lines.due(phase, done, total, text(done), done * seconds / total)]


def test_a_short_phase_prints_no_line_and_a_long_one_every_tenth():
    assert lines_of(1, 1797) == []
    assert len(lines_of(60, 1797)) in (9, 10)


def test_a_very_long_phase_prints_a_line_every_ten_seconds():
    assert len(lines_of(1000, 10_000)) == 100


def test_epochs_are_lines_that_are_not_closer_than_two_seconds():
    printed = lines_of(40, 400, text=lambda done: f"epoch {done // 20}/20 val loss 0.31")
    assert len(printed) in (19, 20)


def test_a_line_of_a_long_phase_has_name_and_count(monkeypatch):
    screen, out = piped()
    clock = iter([0.0, 5.0, 10.0])
    monkeypatch.setattr("tlkeras.progress.time.monotonic", lambda: next(clock))
    for done in (0, 400, 800):
        screen.progress("decode", done, 1797)
    assert out.getvalue() == "decode: 400/1797\ndecode: 800/1797\n"


# === Python calls ===


def test_a_python_call_in_a_script_prints_lines_without_carriage_returns():
    code = (
        "from tlkeras import progress; r = progress.resolve('auto')\n"
        "with r.live(): r.say('3 examples'); r.pieces('export')(0, 1, 'onnx'); r.finished('export', 1.0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, env={"FORCE_COLOR": "1"})
    assert done.stdout == b"3 examples\nexport: onnx (1/1)\nexport: 1.0 s\n" and done.stderr == b""


def test_none_and_silent_are_silence_and_other_values_are_an_error(capsys):
    for reporter in (None, tlkeras.SILENT):
        quiet = reporting.resolve(reporter)
        quiet.warn("x")
        quiet.scores({"test": {"n": 0}})
        quiet.result("Result", {"test": {"n": 0}})
    assert capsys.readouterr().out == ""
    with pytest.raises(ConfigError, match="expected 'auto', a tlkeras.Reporter, or None"):
        reporting.resolve("loud")


def test_a_reporter_of_ones_own_receives_the_pieces_as_progress():
    heard = []

    class Mine(Reporter):
        def progress(self, phase, done, total, text=""):
            heard.append((phase, done, total, text))

    tell = Mine().pieces("export")
    tell(0, 1, "onnx")
    tell(1, 1, "")
    assert heard == [("export", 0, 1, "onnx (1/1)"), ("export", 1, 1, "")]


# === Results ===


def test_a_table_of_results_has_a_column_for_each_figure_and_the_lines_below_it():
    screen, out = piped()
    rows = {"val": {"accuracy": None, "n": 0}, "test": {"accuracy": 0.5, "n": 1200}}
    screen.result("Result", rows, ["test: accuracy 0.500; always predicting 'ham' would reach 0.667"])
    assert "│ test │    0.500 │ 1,200 │" in out.getvalue() and "│ val  │        - │     0 │" in out.getvalue()
    assert "always predicting 'ham' would reach 0.667" in out.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (0.98765, "0.988"), (-12.3456, "-12.346"), (4.5e-8, "4.5e-08"), (34531.2, "34531"), (1.5e9, "1.5e+09")],
)
def test_figures_in_tables_of_results_are_readable_whatever_their_size(value, text):
    assert score_text(value) == text


# === Seconds ===


def test_the_profile_shows_parts_below_their_step_and_only_steps_are_reported():
    screen, out = piped()
    clock = reporting.Clock(screen)
    with clock.step("export"):
        clock.add("export/onnx/convert", 1.0)
        clock.add("export/onnx/convert", 0.5)
    with clock.step("report"), clock.part("report/pages"):
        pass
    clock.seconds["total"] = 3.0
    table = reporting.profile(clock.seconds)
    assert list(table) == ["export", "export/onnx/convert", "report", "report/pages", "total"]
    assert table["export/onnx/convert"] == {"seconds": 1.5, "share": 0.5}
    assert out.getvalue().splitlines() == ["export: 0.0 s", "report: 0.0 s"]
