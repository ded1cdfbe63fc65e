"""``turnout watch EPOCH``."""

from __future__ import annotations

from typing import Any

import click

from turnout.cli.api_client import Api
from turnout.cli.exit_codes import exit_code_of
from turnout.cli.options import DURATION, target_of, target_options
from turnout.cli.running import ask
from turnout.cli.waiting import Waiting, Watched, follow_to_end, report
from turnout.runtime.problems import ExitCode


@click.command()
@click.argument("epoch", type=click.IntRange(min=1))
@click.option(
    "--wait-for",
    type=click.Choice(["live", "drained"]),
    default="drained",
    show_default=True,
    help="When to stop watching.",
)
@click.option("--timeout", type=DURATION, help="Stop watching after this long.  [default: never]")
@target_options
def watch(epoch: int, wait_for: str, timeout: float | None, **params: Any) -> None:
    """Follow switch EPOCH until it is drained, and exit with the code of its outcome.

    With -o json every change is one line of JSON.
    """
    target = target_of(params)
    watched = Watched(target=target, epoch=epoch)
    waiting = Waiting(wait_for=wait_for, timeout_s=timeout)

    async def work(api: Api) -> ExitCode:
        in_time = await follow_to_end(api, watched, waiting, stream_json=target.json)
        if watched.document is not None and not target.json:
            report(target, watched.document)
        if not in_time:
            watched.say_timed_out(timeout or 0.0)
        return exit_code_of(watched.view) if watched.view else ExitCode.TIMED_OUT

    raise click.exceptions.Exit(int(ask(target, work, on_interrupt=watched.on_interrupt)))
