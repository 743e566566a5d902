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

    @property
    def changes(self) -> bool:
        """Whether it changes images at all."""
        return any((self.flip, self.zoom, self.shift, self.rotate, self.brightness, self.contrast, self.saturation))


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
    ],
)
