"""Texts with their words coloured: an SVG of each, and an HTML page of all. Nothing in them is a script or comes from elsewhere."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from tlkeras.explain.explanation import Explanation, Sample
from tlkeras.tasks.markup import escape

LEVELS = 5
# Background colours, from weak to strong, on each of which the dark text has a contrast of more than 4.5 : 1.
FOR = ("#fdeee6", "#fbd9c8", "#f7bfa4", "#f2a382", "#ec8a66")
AGAINST = ("#ecf1fd", "#d3e0fb", "#b7cdf8", "#9abaf4", "#7fa6ef")
INK = "#1c2430"
NAMES = {"p": FOR, "n": AGAINST}
STYLE = (
    f"mark{{color:{INK};background:none;border-radius:.2em;padding:.05em 0}}"
    + "".join(f"mark.{name}{index + 1}{{background:{colour}}}" for name, colours in NAMES.items() for index, colour in enumerate(colours))
    + "mark.cut{opacity:.55;text-decoration:line-through}"
)
PAGE = (
    "body{font:16px/1.7 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#1c2430;background:#fff}"
    "h1{font-size:1.4rem}article{border-top:1px solid #d6dce4;padding:.8rem 0}.muted{color:#5d6b7c;font-size:.9rem}"
)
COLUMNS, CELL, LINE, MARGIN = 84, 9.0, 26.0, 12.0  # of the SVG: characters in a line, and pixels
NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def level(value: float, largest: float) -> str:
    """Returns the class of a value, `p1` to `p5` or `n1` to `n5`; empty for less than a twentieth of the largest size."""
    share = abs(value) / largest if largest > 0 else 0.0
    if share < 0.5 / (2 * LEVELS):
        return ""
    return f"{'p' if value > 0 else 'n'}{min(LEVELS, int(share * LEVELS) + 1)}"


def marked(explanation: Explanation, sample: Sample) -> str:
    """Returns a text as HTML, each word in a `mark` of the class of its value; `STYLE` has their colours."""
    largest = float(np.abs(explanation.values).max(initial=0.0))
    parts, end = [], 0
    for word, value in zip(sample.words, explanation.values, strict=True):
        kind = level(value, largest) if word.seen else "cut"
        title = f"{value:+.3g}" if explanation.signed else f"{value:.3g}"
        title = title if word.seen else "beyond the longest text of the model"
        attribute = f' class="{kind}"' if kind else ""
        parts.append(f'{escape(sample.text[end : word.start])}<mark{attribute} title="{title}">{escape(word.text)}</mark>')
        end = word.end
    return "".join([*parts, escape(sample.text[end:])])


def legend(signed: bool) -> str:
    """Returns what the colours mean, as HTML."""
    strong = "".join(f'<mark class="p{index + 1}">&nbsp;</mark>' for index in range(LEVELS))
    if not signed:
        return f"{strong} more important"
    weak = "".join(f'<mark class="n{index}">&nbsp;</mark>' for index in range(LEVELS, 0, -1))
    return f"against {weak}{strong} for"


def page(explanations: Sequence[Explanation], samples: Sequence[Sample]) -> dict[str, str]:
    """Returns `index.html` with all texts; see `Subject.page`."""
    first = explanations[0]
    articles = "".join(
        f"<article><p>{marked(explanation, sample)}</p><p class=muted>{escape(explanation.title)}</p></article>"
        for explanation, sample in zip(explanations, samples, strict=True)
    )
    head = '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    title = f"Explanations by {first.method}"
    return {
        "index.html": f"{head}<title>{escape(title)}</title><style>{PAGE}{STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"<p>{legend(first.signed)}</p>{articles}</body></html>\n"
    }


# === SVG ===


def drawn(explanation: Explanation, sample: Sample) -> dict[str, str]:
    """Returns the text as SVG, in lines of 84 characters; see `Subject.draw`."""
    largest = float(np.abs(explanation.values).max(initial=0.0))
    body, row, column, end = [], 0, 0, 0
    for word, value in zip(sample.words, explanation.values, strict=True):
        column += int(word.start > end and column > 0)  # what is between words are spaces
        end, taken = word.end, _width(word.text)
        if column and column + taken > COLUMNS:
            row, column = row + 1, 0
        body.append(_word(word.text, level(value, largest) if word.seen else "", row, column, taken))
        column += taken
    height = MARGIN * 2 + LINE * (row + 2)
    width = MARGIN * 2 + CELL * max(COLUMNS, max((_width(word.text) for word in sample.words), default=0))
    title = f'<text class="t" x="{MARGIN}" y="{height - MARGIN}">{_xml(explanation.title)}</text>'
    style = ".w{font:15px monospace;fill:#1c2430}.t{font:13px sans-serif;fill:#5d6b7c}"
    return {
        ".svg": f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}">'
        f'<style>{style}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(body)}{title}</svg>\n'
    }


def _word(text: str, kind: str, row: int, column: int, width: int) -> str:
    x, y = MARGIN + CELL * column, MARGIN + LINE * row
    colour = NAMES[kind[0]][int(kind[1:]) - 1] if kind else None
    box = f'<rect x="{x:g}" y="{y:g}" width="{CELL * width:g}" height="22" rx="3" fill="{colour}"/>' if colour else ""
    # The length is stated, so that the boxes fit whatever font a viewer has.
    return (
        f'{box}<text class="w" x="{x:g}" y="{y + 16:g}" textLength="{CELL * width:g}" lengthAdjust="spacingAndGlyphs">{_xml(text)}</text>'
    )


def _width(text: str) -> int:
    """Returns how many columns a word takes; wide characters take two."""
    return max(1, sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text))


def _xml(text: str) -> str:
    return escape(NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text.encode("utf-8", "replace").decode("utf-8")))
