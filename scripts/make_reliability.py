"""Writes the number of hostile inputs that the tests try into docs/reliability.md: `python scripts/make_reliability.py`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.hostile import corpus  # noqa: E402

PAGE = ROOT / "docs" / "reliability.md"


def main() -> None:
    """Replaces the section between its marks, or adds it at the end."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else "# Reliability\n"
    before, _, rest = text.partition(corpus.BEGIN)
    after = rest.partition(corpus.END)[2]
    PAGE.write_text(f"{before.rstrip()}\n\n{corpus.section()}\n\n{after.lstrip()}".rstrip() + "\n", encoding="utf-8")
    print(corpus.table())


if __name__ == "__main__":
    main()
