"""From an operator's wish to a switch: plan it, exclude first where asked, ask the machine, answer."""

from __future__ import annotations

import secrets
from functools import partial

from attrs import evolve
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from coordinator.api.bodies import Options
from coordinator.api.context import Context
from coordinator.api.refusals import refuse
from coordinator.api.showing import show_switch
from coordinator.views.plan import plan_view
from turnout.protocol.coordinator_state import CoordinatorState
from turnout.protocol.effects import Accepted, Refused
from turnout.protocol.events import ExcludeRequested, Requested
from turnout.protocol.identifiers import Epoch, Region
from turnout.protocol.limits import MAX_QUOTA_USED
from turnout.protocol.planning import GONE, Need, Noop, Plan, plan
from turnout.protocol.records import Kind, Request, Status
from turnout.runtime import problems
from turnout.runtime.problems import ProblemError

_LOOK_UPS = 100
"""Rounds of look-ups that a plan may need: a rollback walks back commit by commit."""


def actor_of(http: HttpRequest) -> str:
    """Who asks, by their own word: nobody is identified yet."""
    return http.headers.get("x-turnout-actor", "").strip() or "operator"


def is_rehearsal(http: HttpRequest) -> bool:
    """Whether the request was found to change nothing, whatever its method."""
    return getattr(http.state, "rehearsal", False)


def key_of(http: HttpRequest) -> str:
    """The idempotency key that came with the request, or a fresh one."""
    given = http.headers.get("idempotency-key")
    return secrets.token_hex(16) if given is None else given


async def submit(context: Context, http: HttpRequest, wish: Request, options: Options) -> Response:
    """Have a switch made of a wish, or show what would become of it. Raises ProblemError."""
    wish = evolve(
        wish,
        key=key_of(http),
        activation=options.activation,
        allow_stale=options.allow_stale.agents,
        allow_stale_count=options.allow_stale.count,
        override=options.override,
        drain_timeout_ms=options.drain_timeout_ms,
        point_of_no_return=options.point_of_no_return,
        actor=actor_of(http),
        reason=options.reason,
        comment=options.comment,
    )
    if options.dry_run:
        http.state.rehearsal = True
        return JSONResponse(plan_view(wish, *await _planned(context, wish, options.exclude)))
    if wish.key not in context.state.requests:
        _check_quota(context, wish)
        await _exclude(context, wish, options.exclude)
    answer = await context.desk.ask(partial(_requested, wish))
    if isinstance(answer, Refused):
        raise refuse(answer)
    assert isinstance(answer, Accepted)
    return await _answer(context, answer, wish.key)


def _requested(wish: Request, ticket: int) -> Requested:
    return Requested(ticket=ticket, request=wish)


async def _answer(context: Context, answer: Accepted, key: str) -> Response:
    view = await show_switch(context, answer.epoch)
    headers = {"idempotency-key": key, "location": f"/v1/switches/{answer.epoch}"}
    if answer.noop:
        return JSONResponse({**view, "noop": True}, headers=headers)
    return JSONResponse(view, status_code=202, headers=headers)


def _check_quota(context: Context, wish: Request) -> None:
    """A store that is nearly full takes what undoes, and nothing else."""
    used = context.quota_used()
    if wish.kind is not Kind.ROLLBACK and used > MAX_QUOTA_USED:
        detail = (
            f"etcd has used {used:.0%} of its quota; above {MAX_QUOTA_USED:.0%} only rollbacks and "
            "aborts are taken. Compact and defragment it, or raise --quota-backend-bytes."
        )
        raise ProblemError(problems.QUOTA.problem(detail))


# --- planning -----------------------------------------------------------------------------------


async def _planned(
    context: Context, wish: Request, exclude: tuple[Region, ...]
) -> tuple[CoordinatorState, Plan | Noop]:
    """What would become of a wish, and the state it would be planned on. Raises ProblemError."""
    _refuse_while_busy(context.state, wish)
    state = _with_exclusions(context.state, exclude)
    before: Need | None = None
    for _ in range(_LOOK_UPS):
        answer = plan(state, wish)
        if isinstance(answer, Refused):
            raise refuse(answer)
        if not isinstance(answer, Need):
            return state, answer
        if answer == before:
            raise refuse(GONE)
        before = answer
        state = await context.archive.look_up(state, answer)
    text = f"more than {_LOOK_UPS} epochs lie between: name the one to undo"
    raise refuse(Refused(code="unknown-epoch", text=text))


def _refuse_while_busy(state: CoordinatorState, wish: Request) -> None:
    busy: Epoch | None = None
    if state.attempt is not None:
        busy = state.attempt.epoch
    elif state.unfinished is not None and wish.kind is not Kind.ROLLBACK:
        busy = state.unfinished.epoch
    if busy is not None:
        text = f"epoch {busy} is in progress: wait for it, or abort it"
        raise refuse(Refused(code="switch-in-progress", text=text))


# --- excluding first ----------------------------------------------------------------------------


async def _exclude(context: Context, wish: Request, regions: tuple[Region, ...]) -> None:
    """Exclude regions before a switch that asks for it, if the switch may then be made at all."""
    missing = [region for region in regions if not _is_excluded(context.state, region)]
    if not missing:
        return
    await _planned(context, wish, tuple(missing))
    why = wish.reason or wish.comment or f"excluded with a {wish.kind} of {wish.service or 'all'}"
    for region in missing:
        answer = await context.desk.ask(partial(_exclusion, region, wish.actor, why))
        if isinstance(answer, Refused):
            raise refuse(answer)


def _exclusion(region: Region, actor: str, reason: str, ticket: int) -> ExcludeRequested:
    return ExcludeRequested(ticket=ticket, region=region, actor=actor, reason=reason)


def _is_excluded(state: CoordinatorState, region: Region) -> bool:
    fleet = state.fleet
    here = [agent for agent, entry in fleet.agents.items() if entry.region == region]
    return bool(here) and all(fleet.status(agent) is Status.EXCLUDED for agent in here)


def _with_exclusions(state: CoordinatorState, regions: tuple[Region, ...]) -> CoordinatorState:
    """The state as it would be with these regions excluded. Raises ProblemError."""
    fleet = state.fleet
    for region in regions:
        here = tuple(agent for agent, entry in fleet.agents.items() if entry.region == region)
        if not here:
            known = ", ".join(sorted({e.region for e in fleet.agents.values()})) or "none"
            text = f"no agent is enrolled in a region '{region}'; known: {known}"
            raise refuse(Refused(code="unknown-region", text=text))
        marked = fleet.marked(here, Status.EXCLUDED, "to be excluded")
        fleet = evolve(fleet, standing=marked)
    return evolve(state, fleet=fleet)
