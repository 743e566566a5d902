"""The methods that explain an answer, and how inputs of each modality are explained: one row each. Reading this table imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from tlkeras.errors import ConfigError
from tlkeras.registry import Registry

EVERY = ("image", "text", "sequence")


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to explain an answer. Functions are named as `"module:function"`.

    Args:
        name: name that users pass.
        help: one line of help text.
        modalities: names in `MODALITIES` of the inputs that it explains.
        signed: whether its values are evidence for (positive) and against (negative) the answer; otherwise they are sizes, 0 or more.
        by_answer: whether the map depends on which label is explained.
        function: (network, samples, columns) -> one `Map` for each sample; see `tlkeras.explain.explanation`.
        refusal: network -> why the method cannot explain it, or None; empty where it explains every network.
        source: paper.
    """

    name: str
    help: str
    modalities: tuple[str, ...]
    signed: bool
    by_answer: bool = True
    function: str
    refusal: str = ""
    source: str


# The first method of a modality that a network allows is its default.
METHODS: Registry[Method] = Registry(
    "method",
    [
        Method(
            name="grad-cam",
            help="the last layer with positions, each channel weighed by its mean gradient: coarse, fast",
            modalities=("image",),
            signed=False,
            function="tlkeras.explain.grad_cam:grad_cam",
            refusal="tlkeras.explain.grad_cam:refusal",
            source="https://arxiv.org/abs/1610.02391",
        ),
        Method(
            name="occlusion",
            help="how much the answer loses without a patch, a word or a few steps: slow, needs no gradient",
            modalities=EVERY,
            signed=True,
            function="tlkeras.explain.occlusion:occlusion",
            source="https://arxiv.org/abs/1311.2901",
        ),
        Method(
            name="integrated-gradients",
            help="gradients along the way from an empty input; the values add up to the difference that the input makes",
            modalities=EVERY,
            signed=True,
            function="tlkeras.explain.integrated_gradients:integrated_gradients",
            source="https://arxiv.org/abs/1703.01365",
        ),
        Method(
            name="grad-cam++",
            help="as grad-cam, with weights that find several objects of one class",
            modalities=("image",),
            signed=False,
            function="tlkeras.explain.grad_cam:grad_cam_plus_plus",
            refusal="tlkeras.explain.grad_cam:refusal",
            source="https://arxiv.org/abs/1710.11063",
        ),
        Method(
            name="smoothgrad",
            help="the mean gradient of noisy copies",
            modalities=EVERY,
            signed=False,
            function="tlkeras.explain.smoothgrad:smoothgrad",
            source="https://arxiv.org/abs/1706.03825",
        ),
        Method(
            name="gradient",
            help="how fast the answer changes with each pixel, word or step: fast, noisy",
            modalities=EVERY,
            signed=False,
            function="tlkeras.explain.saliency:gradient",
            source="https://arxiv.org/abs/1312.6034",
        ),
        Method(
            name="attention-rollout",
            help="attention multiplied through all blocks of a transformer; the same for every label",
            modalities=("image", "text"),
            signed=False,
            by_answer=False,
            function="tlkeras.explain.attention_rollout:attention_rollout",
            refusal="tlkeras.explain.attention_rollout:refusal",
            source="https://arxiv.org/abs/2005.00928",
        ),
    ],
    aliases={"saliency": "gradient", "ig": "integrated-gradients", "gradcam": "grad-cam", "rollout": "attention-rollout"},
)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """How inputs of one modality are explained. Functions are named as `"module:name"`.

    Args:
        name: in `MODALITIES`.
        network: class in `tlkeras.explain.array_networks`: what is differentiated, what can be taken away.
        draw: (explanation, sample) -> file ending -> content: what is written for each explanation.
        thumbnail: (record of `explanations.json`, its folder, name of the example) -> HTML without scripts: a small form of it for pages.
        page: (explanations, samples) -> file name -> content: what is written for all of them; empty for none.
    """

    name: str
    network: str
    draw: str
    thumbnail: str
    page: str = ""


SUBJECTS: Registry[Subject] = Registry(
    "subject",
    [
        Subject(
            name="image",
            network="tlkeras.explain.array_networks:Images",
            draw="tlkeras.explain.drawing:image",
            thumbnail="tlkeras.explain.miniatures:image",
        ),
        Subject(
            name="text",
            network="tlkeras.explain.text_network:Texts",
            draw="tlkeras.explain.text_pages:drawn",
            thumbnail="tlkeras.explain.miniatures:text",
            page="tlkeras.explain.text_pages:page",
        ),
        Subject(
            name="sequence",
            network="tlkeras.explain.array_networks:Sequences",
            draw="tlkeras.explain.drawing:sequence",
            thumbnail="tlkeras.explain.miniatures:sequence",
        ),
    ],
)


def methods_for(modality: str) -> list[Method]:
    """Returns the methods that explain inputs of a modality, the default first."""
    return [row for row in METHODS if modality in row.modalities]


def method_named(name: str, modality: str) -> Method:
    """Returns a method.

    Args:
        name: what the user passed.
        modality: of the inputs.

    Raises:
        UnknownName: naming close ones.
        ConfigError: when it does not explain such inputs.
    """
    row = METHODS.get(name)
    if modality not in row.modalities:
        others = ", ".join(other.name for other in methods_for(modality)) or "none"
        raise ConfigError(f"method {row.name} explains {' and '.join(row.modalities)} models; methods for {modality} models: {others}")
    return row
