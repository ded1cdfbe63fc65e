"""``turnout serve``: run a coordinator."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    default="coordinator.toml",
    show_default=True,
    help="Its configuration.",
)
def serve(config: Path) -> None:
    """Run a coordinator until SIGTERM; several of them elect a leader among themselves.

    It serves its own host only (loopback) until identities are set up.
    """
    from coordinator.daemon import main

    raise click.exceptions.Exit(main(config))
