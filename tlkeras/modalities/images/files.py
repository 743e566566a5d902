"""The files that are images."""

from __future__ import annotations

from dataclasses import replace

from tlkeras.data.file_kinds import FileKind

ENDINGS = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif",
    ".heic", ".heif", ".avif", ".ppm", ".pgm", ".jp2", ".tga", ".ico", "",
})  # fmt: skip
FILES = FileKind(
    noun="images",
    endings=ENDINGS,
    format="an image format",
    other="not-an-image",
    examples=(".jpg", ".png", ".webp"),
    recognises="tlkeras.modalities.images.formats:sniff",
    advice="it is an image: name a folder with a folder of images for each class",
)
ARRAYS = replace(FILES, endings=frozenset({".npy"}), format="a .npy file", examples=(".npy",))  # of channels that no image file has
