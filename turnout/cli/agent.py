"""``turnout agent run``, ``turnout agent check`` and ``turnout agent keygen``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from turnout.cli.examples import WithExamples
from turnout.cli.exit_codes import CommandError
from turnout.cli.lazy import not_installed
from turnout.runtime.problems import ExitCode

if TYPE_CHECKING:
    from edge_agent.drivers.base import Finding


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
    examples=(
        "turnout agent check -c agent.toml",
        "turnout agent check -o json | jq '.findings[] | select(.well | not)'",
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
@click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
)
def check(config: Path, output: str) -> None:
    """Look at what an agent needs on this host, and start nothing.

    The proxy's binary reads the configuration that it would be given; its sockets, address, modules
    and permissions, the agent's key and journal, and the coordinators are looked at. The exit code is
    3 where something is not well.
    """
    import trio

    from edge_agent.check import check as look
    from edge_agent.config import load_settings
    from edge_agent.daemon import proxy_driver
    from turnout.cli.terminal import show_json
    from turnout.runtime.config import ConfigError

    try:
        settings = load_settings(config)
    except ConfigError as error:
        raise CommandError(str(error), ExitCode.REFUSED) from error
    findings = trio.run(look, settings, proxy_driver(settings))
    is_well = all(finding.is_well for finding in findings)
    if output == "json":
        listed = [
            {"what": one.what, "found": one.found, "well": one.is_well, "mend": one.mend}
            for one in findings
        ]
        show_json({"well": is_well, "findings": listed})
    else:
        _show(findings)
    raise click.exceptions.Exit(ExitCode.DONE if is_well else ExitCode.REFUSED)


def _show(findings: Sequence[Finding]) -> None:
    from rich.text import Text

    from turnout.cli.render import BAD, GOOD, table
    from turnout.cli.terminal import show

    rows = [
        (
            one.what,
            Text("ok", style=GOOD) if one.is_well else Text("not well", style=BAD),
            one.found,
            one.mend,
        )
        for one in findings
    ]
    show(table("WHAT", "STATE", "FOUND", "MEND", rows=rows))


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
