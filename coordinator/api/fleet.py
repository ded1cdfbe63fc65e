"""The agents, and the regions that are excluded."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from coordinator.api.bodies import EnrolBody, ExcludeBody, read_as
from coordinator.api.context import Context, context_of
from coordinator.api.leading import by_leader
from coordinator.api.refusals import refuse
from coordinator.api.submission import actor_of
from coordinator.views.fleet import agent_view, agents_view, exclusions_view
from turnout.protocol.effects import Done, Refused
from turnout.protocol.events import (
    CoordinatorEvent,
    EnrolRequested,
    ExcludeRequested,
    IncludeRequested,
    RemoveRequested,
)
from turnout.protocol.identifiers import AgentId, Region


@by_leader
async def get_agents(http: HttpRequest) -> Response:
    """Every enrolled agent."""
    context = context_of(http)
    return JSONResponse(agents_view(context.state, context.suspicions.texts()))


@by_leader
async def post_agent(http: HttpRequest) -> Response:
    """Enrol an agent."""
    context, body, actor = context_of(http), await read_as(http, EnrolBody), actor_of(http)
    agent = AgentId(body.agent)
    text = await _done(
        context,
        lambda ticket: EnrolRequested(
            ticket=ticket,
            agent=agent,
            region=Region(body.region),
            public_key=body.public_key,
            actor=actor,
        ),
    )
    view = agent_view(context.state, agent) if agent in context.state.fleet.agents else {}
    return JSONResponse({"text": text, **view}, status_code=201)


@by_leader
async def delete_agent(http: HttpRequest) -> Response:
    """Remove an agent from the fleet; its stream ends with that."""
    context, agent, actor = context_of(http), AgentId(http.path_params["agent"]), actor_of(http)
    reason = http.query_params.get("reason", "")
    text = await _done(
        context,
        lambda ticket: RemoveRequested(ticket=ticket, agent=agent, actor=actor, reason=reason),
    )
    return JSONResponse({"text": text})


@by_leader
async def get_exclusions(http: HttpRequest) -> Response:
    """The regions that switches pass over."""
    return JSONResponse(exclusions_view(context_of(http).state))


@by_leader
async def post_exclusion(http: HttpRequest) -> Response:
    """Exclude a region until it is included again."""
    context, body, actor = context_of(http), await read_as(http, ExcludeBody), actor_of(http)
    text = await _done(
        context,
        lambda ticket: ExcludeRequested(
            ticket=ticket, region=Region(body.region), actor=actor, reason=body.reason
        ),
    )
    return JSONResponse({"text": text, **exclusions_view(context.state)})


@by_leader
async def delete_exclusion(http: HttpRequest) -> Response:
    """Include a region again."""
    context, region, actor = context_of(http), Region(http.path_params["region"]), actor_of(http)
    reason = http.query_params.get("reason", "")
    text = await _done(
        context,
        lambda ticket: IncludeRequested(ticket=ticket, region=region, actor=actor, reason=reason),
    )
    return JSONResponse({"text": text, **exclusions_view(context.state)})


async def _done(context: Context, make_event: Callable[[int], CoordinatorEvent]) -> str:
    """Have it done and return the machine's words. Raises ProblemError."""
    answer = await context.desk.ask(make_event)
    if isinstance(answer, Refused):
        raise refuse(answer)
    assert isinstance(answer, Done)
    return answer.text
