"""A coordinator that answers as it is told, for tests of the command against real sockets."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from turnout.runtime.http.limits import HttpLimits
from turnout.runtime.http.server import Server, open_listeners, serve
from turnout.runtime.http.sse import MEDIA_TYPE, ServerEvent, format_event
from turnout.runtime.problems import NO_SUCH_RESOURCE, Problem

Answer = Response | Problem | dict[str, Any]


@attrs.frozen
class Seen:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: Any


@attrs.define
class FakeCoordinator:
    """Answers by (method, path): each in turn, the last one again and again."""

    answers: dict[tuple[str, str], list[Answer]] = attrs.field(factory=dict)
    seen: list[Seen] = attrs.field(factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, method: str, path: str, *answers: Answer) -> None:
        self.answers[method, path] = list(answers)

    def tell(self, epoch: int, *streams: list[dict[str, Any]]) -> None:
        """Each connection to the switch's events is told one list of documents, and ended."""
        self.answer("GET", f"/v1/switches/{epoch}/events", *map(_events, streams))

    def bodies(self, method: str, path: str) -> list[Any]:
        return [one.body for one in self.seen if (one.method, one.target) == (method, path)]

    async def handle(self, request: Request) -> Response:
        raw = await request.body()
        query = f"?{request.url.query}" if request.url.query else ""
        body = json.loads(raw) if raw else None
        self.seen.append(
            Seen(request.method, request.url.path + query, dict(request.headers), body)
        )
        answers = self.answers.get((request.method, request.url.path))
        if not answers:
            return NO_SUCH_RESOURCE.problem(f"{request.method} {request.url.path}").response()
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Problem):
            return answer.response()
        if isinstance(answer, Response):
            return answer
        status = 202 if request.method == "POST" and "epoch" in answer else 200
        return JSONResponse(answer, status_code=200 if "noop" in answer else status)


def _events(documents: list[dict[str, Any]]) -> Response:
    events = [
        ServerEvent(data=json.dumps(document), event="switch", id=str(number))
        for number, document in enumerate(documents, start=1)
    ]
    return Response(b"".join(map(format_event, events)), media_type=MEDIA_TYPE)


@contextmanager
def serving() -> Iterator[FakeCoordinator]:
    """A fake coordinator on a free port, in a thread of its own: the command runs in this one."""
    fake = FakeCoordinator()
    ready = threading.Event()
    stop: list[Callable[[], None]] = []

    async def run() -> None:
        methods = ["GET", "POST", "DELETE"]
        app = Starlette(routes=[Route("/{path:path}", fake.handle, methods=methods)])
        listeners = await open_listeners("127.0.0.1", 0)
        async with trio.open_nursery() as nursery:
            server: Server = await nursery.start(serve, app, listeners, HttpLimits())
            fake.port = server.addresses[0][1]
            token = trio.lowlevel.current_trio_token()
            stop.append(lambda: token.run_sync_soon(server.shut_down))
            ready.set()

    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    try:
        assert ready.wait(10)
        yield fake
    finally:
        stop[0]()
        thread.join(20)


def switch(**changes: Any) -> dict[str, Any]:
    """A switch of checkout from blue to green in two regions, as the API tells it."""
    document: dict[str, Any] = {
        "epoch": 7,
        "kind": "switch",
        "service": "checkout",
        "from": "blue",
        "to": "green",
        "phase": "preparing",
        "outcome": None,
        "reason": None,
        "accepted_at": "2026-01-31T09:05:07.000000Z",
        "elapsed_s": None,
        "known_s": None,
        "sla": {"budget_s": 30.0, "met": None},
        "activation": None,
        "agents": [agent("eu-a", "eu"), agent("us-a", "us")],
        "laggards": [],
        "timeline": [],
    }
    return document | changes


def agent(name: str, region: str, **changes: Any) -> dict[str, Any]:
    """One agent of a switch, before it has voted."""
    document: dict[str, Any] = {
        "agent": name,
        "region": region,
        "standing": "good",
        "vote": None,
        "reason": None,
        "flipped_at": None,
        "live_at": None,
        "in_flight": None,
        "epoch": 6,
    }
    return document | changes


def live(**changes: Any) -> dict[str, Any]:
    """The same, live everywhere and drained."""
    moments = {
        "vote": "yes",
        "flipped_at": "2026-01-31T09:05:07.250000Z",
        "live_at": "2026-01-31T09:05:07.300000Z",
        "in_flight": 0,
    }
    done: dict[str, Any] = {
        "phase": "retained",
        "outcome": "live",
        "elapsed_s": 0.3,
        "known_s": 0.31,
        "sla": {"budget_s": 30.0, "met": True},
        "activation": {
            "mode": "immediate",
            "reason": None,
            "time": None,
            "skew_ms": 0.4,
            "bound_ms": 0.2,
        },
        "agents": [agent("eu-a", "eu", **moments), agent("us-a", "us", **moments)],
    }
    return switch(**(done | changes))
