"""What is in force, what was, and how things are: services, table, history, status, health."""

from __future__ import annotations

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from coordinator.api.context import context_of
from coordinator.api.leading import by_leader, elsewhere, leader_url, why_not
from coordinator.api.parameters import MAX_EPOCH, number_in
from coordinator.views.history import history_view
from coordinator.views.services import services_view, table_view
from coordinator.views.status import status_view
from turnout.protocol.coordinator_state import Role
from turnout.protocol.identifiers import Epoch

MAX_ENTRIES = 1000


@by_leader
async def get_services(http: HttpRequest) -> Response:
    """The services in force."""
    return JSONResponse(services_view(context_of(http).state))


@by_leader
async def get_table(http: HttpRequest) -> Response:
    """The table in force."""
    return JSONResponse(table_view(context_of(http).state))


@by_leader
async def get_history(http: HttpRequest) -> Response:
    """Who did what, why and when, and whose attempts were refused: whole epochs, newest first."""
    context = context_of(http)
    assert context.state.head is not None
    limit = number_in(http, "limit", default=50, least=1, most=MAX_ENTRIES)
    newest = context.state.head.decided + 1
    before = number_in(http, "before", default=newest + 1, least=0, most=MAX_EPOCH)
    page = await context.archive.history(Epoch(min(before - 1, newest)), limit)
    return JSONResponse(history_view(page))


async def get_status(http: HttpRequest) -> Response:
    """How the domain is, from its leader; where there is none, how this replica is."""
    context = context_of(http)
    if context.state.role is Role.FOLLOWER and leader_url(context) is not None:
        return elsewhere(context, http)
    return JSONResponse(status_view(context.state, context.around()))


async def get_health(_http: HttpRequest) -> Response:
    """This process lives."""
    return JSONResponse({"ok": True})


async def get_readiness(http: HttpRequest) -> Response:
    """Whether this replica leads, or could and knows who does."""
    context = context_of(http)
    role = context.state.role
    follows = role is Role.FOLLOWER and not context.around().unfit
    if role is Role.LEADING or (follows and leader_url(context) is not None):
        return JSONResponse({"ready": True, "role": role.value})
    return why_not(context).response()
