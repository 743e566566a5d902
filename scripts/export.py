"""Export a run or any Keras model: the same as `tlkeras export`."""

from tlkeras.cli import export
from tlkeras.cli.main import script

if __name__ == "__main__":
    script(export.command, export.HELP)
