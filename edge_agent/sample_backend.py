"""A backend to try Turnout with: it says who it is, and misbehaves on request.

    python -m edge_agent.sample_backend --name blue --port 0

    GET  /                  200  "blue" and, if given, region and version; so does every other path
    GET  /slow?seconds=5    200  the same, after that long
    GET  /version           200  the version
    GET  /healthz           200, or 503 while told to be unhealthy
    POST /healthz?ok=false  from now on unhealthy (ok=true: healthy again)
    GET  /forge             200  with header fields only a proxy of Turnout's may set, and one that
                                 some proxies obey
    GET  /status?code=500   that status

Every answer says ``x-backend: NAME``. A path prefix before any of these is ignored, so
that one backend can stand for services of any prefix.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from urllib.parse import parse_qs

import click
import trio
from attrs import define
from starlette.types import Receive, Scope, Send

from edge_agent.drivers.base import COLOUR_HEADER, EPOCH_HEADER, SERVICE_HEADER
from turnout.runtime.http.limits import HttpLimits
from turnout.runtime.http.server import Server, open_listeners, serve

_MAX_SLOW_S = 600.0
_OK = 200
_UNAVAILABLE = 503
_BAD_REQUEST = 400

Query = Mapping[str, list[str]]
Reply = tuple[int, str, dict[str, str]]


class _BadQueryError(ValueError):
    """A query that says something impossible."""


@define(kw_only=True)
class SampleBackend:
    """One backend as an ASGI application."""

    name: str
    region: str = ""
    version: str = "1"
    healthy: bool = True
    requests: int = 0
    """Requests taken, health checks and probes included."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer one request."""
        self.requests += 1
        query = parse_qs(scope["query_string"].decode("ascii"))
        last = scope["path"].rstrip("/").rpartition("/")[2]
        try:
            status, body, headers = await self._reply(scope["method"], last, query)
        except ValueError as error:
            status, body, headers = _BAD_REQUEST, f"{error}\n", {}
        await _send(send, status, body, {"x-backend": self.name, **headers})

    async def _reply(self, method: str, last: str, query: Query) -> Reply:
        special: Mapping[str, Callable[[str, Query], Awaitable[Reply]]] = {
            "slow": self._slow,
            "version": self._version,
            "healthz": self._health,
            "forge": self._forge,
            "status": self._status,
        }
        return await special.get(last, self._name)(method, query)

    async def _name(self, _method: str, _query: Query) -> Reply:
        return _OK, " ".join(filter(None, (self.name, self.region, self.version))) + "\n", {}

    async def _slow(self, method: str, query: Query) -> Reply:
        await trio.sleep(_number(query, "seconds", default=1.0, most=_MAX_SLOW_S))
        return await self._name(method, query)

    async def _version(self, _method: str, _query: Query) -> Reply:
        return _OK, f"{self.version}\n", {}

    async def _health(self, method: str, query: Query) -> Reply:
        if method == "POST":
            self.healthy = query.get("ok", ["true"])[-1] == "true"
            return _OK, f"healthy: {str(self.healthy).lower()}\n", {}
        return (_OK, "ok\n", {}) if self.healthy else (_UNAVAILABLE, "unhealthy\n", {})

    async def _forge(self, _method: str, _query: Query) -> Reply:
        marks = {EPOCH_HEADER: "999", SERVICE_HEADER: "forged", COLOUR_HEADER: "forged"}
        return _OK, "forged\n", {**marks, "x-accel-redirect": "/"}

    async def _status(self, _method: str, query: Query) -> Reply:
        status = int(_number(query, "code", default=_OK, most=599))
        return status, f"{status}\n", {}


async def run_backend(
    backend: SampleBackend,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve one backend until its Server, handed to ``task_status``, is shut down.

    Raises:
        OSError: the address is taken.
    """
    listeners = await open_listeners(host, port)
    await serve(backend, listeners, HttpLimits(), task_status=task_status)


def _number(query: Query, name: str, *, default: float, most: float) -> float:
    text = query.get(name, [str(default)])[-1]
    try:
        value = float(text)
    except ValueError:
        raise _BadQueryError(f"{name} must be a number, not '{text}'") from None
    if not 0 <= value <= most:
        raise _BadQueryError(f"{name} must be from 0 to {most:g}, not {text}")
    return value


async def _send(send: Send, status: int, body: str, headers: Mapping[str, str]) -> None:
    data = body.encode()
    fields = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(data))}
    raw = [(key.encode(), value.encode()) for key, value in (fields | dict(headers)).items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": data, "more_body": False})


async def _run(backend: SampleBackend, host: str, port: int) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            server: Server = await nursery.start(partial(run_backend, backend, host, port))
            address, bound = server.addresses[0]
            click.echo(json.dumps({"name": backend.name, "address": f"{address}:{bound}"}))
            async for _ in signals:
                server.shut_down()
                return


@click.command()
@click.option("--name", required=True, help="What it calls itself, usually its colour.")
@click.option("--region", default="", help="Where it says it is.")
@click.option("--version", default="1", show_default=True, help="What /version answers.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, help="Port to listen on; 0 picks a free one.")
@click.option("--unhealthy", is_flag=True, help="Begin with /healthz answering 503.")
def main(name: str, region: str, version: str, host: str, port: int, *, unhealthy: bool) -> None:
    """Serve one sample backend; its address is printed as a line of JSON once it listens."""
    backend = SampleBackend(name=name, region=region, version=version, healthy=not unhealthy)
    trio.run(_run, backend, host, port)


if __name__ == "__main__":
    main()
