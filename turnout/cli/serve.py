"""``turnout serve``: run a coordinator."""

from __future__ import annotations

from pathlib import Path

import click

from turnout.cli.exit_codes import CommandError
from turnout.cli.running import for_people
from turnout.runtime.problems import ExitCode


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
    import trio

    from coordinator.config import load_settings
    from coordinator.daemon import run
    from turnout.runtime.key_file import KeyFileError

    with for_people():
        settings = load_settings(config)
        try:
            trio.run(run, settings)
        except* KeyFileError as group:
            raise CommandError(str(group.exceptions[0]), ExitCode.REFUSED) from group
