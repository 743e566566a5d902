"""Score a run or an artifact: the same as `tlkeras evaluate`."""

from tlkeras.cli import evaluate
from tlkeras.cli.main import script

if __name__ == "__main__":
    script(evaluate.command)
