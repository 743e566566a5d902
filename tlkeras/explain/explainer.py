"""From a model and its inputs to explanations: which answer, which method, which number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tlkeras.data.target import Target
from tlkeras.errors import ConfigError
from tlkeras.explain.answers import answers_named, answers_of
from tlkeras.explain.array_networks import BATCH, Network
from tlkeras.explain.explanation import Explanation, Map, Sample
from tlkeras.explain.registry import SUBJECTS, Method, method_named, methods_for
from tlkeras.explain.words import words_of
from tlkeras.registry import load_function
from tlkeras.tasks.registry import Task


class Explainer:
    """Explains the answers of a model to one of its targets, with one method.

    Args:
        model: of a run: one input, scores as output.
        task: what the scores mean.
        target: what the model predicts.
        inputs: what it accepts; see `tlkeras.modalities.inputs.Inputs`.
        method: name in `METHODS`; the first that the network allows when None.
        output: which of several targets; the first when None.
        batch_size: inputs that are computed at a time.
        window, stride: of occlusion, in pixels or steps; from the size of the input when None.

    Raises:
        UnknownName, ConfigError: for a method that there is not or that cannot explain this network, or another target.
    """

    def __init__(
        self,
        model: keras.Model,
        task: Task,
        target: Target,
        inputs: Any,
        *,
        method: str | None = None,
        output: str | None = None,
        batch_size: int = BATCH,
        window: int | None = None,
        stride: int | None = None,
    ):
        self.inputs, self.answers = inputs, answers_named(answers_of(task, target), output)
        if inputs.modality not in SUBJECTS:
            raise ConfigError(f"{inputs.modality} models cannot be explained; models that can: {', '.join(SUBJECTS.names())}")
        self.subject = SUBJECTS.get(inputs.modality)
        options = {"batch_size": batch_size, "window": window, "stride": stride}
        self.network: Network = load_function(self.subject.network)(model, self.answers, inputs, **options)
        self.method = usable(self.network, inputs.modality, method)

    def sample(self, array: np.ndarray, name: str, text: str = "") -> Sample:
        """Returns an input as methods accept it.

        Args:
            array: as the model accepts it, (1, …).
            name: of the input.
            text: of a text.
        """
        return Sample(name=name, array=array, text=text, words=words_of(text, self.inputs.tokens) if text else ())

    def explain(self, samples: Sequence[Sample], scores: np.ndarray, label: str | None = None, top: int = 1) -> list[Explanation]:
        """Explains the answers to some inputs.

        Args:
            samples: the inputs.
            scores: of the model for them, float (n, width).
            label: whose number is explained; the likeliest of each input, or the first number, when None.
            top: how many labels of each input, the likeliest first; for `label` None.

        Returns:
            The explanations, those of one input one after the other.
        """
        own = np.asarray(scores)[:, self.answers.columns]
        columns = [[self.answers.column(label)] if label is not None else self.answers.best(row, top) for row in own]
        pairs = [(sample, row, column) for sample, row, chosen in zip(samples, own, columns, strict=True) for column in chosen]
        maps: list[Map] = load_function(self.method.function)(
            self.network, [sample for sample, _, _ in pairs], [column for _, _, column in pairs]
        )
        return [self._explanation(*pair, explained) for pair, explained in zip(pairs, maps, strict=True)]

    def _explanation(self, sample: Sample, scores: np.ndarray, column: int, explained: Map) -> Explanation:
        return Explanation(
            file=sample.name,
            modality=self.subject.name,
            method=self.method.name,
            signed=self.method.signed,
            output=self.answers.name,
            label=self.answers.labels[column],
            score=float(scores[column]),
            number=float(self.network.numbers(sample.array, column)[0]),
            scale=self.answers.scale,
            values=explained.values,
            words=tuple(word.text for word in sample.words),
            details=explained.details,
        )


def usable(network: Network, modality: str, name: str | None) -> Method:
    """Returns the method of a name, or the first that can explain a network.

    Raises:
        UnknownName, ConfigError: when it cannot; the message names methods that can.
    """
    allowed = [row for row in methods_for(modality) if _refusal(row, network) is None]
    if name is None:
        return allowed[0]
    row = method_named(name, modality)
    reason = _refusal(row, network)
    if reason is not None:
        raise ConfigError(f"{row.name} cannot explain this model: {reason}; methods that can: {', '.join(other.name for other in allowed)}")
    return row


def _refusal(row: Method, network: Network) -> str | None:
    reason: str | None = load_function(row.refusal)(network) if row.refusal else None
    return reason
