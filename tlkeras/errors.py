"""Every error tlkeras raises on purpose.

    TlkerasError
    ├── UnknownName          no registry row has this name
    ├── ConfigError          a key or a value of the configuration is wrong
    ├── DataError            the source cannot be used
    ├── WeightsError         the weights cannot be used
    │   ├── WeightsUnavailable   they are not available here
    │   └── WeightsMismatch      the file is damaged, of another kind, or does not fit
    ├── FreezeError          freeze rules do not fit the model, or frozen weights moved
    ├── TrainingError        training cannot continue
    │   ├── TrainingDiverged     the loss is no longer finite
    │   └── OutOfMemory          a batch does not fit
    ├── ExportError          an artifact cannot be written
    │   ├── UnsupportedOps       the runtime lacks operations of the graph
    │   └── ExportMismatch       the artifact's answers differ from the model's
    ├── ZooError             an entry of the zoo is invalid, damaged or missing
    ├── OutputError          the output folder cannot be used
    └── MissingPackage       an optional package is not installed

A message is one line: what happened, what was expected, what was received, what to do next. If weights do not fit a network, further lines
list the differences.
"""

from __future__ import annotations

import difflib
import errno
import re
import unicodedata
from collections.abc import Iterable


class TlkerasError(Exception):
    """Base of all errors raised on purpose; the command line prints its text without a traceback.

    Example:
        >>> import tlkeras
        >>> try:
        ...     tlkeras.RECIPES.get("fulll")
        ... except tlkeras.TlkerasError as error:
        ...     print(error)
        no recipe 'fulll'; did you mean 'full'?
    """


class UnknownName(TlkerasError, KeyError):
    """No registry row has this name."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0])


class ConfigError(TlkerasError, ValueError):
    """A key or a value of the configuration is wrong."""


class DataError(TlkerasError, ValueError):
    """The source cannot be used."""


class WeightsError(TlkerasError):
    """The weights cannot be used."""


class WeightsUnavailable(WeightsError):
    """The weights are not available here; the message names every way to get them."""


class WeightsMismatch(WeightsError, ValueError):
    """The file is damaged, of another kind, or does not fit the model."""


class FreezeError(TlkerasError, ValueError):
    """Freeze rules do not fit the model, or frozen weights moved."""


class TrainingError(TlkerasError, RuntimeError):
    """Training cannot continue."""


class TrainingDiverged(TrainingError):
    """The loss is no longer finite."""


class OutOfMemory(TrainingError):
    """A batch does not fit into memory."""


class ExportError(TlkerasError, RuntimeError):
    """An artifact cannot be written."""


class UnsupportedOps(ExportError):
    """The runtime lacks operations of the graph."""


class ExportMismatch(ExportError):
    """The artifact's answers differ from those of its model. `figures` holds the differences, if known."""

    figures: dict[str, float | None] = {}


class ZooError(TlkerasError):
    """An entry of the zoo is invalid, damaged or missing."""


class OutputError(TlkerasError, OSError):
    """The output folder cannot be used."""


class MissingPackage(TlkerasError, ImportError):
    """An optional package is not installed."""


def close_names(name: str, known: Iterable[str]) -> list[str]:
    """Returns the known names that a name was probably meant to be, the closest first; at most three."""
    return difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)


def near(name: str, known: Iterable[str]) -> str:
    """Returns the end of a message about `name`: the names close to it, or the known ones when few."""
    names = sorted(known)
    close = close_names(name, names)
    if close:
        return "did you mean " + " or ".join(repr(one) for one in close) + "?"
    shown = ", ".join(names[:12])
    return f"known: {shown}" + (f", … ({len(names)} in all)" if len(names) > 12 else "")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """Returns the error for a `name` that no row of the registry of `kind` has."""
    return UnknownName(f"no {kind} {shown(name)}; {near(name, known)}")


REASON = 300  # characters of the reason of another library's error


def reason(error: BaseException) -> str:
    """Returns the reason in another library's error, on one line.

    Keras puts it last, behind the whole config of the layer, or between the layer's name and its arguments; TensorFlow repeats it.
    """
    text = printable(" ".join(re.sub(r"\x1b\[\d*m", "", str(error)).split())) or type(error).__name__
    text = text.rpartition("Exception encountered: ")[2]
    called = re.search(r"Exception encountered when calling (.+?)\.? (?!Could not automatically)(.+?) Arguments received by", text)
    if called:
        text = f"{called[1]}: {called[2]}"
    if len(text) <= REASON:
        return text
    return f"{text[: REASON // 3]} … {text[-2 * REASON // 3 :]}"


# What a file system refuses -> what to do. Libraries that write files report some of them as texts in errors of their own.
SYSTEM = {
    errno.ENOSPC: ("No space left on device", "free some space, or choose another folder with --out"),
    errno.EDQUOT: ("Disk quota exceeded", "free some space, or choose another folder with --out"),
    errno.EFBIG: ("File too large", "raise the limit on the size of files (ulimit -f)"),
    errno.EROFS: ("Read-only file system", "choose another folder with --out"),
    errno.EACCES: ("Permission denied", "choose a folder that you may write to, with --out"),
    errno.EPERM: ("Operation not permitted", "choose a folder that you may write to, with --out"),
    errno.EMFILE: ("Too many open files", "raise the limit on open files (ulimit -n)"),
    errno.EIO: ("Input/output error", "check the disk"),
}
NO_TEMPORARY = "No usable temporary directory"


def system_problem(error: BaseException) -> str | None:
    """Returns a line about an error that the file system is the reason of, and no bug; None for others."""
    text = str(error)
    if isinstance(error, FileNotFoundError) and NO_TEMPORARY in text:
        return f"{reason(error)}; set TMPDIR to a folder that you may write to"
    number = error.errno if isinstance(error, OSError) else None
    for known, (said, advice) in SYSTEM.items():
        if number == known or said in text:
            name = getattr(error, "filename", None)
            return f"{said}{f': {str(name)!r}' if name else ''}; {advice}; what is finished stays as it is"
    return None


# === Texts of unknown origin ===

# What starts, ends or turns around a direction of writing: it can make a name read as another one (Unicode 16, 23.2; CVE-2021-42574).
BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
OBEYED = frozenset({"Cc", "Cs", "Zl", "Zp"})  # Unicode categories: controls, halves of characters, separators of lines and paragraphs


def is_obeyed(char: str) -> bool:
    """Whether terminals and editors obey a character instead of showing it; joiners (ZWJ, ZWNJ) and hard spaces are part of words."""
    return unicodedata.category(char) in OBEYED or char in BIDI or ord(char) & 0xFFFE == 0xFFFE


def printable(text: str, keep: str = "") -> str:
    """Returns a text on one line: characters that a terminal obeys, such as ESC and line breaks, are spelled out.

    Args:
        text: for example the name of a file.
        keep: characters that stay all the same.

    Example:
        >>> printable("a\\x1b[31mb"), printable("سلام\\u200cها")
        ('a\\\\x1b[31mb', 'سلام\u200cها')
    """
    if text.isprintable():
        return text
    return "".join(char.encode("unicode_escape").decode() if char not in keep and is_obeyed(char) else char for char in text)


def shown(value: object, most: int = 80) -> str:
    """Returns the representation of a value for a message, at most so many characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of more than 4,300 digits
        return f"a very large {type(value).__name__}"
    return text if len(text) <= most else text[: most - 1] + "…"
