"""A request in one piece: httpx writes its head and its body each by itself, in a segment of its own.

For whoever answers, each segment is a wakeup: two of them cost a leader twice what the request itself
does (70 us more a post, measured).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import httpcore
import httpx

KEPT_S = 60.0
"""An idle connection is kept above the time between two reports, and below the server's own bound."""


class JoiningTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport over connections that write a request in one piece."""

    def __init__(self, ssl_context: ssl.SSLContext) -> None:
        """The one context serves all connections: to make one costs 36 ms."""
        super().__init__(verify=ssl_context, trust_env=False)
        self._backend = _Backend(httpcore.TrioBackend())
        # httpx has no argument for it; a test tells when another version takes no notice.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context,
            keepalive_expiry=KEPT_S,
            network_backend=self._backend,
        )

    @property
    def dialled(self) -> int:
        """How many connections were begun so far."""
        return self._backend.dialled


class _Backend(httpcore.AsyncNetworkBackend):
    """Another backend's connections, joined."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self._backend = backend
        self.dialled = 0

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.dialled += 1
        return _Stream(
            await self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        )


class _Stream(httpcore.AsyncNetworkStream):
    """Holds what is written until an answer is read for."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._held = bytearray()
        self._write_timeout: float | None = None

    async def read(
        self,
        max_bytes: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
    ) -> bytes:
        held, self._held = bytes(self._held), bytearray()
        if held:
            # As httpcore does: a server that closes early may have answered all the same.
            with suppress(httpcore.WriteError):
                await self._stream.write(held, self._write_timeout)
        return await self._stream.read(max_bytes, timeout)

    async def write(
        self,
        buffer: bytes,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
    ) -> None:
        self._held += buffer
        self._write_timeout = timeout

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
