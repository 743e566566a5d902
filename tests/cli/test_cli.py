"""Commands as people type them: in processes of their own, and in this one where only what they say and write is looked at."""

import functools
import json
import runpy
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from keras.src.utils import file_utils as keras_files
from PIL import Image

from tests.conftest import ROOT
from tlkeras.backbones.registry import BACKBONES
from tlkeras.cli import check_install, main
from tlkeras.cli.check_install import USUAL, _slow
from tlkeras.cli.options import NOT_FLAGS
from tlkeras.config import RunConfig, keys, read_yaml

TINY = ["--backbone", "cnn", "--weights", "none", "--image-size", "32", "--epochs", "1", "--limit", "60"]


def call(*arguments, cwd=ROOT, timeout=300):
    command = [sys.executable, str(ROOT / "scripts" / "finetune.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)


def tlkeras(*arguments, cwd=ROOT, timeout=300):
    command = [sys.executable, "-m", "tlkeras.cli.main", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture
def inside(monkeypatch, capfd):
    """Returns a function that runs `tlkeras`, or one of the scripts, in this process, which has TensorFlow already."""
    monkeypatch.setattr(main, "_leave", sys.exit)

    def run(*arguments, script=None):
        monkeypatch.setattr(sys, "argv", [script or "tlkeras", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            if script:
                runpy.run_path(str(ROOT / "scripts" / f"{script}.py"), run_name="__main__")
            else:
                main.main()
        out, err = capfd.readouterr()  # what TensorFlow itself prints, too
        return SimpleNamespace(returncode=stop.value.code or 0, stdout=out, stderr=err)

    return run


def test_help_names_every_key_with_its_default():
    text = " ".join(call("--help").stdout.split())
    for one in keys():
        if one.key not in NOT_FLAGS[RunConfig]:
            assert f"--{one.key.replace('_', '-')}" in text
    assert "[default: 32]" in text and "pixels" in text


def test_backbones_are_listed_without_tensorflow():
    done = call("--list-backbones")
    assert done.returncode == 0 and done.stderr == ""
    for name in BACKBONES.names():
        assert name in done.stdout


def test_the_first_command_ends_with_tables_and_the_next_commands(tmp_path, inside):
    done = call(*TINY, "--out", tmp_path / "run", "--recipe", "full")
    assert done.returncode == 0, done.stderr
    for text in ("--data FOLDER", "accuracy", "saved_model", "tflite", "onnx", "tlkeras evaluate", "tlkeras predict", "docker run"):
        assert text in done.stdout
    assert "oneDNN custom operations" not in done.stderr and "Traceback" not in done.stderr
    scored = inside(tmp_path / "run" / "exports" / "model.tflite", "--json", script="evaluate")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert json.loads(scored.stdout)["accuracy"] == metrics["test"]["accuracy"], scored.stderr
    Image.fromarray(np.zeros((20, 20, 3), "uint8")).save(tmp_path / "a.png")
    said = inside("predict", tmp_path / "run", tmp_path / "a.png", tmp_path / "none.png")
    name, label, score = said.stdout.strip().split("\t")
    assert name.endswith("a.png") and label in "0123456789" and 0 <= float(score) <= 1
    assert said.returncode == 1 and "No such file" in said.stderr


def test_quiet_says_only_the_result(tmp_path, inside):
    done = inside("finetune", *TINY, "--out", tmp_path / "run", "--export", "none", "--quiet")
    assert done.returncode == 0 and "build:" not in done.stdout and "accuracy" in done.stdout


def test_dry_run_shows_layers_rules_and_flags_and_trains_nothing(tmp_path, inside):
    arguments = ["--backbone", "mobilenet", "--weights", "none", "--unfreeze", "last:1", "--dry-run", "--out", tmp_path / "run"]
    done = inside("finetune", *arguments)
    assert done.returncode == 0 and not (tmp_path / "run").exists()
    line = next(line for line in done.stdout.splitlines() if line.startswith("conv_pw_13 "))
    assert "section:block13" in line and "yes" in line and "BatchNorm" in done.stdout


def test_config_render_fills_every_default_and_flags_win(tmp_path):
    (tmp_path / "c.yaml").write_text("backbone: resnet\nepochs: 3\nbatch-size: 8\n")
    done = tlkeras("config", "render", "--config", tmp_path / "c.yaml", "--epochs", "5")
    assert done.returncode == 0, done.stderr
    (tmp_path / "full.yaml").write_text(done.stdout)
    config = RunConfig.from_dict(read_yaml(tmp_path / "full.yaml"))
    assert (config.model.backbone, config.train.epochs, config.train.batch_size, config.model.image_size) == ("resnet50", 5, 8, 224)
    assert config.train.learning_rate and config.train.recipe == "feature-extraction"


def test_config_init_writes_a_file_that_can_be_used_and_overwrites_nothing(tmp_path, inside):
    assert inside("config", "init", "--data", "digits", "--write", tmp_path / "c.yaml").returncode == 0
    assert RunConfig.from_dict(read_yaml(tmp_path / "c.yaml")).data.source == "digits"
    again = inside("config", "init", "--write", tmp_path / "c.yaml")
    assert again.returncode == 1 and "already exists" in again.stderr


def folder(root, classes=("a", "b"), n=3):
    for label in classes:
        (root / label).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(np.random.default_rng(i).integers(0, 255, (16, 16, 3)).astype("uint8")).save(root / label / f"{label}{i}.png")
    return root


MISTAKES = [
    (["--data", "{tmp}/missing"], "no folder, table or source"),
    (["--data", "{tmp}/empty"], "is empty"),
    (["--data", "{tmp}/one"], "only one class"),
    (["--backbone", "efficientnet_lit0"], "did you mean 'efficientnet_lite0'"),
    (["--recipe", "ful"], "did you mean 'full'"),
    (["--export", "tflit"], "did you mean 'tflite'"),
    (["--augment", "lite"], "no augmentation 'lite'"),
    (["--config", "{tmp}/bad.yaml"], "unknown config key 'epoch'"),
    (["--config", "{tmp}/none.yaml"], "no config file"),
    (["--out", "/proc/run"], "cannot write to --out"),
    (["--out", "{tmp}/one"], "is not an empty folder"),
    (["--unfreeze", "last:99"], "expected last:1 to last:"),
    (["--backbone", "vgg16", "--weights", "nowhere.h5"], "no weights file"),
]


@pytest.fixture
def mistaken(tmp_path):
    """Returns a function: arguments and a way to run the script with them -> whether it ends with one line of error that has a message."""
    (tmp_path / "empty").mkdir()
    folder(tmp_path / "one", ("a",))
    (tmp_path / "bad.yaml").write_text("epoch: 3\n")

    def check(run, arguments, message):
        done = run(*[one.format(tmp=tmp_path) for one in arguments])
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        assert done.returncode == 1 and len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0], done.stderr
        assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())

    return check


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_is_one_clear_line(tmp_path, monkeypatch, inside, mistaken, arguments, message):
    monkeypatch.chdir(tmp_path)
    mistaken(functools.partial(inside, script="finetune"), arguments, message)


# One that is found before TensorFlow is loaded, and one after it, where what TensorFlow prints could stand beside the line.
@pytest.mark.parametrize(
    ("arguments", "message"),
    [pytest.param(*mistake, marks=pytest.mark.slow if 0 < index < len(MISTAKES) - 1 else ()) for index, mistake in enumerate(MISTAKES)],
)
def test_a_mistake_is_one_clear_line_in_a_process_of_its_own(tmp_path, mistaken, arguments, message):
    mistaken(functools.partial(call, cwd=tmp_path), arguments, message)


def test_debug_shows_the_traceback(tmp_path):
    assert "Traceback" in call("--data", tmp_path / "missing", "--debug", cwd=tmp_path).stderr


def test_strict_stops_at_a_truncated_picture_that_is_otherwise_skipped_and_named(tmp_path, inside):
    data = folder(tmp_path / "data", n=8)
    whole = (data / "a" / "a0.png").read_bytes()
    (data / "a" / "cut.png").write_bytes(whole[:-100])
    (data / "a" / "text.jpg").write_text("hello")
    (data / "a" / "zero.jpg").write_bytes(b"")
    strict = inside("finetune", *TINY, "--data", data, "--out", tmp_path / "s", "--strict")
    assert strict.returncode == 1 and "3 of 19 files cannot be used" in strict.stderr
    assert "rendezvous" not in strict.stderr
    done = inside("finetune", *TINY, "--data", data, "--out", tmp_path / "r", "--export", "none")
    assert done.returncode == 0, done.stderr
    issues = json.loads((tmp_path / "r" / "data_audit.json").read_text())["issues"]
    assert {"a/cut.png", "a/text.jpg", "a/zero.jpg"} <= {issue["path"] for issue in issues}
    assert "a/zero.jpg" in done.stderr


def test_weights_that_cannot_be_downloaded_end_at_once(tmp_path, monkeypatch, inside, waited):
    monkeypatch.setattr(keras_files.config, "keras_home", lambda: str(tmp_path))
    for name in ("https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    done = inside("--backbone", "densenet121", "--out", tmp_path / "run", script="finetune")
    assert done.returncode == 1 and "efficientnet_lite0, whose weights come from the package index" in done.stderr
    assert sum(waited) < 10


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
def test_ctrl_c_in_mid_training_keeps_the_best_model_so_far(tmp_path, inside):
    command = [
        sys.executable,
        str(ROOT / "scripts" / "finetune.py"),
        *TINY[:-4],
        "--epochs",
        "5000",
        "--patience",
        "5000",
        "--recipe",
        "full",
    ]
    command += ["--out", str(tmp_path / "run"), "--limit", "100", "--export", "none"]
    # A shell ignores SIGINT in what it starts in the background, and children inherit that: as for people, it counts here.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as running:
        signal.signal(signal.SIGINT, before)
        late = threading.Timer(120, running.kill)
        late.start()
        try:
            assert any("epoch" in line for line in running.stdout)  # its training has begun
            running.send_signal(signal.SIGINT)
            _, stderr = running.communicate(timeout=60)
        finally:
            late.cancel()
            running.kill()
    assert running.returncode == 130 and "stopped after" in stderr and "Traceback" not in stderr, stderr
    assert (tmp_path / "run" / "model.keras").is_file() and (tmp_path / "run" / "history.csv").is_file()
    scored = inside("evaluate", tmp_path / "run", "--json")
    assert scored.returncode == 0 and json.loads(scored.stdout)["n"] > 0, scored.stderr


def check_installation(inside):
    done = inside("check-install")
    assert done.returncode == 0 and "this machine meets the requirements of tlkeras" in done.stdout, done.stderr
    for name in ("saved_model", "tflite", "onnx", "tensorflow 2", "seconds: build ", "CPU: ", "trained on the CPU"):
        assert name in done.stdout, name


def test_check_install_takes_a_model_through_every_format_and_names_the_device_and_the_seconds(inside, monkeypatch):
    for key, value in {"backbone": "cnn", "weights": "none", "image_size": 16, "limit": 60}.items():
        monkeypatch.setitem(check_install.TRIAL, key, value)
    check_installation(inside)


@pytest.mark.slow
def test_check_install_takes_a_deep_model_through_every_format_and_names_the_device_and_the_seconds(inside):
    check_installation(inside)


def test_check_install_names_phases_that_took_much_longer_than_usual():
    assert list(_slow({**USUAL, "decode": 4.1 * USUAL["decode"]}, gpu=False)) == ["decode took 4 s, usual are about 1 s on 2 cores"]
