"""Fine-tune a backbone: the same as `tlkeras finetune`."""

from tlkeras.cli import finetune
from tlkeras.cli.main import script

if __name__ == "__main__":
    script(finetune.command, finetune.HELP)
