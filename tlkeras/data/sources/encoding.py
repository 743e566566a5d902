"""Which encoding some bytes are in: UTF-8 and UTF-16 by their marks and form, cp1252 where UTF-8 is ruled out."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from tlkeras.errors import DataError

UTF8 = "utf-8"
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
         (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
# Bytes that are not of the encoding stay in a text as these code points, so that the row can be named and left out.
UNDECODABLE = re.compile("[\udc80-\udcff]")
MOSTLY = 10  # lines that are not UTF-8 for each that needs UTF-8, from where the file is taken for cp1252
FOREIGN = 0.25  # of the letters; languages written in cp1252 have fewer letters beyond ASCII
_LETTER = re.compile(rb"[A-Za-z]")
_BEYOND = re.compile(rb"[\x80-\xff]")


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """An encoding and how it was found.

    Args:
        name: for Python's codecs.
        note: what to report where it was guessed, else None.
    """

    name: str
    note: str | None = None

    @property
    def title(self) -> str:
        """The name in messages."""
        return "UTF-8" if self.name.startswith(UTF8) else self.name

    @property
    def bad_kind(self) -> str:
        """The kind of issue for rows that are not of this encoding."""
        return "bad-utf8" if self.name.startswith(UTF8) else "bad-encoding"


def detect_encoding(content: bytes, asked: str | None = None) -> Encoding:
    """Returns the encoding of a file.

    Args:
        content: of the file.
        asked: a name that wins over what is detected.

    Raises:
        DataError: for an unknown name, or bytes that are neither UTF-8 nor likely cp1252.
    """
    if asked is not None:
        try:
            name = codecs.lookup(asked).name
            "".encode(name)
        except LookupError:
            raise DataError(
                f"no encoding {asked!r}; expected a name that Python knows, for example utf-8, cp1252, utf-16 or shift_jis"
            ) from None
        return Encoding(name="utf-8-sig" if name == UTF8 else name)
    for mark, name in MARKS:
        if content.startswith(mark):
            return Encoding(name=name, note=None if name == "utf-8-sig" else f"read as {name.upper()}, as its first bytes state")
    if guess := _without_mark(content[:4096]):
        return Encoding(name=guess, note=f"read as {guess.upper()}; if the text is wrong, pass --encoding NAME")
    try:
        content.decode(UTF8)
    except UnicodeDecodeError:
        return _not_utf8(content)
    return Encoding(name=UTF8)


def decode_text(content: bytes, encoding: Encoding) -> str:
    """Returns the text; bytes that are not of the encoding become code points that `UNDECODABLE` finds.

    Raises:
        DataError: when an encoding of several bytes does not fit at all.
    """
    try:
        return content.decode(encoding.name)
    except UnicodeDecodeError as error:
        try:
            return content.decode(encoding.name, "surrogateescape")
        except UnicodeDecodeError:
            raise DataError(f"the file is not {encoding.title}: {error.reason} at byte {error.start}; pass --encoding NAME") from error


def undecodable_line(text: str) -> int:
    """Returns the number of the first line with bytes that are not of the encoding, or 0."""
    match = UNDECODABLE.search(text)
    return text.count("\n", 0, match.start()) + 1 if match else 0


def _without_mark(head: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of ASCII text is zero."""
    even, odd = head[::2], head[1::2]
    if len(head) < 8:
        return None
    if odd.count(0) > 0.4 * len(odd) and even.count(0) < 0.05 * len(even):
        return "utf-16-le"
    return "utf-16-be" if even.count(0) > 0.4 * len(even) and odd.count(0) < 0.05 * len(odd) else None


def _not_utf8(content: bytes) -> Encoding:
    """Distinguishes a file in another encoding from UTF-8 with damaged rows, by the number of lines that need either."""
    bad = good = 0
    for line in content.splitlines():
        if _BEYOND.search(line):
            try:
                line.decode(UTF8)
                good += 1
            except UnicodeDecodeError:
                bad += 1
    if good * MOSTLY > bad:
        return Encoding(name=UTF8)
    beyond, letters = len(_BEYOND.findall(content)), len(_LETTER.findall(content))
    try:
        content.decode("cp1252")
    except UnicodeDecodeError:
        likely = False
    else:
        likely = beyond <= FOREIGN * (beyond + letters)
    if not likely:
        raise DataError(
            f"the text is neither UTF-8 nor likely cp1252 ({bad:,} lines are not UTF-8); pass --encoding NAME, for example shift_jis"
        )
    return Encoding(name="cp1252", note=f"read as cp1252, because {bad:,} lines are not UTF-8; if letters are wrong, pass --encoding NAME")
