"""Only the leader answers: a follower redirects to it, and where there is none nobody can."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from coordinator.api.context import Context, context_of
from turnout.protocol.coordinator_state import Role
from turnout.runtime import problems
from turnout.runtime.problems import Problem, ProblemError

Endpoint = Callable[[Request], Awaitable[Response]]


def by_leader(endpoint: Endpoint) -> Endpoint:
    """Let a handler answer on the leader only. It raises ProblemError where there is none."""

    @functools.wraps(endpoint)
    async def answer(request: Request) -> Response:
        context = context_of(request)
        if context.state.role is Role.LEADING:
            return await endpoint(request)
        if leader_url(context) is None:
            raise ProblemError(why_not(context))
        return elsewhere(context, request)

    return answer


def elsewhere(context: Context, request: Request) -> Response:
    """Where a replica that does not lead sends its callers.

    With 307: method and body are to be repeated as they are (RFC 9110, section 15.4.8).
    """
    leader = leader_url(context)
    if leader is None:
        return why_not(context).response()
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    detail = f"This replica does not lead: ask {leader}."
    return problems.NOT_LEADING.problem(detail, leader=leader).response(
        {"location": leader + target}
    )


def leader_url(context: Context) -> str | None:
    """Where another replica leads; None where none does, or this one is about to."""
    around = context.around()
    if around.leader is None or around.leader.replica == around.replica:
        return None
    return around.leader.url


def why_not(context: Context) -> Problem:
    """Why there is no leader to ask."""
    state = context.state
    if state.role is Role.HALTED:
        return problems.STORE_WENT_BACK.problem(state.trouble)
    if state.role is Role.TAKING_OVER:
        return problems.NO_LEADER.problem("This replica was just elected and is taking over.")
    around = context.around()
    if around.unfit:
        return problems.NO_LEADER.problem(f"This replica cannot lead: {around.unfit}.")
    if around.troubles:
        return problems.NO_QUORUM.problem(f"{around.troubles[0]}. Traffic stays where it is.")
    return problems.NO_LEADER.problem("No coordinator leads at the moment; one is being elected.")
