"""`tlkeras benchmark`: every artifact of a run or an entry, side by side."""

from __future__ import annotations

from typing import Any

import typer

from tlkeras.cli import complete
from tlkeras.cli.echo import echo, echo_json, json_text
from tlkeras.cli.options import with_config_flags
from tlkeras.config import BenchmarkConfig


@with_config_flags(BenchmarkConfig)
def command(
    target: str = typer.Argument(
        help="Folder of a run, or NAME or NAME/VERSION of an entry of the zoo.", metavar="ENTRY_OR_RUN", autocompletion=complete.run_folders
    ),
    json_out: str | None = typer.Option(None, "--json", help="Write the rows to this file, or to standard output with -.", metavar="FILE"),
    plot: str | None = typer.Option(None, "--plot", help="Draw latency against accuracy: .png, .svg or .pdf.", metavar="FILE"),
    floor: list[str] = typer.Option(
        [],
        "--floor",
        help="Minimum, for example accuracy=0.9 (of a task without accuracy, its figure): the command fails below it.",
        metavar="KEY=X",
    ),
    root: str | None = typer.Option(None, "--zoo", help="Folder of the zoo.", show_default=False, metavar="DIR"),
    quiet: bool = typer.Option(False, "--quiet", help="Show only warnings and the result."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
    **flags: Any,
) -> None:
    """Measure size, load time, latency, throughput, memory and accuracy of every artifact."""
    from tlkeras import files
    from tlkeras.cli.screen import Screen, benchmark_tables, start_tensorflow, wide
    from tlkeras.jobs import preflight
    from tlkeras.jobs.lookup import find_whole

    config = BenchmarkConfig.from_dict(flags)
    chosen, _ = preflight.to_benchmark(find_whole(target, root), config.data)
    start_tensorflow()
    from tlkeras.export.benchmark import below, parse_floor
    from tlkeras.export.benchmark import plot as draw
    from tlkeras.jobs import benchmark
    from tlkeras.zoo.store import Zoo

    floors = dict(parse_floor(one) for one in floor)
    screen = Screen(quiet or json_out == "-")
    with screen.live():
        report = benchmark.benchmark(
            target,
            data=chosen,
            zoo=Zoo(root) if root else None,
            formats=config.formats,
            threads=config.threads,
            reporter=screen,
        )
    if json_out == "-":
        echo_json(report.to_dict())
    else:
        for table in benchmark_tables(report):
            wide().print(table)
        if json_out:
            files.write(json_out, json_text(report.to_dict()) + "\n")
    if plot:
        draw(report.rows, plot, report.measure)
    missed = below(report.rows, floors)
    for line in missed if floors else [one for one in missed if "failed" in one]:
        echo(f"error: {line}", err=True)
    if missed:
        raise typer.Exit(1)
