"""The augmentations: each row limits the random changes to an image."""

from __future__ import annotations

from dataclasses import dataclass

from tlkeras.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Ranges of random changes; 0 means none.

    Args:
        flip: whether left and right are swapped half of the time.
        zoom, shift: largest change of scale, and of place, as a fraction of the side.
        rotate: largest turn in degrees.
        brightness: largest addition, of 255.
        contrast, saturation: largest change of the factor around 1.
        operations: how many random operations of `operations.OPERATIONS` follow, one after the other.
        strength: of these, 0 to 1, in a random direction; 0 for a random strength.
        erase: probability that a random rectangle is replaced by the mean colour.
    """

    name: str
    help: str
    flip: bool = False
    zoom: float = 0.0
    shift: float = 0.0
    rotate: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    operations: int = 0
    strength: float = 0.0
    erase: float = 0.0

    @property
    def changes(self) -> bool:
        """Whether it changes images at all."""
        ranges = (self.flip, self.zoom, self.shift, self.rotate, self.brightness, self.contrast, self.saturation)
        return any((*ranges, self.operations, self.erase))


AUGMENTS: Registry[Augment] = Registry(
    "augmentation",
    [
        Augment(name="none", help="Images unchanged."),
        Augment(name="flip", help="Horizontal flip with probability 0.5.", flip=True),
        Augment(
            name="shift",
            help="Slight shift, zoom and rotation, never a flip: for digits, letters and signs.",
            zoom=0.1,
            shift=0.08,
            rotate=8,
        ),
        Augment(
            name="light",
            help="Flip, slight zoom and shift, brightness and contrast.",
            flip=True,
            zoom=0.15,
            shift=0.08,
            brightness=0.1,
            contrast=0.15,
        ),
        Augment(
            name="strong",
            help="Flip, zoom, shift, rotation, brightness, contrast and colour.",
            flip=True,
            zoom=0.3,
            shift=0.15,
            rotate=20,
            brightness=0.2,
            contrast=0.3,
            saturation=0.3,
        ),
        Augment(
            name="erase",
            help="As light, and half of the images lose a rectangle (random erasing).",
            flip=True,
            zoom=0.15,
            shift=0.08,
            brightness=0.1,
            contrast=0.15,
            erase=0.5,
        ),
        # Müller & Hutter 2021, https://arxiv.org/abs/2103.10158
        Augment(
            name="trivial",
            help="Flip, and one random operation of 13 at a random strength (TrivialAugment).",
            flip=True,
            operations=1,
        ),
        # Cubuk et al. 2020, https://arxiv.org/abs/1909.13719: N = 2, M = 9 of 30, here in the ranges of TrivialAugment
        Augment(
            name="randaugment",
            help="Flip, and two random operations of the same 13 at a moderate strength (RandAugment).",
            flip=True,
            operations=2,
            strength=0.3,
        ),
    ],
)
