"""Reading answers as they come: whole, line by line, or event by event.

The iterators are generators over those of httpx: close them (``aclosing``) rather than leaving
them half read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Protocol, TypeVar

import httpx
import trio

from turnout.runtime.http import sse
from turnout.runtime.http.client_errors import StreamBrokenError
from turnout.runtime.http.lines import LineSplitter, LineTooLongError

# The longest line or event taken from a coordinator: a table of 1 MiB compressed (DESIGN.md
# section 4), written as base64 inside JSON, with room around it.
_MAX_MESSAGE_BYTES = 2 * 1024 * 1024

# The longest whole answer: a raw table of 16 MiB as JSON, or a long history, with room.
_MAX_ANSWER_BYTES = 64 * 1024 * 1024

Read = TypeVar("Read")


class _Reader(Protocol[Read]):
    def feed(self, data: bytes) -> list[Read]: ...


async def whole(response: httpx.Response) -> httpx.Response:
    """The answer with its body, which is read and closed. Raises StreamBrokenError."""
    if response.is_stream_consumed:
        return response
    content = bytearray()
    try:
        async with aclosing(_data(response)) as pieces:
            async for data in pieces:
                content += data
                if len(content) > _MAX_ANSWER_BYTES:
                    raise StreamBrokenError(f"the answer has more than {_MAX_ANSWER_BYTES} bytes")
    finally:
        await response.aclose()
    return httpx.Response(
        response.status_code,
        headers=response.headers,
        content=bytes(content),
        request=response.request,
    )


async def _data(response: httpx.Response) -> AsyncGenerator[bytes]:
    """The bytes as they come; the end of them is a normal end."""
    raw = response.aiter_raw()
    try:
        async for data in raw:
            yield data
    except httpx.TimeoutException as error:
        raise StreamBrokenError("the coordinator went silent") from error
    except httpx.HTTPError as error:
        raise StreamBrokenError(f"the connection broke: {reason_of(error)}") from error
    finally:
        await _unwind(raw)


async def _unwind(raw: AsyncIterator[bytes]) -> None:
    """Ends the generators of httpx and httpcore, five deep, when a stream is left half read.

    Closing the outermost would leave the others to the garbage collector, which trio rightly
    complains of. Cancelling the read that comes next ends them all, innermost first.
    """
    with trio.CancelScope() as leaving:
        leaving.cancel()
        async for _ in raw:
            pass


async def lines_of(response: httpx.Response) -> AsyncGenerator[bytes]:
    """The lines of a held answer. Raises StreamBrokenError when it is over."""
    splitter = LineSplitter(_MAX_MESSAGE_BYTES)
    async with aclosing(_data(response)) as pieces:
        async for data in pieces:
            for line in _read_by(splitter, data):
                yield line
    raise StreamBrokenError("the coordinator ended the stream")


async def events_of(
    response: httpx.Response, last_event_id: str | None
) -> AsyncGenerator[sse.ServerEvent]:
    """The events of a held answer. Raises StreamBrokenError when it is over."""
    parser = sse.EventParser(max_event_bytes=_MAX_MESSAGE_BYTES, last_event_id=last_event_id)
    async with aclosing(_data(response)) as pieces:
        async for data in pieces:
            for event in _read_by(parser, data):
                yield event
    raise StreamBrokenError("the coordinator ended the stream")


def _read_by(reader: _Reader[Read], data: bytes) -> list[Read]:
    try:
        return reader.feed(data)
    except (LineTooLongError, sse.MalformedEventError) as error:
        raise StreamBrokenError(str(error)) from error


def reason_of(error: Exception) -> str:
    """Why a request failed, for people.

    The libraries below wrap a refused certificate in errors without text: the first text on the
    way down to the cause is what tells.
    """
    if isinstance(error, httpx.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    cause: BaseException | None = error
    while cause is not None and not str(cause):
        cause = cause.__cause__ or cause.__context__
    return str(cause or type(error).__name__)
