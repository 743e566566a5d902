"""`tlkeras recommend`: the pretrained backbone that suits a data set, compared on that data set."""

from __future__ import annotations

from typing import Any

import typer

from tlkeras.cli.echo import echo_json
from tlkeras.cli.options import config_option, settings_of, with_config_flags
from tlkeras.config import RecommendConfig

HELP = """Compare the pretrained backbones on your data, and recommend one.

Each is judged by an exact head on its features, cross-validated on examples outside the test split; size, latency and licence stand beside.

Example: tlkeras recommend --data photos/ --device phone --max-size-mb 5
"""


@with_config_flags(RecommendConfig)
def command(
    config: str | None = config_option(),
    json_out: bool = typer.Option(False, "--json", help="Print the content of recommend.json instead of the table."),
    quiet: bool = typer.Option(False, "--quiet", help="Show only warnings and the result."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
    **flags: Any,
) -> None:

    from tlkeras.cli.screen import Screen, start_tensorflow, wide
    from tlkeras.jobs import preflight
    from tlkeras.progress import results_table

    settings = RecommendConfig.from_dict(settings_of(config, flags))
    dataset = preflight.open_compared(settings)
    start_tensorflow()
    from tlkeras.jobs import recommend
    from tlkeras.selection import pages

    result = recommend.recommend(settings, dataset, reporter=Screen(quiet or json_out))
    if json_out:
        echo_json(result.content)
        return
    console = wide()
    console.print(results_table(f"Backbones on {result.content['data']}, best first", pages.rows(result.content)))
    for line in [*pages.lines(result.content), f"written: {result.folder}"]:
        console.print(line, markup=False, soft_wrap=True)
