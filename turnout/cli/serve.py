"""``turnout serve``: run a coordinator."""

from __future__ import annotations

from pathlib import Path

import click

from turnout.cli.examples import WithExamples
from turnout.cli.lazy import not_installed


@click.command(
    cls=WithExamples,
    examples=("turnout serve -c coordinator.toml",),
)
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, readable=False),
    default="coordinator.toml",
    show_default=True,
    help="Its configuration.",
)
@click.option("--example", is_flag=True, help="Print a configuration with every key explained.")
def serve(config: Path, example: bool) -> None:
    """Run a coordinator until SIGTERM; several of them elect a leader among themselves.

    It serves its own host only (loopback) until identities are set up.
    """
    if example:
        from coordinator.config import EXAMPLE

        click.echo(EXAMPLE, nl=False)
        return
    with not_installed("rich"):
        from coordinator.daemon import main

    raise click.exceptions.Exit(main(config))
