"""`python scripts/zoo.py build`: fine-tune and publish the project's own entries; else the same as `tlkeras zoo`."""

from __future__ import annotations

import sys

from tlkeras.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "zoo")
    main()
