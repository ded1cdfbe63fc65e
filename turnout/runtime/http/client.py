"""Talking to the coordinators: several addresses, one of them the leader's.

    async with Coordinators(("https://a:7100", "https://b:7100"), ssl_context) as coordinators:
        answer = await coordinators.request("GET", "/v1/table")
        async with coordinators.open_lines("POST", "/v1/agent/stream", body) as lines:
            async for line in lines: ...

Each attempt begins with the address that answered last. A redirect to the leader is followed
once; an address that is down, or knows no leader, is passed over for the next. How long to wait
before another round is the caller's affair (turnout.protocol has the rules for agents).
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import attrs
import httpx

from turnout.runtime.http import sse
from turnout.runtime.http.answers import events_of, lines_of, reason_of, whole
from turnout.runtime.http.client_errors import (
    OutcomeUnknownError,
    RefusedStreamError,
    StreamBrokenError,
    UnreachableError,
)
from turnout.runtime.problems import parse_problem
from turnout.runtime.tls import trusting_nobody

# A replica that says one of these cannot serve anybody at the moment; another one might.
_OUT_OF_SERVICE = frozenset({502, 503, 504})
_REDIRECTS = frozenset({307, 308})
_PASSED_OVER = _OUT_OF_SERVICE | _REDIRECTS
_REPEATABLE_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE"})


@attrs.frozen(kw_only=True)
class ClientTimeouts:
    """How long the client waits.

    ``silence_s`` is the longest pause on a held stream before it counts as broken: above the
    interval of the server's heartbeats.
    """

    connect_s: float = 3.0
    answer_s: float = 10.0
    silence_s: float = 5.0


class Coordinators:
    """A client for all replicas of one domain. Close it, or use it as a context."""

    def __init__(
        self,
        urls: Sequence[str],
        ssl_context: ssl.SSLContext | None = None,
        *,
        timeouts: ClientTimeouts | None = None,
    ) -> None:
        assert urls, "a client needs the address of at least one coordinator"
        self._urls = [checked_url(url) for url in urls]
        self._preferred: str | None = None
        self._timeouts = timeouts or ClientTimeouts()
        self._client = httpx.AsyncClient(
            verify=ssl_context or trusting_nobody(),
            timeout=httpx.Timeout(self._timeouts.answer_s, connect=self._timeouts.connect_s),
            trust_env=False,
            follow_redirects=False,
            # Messages are small and their lines must come as they are written, not in blocks.
            headers={"accept-encoding": "identity"},
        )

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the client."""
        await self.aclose()

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._client.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """The answer of the leader, or of whoever answers, read completely.

        A problem is an answer too (``turnout.runtime.problems.parse_problem``). Where every
        address is out of service, the last such answer is returned. Raises UnreachableError,
        OutcomeUnknownError, StreamBrokenError for an answer that broke off.
        """
        return await whole(await self._open(_Ask(method, path, body, dict(headers or {}))))

    @asynccontextmanager
    async def open_lines(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[AsyncGenerator[bytes]]:
        """A held answer, line by line. Iterating raises StreamBrokenError when it is over.

        Opening raises UnreachableError, OutcomeUnknownError or RefusedStreamError.
        """
        ask = _Ask(method, path, body, dict(headers or {}))
        async with self._held(ask) as response, aclosing(lines_of(response)) as lines:
            yield lines

    @asynccontextmanager
    async def open_events(
        self, path: str, *, last_event_id: str | None = None
    ) -> AsyncIterator[AsyncGenerator[sse.ServerEvent]]:
        """Server-sent events, from after ``last_event_id``; errors as ``open_lines``.

        A client that is to go on after an interruption remembers the last ``id`` it saw, and
        opens again with it: see events.py.
        """
        headers = {"accept": sse.MEDIA_TYPE}
        if last_event_id is not None:
            headers["last-event-id"] = last_event_id
        ask = _Ask("GET", path, None, headers)
        async with (
            self._held(ask) as response,
            aclosing(events_of(response, last_event_id)) as events,
        ):
            yield events

    @asynccontextmanager
    async def _held(self, ask: _Ask) -> AsyncIterator[httpx.Response]:
        response = await self._open(attrs.evolve(ask, silence_s=self._timeouts.silence_s))
        try:
            if not response.is_success:
                answer = await whole(response)
                raise RefusedStreamError(parse_problem(answer.status_code, answer.content))
            yield response
        finally:
            await response.aclose()

    # ---------------------------------------------------------------- choosing an address

    async def _open(self, ask: _Ask) -> httpx.Response:
        """The first usable answer, its body still to be read; else the last one out of service."""
        attempts: list[tuple[str, str]] = []
        out_of_service: httpx.Response | None = None
        for url in self._in_turn():
            try:
                response = await self._attempt(url, ask)
                if response.status_code not in _PASSED_OVER:
                    return response
                answer = await whole(response)
            except (httpx.HTTPError, StreamBrokenError) as error:
                self._give_up_if_unsafe(ask, url, error)
                attempts.append((url, reason_of(error)))
                continue
            attempts.append((url, f"HTTP status {answer.status_code}"))
            if answer.status_code in _OUT_OF_SERVICE:
                out_of_service = answer
        self._preferred = None
        if out_of_service is None:
            raise UnreachableError(attempts)
        return out_of_service

    def _in_turn(self) -> list[str]:
        """Every address once, beginning with the one that answered last."""
        if self._preferred is None:
            return list(self._urls)
        if self._preferred not in self._urls:  # a leader known only from a redirect
            return [self._preferred, *self._urls]
        at = self._urls.index(self._preferred)
        return self._urls[at:] + self._urls[:at]

    async def _attempt(self, url: str, ask: _Ask) -> httpx.Response:
        """Asks one address, and the leader it points to, if it does. Raises httpx.HTTPError."""
        response = await self._send(url, ask)
        leader = _leader_in(response)
        if leader is not None and leader != url:
            await response.aclose()
            url, response = leader, await self._send(leader, ask)
        if response.status_code not in _PASSED_OVER:
            self._preferred = url
        return response

    async def _send(self, url: str, ask: _Ask) -> httpx.Response:
        request = self._client.build_request(
            ask.method, url + ask.path, content=ask.body, headers=ask.headers
        )
        if ask.silence_s is not None:
            request.extensions["timeout"]["read"] = ask.silence_s
        return await self._client.send(request, stream=True)

    def _give_up_if_unsafe(self, ask: _Ask, url: str, error: Exception) -> None:
        """A request that may have arrived is sent again only if that changes nothing."""
        never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        if not never_sent and not ask.repeatable:
            reason = f"{url}: {reason_of(error)}; the request may have been carried out"
            raise OutcomeUnknownError(reason) from error


@attrs.frozen
class _Ask:
    """What is asked, whoever is asked."""

    method: str
    path: str
    body: bytes | None
    headers: Mapping[str, str]
    silence_s: float | None = None

    @property
    def repeatable(self) -> bool:
        """Whether receiving it twice is the same as once."""
        keyed = any(name.lower() == "idempotency-key" for name in self.headers)
        return keyed or self.silence_s is not None or self.method in _REPEATABLE_METHODS


def checked_url(url: str) -> str:
    """A coordinator's address without a path, as ``https://host:port``. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not an address such as https://coordinator:7100")
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"{url!r} has more than a host and a port")
    return f"{parts.scheme}://{parts.netloc}"


def _leader_in(response: httpx.Response) -> str | None:
    """The address a redirect points to; never from https to http, which would bare the request."""
    if response.status_code not in _REDIRECTS:
        return None
    target = response.request.url.join(response.headers.get("location", ""))
    if target.scheme != response.request.url.scheme or not target.host:
        return None
    return f"{target.scheme}://{target.netloc.decode('ascii')}"
