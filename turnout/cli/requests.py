"""What switch, rollback and apply have in common: their options, the request, and what follows."""

from __future__ import annotations

import sys
from typing import Any

import click
from attrs import frozen

from turnout.cli.api_client import Api, Reply, new_key
from turnout.cli.options import DURATION, F, Target, target_of, target_options
from turnout.cli.running import ask
from turnout.cli.suggestions import with_suggestion
from turnout.cli.terminal import say
from turnout.cli.waiting import (
    Waiting,
    Watched,
    wait_and_report,
    waiting_of,
    waiting_options,
)
from turnout.runtime.problems import ExitCode, ProblemError


@frozen(kw_only=True)
class ChangeRequest:
    """A change that an operator asks for: where to, its body, and how to wait for it."""

    path: str
    body: dict[str, Any]
    key: str
    target: Target
    waiting: Waiting
    dry_run: bool


def change_options(command: F) -> F:
    """Adds every option of a change; ``change_of`` takes them out again."""
    for option in reversed(
        (
            click.option(
                "--activation",
                type=click.Choice(["scheduled", "immediate"]),
                default="immediate",
                show_default=True,
                help="Flip everywhere at one instant, or each region as soon as it hears.",
            ),
            click.option(
                "--exclude",
                metavar="REGION",
                multiple=True,
                help="Leave this region out first; it stays out until `turnout include REGION`.",
            ),
            click.option(
                "--allow-stale",
                metavar="AGENT|COUNT",
                multiple=True,
                help="Go on without this agent, or this many, though not known to be up to date.",
            ),
            click.option(
                "--override",
                metavar="NAME",
                multiple=True,
                help="Override a refusal by the name it gave.",
            ),
            click.option(
                "--drain-timeout",
                type=DURATION,
                help="For this change, instead of the services' own.",
            ),
            click.option("--reason", default="", help="Why, for the history."),
            click.option("-m", "--comment", default="", help="A note, for the history."),
            click.option(
                "--idempotency-key",
                metavar="KEY",
                help="The same key asks for the same change once, however often it is sent.",
            ),
            click.option("--dry-run", is_flag=True, help="Show what would change, change nothing."),
            click.option("-y", "--yes", is_flag=True, help="Do not ask whether I am sure."),
            waiting_options,
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
    _confirm(said, asked_not_to=params["yes"] or params["dry_run"])
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


def _confirm(said: dict[str, Any], *, asked_not_to: bool) -> None:
    """Asks once more, at a terminal, before a safeguard is put aside."""
    risky = [f"--{name.replace('_', '-')}" for name in ("allow_stale", "override") if name in said]
    if risky and not asked_not_to and sys.stdin.isatty():
        click.confirm(f"{' and '.join(risky)} puts a safeguard aside. Go on?", abort=True, err=True)


def carry_out(request: ChangeRequest) -> None:
    """Asks for the change, waits for it as wanted, and exits with its exit code."""
    watched = Watched(target=request.target, key=request.key)

    async def work(api: Api) -> ExitCode:
        reply = await _accepted(api, request)
        if request.dry_run or reply.body.get("noop"):
            return _nothing_done(request, reply)
        watched.document, watched.epoch = reply.body, int(reply.body["epoch"])
        key = reply.headers.get("idempotency-key", request.key)
        say(f"Accepted as epoch {watched.epoch} (idempotency key {key}).")
        return await wait_and_report(api, watched, request.waiting)

    exit_code = ask(request.target, work, on_interrupt=watched.on_interrupt)
    raise click.exceptions.Exit(int(exit_code))


async def _accepted(api: Api, request: ChangeRequest) -> Reply:
    try:
        return await api.post(request.path, request.body, key=request.key)
    except ProblemError as error:
        raise await with_suggestion(api, error, request.body.get("service")) from error


def _nothing_done(request: ChangeRequest, reply: Reply) -> ExitCode:
    from turnout.cli.render_plan import show_noop, show_plan

    if reply.body.get("noop"):
        show_noop(reply.body, as_json=request.target.json)
    else:
        show_plan(reply.body, as_json=request.target.json)
    return ExitCode.DONE
