"""Model ids of hubs and files passed as a backbone: which backbone the user means, and where its weights belong."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from tlkeras.backbones.row import Backbone
from tlkeras.registry import Registry

SCHEMES = ("hf://", "kaggle://", "modelscope://", "gs://", "https://", "http://")
# What ids say beside the network: numbers of versions, frameworks, training sets, and words that every second id has.
NOISE = re.compile(r"^(?:\d+|keras|tensorflow|tf|tf2|torch|pytorch|models?|timm|hf|api)$")
FILES = re.compile(r"\.(?:keras|h5|hdf5|pth|pt|bin|ckpt|safetensors|npz|onnx|tflite)$")


def hint(name: str, rows: Registry[Backbone]) -> str | None:
    """Returns the message for a backbone that is not the name of a row but an id of a hub, a preset, or a file; None for other names.

    Args:
        name: name from the user.
        rows: the backbones.
    """
    presets = {source.hub_preset: row for row in rows for source in row.weights if source.hub_preset}
    if FILES.search(name.lower()) or ("/" in name and Path(name).expanduser().exists()):
        what = "folder" if Path(name).expanduser().is_dir() else "file"
        return f"{name!r} is a {what}; --backbone accepts the name of a network (--list-backbones), and the {what} goes to --weights {name}"
    parts = [part for part in re.split(r"[/:]+", name) if part]
    preset = next((part for part in reversed(parts) if part in presets), None)
    if preset:
        row = presets[preset]
        source = "" if row.weights[0].hub_preset else " --weights hub"
        return f"{name!r} is a KerasHub preset; use --backbone {row.name}{source}, or --weights FOLDER with a copy of it"
    row_names = _near(parts, rows, presets)
    # `bert-base-uncased` is an id without an owner; `resnet-50` is a name, spelt otherwise.
    bare = "-" in name and len(row_names) == 1 and _plain(name) != _plain(row_names[0]) and _plain(name).startswith(_plain(row_names[0]))
    if not name.startswith(SCHEMES) and "/" not in name and not bare:
        return None
    if row_names:
        use = f"use --backbone {' or '.join(row_names)} with --weights FOLDER, the downloaded files of that model"
    else:
        use = "use a name of --list-backbones with --weights FOLDER, the downloaded files of that model"
    return f"{name!r} is the id of a model on a hub, and --backbone accepts the name of a network; {use}"


def _near(parts: list[str], rows: Registry[Backbone], presets: dict[str, Backbone]) -> list[str]:
    """Returns the rows whose names, aliases or presets are nearest to one of the parts of an id, the last part first."""
    keys = {_plain(alias): name for alias, name in rows.aliases().items()}
    keys |= {_plain(preset): row.name for preset, row in presets.items()}
    keys |= {_plain(row.name): row.name for row in rows}
    for part in reversed(parts):
        if NOISE.match(part.lower()):
            continue
        plain = _plain(part)
        if plain in keys:
            return [keys[plain]]
        # An id says more than the name does: `vit-base-patch16-224` begins with `vitbase`.
        begins = sorted((key for key in keys if len(key) > 3 and plain.startswith(key)), key=len, reverse=True)[:1]
        names = list(dict.fromkeys(keys[key] for key in begins or difflib.get_close_matches(plain, keys, n=2, cutoff=0.7)))
        if names:
            return names
    return []


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
