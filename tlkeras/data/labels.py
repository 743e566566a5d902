"""Label files: one label per line, as editors and other tools write them."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from pathlib import Path

from tlkeras.errors import ConfigError, shown
from tlkeras.files import read_regular

LARGEST = 16 * 1024**2  # bytes of a label file
NUMBERED = re.compile(r"(\d{1,9})[\s:,;.)-]+(\S.*)")  # "0 cat", "0: cat": Teachable Machine and others write the class id first


def read_labels(path: str | Path) -> tuple[tuple[str, ...], str | None]:
    """Reads a file with one label per line, in class order.

    A byte order mark, line ends of every system, blank lines and spaces around a label are ignored. Numbers before the
    labels are ignored if they count up from 0 and the labels differ without them.

    Args:
        path: of the file, UTF-8, or UTF-16 with a byte order mark.

    Returns:
        The labels, and a note if numbers were ignored.

    Raises:
        ConfigError: when the file cannot be read, is empty, or has a label twice.
    """
    name = shown(str(path), 200)
    try:
        content = read_regular(Path(path).expanduser(), LARGEST)
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read --labels {name}: {error.strerror or error}") from error
    except (RuntimeError, ValueError) as error:  # an unknown user, a zero character; and what is not of the encoding
        if not isinstance(error, UnicodeDecodeError):
            raise ConfigError(f"cannot read --labels {name}: {error}") from error
        raise ConfigError(f"--labels {name} is not UTF-8 text ({error.reason}); save it as UTF-8, one label per line") from error
    labels = tuple(line.strip() for line in re.split(r"\r\n|\r|\n", text) if line.strip())
    if not labels:
        raise ConfigError(f"--labels {name} is empty; expected one label per line, in class order")
    plain = _without_numbers(labels)
    used = plain or labels
    twice = sorted(label for label, count in Counter(used).items() if count > 1)
    if twice:
        raise ConfigError(f"--labels {name} has the label {shown(twice[0])} twice; expected one line for each class")
    return used, f"--labels: the numbers before the labels are ignored: {_shown(used)}" if plain else None


def _without_numbers(labels: tuple[str, ...]) -> tuple[str, ...] | None:
    """Returns the labels without numbers that count up from 0, or None where there are none."""
    matches = [NUMBERED.fullmatch(label) for label in labels]
    if not all(match and int(match[1]) == index for index, match in enumerate(matches)):
        return None
    plain = tuple(match[2] for match in matches if match)
    return plain if len(set(plain)) == len(plain) else None


def _shown(labels: tuple[str, ...]) -> str:
    return ", ".join(label[:80] for label in labels[:4]) + (", …" if len(labels) > 4 else "")
