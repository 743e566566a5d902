"""Corruptions of inputs: functions of (inputs, strength, random generator), named by the rows of `tlkeras.evaluation.robustness`."""

from __future__ import annotations

import io
import string
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

SIDE = 224  # pixels that the strengths of Hendrycks & Dietterich are made for
BLOCK = 64  # images that are floats at a time
KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")  # rows of a keyboard: a slip hits a neighbour

# === Images: uint8 (n, height, width, channels), 0 to 255 ===


def _in_blocks(images: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Applies a change of float32 images, 0 to 1, block by block."""
    out = np.empty(images.shape, "uint8")
    for start in range(0, len(images), BLOCK):
        x = np.asarray(images[start : start + BLOCK], "float32") / 255
        out[start : start + BLOCK] = np.clip(change(x) * 255, 0, 255).round().astype("uint8")
    return out


def gaussian_noise(images: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Adds noise of a standard deviation, of 1 for the whole range."""
    return _in_blocks(images, lambda x: x + rng.normal(scale=strength, size=x.shape))


def gaussian_blur(images: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Blurs with a standard deviation in pixels of an image of 224; of other images by the root of their size.

    Blurs in proportion would change nothing at 32 pixels, where Hendrycks & Dietterich themselves use 0.4 to 1 (CIFAR-10-C).
    """
    from scipy import ndimage

    sigma = strength * (min(images.shape[1:3]) / SIDE) ** 0.5
    return _in_blocks(images, lambda x: ndimage.gaussian_filter(x, (0, sigma, sigma, 0), mode="nearest"))


def brightness(images: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Adds to the value of HSV; hue and saturation stay."""

    def lighter(x: np.ndarray) -> np.ndarray:
        value = x.max(axis=-1, keepdims=True)
        after = np.minimum(value + strength, 1)
        return np.where(value > 0, x * np.divide(after, value, out=np.ones_like(value), where=value > 0), after)

    return _in_blocks(images, lighter)


def contrast(images: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Draws each channel towards its mean; strength is what remains of the differences."""
    return _in_blocks(images, lambda x: (x - x.mean(axis=(1, 2), keepdims=True)) * strength + x.mean(axis=(1, 2), keepdims=True))


def jpeg(images: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Encodes as JPEG of a quality, 1 to 95; images of other than 1 or 3 channels each channel alone."""
    return _each(images, lambda image: _through_jpeg(image, int(strength)))


def _through_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def pixelate(images: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Shrinks to a share of the sides and enlarges again without smoothing."""

    def coarse(image: Image.Image) -> Image.Image:
        small = tuple(max(1, int(side * strength)) for side in image.size)
        return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)  # type: ignore[arg-type]

    return _each(images, coarse)


def _each(images: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Applies a change of Pillow's images: of three channels as RGB, of others channel by channel."""
    out = np.empty(images.shape, "uint8")
    for index, image in enumerate(images):
        if image.shape[-1] == 3:
            out[index] = np.asarray(change(Image.fromarray(np.asarray(image))))
        else:
            for channel in range(image.shape[-1]):
                out[index, :, :, channel] = np.asarray(change(Image.fromarray(np.ascontiguousarray(image[:, :, channel]))))
    return out


# === Texts ===


def _of_words(text: str, share: float, rng: np.random.Generator, change: Callable[[str], str]) -> str:
    """Returns a text with a share of its words changed, at least one; the white space between words becomes one blank each."""
    words = text.split()
    count = max(1, round(share * len(words))) if words else 0
    for index in rng.choice(len(words), count, replace=False) if count else ():
        words[index] = change(words[index])
    return " ".join(word for word in words if word)


def typos(texts: Sequence[str], strength: float, rng: np.random.Generator) -> list[str]:
    """Makes one slip in a share of the words: two letters swapped, one left out, doubled, or hit beside its key."""
    return [_of_words(text, strength, rng, lambda word: _slip(word, rng)) for text in texts]


def _slip(word: str, rng: np.random.Generator) -> str:
    if len(word) < 2:
        return word
    at = int(rng.integers(len(word) - 1))
    kind = int(rng.integers(4))
    changed = (
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word[: at + 1] + word[at:],
        word[:at] + _neighbour(word[at], rng) + word[at + 1 :],
    )
    return changed[kind]


def _neighbour(letter: str, rng: np.random.Generator) -> str:
    row = next((keys for keys in KEYS if letter.lower() in keys), None)
    if row is None:
        return letter if letter not in string.ascii_letters else letter.swapcase()
    at = row.index(letter.lower())
    near = [row[index] for index in (at - 1, at + 1) if 0 <= index < len(row)]
    hit = near[int(rng.integers(len(near)))]
    return hit.upper() if letter.isupper() else hit


def case(texts: Sequence[str], strength: float, rng: np.random.Generator) -> list[str]:
    """Writes a share of the words in capitals, and those that were in capitals in small letters."""
    return [_of_words(text, strength, rng, lambda word: word.lower() if word.isupper() else word.upper()) for text in texts]


def dropped_words(texts: Sequence[str], strength: float, rng: np.random.Generator) -> list[str]:
    """Leaves out a share of the words; at least one stays."""
    return [_of_words(text, strength, rng, lambda word: "") or text for text in texts]


# === Sequences: float32 (time, features), of any length ===


def sequence_noise(sequences: Sequence[np.ndarray], strength: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Adds noise of a share of the standard deviation that each feature has over all sequences."""
    spread = np.concatenate(list(sequences)).std(axis=0)
    return [(x + rng.normal(scale=strength, size=x.shape) * spread).astype("float32") for x in sequences]


def dropped_steps(sequences: Sequence[np.ndarray], strength: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Leaves out a share of the steps; at least one stays."""
    kept_steps = [np.sort(rng.permutation(len(x))[: max(1, round((1 - strength) * len(x)))]) for x in sequences]
    return [x[index] for x, index in zip(sequences, kept_steps, strict=True)]
