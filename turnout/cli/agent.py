"""``turnout agent run`` and ``turnout agent keygen``."""

from __future__ import annotations

from pathlib import Path

import click

from turnout.cli.examples import WithExamples
from turnout.cli.exit_codes import CommandError
from turnout.cli.lazy import not_installed
from turnout.runtime.problems import ExitCode


@click.group()
def agent() -> None:
    """The edge agent: it stands beside one proxy and keeps it at the table in force."""


@agent.command(
    cls=WithExamples,
    examples=(
        "turnout agent run --example > agent.toml",
        "turnout agent run -c agent.toml",
    ),
)
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, readable=False),
    default="agent.toml",
    show_default=True,
    help="Its configuration.",
)
@click.option("--example", is_flag=True, help="Print a configuration with every key explained.")
def run(config: Path, example: bool) -> None:
    """Run an edge agent until SIGTERM. Its proxy goes on serving when the agent ends."""
    if example:
        from edge_agent.config import EXAMPLE

        click.echo(EXAMPLE, nl=False)
        return
    with not_installed("rich"):
        from edge_agent.daemon import main

    raise click.exceptions.Exit(main(config))


@agent.command(
    cls=WithExamples,
    examples=("turnout agent keygen agent.key",),
)
@click.argument("path", type=click.Path(path_type=Path, readable=False), default="agent.key")
def keygen(path: Path) -> None:
    """Make the agent's private key at PATH and print its public key.

    Enrol it with: turnout agents add ID --region REGION --public-key KEY
    """
    from turnout.runtime.key_file import KeyFileError, make_key

    try:
        click.echo(make_key(path).public_key)
    except KeyFileError as error:
        raise CommandError(str(error), ExitCode.REFUSED) from error
