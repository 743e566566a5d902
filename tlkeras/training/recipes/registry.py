"""The recipes: each row names the function that returns its phases, with the reason and the source. Reading the table imports no Keras."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from tlkeras.registry import Registry, load_function


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One continuous piece of training.

    Args:
        name: short name, unique in its recipe; its checkpoint has it too.
        unfreeze: what trains besides the head, as in `freezing.parse`.
        epochs: maximum number of passes over the training split.
        learning_rate: peak of the schedule; a backbone whose row has one is trained at its own.
        warmup: fraction of the steps over which the learning rate rises from 0.
        weight_decay: decoupled (AdamW), not on biases and norms.
        keep: weights of the `best` epoch by validation loss, or of the `last` one; then the phase does not stop early.
        solver: `adamw`; `exact`: the head is the minimum of the regularised loss on the features (`tlkeras.training.exact`), in one epoch;
            or `pairs`: the backbone trains on pairs of examples, without the head (`tlkeras.training.contrastive`).
        strengths: of `exact`, strengths of the L2 penalty; the best of several by cross-validation.
        validation_too: of `exact`, whether the head is solved on the validation examples too, where others are held out for the test and
            nothing is chosen on validation; the scores of the validation examples are those of the head that was solved without them.
        layer_decay: factor of the learning rate from each section to the one below, 0 to 1; 1 for the same rate everywhere.
        only: names of the variables of the backbone that train, such as `bias`; all of its unfrozen layers when empty.
        batch_norm: `frozen` or `train`, where the phase needs it otherwise than the run.
        towards_start: whether weight decay pulls the backbone towards the weights at the start of the phase, instead of 0.
        ema: momentum of an exponential moving average of the weights over the steps, which the phase ends with; 0 for none.
        interpolate: shares of the way from the weights before the phase to those after it, 0 to 1; the best on validation is kept.
        repeats: how often the phase runs, each time from the same weights in another order; a greedy soup of the results is kept.
        minutes: how long the phase may take; epochs and unfrozen sections are reduced to fit, or the phase is left out. None for no limit.
        why: what was decided about this phase, and the reason; said when it starts.
    """

    name: str
    unfreeze: str
    epochs: int
    learning_rate: float
    warmup: float = 0.0
    weight_decay: float = 0.0
    keep: Literal["best", "last"] = "best"
    solver: Literal["adamw", "exact", "pairs"] = "adamw"
    strengths: tuple[float, ...] = ()
    validation_too: bool = False
    layer_decay: float = 1.0
    only: tuple[str, ...] = ()
    batch_norm: Literal["frozen", "train"] | None = None
    towards_start: bool = False
    ema: float = 0.0
    interpolate: tuple[float, ...] = ()
    repeats: int = 1
    minutes: float | None = None
    why: str = ""

    @property
    def described(self) -> str:
        """What the phase does, in a few words."""
        if self.solver == "exact":
            return "solved exactly"
        parts = ["pairs of examples"] * (self.solver == "pairs")
        parts += [f"unfreeze {self.unfreeze}", f"{self.epochs} epochs", f"{self.learning_rate:g}"]
        parts += [f"times {self.layer_decay:.2g} per section"] * (self.layer_decay != 1) + [f"only {', '.join(self.only)}"] * bool(
            self.only
        )
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a recipe may ask about the run.

    Args:
        examples: training examples; None before the data are split.
        classes: outputs of the head; None before the data are read, and where the task has none.
        fewest: training examples of the rarest class, or of all where there are no classes; None before the data are split.
        fixed_features: whether the backbone is pretrained and nothing new stands below the head, so that features may be computed first.
        minutes: how long the user lets fine-tuning take; None where nothing is said.
        accelerator: whether the work runs on a GPU or a TPU; None where that is not known yet.
        target: kind of the targets; None before the data are read.
        full_tuning: fields of `Phase` that are usual where a whole network of this modality is trained, where they differ.
        few_recipe: the recipe for few examples of this modality.
    """

    examples: int | None = None
    classes: int | None = None
    fewest: int | None = None
    fixed_features: bool = True
    minutes: float | None = None
    accelerator: bool | None = None
    target: str | None = None
    full_tuning: Mapping[str, Any] = field(default_factory=dict)
    few_recipe: str = "few-shot"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A named way to train, with its purpose and source.

    A function is named as `"module:function"`, or passed itself where it needs no Keras.

    Args:
        name: name that users pass.
        phases: (sections, facts) -> the phases in order; sections from input to output. The last phase's epochs, learning rate and
            `unfreeze` are what the settings of these names replace, and their defaults are asked for before the data are read.
        decides: whether epochs, learning rate and `unfreeze` follow from the data and the machine, so that no setting replaces them.
        timed: whether `max_minutes` bounds it.
        from_scratch: whether its learning rate is for networks with random weights, too.
        transform: task model -> the task model to train, before the first phase.
        finish: (task model, examples by split) -> the task model to keep, after the last phase.
        finish_interrupted: whether `finish` is called where training is interrupted, too.
        targets: kinds of targets that it trains; all when empty.
        settings: settings that other recipes have no use for, with their defaults, None for what must be set; `transform` receives them.
        why, source: one line, and the paper.
        figure: what it reached in `benchmarks/recipes.py`; empty where it was not measured.
    """

    name: str
    phases: str | Callable[[Sequence[str], Facts], tuple[Phase, ...]]
    transform: str | Callable[..., Any] | None = None
    finish: str | Callable[..., Any] | None = None
    finish_interrupted: bool = False
    targets: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    decides: bool = False
    timed: bool = False
    from_scratch: bool = False
    why: str
    source: str
    figure: str = ""

    def phases_for(self, sections: Sequence[str], facts: Facts) -> tuple[Phase, ...]:
        """Returns the phases for a backbone's sections.

        Raises:
            ValueError: when there is none, or two have the same name.
        """
        phases: tuple[Phase, ...] = function(self.phases)(sections, facts)
        names = [phase.name for phase in phases]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"recipe {self.name!r} has the phases {names}; expected one or more, with different names")
        return phases

    def with_settings(self, values: Mapping[str, Any]) -> Recipe:
        """Returns the recipe with values of its settings, which its `transform` receives."""
        if not self.settings:
            return self
        return replace(self, settings=values, transform=partial(_call, self.transform, **values) if self.transform else None)


def _call(value: str | Callable[..., Any], *args: Any, **settings: Any) -> Any:
    return function(value)(*args, **settings)


def function(value: str | Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function that a recipe names or holds."""
    return load_function(value) if isinstance(value, str) else value


RECIPES: Registry[Recipe] = Registry(
    "recipe",
    [
        Recipe(
            name="auto",
            phases="tlkeras.training.recipes.auto:phases",
            decides=True,
            timed=True,
            why="The default: the head is solved exactly; fine-tuning follows where data and time allow, and is kept only as far as it "
            "is better on validation.",
            source="Kumar et al. 2022, Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution, "
            "https://arxiv.org/abs/2202.10054",
            figure="clothes 0.881, ants and bees 0.943, rt-polarity 0.848 (ten folds); GoEmotions macro-F1 0.644, EmoBank r 0.561, while "
            "fine-tuning had falling rates",
        ),
        Recipe(
            name="linear-probe",
            phases="tlkeras.training.recipes.linear_probe:phases",
            decides=True,
            why="The backbone stays frozen and the head is the exact minimum of the regularised loss on its features: seconds, nothing to tune.",
            source="Kornblith et al. 2019, Do Better ImageNet Models Transfer Better?, https://arxiv.org/abs/1805.08974",
            figure="clothes 0.856, ants and bees 0.943, GoEmotions macro-F1 0.513, EmoBank r 0.464",
        ),
        Recipe(
            name="few-shot",
            phases="tlkeras.training.recipes.few_shot:phases",
            decides=True,
            why="As linear-probe, with one fixed strong penalty: with less than about 20 examples per class, comparing strengths is chance. "
            "As nothing is chosen on validation, its examples are learned from too.",
            source="Tian et al. 2020, Rethinking Few-Shot Image Classification: a Good Embedding Is All You Need?, "
            "https://arxiv.org/abs/2003.11539",
            figure="10 of each class: clothes 0.730, rt-polarity 0.602; 5: rt-polarity 0.566",
        ),
        Recipe(
            name="feature-extraction",
            phases="tlkeras.training.recipes.feature_extraction:phases",
            why="The backbone stays frozen and each example's features are computed once; the head is trained by steps, with dropout.",
            source="Donahue et al. 2014, DeCAF, https://arxiv.org/abs/1310.1531",
            figure="clothes 0.843",
        ),
        Recipe(
            name="lp-ft",
            phases="tlkeras.training.recipes.lp_ft:phases",
            timed=True,
            why="The exact head first, then all layers: fine-tuning starts from a head that does not distort the features.",
            source="Kumar et al. 2022, https://arxiv.org/abs/2202.10054",
            figure="clothes 0.887, while its rates fell from section to section",
        ),
        Recipe(
            name="full",
            phases="tlkeras.training.recipes.full:phases",
            from_scratch=True,
            why="Everything trains: best with much data, or data far from the photos of ImageNet.",
            source="Kornblith et al. 2019, Do Better ImageNet Models Transfer Better?, https://arxiv.org/abs/1805.08974",
            figure="clothes 0.905, ants and bees 0.915, rt-polarity 0.833",
        ),
        Recipe(
            name="gradual",
            phases="tlkeras.training.recipes.gradual:phases",
            why="The exact head, then the last sections, then more of them, then all: what lies low is changed last and least.",
            source="Howard & Ruder 2018, Universal Language Model Fine-tuning, https://arxiv.org/abs/1801.06146",
            figure="clothes 0.887 (one seed)",
        ),
        Recipe(
            name="discriminative",
            phases="tlkeras.training.recipes.discriminative:phases",
            why="Everything trains from the start, each section at a fraction of the rate of the one above.",
            source="Howard & Ruder 2018, https://arxiv.org/abs/1801.06146",
            figure="clothes 0.891",
        ),
        Recipe(
            name="l2-sp",
            phases="tlkeras.training.recipes.l2_sp:phases",
            why="Everything trains, and weight decay pulls the backbone back to its pretrained weights: for few data.",
            source="Li et al. 2018, Explicit Inductive Bias for Transfer Learning, https://arxiv.org/abs/1802.01483",
            figure="clothes 0.899",
        ),
        Recipe(
            name="wise-ft",
            phases="tlkeras.training.recipes.wise_ft:phases",
            why="As lp-ft, then the mixture of the weights before and after fine-tuning that is best on validation.",
            source="Wortsman et al. 2022, Robust fine-tuning of zero-shot models, https://arxiv.org/abs/2109.01903",
            figure="clothes 0.883",
        ),
        Recipe(
            name="soup",
            phases="tlkeras.training.recipes.soup:phases",
            why="As lp-ft three times in different orders, and the mean of those weights that do not make validation worse: three times the time.",
            source="Wortsman et al. 2022, Model soups, https://arxiv.org/abs/2203.05482",
            figure="clothes 0.887 (one seed)",
        ),
        Recipe(
            name="ema",
            phases="tlkeras.training.recipes.ema:phases",
            why="As lp-ft, and the result is a moving average of the weights over the steps: less chance in where training ends.",
            source="Polyak & Juditsky 1992, doi:10.1137/0330046; Morales-Brotons et al. 2024, https://arxiv.org/abs/2411.18704",
            figure="clothes 0.888",
        ),
        Recipe(
            name="lora",
            phases="tlkeras.training.recipes.lora:phases",
            transform="tlkeras.training.lora:enable",
            finish="tlkeras.training.lora:merge",
            finish_interrupted=True,
            settings={"lora_rank": 8, "lora_targets": ()},
            why="The exact head, then a narrow change of each dense layer and convolution, merged in the end: little memory, for large backbones.",
            source="Hu et al. 2021, LoRA, https://arxiv.org/abs/2106.09685; Schulman et al. 2025, LoRA Without Regret (its rate), "
            "https://thinkingmachines.ai/blog/lora/",
            figure="clothes 0.876, rt-polarity 0.819 (one seed)",
        ),
        Recipe(
            name="distill",
            phases="tlkeras.training.recipes.distill:phases",
            transform="tlkeras.training.distillation:enable",
            finish="tlkeras.training.distillation:disable",
            finish_interrupted=True,
            targets=("class", "labels"),
            settings={"teacher": None, "temperature": 2.0},
            why="As lp-ft, and what it learns is half the labels, half the scores of a larger model that was trained before (--teacher RUN).",
            source="Hinton et al. 2015, Distilling the Knowledge in a Neural Network, https://arxiv.org/abs/1503.02531",
            figure="clothes 0.892, from EfficientNet-Lite2 (0.901)",
        ),
        Recipe(
            name="contrastive",
            phases="tlkeras.training.recipes.contrastive:phases",
            decides=True,
            targets=("class",),
            why="The backbone learns from pairs of examples to tell classes apart, then the exact head: for texts with few examples.",
            source="Tunstall et al. 2022, Efficient Few-Shot Learning Without Prompts (SetFit), https://arxiv.org/abs/2209.11055",
            figure="rt-polarity with 5, 10, 50 of each class 0.620, 0.685, 0.712",
        ),
        Recipe(
            name="bitfit",
            phases="tlkeras.training.recipes.bitfit:phases",
            why="The exact head, then only the biases: a small change of the network, which needs little memory.",
            source="Ben Zaken et al. 2022, BitFit, https://arxiv.org/abs/2106.10199",
            figure="clothes 0.734 (one seed)",
        ),
        Recipe(
            name="norm-only",
            phases="tlkeras.training.recipes.norm_only:phases",
            why="The exact head, then only scales and offsets of the normalisations, with their statistics.",
            source="Frankle et al. 2021, Training BatchNorm and Only BatchNorm, https://arxiv.org/abs/2003.00152",
            figure="clothes 0.790 (one seed)",
        ),
    ],
)
"""Named lists of phases."""
