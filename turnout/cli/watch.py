"""``turnout watch EPOCH``."""

from __future__ import annotations

from typing import Any

import click

from turnout.cli.api_client import Api
from turnout.cli.examples import WithExamples
from turnout.cli.options import WAIT, target_of, target_options
from turnout.cli.running import ask
from turnout.cli.waiting import Waiting, Watched, exit_code_after, follow_to_end, report
from turnout.runtime.problems import ExitCode


@click.command(
    cls=WithExamples,
    examples=("turnout watch 7 --wait-for live",),
)
@click.argument("epoch", type=click.IntRange(min=1))
@click.option(
    "--wait-for",
    type=click.Choice(["live", "drained"]),
    default="drained",
    show_default=True,
    help="When to stop watching.",
)
@click.option(
    "--timeout",
    type=WAIT,
    help="Stop watching after this long: exit code 7 if the outcome is not known by then, 8 if"
    " nobody has answered.  [default: never]",
)
@target_options
def watch(epoch: int, wait_for: str, timeout: float | None, **params: Any) -> None:
    """Follow switch EPOCH until it is drained, and exit with the code of its outcome.

    One that is long over is shown as it ended. With -o json every change is one line of JSON.
    """
    target = target_of(params)
    unanswered = f"Nothing was heard of switch {epoch}; it does not depend on being watched."
    watched = Watched(target=target, unanswered=unanswered, epoch=epoch)
    waiting = Waiting(wait_for=wait_for, timeout_s=timeout)

    async def work(api: Api) -> ExitCode:
        with waiting.limit() as limit:
            await follow_to_end(api, watched, waiting, stream_json=target.json)
        if watched.document is not None and not target.json:
            report(target, watched.document)
        if limit.cancelled_caught:
            watched.given_up(timeout, api.trouble)
        return exit_code_after(watched, waiting)

    raise click.exceptions.Exit(int(ask(target, work, on_interrupt=watched.on_interrupt)))
