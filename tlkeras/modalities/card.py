"""What the card of an entry says about its inputs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class InputCard:
    """The words and examples of one modality on a model card.

    Args:
        noun: what one input is called.
        accepts: the sentences that say what the model accepts.
        encoded: name of encoded examples in the signatures of its SavedModel; None where they accept tensors only.
        file: name of an example file, in the programs on the card.
        literal: the example itself where it is sent as it is; None where a file is sent.
        values: added to the shape of the tensor that ONNX files accept.
        contains: what a TFLite file contains besides its labels.
        mediapipe: the class of MediaPipe Tasks that uses such a file.
    """

    noun: str
    accepts: str
    encoded: str | None
    file: str
    literal: str | None = None
    values: str = ""
    contains: str = ""
    mediapipe: str = ""
