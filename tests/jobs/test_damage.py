"""What happens to a run when the world around it breaks: folders, disks, numbers, files that change."""

import errno
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

import tlkeras
from tests.faults import fault
from tests.helpers import pictures
from tlkeras.data.examples import Dataset, Example, from_arrays
from tlkeras.data.subset import subset
from tlkeras.data.target import Target
from tlkeras.errors import ConfigError, DataError, OutputError, TrainingDiverged, system_problem
from tlkeras.jobs import run_folder, run_lifetime, run_lock
from tlkeras.progress import Reporter

SMALL = {"backbone": "cnn", "weights": "none", "image_size": 16, "epochs": 1, "unfreeze": "all", "export": "none"}


@fault(
    "two runs with one --out",
    "at the start, 50 times 4 at once",
    "one gets it, the others one line",
)
def test_of_two_runs_that_want_one_folder_one_gets_it(tmp_path):
    for attempt in range(50):
        out, results, barrier = str(tmp_path / f"run-{attempt}"), [], threading.Barrier(4)

        def create(out=out, results=results, barrier=barrier):
            barrier.wait()
            try:
                results.append(run_folder.create(out, backbone="cnn", data=None))
            except OutputError as error:
                results.append(error)

        threads = [threading.Thread(target=create) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(isinstance(one, run_folder.Run) for one in results) == 1


@fault("killed", "between making the folder of a run and writing its settings", "the same command begins anew there")
def test_a_folder_in_which_a_run_was_killed_before_it_wrote_its_settings_is_free(tmp_path):
    run = run_folder.create(str(tmp_path / "run"), backbone="cnn", data=None)
    (run.checkpoints / ".asked.yaml-abcdefgh").mkdir()
    run.begun.write_text("{}")
    with pytest.raises(OutputError, match="was just taken by another run"):
        run_folder.create(str(run.root), backbone="cnn", data=None)
    run_lock.release(run.root)  # as the end of its process does
    again = run_folder.create(str(run.root), backbone="cnn", data=None)
    assert sorted(path.name for path in again.checkpoints.iterdir()) == ["work"]
    run_lock.release(run.root)


@pytest.mark.parametrize("name", ["config.yaml", "notes.txt", "checkpoints/best.weights.h5", "exports/model.tflite", ".hidden"])
def test_a_folder_that_holds_anything_else_is_not_free(tmp_path, name):
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(OutputError, match="is not overwritten"):
        run_folder.create(str(tmp_path / "run"), backbone="cnn", data=None)
    assert path.exists()


def test_what_a_killed_process_was_writing_is_removed_when_its_run_is_gone_on_with(tmp_path):
    run = run_folder.create(str(tmp_path / "run"), backbone="cnn", data=None)
    run_lock.release(run.root)
    for folder in (run.root, run.checkpoints, run.exports, run.work):
        (folder / ".model.keras-a1b2_3c4" / "part").mkdir(parents=True)
        (folder / ".mine").mkdir(exist_ok=True)
    run_lifetime.claim(run)
    run_lifetime.release(run)
    assert not list(run.root.rglob(".model*")) and len(list(run.root.rglob(".mine"))) == 3


def test_runs_without_a_name_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results, barrier = [], threading.Barrier(6)

    def create():
        barrier.wait()
        results.append(run_folder.create(None, backbone="cnn", data=None).root)

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 6


@fault(
    "weights or scores that are not finite",
    "after the last step",
    "one line, no model",
)
def test_weights_that_are_no_numbers_after_the_last_step_are_diverged(tmp_path):
    x, y = pictures(12, size=16)
    with pytest.raises(TrainingDiverged, match="not finite"):
        tlkeras.finetune(
            dataset=from_arrays(x, np.array(["a", "b", "c"])[y]), out=str(tmp_path / "run"), **SMALL, learning_rate=1e38, batch_size=64
        )
    assert not (tmp_path / "run/model.keras").exists() and not (tmp_path / "run/metrics.json").exists()


class Notes(Reporter):
    def __init__(self):
        self.warnings = []

    def warn(self, text):
        self.warnings.append(text)


def photos(folder, count=30):
    x, y = pictures(count, size=16)
    for index, (image, label) in enumerate(zip(x, y, strict=True)):
        path = folder / "abc"[label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


@fault(
    "images are deleted or overwritten",
    "after they were read",
    "artifacts are verified on the decoded images, with a warning",
)
def test_files_that_go_or_change_after_they_were_read_do_not_fail_the_export(tmp_path, monkeypatch):
    from tlkeras.jobs import export_run

    photos(tmp_path / "photos")
    export_task = export_run.export_task

    def when_files_are_gone(*arguments, **named):
        for index, path in enumerate(sorted((tmp_path / "photos").rglob("*.png"))):
            if index % 2:
                path.unlink()
            else:
                path.write_bytes(b"another file")
        return export_task(*arguments, **named)

    monkeypatch.setattr(export_run, "export_task", when_files_are_gone)
    notes = Notes()
    result = tlkeras.finetune(str(tmp_path / "photos"), out=str(tmp_path / "run"), **{**SMALL, "export": "saved_model"}, reporter=notes)
    assert result.metrics["exports"]["saved_model"]["verified"]
    (note,) = [text for text in notes.warnings if "were deleted or changed since they were read" in text]
    assert re.match(r"(\d+) of \1 files", note)  # those that are gone, and those that are other ones now


class Deleting(Notes):
    """Deletes files as soon as the first images are decoded."""

    def __init__(self, files):
        super().__init__()
        self.files = list(files)

    def progress(self, phase, done, total, text=""):
        while phase == "decode" and self.files:
            self.files.pop().unlink()


@fault(
    "images are deleted", "while they are decoded", "those that are gone are left out, with a warning; where all of a class are, one line"
)
@pytest.mark.parametrize("label", ["", "c"], ids=["some", "all of a class"])
def test_files_that_go_while_they_are_decoded_are_left_out_or_named(label, tmp_path):
    photos(tmp_path / "photos", count=300)  # several times as many as are read ahead
    files = sorted((tmp_path / "photos").rglob(f"{label}*/*.png"), key=lambda path: path.parent.name)
    notes = Deleting(files if label else files[-40:])
    settings = {**SMALL, "out": str(tmp_path / "run"), "reporter": notes}
    if label:
        with pytest.raises(
            DataError, match=r"no image of class 'c' can be read \(100 files skipped, the first 'c/\d+.png': .*fix them or remove the class"
        ):
            tlkeras.finetune(str(tmp_path / "photos"), **settings)
        assert not (tmp_path / "run").exists()
    else:
        result = tlkeras.finetune(str(tmp_path / "photos"), **settings)
        assert sum(result.metrics[name]["n"] for name in ("val", "test")) + result.metrics["data"]["train"] == 260
        (note,) = [text for text in notes.warnings if "(40)" in text]
        assert "No such file or directory" in note


def test_a_limit_below_the_number_of_classes_is_refused():
    labels = tuple(map(str, range(50)))
    examples = tuple(Example(id=str(i), label=labels[i % 50], text="x") for i in range(200))
    dataset = Dataset(name="words", examples=examples, target=Target(kind="class", labels=labels))
    with pytest.raises(ConfigError, match="limit is 20, and words has 50 classes"):
        subset(dataset, 20, 0)
    assert len(subset(dataset, 50, 0).examples) == 50


def test_a_limit_is_kept_where_small_classes_have_more_than_their_share():
    labels = tuple(map(str, range(9)))
    examples = tuple(Example(id=str(i), label=labels[min(i, 8)], text="x") for i in range(1000))
    dataset = Dataset(name="words", examples=examples, target=Target(kind="class", labels=labels))
    chosen = subset(dataset, 10, 0).examples
    assert len(chosen) == 10 and {example.label for example in chosen} == set(labels)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG, errno.EMFILE, errno.EIO])
def test_what_the_file_system_refuses_is_one_line_and_no_bug(number):
    line = system_problem(OSError(number, "text", "some/file"))
    assert line and "\n" not in line and "some/file" in line


@pytest.mark.parametrize("error", [ValueError("a bug"), FileNotFoundError(2, "No such file", "a"), KeyError("a")])
def test_a_bug_is_no_problem_of_the_system(error):
    assert system_problem(error) is None


def test_errors_of_other_libraries_about_a_full_disk_are_known():
    assert "free some space" in system_problem(RuntimeError("RESOURCE: /x/variables: No space left on device [Op:SaveV2]"))
    assert "TMPDIR" in system_problem(FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"))


@contextmanager
def mounted(folder, options):
    """Mounts a disk in memory for a while: a full one, or one that is read-only, for which there is no other way."""
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", options, "none", folder], capture_output=True).returncode:
        pytest.skip("a disk in memory cannot be mounted here: that needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


ONE_EPOCH = ["--backbone", "cnn", "--weights", "none", "--image-size", "16", "--epochs", "1", "--unfreeze", "all", "--seed", "3"]


def command(*arguments, python=("-m", "tlkeras"), **variables):
    line = [sys.executable, *python, *map(str, arguments)]
    return subprocess.run(line, env={**os.environ, **variables}, capture_output=True, text=True, timeout=300, check=False)


def trained(data, out, *, formats="none", **settings):
    return command("finetune", "--data", data, "--out", out, *ONE_EPOCH, "--export", formats, **settings)


def one_line(done):
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 1 and "Traceback" not in done.stderr
    return line


@fault("the folder is read-only", "at the start", "one line, before anything is computed")
@pytest.mark.slow
def test_a_folder_that_is_read_only_is_one_line(tmp_path):
    photos(tmp_path / "photos")
    with mounted(tmp_path / "disk", "ro") as disk:
        assert "cannot write to --out" in one_line(trained(tmp_path / "photos", disk / "run"))


@fault("there is no folder for temporary files", "from the start", "the right result, or one line that names TMPDIR")
@pytest.mark.slow
def test_no_folder_for_temporary_files_is_the_right_result_or_one_line(tmp_path):
    photos(tmp_path / "photos")
    nowhere = f"import tempfile; tempfile._candidate_tempdir_list = lambda: [{str(tmp_path / 'nowhere')!r}]; "
    done = trained(tmp_path / "photos", tmp_path / "run", python=("-c", nowhere + "from tlkeras.cli.main import main; main()"))
    assert (tmp_path / "run/metrics.json").is_file() if done.returncode == 0 else "TMPDIR" in one_line(done)


@fault("two commands with one --out", "at the start", "one gets it and ends as it would alone, the other says so in one line")
@pytest.mark.slow
def test_of_two_commands_that_want_one_folder_one_gets_it(tmp_path):
    photos(tmp_path / "photos")
    begin = [
        sys.executable,
        "-m",
        "tlkeras",
        "finetune",
        "--data",
        tmp_path / "photos",
        "--out",
        tmp_path / "run",
        *ONE_EPOCH,
        "--export",
        "none",
    ]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(list(map(str, begin)), **pipes) for _ in range(2)]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 1], errors
    winner, loser = sorted(range(2), key=lambda index: processes[index].returncode)
    (line,) = [line for line in errors[loser].splitlines() if line.startswith("error:")]
    assert "Traceback" not in errors[loser] and "error:" not in errors[winner] and f"--out '{tmp_path / 'run'}'" in line
    assert trained(tmp_path / "photos", tmp_path / "alone").returncode == 0
    for name in ("history.csv", "predictions.csv"):
        assert (tmp_path / "run" / name).read_text() == (tmp_path / "alone" / name).read_text()
