"""``turnout switch SERVICE --to COLOUR``."""

from __future__ import annotations

from typing import Any

import click

from turnout.cli.examples import WithExamples
from turnout.cli.options import NAME
from turnout.cli.requests import carry_out, change_of, change_options


@click.command(
    cls=WithExamples,
    examples=(
        "turnout switch checkout --to green --dry-run",
        "turnout switch checkout --to green",
        "turnout switch checkout --to green --activation scheduled --wait-for live",
        'turnout switch checkout --to green --exclude eu-west-1 --reason "eu-west-1 is down"',
    ),
)
@click.argument("service", type=NAME)
@click.option("--to", required=True, metavar="blue|green", help="The colour to move to.")
@click.option(
    "--point-of-no-return",
    metavar="REASON",
    help="Refuse rollbacks past this switch (a data migration goes with it).",
)
@change_options
def switch(service: str, to: str, point_of_no_return: str | None, **params: Any) -> None:
    """Move all traffic of SERVICE to a colour: in every region, or in none.

    Waits until the old colour is drained. Ctrl-C stops the waiting, not the switch. Running the
    same command again is safe: what is in force already is nothing to do.
    """
    body: dict[str, Any] = {"service": service, "to": to}
    if point_of_no_return is not None:
        body["point_of_no_return"] = point_of_no_return
    carry_out(change_of("/v1/switches", body, params))
