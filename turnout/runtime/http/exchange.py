"""One request and its answer, as the ASGI application sees them."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

import h11
from starlette.types import Message

from turnout.runtime.http.channel import Channel, ClientGoneError, RefusedError
from turnout.runtime.http.drain import Drain
from turnout.runtime.http.limits import HttpLimits
from turnout.runtime.http.requests import body_too_large
from turnout.runtime.problems import Problem

# An unread body this long is read and forgotten to keep the connection; a longer one closes it.
_SKIPPED_BYTES = 64 * 1024

_DISCONNECT: Message = {"type": "http.disconnect"}


class Exchange:
    """ASGI's ``receive`` and ``send`` for one request on one channel.

    ``receive`` answers ``http.disconnect`` once the client is gone, the request was refused
    while its body arrived, or, after the whole body, when the server begins to shut down: a held
    stream may then still send a last message and end its answer properly. ``send`` raises
    ClientGoneError (an OSError, as ASGI 2.4 says) when nothing can be sent any more.
    """

    def __init__(
        self, channel: Channel, request: h11.Request, limits: HttpLimits, drain: Drain
    ) -> None:
        self._channel = channel
        self._limits = limits
        self._drain = drain
        self._head_only = request.method == b"HEAD"
        self._body_bytes = 0
        self._body_complete = False
        self._body_declined = False
        self._start: Message | None = None
        self.client_gone = False
        self.refused = False
        self.answered = False

    # ---------------------------------------------------------------- the request's body

    async def receive(self) -> Message:
        """The next part of the body, or the news that nobody waits for the answer."""
        if self.refused or self.client_gone or self.answered:
            return _DISCONNECT
        try:
            if not self._body_complete:
                return await self._next_body_part()
            with self._drain.ends_wait():
                await self._until_client_goes()
        except RefusedError as refusal:
            await self._refuse(refusal.problem)
        except ClientGoneError:
            self.client_gone = True
        return _DISCONNECT

    async def _next_body_part(self) -> Message:
        if self._channel.client_waits_for_continue:
            go_on = h11.InformationalResponse(status_code=HTTPStatus.CONTINUE, headers=[])
            await self._channel.write(self._channel.encode(go_on))
        parts = []
        event: object = await self._channel.next_event()
        while isinstance(event, h11.Data):
            parts.append(event.data)
            self._count(event)
            event = self._channel.poll_event()
        self._body_complete = isinstance(event, h11.EndOfMessage)
        body = b"".join(parts)
        return {"type": "http.request", "body": body, "more_body": not self._body_complete}

    def _count(self, data: h11.Data) -> None:
        self._body_bytes += len(data.data)
        if self._body_bytes > self._limits.max_body_bytes:
            raise RefusedError(body_too_large(self._limits))

    async def _until_client_goes(self) -> None:
        """Returns by ClientGoneError, or when more arrives than we keep for later requests."""
        while self._channel.unread_bytes <= self._limits.max_head_bytes:
            await self._channel.receive_more()
        self._channel.cut()
        raise ClientGoneError("the client sends requests without reading answers")

    async def skip_rest_of_body(self) -> bool:
        """Reads what the application left of the body; False if that is not worth the while."""
        if self._body_declined:
            return False
        skipped = 0
        try:
            while not self._body_complete:
                event = await self._channel.next_event()
                self._body_complete = not isinstance(event, h11.Data)
                skipped += len(event.data) if isinstance(event, h11.Data) else 0
                if skipped > _SKIPPED_BYTES:
                    return False
        except RefusedError:
            return False
        return True

    # ---------------------------------------------------------------- the answer

    async def send(self, message: Message) -> None:
        """Takes ``http.response.start`` and ``http.response.body``. Raises ClientGoneError."""
        if self.refused or self.client_gone:
            raise ClientGoneError("nobody waits for this answer")
        if message["type"] == "http.response.start":
            self._start = message
            return
        assert message["type"] == "http.response.body", message["type"]
        assert not self.answered, "the answer is complete already"
        try:
            await self._send_body(message.get("body", b""), last=not message.get("more_body"))
        except ClientGoneError:
            self.client_gone = True
            raise

    async def _send_body(self, body: bytes, *, last: bool) -> None:
        parts = [self._head()]
        if body and not self._head_only:
            parts += self._channel.frame(body)
        if last:
            parts.append(self._channel.encode(h11.EndOfMessage()))
        await self._channel.write(*parts)
        self.answered = last

    def _head(self) -> bytes:
        if self._start is None:
            return b""
        # Answered without being told to go on, the client may send its body or not: no request
        # could be told from it (RFC 9110, section 10.1.1).
        self._body_declined = self._channel.client_waits_for_continue
        close = self._drain.begun or self._body_declined
        status, headers = self._start["status"], self._start.get("headers", ())
        self._start = None
        return encode_head(self._channel, status, headers, close=close)

    async def _refuse(self, problem: Problem) -> None:
        self.refused = True
        try:
            await send_problem(self._channel, problem, head_only=self._head_only)
        except ClientGoneError:
            self.client_gone = True

    async def fail(self, problem: Problem) -> None:
        """Answers for an application that did not. Raises ClientGoneError."""
        await send_problem(self._channel, problem, head_only=self._head_only)


async def send_problem(channel: Channel, problem: Problem, *, head_only: bool = False) -> None:
    """Answers with a problem and announces the end of the connection.

    If an answer was begun, cuts the connection instead: what the client has is not whole.
    Raises ClientGoneError.
    """
    if not channel.may_answer:
        channel.cut()
        return
    response = problem.response()
    parts = [encode_head(channel, response.status_code, response.raw_headers, close=True)]
    if not head_only:
        parts += channel.frame(bytes(response.body))
    await channel.write(*parts, channel.encode(h11.EndOfMessage()))


def encode_head(
    channel: Channel, status: int, headers: list[tuple[bytes, bytes]], *, close: bool
) -> bytes:
    """Status line and header fields, with the date that RFC 9110, section 6.6.1 asks for."""
    second = int(time.time())
    return channel.encode(_response(status, tuple((n, v) for n, v in headers), second, close=close))


@lru_cache(maxsize=64)
def _response(
    status: int, headers: tuple[tuple[bytes, bytes], ...], second: int, *, close: bool
) -> h11.Response:
    """The head of an answer: a thousand agents are given the same in the same second."""
    date = formatdate(second, usegmt=True).encode("ascii")
    all_headers = [*headers, (b"date", date)]
    if close:
        all_headers.append((b"connection", b"close"))
    reason = _REASONS.get(status, b"")
    return h11.Response(status_code=status, headers=all_headers, reason=reason)


_REASONS = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
