"""`python -m tlkeras` is the `tlkeras` command."""

from tlkeras.cli.main import main

if __name__ == "__main__":
    main()
