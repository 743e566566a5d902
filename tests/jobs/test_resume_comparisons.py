"""Runs of several trainings that are killed: folds, targets alone, the network from scratch. None is trained twice, all end the same."""

import json

import numpy as np
import pytest

import tlkeras
from tests.faults import fault
from tests.helpers import pictures
from tlkeras.backbones.load import load
from tlkeras.data.examples import from_arrays
from tlkeras.errors import OutputError
from tlkeras.jobs import conclusion, cross_validation, finetune, resume, run_folder
from tlkeras.training.states import States

SMALL = {"backbone": "cnn", "weights": "none", "image_size": 16, "export": "none", "batch_size": 8, "seed": 3, "reporter": None}


class Killed(BaseException):
    """Stands for a SIGKILL: nothing of the product catches it."""


def examples(several=False):
    x, y = pictures(48, size=16)
    colour = np.array(["a", "b", "c"])[y]
    return from_arrays(x, {"colour": colour, "even": np.where(y % 2, "odd", "even")} if several else colour)


@pytest.fixture
def killed_after(monkeypatch):
    """Returns a function: as soon as a state of this key is written in this run, the process ends; None for no more kills."""
    save, left = States.save, {}

    def saved(self, key, *arguments, **named):
        save(self, key, *arguments, **named)
        if (self.folder.parent.parent.name, key) == (left.get("run"), left.get("key")):
            raise Killed

    monkeypatch.setattr(States, "save", saved)

    def install(key, run="run"):
        left.update(key=key, run=run)

    return install


def without_seconds(content):
    if isinstance(content, dict):
        return {key: without_seconds(value) for key, value in content.items() if key not in ("seconds", "timing", "out", "published")}
    return [without_seconds(one) for one in content] if isinstance(content, list) else content


@fault(
    "killed",
    "in cross-validation, after any fold",
    "the folds that are done are not trained again; the same figures and scores, bit for bit",
)
def test_folds_that_are_done_are_not_trained_again(tmp_path, killed_after, monkeypatch):
    settings = {**SMALL, "cross_validate": "3", "recipe": "lp-ft", "epochs": 2}
    whole = tlkeras.finetune(examples(), out=str(tmp_path / "whole"), **settings).run
    killed_after("fold-1")
    with pytest.raises(Killed):
        tlkeras.finetune(examples(), out=str(tmp_path / "run"), **settings)
    killed_after(None)
    trained, folds = cross_validation._trained, []
    monkeypatch.setattr(cross_validation, "_trained", lambda *arguments: folds.append(1) or trained(*arguments))
    run = tlkeras.finetune(examples(), resume=tmp_path / "run", reporter=None).run
    assert len(folds) == 1
    for name in ("cross_validation", "metrics"):
        left, right = (json.loads(getattr(one, name).read_text()) for one in (run, whole))
        assert without_seconds(left.get("cross_validation", left)) == without_seconds(right.get("cross_validation", right))
    assert run.out_of_fold.read_bytes() == whole.out_of_fold.read_bytes()
    assert run.predictions.read_bytes() == whole.predictions.read_bytes()
    assert run.history.read_text() == whole.history.read_text()


def test_a_stop_between_folds_says_how_to_go_on(tmp_path, monkeypatch):
    def stopped(*arguments):
        raise finetune.training.Interrupted([], keep="best", task=None)

    monkeypatch.setattr(cross_validation, "_trained", stopped)
    with pytest.raises(KeyboardInterrupt, match=r"stopped in fold 1 of 3.*`tlkeras finetune --resume .*run` goes on"):
        tlkeras.finetune(examples(), out=str(tmp_path / "run"), **SMALL, cross_validate="3", recipe="linear-probe")
    assert resume.unfinished(tmp_path / "run")


COMPARED = {
    "from scratch": ({"baseline": "scratch"}, False, "scratch", "fit-0.0"),
    "alone": ({"compare_single": True}, True, "single/even", "trained"),
}


@fault(
    "killed", "while it trains what it is compared with", "the run is complete; going on trains only what is missing, to the same figures"
)
@pytest.mark.parametrize("name", [pytest.param("from scratch", marks=pytest.mark.slow), "alone"])
def test_what_a_run_is_compared_with_is_gone_on_with(name, tmp_path, killed_after):
    more, several, folder, key = COMPARED[name]
    settings = {**SMALL, "recipe": "full", "epochs": 2, **more}
    if name == "from scratch":
        settings["weights"] = str(tmp_path / "backbone.keras")
        load("cnn", image_size=16, weights="none").model.save(settings["weights"])
    whole = tlkeras.finetune(examples(several), out=str(tmp_path / "whole"), **settings)
    killed_after(key, folder.rpartition("/")[2])
    with pytest.raises(Killed):
        tlkeras.finetune(examples(several), out=str(tmp_path / "run"), **settings)
    killed_after(None)
    run = run_folder.Run(tmp_path / "run")
    assert run.metrics.is_file() and resume.unfinished(run.root) and resume.unfinished(run.root / folder)
    with pytest.raises(OutputError, match="goes on with it"):
        tlkeras.finetune(examples(several), out=str(run.root), **settings)
    result = tlkeras.finetune(examples(several), resume=run.root, reporter=None)
    part = "baseline" if name == "from scratch" else "single"
    assert without_seconds(result.metrics[part]) == without_seconds(whole.metrics[part])
    assert not resume.unfinished(run.root) and not resume.unfinished(run.root / folder)
    assert json.loads(run.metrics.read_text())[part]


def test_what_is_finished_beside_a_run_is_read_and_not_trained_again(tmp_path):
    settings = {**SMALL, "recipe": "full", "epochs": 1}
    done = tlkeras.finetune(examples(), out=str(tmp_path / "run"), **settings)
    plan = finetune.planning.resolve(done.config.updated(out=str(done.run.root)))

    def train(*arguments, **named):
        raise AssertionError("it was trained again")

    run, metrics = conclusion._beside(plan, examples(), finetune.open_distribution("cpu"), train)
    assert run.root == done.run.root and metrics["phases"]
