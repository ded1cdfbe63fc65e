"""What switch, rollback and apply have in common: their options, the request, and what follows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import click
from attrs import frozen

from turnout.cli.api_client import Api, Reply, new_key
from turnout.cli.exit_codes import CommandError
from turnout.cli.options import (
    DURATION,
    NAME,
    F,
    HeaderText,
    Target,
    confirmed,
    target_of,
    target_options,
)
from turnout.cli.running import ask
from turnout.cli.suggestions import with_suggestion
from turnout.cli.terminal import say
from turnout.cli.waiting import (
    Waiting,
    Watched,
    exit_code_after,
    follow_to_end,
    report,
    waiting_of,
    waiting_options,
)
from turnout.protocol.limits import MAX_KEY
from turnout.runtime.http.client_errors import CoordinatorError
from turnout.runtime.problems import ExitCode, ProblemError

NOTHING_SENT = "Nothing was asked for yet."


@frozen(kw_only=True)
class ChangeRequest:
    """A change that an operator asks for: where to, its body, and how to wait for it."""

    path: str
    body: dict[str, Any]
    key: str
    target: Target
    waiting: Waiting
    dry_run: bool

    @property
    def undo(self) -> int | None:
        """The epoch that a rollback undoes."""
        undo = self.body.get("undo")
        return None if undo is None else int(undo)

    @property
    def unanswered(self) -> str:
        """What is not known while nobody has answered, and how to find out."""
        if self.dry_run:
            return "It was to change nothing."
        undo = "" if self.undo is None else f"--undo {self.undo} "
        return (
            "It may have been accepted or not: run the same command with"
            f" {undo}--idempotency-key {self.key} to find out. It is carried out once at most."
        )


def change_options(command: F) -> F:
    """Adds every option of a change; ``change_of`` takes them out again."""
    for option in reversed(
        (
            click.option("--dry-run", is_flag=True, help="Show what would change, change nothing."),
            waiting_options,
            click.option(
                "--activation",
                type=click.Choice(["scheduled", "immediate"]),
                default="immediate",
                show_default=True,
                help="Flip everywhere at one instant, or each region as soon as it hears.",
            ),
            click.option(
                "--drain-timeout",
                type=DURATION,
                help="For this change, instead of the services' own.",
            ),
            click.option(
                "--exclude",
                metavar="REGION",
                type=NAME,
                multiple=True,
                help="Leave this region out first; it stays out until `turnout include REGION`.",
            ),
            click.option(
                "--allow-stale",
                metavar="AGENT|COUNT",
                type=NAME,
                multiple=True,
                help="Go on without this agent, or this many, though not known to be up to date.",
            ),
            click.option(
                "--override",
                metavar="NAME",
                multiple=True,
                help="Override a refusal by the name it gave (such as point-of-no-return).",
            ),
            click.option("--reason", default="", help="Why, for the history."),
            click.option("-m", "--comment", default="", help="A note, for the history."),
            click.option(
                "--idempotency-key",
                metavar="KEY",
                type=HeaderText(MAX_KEY),
                help="The same key asks for the same change once, however often it is sent.",
            ),
            click.option("-y", "--yes", is_flag=True, help="Do not ask whether I am sure."),
            target_options,
        )
    ):
        command = option(command)
    return command


def change_of(path: str, body: dict[str, Any], params: dict[str, Any]) -> ChangeRequest:
    """The request that the options make of a body."""
    target, waiting = target_of(params), waiting_of(params)
    names, count = _stale(params["allow_stale"])
    given = {
        "activation": params["activation"],
        "exclude": list(params["exclude"]),
        "allow_stale": count if count is not None else names,
        "override": list(params["override"]),
        "drain_timeout_s": params["drain_timeout"],
        "reason": params["reason"],
        "comment": params["comment"],
        "dry_run": params["dry_run"],
    }
    said = {name: value for name, value in given.items() if value not in (None, [], "", False)}
    if not (params["yes"] or params["dry_run"]):
        _confirm(said)
    return ChangeRequest(
        path=path,
        body=body | said,
        key=params["idempotency_key"] or new_key(),
        target=target,
        waiting=waiting,
        dry_run=params["dry_run"],
    )


def _stale(given: tuple[str, ...]) -> tuple[list[str], int | None]:
    counts = [one for one in given if one.isdecimal()]
    if not counts:
        return list(given), None
    if len(given) > 1:
        raise click.UsageError("--allow-stale takes one COUNT, or names of agents, not both")
    return [], int(counts[0])


def _confirm(said: dict[str, Any]) -> None:
    """Asks once more, at a terminal, before a safeguard is put aside."""
    risky = [f"--{name.replace('_', '-')}" for name in ("allow_stale", "override") if name in said]
    if risky:
        verb = "puts" if len(risky) == 1 else "put"
        confirmed(f"{' and '.join(risky)} {verb} a safeguard aside. Go on?")


# ------------------------------------------------------------------------------ carrying it out

Settle = Callable[[Api, ChangeRequest], Awaitable[ChangeRequest]]


def carry_out(request: ChangeRequest, settle: Settle | None = None) -> None:
    """Asks for the change, waits for it as wanted, and exits with its exit code.

    ``settle`` makes certain, with what the coordinators know, what exactly is asked for; what it
    returns is what is sent, however often it must be.
    """
    waiting, settled = request.waiting, request
    watched = Watched(target=request.target, unanswered=NOTHING_SENT)

    async def work(api: Api) -> ExitCode:
        nonlocal settled
        with waiting.limit() as limit:
            if settle is not None:
                settled = await settle(api, request)
            watched.unanswered = settled.unanswered
            reply = await _accepted(api, settled)
            if settled.dry_run or reply.body.get("noop"):
                return _nothing_done(settled, reply)
            watched.heard(reply.body)
            say(_acceptance(settled, reply))
            if waiting.wait:
                await follow_to_end(api, watched, waiting)
        if watched.document is not None:
            report(request.target, watched.document)
        if limit.cancelled_caught:
            watched.given_up(waiting.timeout_s, api.trouble)
        return _exit_code(settled, watched)

    exit_code = ask(request.target, work, on_interrupt=watched.on_interrupt)
    raise click.exceptions.Exit(int(exit_code))


async def _accepted(api: Api, request: ChangeRequest) -> Reply:
    try:
        return await api.post(request.path, request.body, key=request.key)
    except ProblemError as error:
        if error.problem.type.exit_code is ExitCode.UNREACHABLE:
            raise _unanswered(request, error) from error
        raise await with_suggestion(api, error, request.body.get("service")) from error
    except CoordinatorError as error:
        raise _unanswered(request, error) from error


def _unanswered(request: ChangeRequest, error: Exception) -> CommandError:
    return CommandError(f"{error}\n{request.unanswered}", ExitCode.UNREACHABLE)


def _acceptance(request: ChangeRequest, reply: Reply) -> str:
    key = reply.headers.get("idempotency-key", request.key)
    if _is_aborted_instead(request, reply.body):
        return f"Epoch {request.undo} was not decided yet: it is aborted (idempotency key {key})."
    return f"Accepted as epoch {reply.body['epoch']} (idempotency key {key})."


def _is_aborted_instead(request: ChangeRequest, document: dict[str, Any]) -> bool:
    """A rollback of what is not decided yet is an abort of it (DESIGN.md section 5)."""
    return request.undo is not None and document["epoch"] == request.undo


def _exit_code(request: ChangeRequest, watched: Watched) -> ExitCode:
    """That of the outcome; but to be aborted is what a rollback wants of what it undoes."""
    code = exit_code_after(watched, request.waiting)
    assert watched.document is not None
    if code is ExitCode.ABORTED and _is_aborted_instead(request, watched.document):
        return ExitCode.DONE
    return code


def _nothing_done(request: ChangeRequest, reply: Reply) -> ExitCode:
    from turnout.cli.render_plan import show_noop, show_plan

    if reply.body.get("noop"):
        show_noop(reply.body, as_json=request.target.json)
    else:
        show_plan(reply.body, undo=request.undo, as_json=request.target.json)
    return ExitCode.DONE
