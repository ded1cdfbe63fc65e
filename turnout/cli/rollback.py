"""``turnout rollback SERVICE``."""

from __future__ import annotations

from typing import Any

import click

from turnout.cli.examples import WithExamples
from turnout.cli.options import NAME
from turnout.cli.requests import carry_out, change_of, change_options


@click.command(
    cls=WithExamples,
    examples=(
        'turnout rollback checkout --reason "errors after the switch"',
        "turnout rollback checkout --undo 7",
        "turnout rollback --undo 7",
    ),
)
@click.argument("service", required=False, type=NAME)
@click.option(
    "--undo",
    metavar="EPOCH",
    type=click.IntRange(min=1),
    help="The switch to undo.  [default: the service's last]",
)
@change_options
def rollback(service: str | None, undo: int | None, **params: Any) -> None:
    """Put SERVICE back as it was before its last switch (or an older one), in every region.

    Without SERVICE, --undo puts the whole table back as it was before that epoch.

    Possible in every phase: a switch that is not decided yet is aborted, and that is exit code 0
    as well. A rollback goes on without agents that do not answer, and names them (exit code 6).
    """
    from turnout.cli.undoing import with_undo

    if service is None and undo is None:
        raise click.UsageError("Roll back what? Name a service, or an epoch with --undo.")
    said = {"service": service, "undo": undo}
    body = {name: value for name, value in said.items() if value is not None}
    carry_out(change_of("/v1/rollbacks", body, params), with_undo)
