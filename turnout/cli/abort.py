"""``turnout abort EPOCH``."""

from __future__ import annotations

from typing import Any

import click

from turnout.cli.api_client import Api
from turnout.cli.examples import WithExamples
from turnout.cli.exit_codes import CommandError
from turnout.cli.options import target_of, target_options
from turnout.cli.running import ask
from turnout.cli.switch_view import view_of
from turnout.cli.waiting import Waiting, Watched, follow_to_end, report, timeout_option
from turnout.protocol.records import OutcomeKind
from turnout.runtime.problems import ALREADY_DECIDED, ExitCode, ProblemError


@click.command(
    cls=WithExamples,
    examples=('turnout abort 7 --reason "wrong build"',),
)
@click.argument("epoch", type=click.IntRange(min=1))
@click.option("--reason", default="", help="Why, for the history.")
@timeout_option
@target_options
def abort(epoch: int, reason: str, timeout: float, **params: Any) -> None:
    """Stop switch EPOCH, if it is not decided yet.

    Exits with 0 once it is aborted, with 3 if it was committed before: then it takes a rollback.
    """
    target = target_of(params)
    unanswered = f"Whether switch {epoch} is aborted is not known: run the same command again."
    watched = Watched(target=target, unanswered=unanswered)
    waiting = Waiting(wait_for="live", timeout_s=timeout)

    async def work(api: Api) -> ExitCode:
        with waiting.limit() as limit:
            watched.heard(await _aborted(api, epoch, reason))
            await follow_to_end(api, watched, waiting)
        if limit.cancelled_caught:
            watched.given_up(timeout, api.trouble)
            return ExitCode.TIMED_OUT
        assert watched.document is not None
        report(target, watched.document)
        return _exit_code(watched)

    raise click.exceptions.Exit(int(ask(target, work, on_interrupt=watched.on_interrupt)))


async def _aborted(api: Api, epoch: int, reason: str) -> dict[str, Any]:
    """The switch after the abort was asked for. Raises ProblemError, CoordinatorError."""
    try:
        return (await api.post(f"/v1/switches/{epoch}/abort", {"reason": reason})).body
    except ProblemError as error:
        if error.problem.type is not ALREADY_DECIDED:
            raise
        document = await api.switch(epoch)
        if view_of(document).outcome is not OutcomeKind.ABORTED:
            raise
        return document


def _exit_code(watched: Watched) -> ExitCode:
    switch = watched.view
    assert switch is not None
    if switch.outcome in (OutcomeKind.ABORTED, OutcomeKind.ROLLED_BACK):
        return ExitCode.DONE
    what = f"{switch.service} " if switch.service else ""
    undo = f"`turnout rollback {what}--undo {switch.epoch}`"
    raise CommandError(
        f"Switch {switch.epoch} was committed before it could be aborted; undo it with {undo}.",
        ExitCode.REFUSED,
    )
