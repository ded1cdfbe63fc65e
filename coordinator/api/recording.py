"""Refused attempts to change something are written down, whatever refused them."""

from __future__ import annotations

import functools

from starlette.requests import Request
from starlette.responses import Response

from coordinator.api.arrivals import address_of
from coordinator.api.context import context_of
from coordinator.api.leading import Endpoint
from coordinator.api.submission import actor_of, is_rehearsal
from coordinator.refusal_book import Refusal
from turnout.runtime.problems import Problem, ProblemError


def recorded(endpoint: Endpoint) -> Endpoint:
    """Let a handler's refusals be written into the history."""

    @functools.wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ProblemError as error:
            if not is_rehearsal(request):
                _write_down(request, error.problem)
            raise

    return answer


def _write_down(request: Request, problem: Problem) -> None:
    context = context_of(request)
    context.metrics.request_refused(problem.type.name)
    context.refusals.note(
        Refusal(
            at_ns=context.clock.now().clock_ns,
            actor=actor_of(request),
            address=address_of(request.scope),
            action=f"{request.method} {request.url.path}",
            code=problem.type.name,
            detail=_detail(problem),
        )
    )


def _detail(problem: Problem) -> str:
    """Why, without the values of fields that cannot be: nobody knows what was put there."""
    faults = problem.extensions.get("faults")
    if faults is None:
        return problem.detail
    return f"{problem.type.title}: {', '.join(fault['path'] for fault in faults)}."
