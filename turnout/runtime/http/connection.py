"""One client's connection: its requests one after the other, each handed to the application."""

from __future__ import annotations

import contextlib

import h11
import structlog
import trio
from starlette.types import ASGIApp

from turnout.runtime import problems
from turnout.runtime.http.channel import Channel, ClientGoneError, ClientStream, RefusedError
from turnout.runtime.http.drain import Drain
from turnout.runtime.http.exchange import Exchange, send_problem
from turnout.runtime.http.limits import HttpLimits
from turnout.runtime.http.peer import addresses, tls_extension
from turnout.runtime.http.requests import Peer, check_head, scope_of
from turnout.runtime.http.stalled_writes import StalledWrites

# How long a refused client may go on sending before its answer is taken for delivered.
_LINGER_S = 1.0

_log = structlog.get_logger(__name__)


class Connection:
    """Serves one stream whose TLS handshake, if any, is done."""

    def __init__(
        self,
        app: ASGIApp,
        stream: ClientStream,
        limits: HttpLimits,
        drain: Drain,
        writes: StalledWrites,
    ) -> None:
        self._app = app
        self._limits = limits
        self._drain = drain
        self._channel = Channel(stream, limits, writes)
        self._peer = _peer_of(stream)

    async def run(self) -> None:
        """Serves until either side ends it. Raises nothing but what cancels it."""
        with contextlib.suppress(ClientGoneError):  # there is nobody to tell
            while await self._next_request_begins() and await self._serve_one():
                pass
            await self._channel.close()

    async def turn_away(self, problem: problems.Problem) -> None:
        """Answers whatever the client asks with this problem."""
        with contextlib.suppress(ClientGoneError):  # gone before it was told
            await self._refuse(problem)

    async def _refuse(self, problem: problems.Problem, *, head_only: bool = False) -> None:
        await send_problem(self._channel, problem, head_only=head_only)
        await self._channel.linger(_LINGER_S)

    async def _next_request_begins(self) -> bool:
        """Waits for a first byte; False when idle for too long or shutting down."""
        if self._channel.unread_bytes:
            return not self._drain.begun
        with self._drain.ends_wait(self._limits.idle_timeout_s) as wait:
            await self._channel.receive_more()
        return not wait.cancelled_caught

    async def _serve_one(self) -> bool:
        """One request and its answer; True if the connection is good for another."""
        self._channel.begin_request()
        head_only = False
        try:
            request = await self._channel.next_event()
            assert isinstance(request, h11.Request)
            head_only = request.method == b"HEAD"
            check_head(request, self._limits)
            scope = scope_of(request, self._peer)
        except RefusedError as refusal:
            await self._refuse(refusal.problem, head_only=head_only)
            return False
        exchange = Exchange(self._channel, request, self._limits, self._drain)
        await self._run_app(exchange, scope)
        if exchange.refused or not await exchange.skip_rest_of_body():
            await self._channel.linger(_LINGER_S)
            return False
        return not self._drain.begun and self._channel.next_cycle()

    async def _run_app(self, exchange: Exchange, scope: dict[str, object]) -> None:
        """Runs the application to its end. Raises ClientGoneError if it, or the client, gave up."""
        failure: Exception | None = None
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except ClientGoneError:
            # Raised by `send`, or by the application itself to have the connection cut.
            if not exchange.refused:
                raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends this request only
            failure = error
        if exchange.client_gone:
            raise ClientGoneError("the client left before its answer")
        if exchange.refused or (exchange.answered and failure is None):
            return
        reason = {"exc_info": failure} if failure else {"reason": "it returned without an answer"}
        _log.error("request failed", method=scope["method"], path=scope["path"], **reason)
        if not exchange.answered:
            await exchange.fail(problems.INTERNAL.problem("The server's log has the details."))


def _peer_of(stream: ClientStream) -> Peer:
    client, server = addresses(stream)
    tls = tls_extension(stream)
    return Peer(
        scheme="http" if tls is None else "https",
        client=client,
        server=server,
        extensions={} if tls is None else {"tls": tls},
    )


async def shake_hands(stream: ClientStream, timeout_s: float) -> bool:
    """Completes the TLS handshake, if there is one to make; False (and closed) if it fails."""
    if not isinstance(stream, trio.SSLStream):
        return True
    reason = f"no handshake within {timeout_s:g} s"
    with trio.move_on_after(timeout_s):
        try:
            await stream.do_handshake()
            return True
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            reason = str(error.__cause__ or error)
    client, _ = addresses(stream)
    _log.info("TLS handshake refused", client=client, reason=reason)
    await trio.aclose_forcefully(stream)
    return False
