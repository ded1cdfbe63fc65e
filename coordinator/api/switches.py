"""Switches: asking for one, in its three kinds, looking at them, aborting, waiving."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from coordinator.api.bodies import (
    ReasonBody,
    RollbackBody,
    SwitchBody,
    WaiveBody,
    read_apply,
    read_as,
)
from coordinator.api.context import context_of
from coordinator.api.leading import by_leader
from coordinator.api.parameters import epoch_in, number_in
from coordinator.api.refusals import refuse
from coordinator.api.showing import known_story, show, show_switch
from coordinator.api.submission import actor_of, submit
from turnout.protocol.effects import Refused
from turnout.protocol.events import AbortRequested, WaiveRequested
from turnout.protocol.identifiers import AgentId, Epoch, ServiceName
from turnout.protocol.records import Kind, Request

MAX_LISTED = 200


@by_leader
async def post_switch(http: HttpRequest) -> Response:
    """Move a service to a colour."""
    body = await read_as(http, SwitchBody)
    wish = Request(key="", kind=Kind.SWITCH, service=ServiceName(body.service), to=body.target)
    return await submit(context_of(http), http, wish, body)


@by_leader
async def post_rollback(http: HttpRequest) -> Response:
    """Undo an epoch's change of a service, or of the whole table."""
    body = await read_as(http, RollbackBody)
    wish = Request(
        key="",
        kind=Kind.ROLLBACK,
        service=None if body.service is None else ServiceName(body.service),
        undo=None if body.undo is None else Epoch(body.undo),
    )
    return await submit(context_of(http), http, wish, body)


@by_leader
async def post_table(http: HttpRequest) -> Response:
    """Put a whole table in force."""
    body, table = await read_apply(http)
    wish = Request(key="", kind=Kind.APPLY, table=table)
    return await submit(context_of(http), http, wish, body)


@by_leader
async def get_switches(http: HttpRequest) -> Response:
    """The newest switches, newest first."""
    context = context_of(http)
    limit = number_in(http, "limit", default=20, least=1, most=MAX_LISTED)
    state = context.state
    assert state.head is not None
    under_way = [state.attempt.epoch] if state.attempt else []
    decided = await context.archive.decided(state.head.decided, limit)
    epochs = list(dict.fromkeys([*under_way, *decided]))[:limit]
    known = {epoch: known_story(context, epoch) for epoch in epochs}
    missing = [epoch for epoch, story in known.items() if story is None]
    stored = {story.epoch: story for story in await context.archive.switches(missing)}
    stories = [known[epoch] or stored.get(epoch) for epoch in epochs]
    return JSONResponse({"switches": [show(context, story) for story in stories if story]})


@by_leader
async def get_switch(http: HttpRequest) -> Response:
    """One switch."""
    return JSONResponse(await show_switch(context_of(http), epoch_in(http)))


@by_leader
async def post_abort(http: HttpRequest) -> Response:
    """Abort this epoch, if it is not decided yet."""
    context, epoch = context_of(http), epoch_in(http)
    body = await read_as(http, ReasonBody)
    event = partial(AbortRequested, epoch=epoch, actor=actor_of(http), reason=body.reason)
    answer = await context.desk.ask(lambda ticket: event(ticket=ticket))
    if isinstance(answer, Refused):
        raise refuse(answer)
    return JSONResponse(await show_switch(context, epoch), status_code=202)


@by_leader
async def post_waive(http: HttpRequest) -> Response:
    """Count an agent's drain of this epoch's source as ended."""
    context, epoch = context_of(http), epoch_in(http)
    body = await read_as(http, WaiveBody)
    event = partial(
        WaiveRequested,
        epoch=epoch,
        agent=AgentId(body.agent),
        actor=actor_of(http),
        reason=body.reason,
    )
    answer = await context.desk.ask(lambda ticket: event(ticket=ticket))
    if isinstance(answer, Refused):
        raise refuse(answer)
    return JSONResponse(await show_switch(context, epoch))
