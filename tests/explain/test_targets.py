"""Every kind of target is explained: a class, a label, a number, and one of several."""

import numpy as np
import pytest

from tests.targets import TARGETS
from tlkeras import models
from tlkeras.errors import ConfigError
from tlkeras.explain.answers import answers_of
from tlkeras.explain.explainer import Explainer
from tlkeras.modalities.images.inputs import Images
from tlkeras.tasks.registry import TASKS

SIDE = 16
SIZES = {"filters1": 4, "filters2": 4, "dense": 8}


@pytest.fixture(scope="module", params=TASKS.names())
def built(request):
    task = TASKS.get(request.param)
    target = TARGETS[task.target]
    model = models.build("cnn", target, image_size=SIDE, weights="none", task=task.name, options=SIZES).model
    return model, task, target


def test_the_explained_number_is_the_answer_on_its_scale(built):
    model, task, target = built
    image = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3)).astype("float32")
    scores = model.predict(image, verbose=0)
    for answers in answers_of(task, target):
        explainer = Explainer(model, task, target, Images(size=SIDE, resize="stretch"), method="gradient", output=answers.name or None)
        found = explainer.explain([explainer.sample(image, "one")], scores, top=9)
        assert {one.label for one in found} == set(answers.labels)
        for one in found:
            own = scores[0, answers.start + answers.labels.index(one.label)]
            assert one.score == pytest.approx(float(own)) and one.output == answers.name
            expected = own if one.scale == "value" else np.log(own) - np.log1p(-own)
            assert one.number == pytest.approx(float(expected), rel=1e-3, abs=1e-4)
            assert one.values.shape == (SIDE, SIDE) and one.values.max() > 0


def test_a_label_or_target_that_is_not_predicted_lists_those_that_are(built):
    model, task, target = built
    options = (model, task, target, Images(size=SIDE, resize="stretch"))
    with pytest.raises(ConfigError, match="output is 'size'|no target 'size'"):
        Explainer(*options, output="size")
    explainer = Explainer(*options, method="gradient")
    with pytest.raises(ConfigError, match="predicts no 'nine'; known: "):
        explainer.explain([explainer.sample(np.zeros((1, SIDE, SIDE, 3)), "one")], np.zeros((1, len(target.labels))), "nine")


def test_a_rare_label_comes_first_where_it_is_further_above_its_threshold():
    (answers,) = answers_of(TASKS.get("multilabel"), TARGETS["labels"].with_facts(thresholds=[0.5, 0.05, 0.5]))
    assert answers.best(np.array([0.55, 0.2, 0.1]), 2) == [1, 0]
