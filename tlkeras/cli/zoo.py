"""`tlkeras zoo`: publish, inspect, verify and copy versioned models."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any

import typer

from tlkeras.cli import complete
from tlkeras.cli.echo import echo, echo_json

ENTRY = "NAME, NAME/VERSION or NAME/stable."


def _root() -> str | None:
    return typer.Option(
        None, "--zoo", help="Folder of the zoo. [default: $TLKERAS_ZOO, else zoo/models]", show_default=False, metavar="DIR"
    )


def _debug() -> bool:
    return typer.Option(False, "--debug", help="Show tracebacks.")


def _zoo(root: str | None):  # type: ignore[no-untyped-def]
    from tlkeras.zoo.store import Zoo, default_root

    return Zoo(root or default_root())


def publish(
    run: str = typer.Argument(help="Folder of a run.", metavar="RUN", autocompletion=complete.run_folders),
    name: str = typer.Option(..., "--name", help="Name of the entry: a-z, 0-9, '.', '_', '-'."),
    data_licence: str | None = typer.Option(None, "--data-licence", help="Licence of the examples, for the card.", show_default=False),
    data_source: str | None = typer.Option(None, "--data-source", help="Where the examples come from, for the card.", show_default=False),
    promote: bool = typer.Option(False, "--promote", help="Make it the stable version."),
    sign: str | None = typer.Option(None, "--sign", help="Sign it with a secret key of minisign.", metavar="KEY", show_default=False),
    root: str | None = _root(),
    debug: bool = _debug(),
) -> None:
    """Publish a run as the next version of an entry."""
    from tlkeras.cli.screen import start_tensorflow
    from tlkeras.jobs.lookup import to_publish
    from tlkeras.zoo.names import check_name
    from tlkeras.zoo.store import CARD

    check_name(name)
    to_publish(run)  # what cannot be published is reported before TensorFlow loads
    signed = _signer(sign)
    start_tensorflow()
    from tlkeras.jobs import publish as publishing

    zoo = _zoo(root)
    entry = publishing.publish(run, name, zoo, data_licence=data_licence, data_source=data_source, sign=signed)
    if promote:
        entry = publishing.promote(zoo, entry)
    echo(f"published {entry}: {len(entry.files)} files, {entry.bytes / 1e6:.1f} MB in {entry.path}")
    echo(f"  card     {entry.path / CARD}")
    echo(f"  verify   tlkeras zoo verify {entry}" + (f" --zoo {root}" if root else ""))
    echo(f"  serve    docker compose -f {shlex.quote(str(zoo.root / 'compose.yaml'))} up")


def _signer(key: str | None) -> Callable[[bytes, str], bytes] | None:
    if key is None:
        return None
    import sys

    from tlkeras.zoo.signing import signer

    ask = (lambda: typer.prompt("Password of the key", hide_input=True)) if sys.stdin.isatty() else None
    return signer(key, ask)


def show_list(root: str | None = _root(), debug: bool = _debug()) -> None:
    """List the entries."""
    from tlkeras.errors import TlkerasError

    zoo = _zoo(root)
    damaged: list[str] = []
    entries = zoo.list(lambda name, error: damaged.append(f"{name:<28} damaged: {error}"))
    if not entries and not damaged:
        echo(f"the zoo {str(zoo.root)!r} is empty; `tlkeras zoo publish RUN --name NAME` adds an entry", err=True)
    for entry in entries:
        try:
            figure = _figure(entry.manifest)
        except TlkerasError as error:  # of a task that this version does not know
            damaged.append(f"{entry!s:<28} damaged: {error}")
            continue
        echo(
            f"{entry!s:<28} {'stable' if entry.stable else '':<7} {entry.bytes / 1e6:7.1f} MB   "
            f"{figure}   {', '.join(entry.manifest['artifacts'])}"
        )
    for line in damaged:
        echo(line, err=True)
    if damaged:
        raise typer.Exit(1)


def _figure(manifest: Mapping[str, Any]) -> str:
    """Returns the figure of the task that an artifact reached on held-out examples, with its name where that is not accuracy."""
    from tlkeras.tasks.registry import DEFAULT, TASKS, task_of

    task = task_of(manifest["metadata"])
    value = next((record.get("accuracy") for record in manifest["artifacts"].values() if record.get("accuracy") is not None), None)
    if value is None:
        return "-"
    return f"{value:.3f}" if task.figure == TASKS.get(DEFAULT).figure else f"{task.figure} {value:.3f}"


def show(
    name: str = typer.Argument(help=ENTRY, metavar="ENTRY"),
    json_out: bool = typer.Option(False, "--json", help="Print the manifest as JSON."),
    root: str | None = _root(),
    debug: bool = _debug(),
) -> None:
    """Print the card of an entry."""
    from tlkeras import files
    from tlkeras.errors import ZooError, reason
    from tlkeras.zoo.store import CARD

    entry = _zoo(root).get(name)
    if json_out:
        return echo_json({key: value for key, value in entry.manifest.items() if key != "files"})
    try:
        echo(files.read_text(entry.path / CARD))
    except (OSError, ValueError) as error:
        raise ZooError(f"cannot read the card of {entry}, {CARD}: {reason(error)}; publish it again") from error


def verify(
    name: str | None = typer.Argument(None, help=f"{ENTRY} [default: all entries]", metavar="ENTRY", show_default=False),
    public_key: str | None = typer.Option(
        None, "--public-key", help="Check that it was signed with the key of its publisher: a file of minisign, or its line.", metavar="KEY"
    ),
    root: str | None = _root(),
    debug: bool = _debug(),
) -> None:
    """Verify the hash of every file, and run every artifact in its runtimes again."""
    from tlkeras.cli.screen import start_tensorflow

    zoo = _zoo(root)
    damaged: list[str] = []
    entries = [zoo.get(name)] if name else zoo.list(lambda entry, error: damaged.append(f"{entry}\n  FAILED  manifest        {error}"))
    failed = len(damaged)
    for line in damaged:
        echo(line)
    start_tensorflow()
    from tlkeras.zoo.check import verify as verified

    for entry in entries:
        echo(str(entry))
        for check in verified(entry, public_key=public_key):
            failed += check.problem is not None
            echo(f"  {'FAILED' if check.problem else 'ok':<7} {check.what:<15} {check.problem or check.detail}")
    if failed:
        raise typer.Exit(1)


def diff(
    a: str = typer.Argument(help=ENTRY, metavar="A"),
    b: str = typer.Argument(help=ENTRY, metavar="B"),
    root: str | None = _root(),
    debug: bool = _debug(),
) -> None:
    """Show the differences between two entries: files, figures and settings."""
    from tlkeras.zoo.compare import diff as compare

    zoo = _zoo(root)
    differences = compare(zoo.get(a), zoo.get(b))
    if not (differences.removed or differences.added or differences.changed or differences.values):
        echo(f"no differences between {zoo.get(a)} and {zoo.get(b)}: the same files, figures and settings")
    for path in differences.removed:
        echo(f"- {path}")
    for path in differences.added:
        echo(f"+ {path}")
    for path, (before, after) in differences.changed.items():
        echo(f"~ {path}: {before:,} -> {after:,} bytes")
    for key, (old, new) in differences.values.items():
        echo(f"  {key}: {old} -> {new}")


def promote(
    name: str = typer.Argument(help=f"{ENTRY} The newest version by default.", metavar="ENTRY"),
    root: str | None = _root(),
    debug: bool = _debug(),
) -> None:
    """Make a version the stable one."""
    from tlkeras.startup import load_tensorflow

    zoo = _zoo(root)
    zoo.get(name)  # a name that is not there is reported before TensorFlow loads
    load_tensorflow()
    from tlkeras.jobs import publish as publishing

    entry = zoo.promote(name)
    publishing.renew(zoo)
    echo(f"{entry} is stable")


def remove(
    name: str = typer.Argument(help="NAME/VERSION.", metavar="ENTRY"),
    force: bool = typer.Option(False, "--force", help="Remove it even if it is the stable version."),
    root: str | None = _root(),
    debug: bool = _debug(),
) -> None:
    """Remove a version."""
    from tlkeras.errors import ZooError
    from tlkeras.startup import load_tensorflow
    from tlkeras.zoo.names import split_name

    zoo, (plain, version) = _zoo(root), split_name(name)
    if version is None:
        raise ZooError(f"which version of {plain!r}? write {plain}/VERSION; there are {', '.join(map(str, zoo.versions(plain)))}")
    entry = zoo.get(plain, version)
    load_tensorflow()
    from tlkeras.jobs import publish as publishing

    zoo.remove(plain, entry.version, force=force)
    publishing.renew(zoo)
    echo(f"removed {entry}")


def export(
    name: str = typer.Argument(help=ENTRY, metavar="ENTRY"),
    out: str = typer.Argument(help="New folder, or a file ending in .zip or .tar.gz.", metavar="OUT"),
    root: str | None = _root(),
    debug: bool = _debug(),
) -> None:
    """Copy an entry out of the zoo, as a folder or an archive, after checking its hashes."""
    from tlkeras.zoo.bundle import take_out

    entry = _zoo(root).get(name)
    echo(f"{entry} is in {take_out(entry, out)}")


def build(
    name: str | None = typer.Argument(None, help="Name of a recipe. [default: all]", show_default=False),
    recipes: str | None = typer.Option(None, "--recipes", help="Folder of recipes. [default: the project's own]", show_default=False),
    root: str | None = _root(),
    debug: bool = _debug(),
) -> None:
    """Fine-tune and publish the entries of the recipes. Recipes without their data are skipped and reported."""
    from tlkeras.cli.screen import Screen, start_tensorflow
    from tlkeras.zoo.entry_recipes import read_recipes

    entry_recipes = read_recipes(recipes, name)
    start_tensorflow()
    from tlkeras.jobs import publish as publishing

    screen = Screen()
    for recipe in entry_recipes:
        with screen.live():
            entry = publishing.build(recipe, _zoo(root), reporter=screen)
        echo(f"published {entry}" if entry else f"skipped {recipe.name}: its data {recipe.data!r} is missing; see {recipe.path}")


COMMANDS: dict[str, Callable[..., None]] = {
    "publish": publish,
    "list": show_list,
    "show": show,
    "verify": verify,
    "diff": diff,
    "promote": promote,
    "remove": remove,
    "export": export,
    "build": build,
}
