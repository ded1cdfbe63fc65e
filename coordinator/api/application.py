"""The ASGI application: addresses joined to handlers, errors to problem documents."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from coordinator.api.addresses import OPERATORS
from coordinator.api.agent_door import AgentDoor
from coordinator.api.context import Context, context_of
from coordinator.api.openapi import document
from turnout.runtime import problems
from turnout.runtime.metrics import MetricsEndpoint
from turnout.runtime.problems import exception_handlers
from turnout.runtime.store.errors import StoreError


def make_application(context: Context) -> ASGIApp:
    """The application of one replica: a door for its agents, a framework for its operators."""
    door, operators = AgentDoor(context), _for_operators(context)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await (door if door.serves(scope) else operators)(scope, receive, send)

    return application


def _for_operators(context: Context) -> Starlette:
    metrics = MetricsEndpoint(context.metrics.registry)
    routes = [
        *(Route(a.path, a.endpoint, methods=[a.method]) for a in OPERATORS),
        Route("/metrics", metrics.answer),
        Route("/openapi.json", _get_openapi),
    ]
    handlers = {**exception_handlers(), StoreError: _answer_store_error}
    starlette = Starlette(routes=routes, exception_handlers=handlers)
    starlette.state.context = context
    return starlette


async def _get_openapi(http: HttpRequest) -> Response:
    """This interface, described for programs."""
    return JSONResponse(document(context_of(http).around().version))


async def _answer_store_error(_http: HttpRequest, error: Exception) -> Response:
    """A read that the store could not answer: nothing was changed."""
    return problems.NO_QUORUM.problem(f"{error}. Nothing was changed.").response()
