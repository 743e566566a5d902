"""The recipes: phases as functions of the backbone's sections and of facts about the run."""

import csv
import subprocess
import sys

import pytest

from tlkeras.config import RunConfig
from tlkeras.jobs import finetune, plan
from tlkeras.training.callbacks import Progress
from tlkeras.training.freeze_rules import parse
from tlkeras.training.recipes.registry import RECIPES, Facts, Phase, Recipe

SECTIONS = ("stem", "block1", "block2")


@pytest.mark.parametrize("name", RECIPES.names())
def test_every_recipe_has_phases_that_fit_the_sections_and_a_source(name):
    recipe = RECIPES.get(name)
    for facts in (Facts(), Facts(examples=10, classes=2, full_tuning={"epochs": 3})):
        for phase in recipe.phases_for(SECTIONS, facts):
            assert phase.epochs > 0 and phase.keep in ("best", "last")
            assert parse(phase.unfreeze, SECTIONS)
    assert recipe.why and "https://" in recipe.source


def test_phases_of_all_recipes_are_known_without_keras():
    code = (
        "import sys; from tlkeras.training.recipes.registry import RECIPES, Facts\n"
        "for recipe in RECIPES: recipe.phases_for(('a',), Facts())\n"
        "print([name for name in ('tensorflow', 'keras', 'numpy') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_usual_figures_of_a_modality_hold_where_the_whole_network_trains():
    usual = {"epochs": 3, "learning_rate": 5e-5, "keep": "last"}
    (full,) = RECIPES.get("full").phases_for(SECTIONS, Facts(full_tuning=usual))
    (head,) = RECIPES.get("feature-extraction").phases_for(SECTIONS, Facts(full_tuning=usual))
    assert (full.epochs, full.learning_rate, full.keep) == (3, 5e-5, "last") and head.epochs == 60


@pytest.mark.parametrize(
    ("backbone", "epochs", "decay", "keep"),
    [("efficientnet_lite0", 10, 1e-4, "best"), ("bert_base", 3, 1e-2, "last"), ("rnn", 10, 1e-4, "best")],
)
def test_texts_are_fully_trained_by_figures_of_their_own(backbone, epochs, decay, keep):
    resolved = plan.resolve(RunConfig.from_dict({"backbone": backbone, "recipe": "full", "weights": "none"}))
    ((phase, _),) = plan.phases(resolved, SECTIONS)
    assert (resolved.config.train.epochs, phase.epochs, phase.weight_decay, phase.keep) == (epochs, epochs, decay, keep)


@pytest.mark.parametrize("names", [(), ("a", "a")])
def test_a_recipe_without_phases_or_with_two_of_one_name_is_an_error(names):
    made_up = tuple(Phase(name=name, unfreeze="none", epochs=1, learning_rate=0.1) for name in names)
    recipe = Recipe(name="made-up", phases=lambda sections, facts: made_up, why="", source="")
    with pytest.raises(ValueError, match="made-up"):
        recipe.phases_for(SECTIONS, Facts())


def gradually(sections, facts):
    """A head, then the last section, for as many epochs as there are classes."""
    epochs = facts.classes or 1
    return (
        Phase(name="head", unfreeze="none", epochs=epochs, learning_rate=1e-3),
        Phase(name="top", unfreeze=f"from:{sections[-1]}", epochs=2, learning_rate=1e-3),
    )


def test_a_recipe_is_a_row_and_a_function_and_its_phases_are_in_the_run(monkeypatch, tmp_path):
    monkeypatch.setitem(RECIPES._rows, "gradual", Recipe(name="gradual", phases=gradually, why="", source=""))
    values = {"backbone": "cnn", "weights": "none", "image_size": 16, "limit": 60, "export": "none", "recipe": "gradual"}
    result = finetune.finetune(RunConfig.from_dict({**values, "patience": 20, "out": str(tmp_path / "run")}))
    with result.run.history.open(newline="") as file:
        rows = [row["phase"] for row in csv.DictReader(file)]
    assert rows == ["head"] * result.metrics["data"]["classes"] + ["top"] * 2
    assert result.config.train.epochs == 2 and result.config.train.unfreeze.startswith("from:")


# tests/training/test_phases.py interrupts phases that keep the last weights.
KEPT = [("best", "the best weights so far"), pytest.param("last", "the weights of the last step", marks=pytest.mark.slow)]


@pytest.mark.parametrize(("keep", "words"), KEPT)
def test_an_interrupted_run_says_which_weights_it_has(keep, words, monkeypatch, tmp_path):
    def interrupt(self, epoch, logs=None):
        raise KeyboardInterrupt

    phase = Phase(name="top", unfreeze="none", epochs=3, learning_rate=1e-3, keep=keep)
    monkeypatch.setitem(RECIPES._rows, "brief", Recipe(name="brief", phases=lambda sections, facts: (phase,), why="", source=""))
    monkeypatch.setattr(Progress, "on_epoch_end", interrupt)
    values = {"backbone": "cnn", "weights": "none", "image_size": 16, "limit": 60, "export": "none", "recipe": "brief"}
    with pytest.raises(KeyboardInterrupt, match=f"stopped after 1 epochs; {words} are in"):
        finetune.finetune(RunConfig.from_dict({**values, "out": str(tmp_path)}))
    assert (tmp_path / "model.keras").is_file() and (tmp_path / "history.csv").read_text().startswith("phase,epoch,")
