"""Serving an ASGI application on trio: accepting, admitting, draining.

    listeners = await open_listeners("127.0.0.1", 0, ssl_context)
    server = await nursery.start(serve, app, listeners, HttpLimits())
    ...
    server.shut_down()  # `serve` returns within limits.drain_timeout_s

Shutting down stops accepting, closes idle connections, tells held streams (``receive`` answers
``http.disconnect``), lets requests in flight finish, and cuts what is left at the deadline.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from functools import partial

import structlog
import trio
from starlette.types import ASGIApp

from turnout.runtime import problems
from turnout.runtime.http.channel import ClientStream, cut_socket
from turnout.runtime.http.connection import Connection, shake_hands
from turnout.runtime.http.drain import Drain
from turnout.runtime.http.limits import HttpLimits
from turnout.runtime.http.pace import Pace
from turnout.runtime.http.stalled_writes import StalledWrites

Listener = trio.SocketListener | trio.SSLListener[trio.SocketStream]

# Connections above the limit that are being told so at any moment; further ones are just cut.
_TURNED_AWAY_AT_ONCE = 64

# A restart of a leader brings its whole fleet back at once; the kernel caps this by somaxconn.
_BACKLOG = 4096

# A burst of handshakes that an idle server takes without spacing them out.
_HANDSHAKE_BURST = 16

_log = structlog.get_logger(__name__)


async def open_listeners(
    host: str, port: int, ssl_context: ssl.SSLContext | None = None
) -> list[Listener]:
    """Listens on every address of the host, with TLS if a context is given; port 0 picks one.

    Raises OSError where the address is taken or not ours.
    """
    plain = await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
    if ssl_context is None:
        return list(plain)
    return [trio.SSLListener(one, ssl_context, https_compatible=True) for one in plain]


async def serve(
    app: ASGIApp,
    listeners: Sequence[Listener],
    limits: HttpLimits,
    *,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until the Server handed to ``task_status`` is shut down; closes the listeners.

    Cancelling it cuts every connection at once.
    """
    server = Server(app, listeners, limits)
    async with trio.open_nursery() as watching:
        watching.start_soon(server.writes.watch)
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as acceptors:
                accept = partial(trio.serve_listeners, handler_nursery=connections)
                acceptors.start_soon(accept, server.handle, listeners)
                task_status.started(server)
                await server.wait_shut_down()
                acceptors.cancel_scope.cancel()
            connections.cancel_scope.deadline = trio.current_time() + limits.drain_timeout_s
        watching.cancel_scope.cancel()
    if connections.cancel_scope.cancelled_caught:
        _log.warning("requests cut at shutdown", after_s=limits.drain_timeout_s)


class Server:
    """A handle on a running server."""

    def __init__(self, app: ASGIApp, listeners: Sequence[Listener], limits: HttpLimits) -> None:
        self._app = app
        self._limits = limits
        self._drain = Drain()
        self.writes = StalledWrites(limits.write_timeout_s)
        self._shut_down = trio.Event()
        self._handshakes = Pace(per_s=limits.handshakes_per_s, burst=_HANDSHAKE_BURST)
        self._turned_away = 0
        self.open_connections = 0
        self.addresses = tuple(_address(one) for one in listeners)

    def shut_down(self) -> None:
        """Begins the drain; a second call changes nothing."""
        self._drain.begin()
        self._shut_down.set()

    async def wait_shut_down(self) -> None:
        """Returns when the drain begins."""
        await self._shut_down.wait()

    async def handle(self, stream: ClientStream) -> None:
        """Serves one accepted connection; never raises, for one client must not end the others."""
        if self.open_connections >= self._limits.max_connections:
            await self._turn_away(stream)
            return
        self.open_connections += 1
        try:
            await self._admit(stream)
        except Exception:  # noqa: BLE001 - a fault of ours in one connection stays there
            _log.exception("connection failed")
        finally:
            self.open_connections -= 1
            cut_socket(stream)

    async def _admit(self, stream: ClientStream) -> None:
        _detect_dead_peer(stream, self._limits.write_timeout_s)
        if isinstance(stream, trio.SSLStream):
            await self._handshakes.turn()
        if await shake_hands(stream, self._limits.handshake_timeout_s):
            await self._connection(stream).run()

    async def _turn_away(self, stream: ClientStream) -> None:
        """Says 503 where that is cheap: not over TLS, whose handshake is what costs."""
        if isinstance(stream, trio.SSLStream) or self._turned_away >= _TURNED_AWAY_AT_ONCE:
            cut_socket(stream)
            return
        self._turned_away += 1
        try:
            detail = f"This server takes {self._limits.max_connections} connections; try another."
            await self._connection(stream).turn_away(problems.OVERLOADED.problem(detail))
        finally:
            self._turned_away -= 1
            cut_socket(stream)

    def _connection(self, stream: ClientStream) -> Connection:
        return Connection(self._app, stream, self._limits, self._drain, self.writes)


def _detect_dead_peer(stream: ClientStream, timeout_s: float) -> None:
    """Has the kernel break a connection whose bytes go unacknowledged for that long.

    A vanished host sends no reset. Small messages would fill the send buffer for many minutes
    before any write of ours times out.
    """
    plain = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    timeout_ms = max(1, round(timeout_s * 1000))
    plain.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)


def _address(listener: Listener) -> tuple[str, int]:
    plain = listener.transport_listener if isinstance(listener, trio.SSLListener) else listener
    assert isinstance(plain, trio.SocketListener)
    name = plain.socket.getsockname()
    return name[0], name[1]
