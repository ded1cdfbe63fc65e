"""Held answers: messages for one consumer, queued within bounds, written as they come.

    stream = OutboundStream(max_frames=256, max_bytes=4 * 1024 * 1024)
    registry.attach(agent, stream)          # calls stream.send_nowait(line(message)) from now on
    return HeldResponse(stream, on_end=lambda reason: registry.detach(agent, reason))

Whoever sends never waits for a consumer: one that does not keep up is evicted, and connects
again to be told the newest state. Heartbeats are messages like any other, the caller's business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from http import HTTPStatus

import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from turnout.runtime.http.channel import ClientGoneError
from turnout.runtime.http.lines import NDJSON

# Small messages waiting together go out in one write of up to this size.
_WRITE_BYTES = 32 * 1024


class StreamClosedError(Exception):
    """The stream takes no more messages; the text says why."""


class OutboundStream:
    """A bounded queue of byte frames for one consumer.

    Frames are kept by reference, so one message sent to a thousand streams is held once. A frame
    longer than ``max_bytes`` can never be sent: choose it above the longest message.
    """

    def __init__(self, *, max_frames: int, max_bytes: int) -> None:
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._wakeup = trio.Event()
        self._writer = trio.CancelScope()
        self.end_reason: str | None = None
        self.evicted = False

    def send_nowait(self, frame: bytes) -> None:
        """Queues a frame. Raises StreamClosedError.

        That is also the answer when this very frame was one too many and evicts the consumer.
        """
        if self.end_reason is not None:
            raise StreamClosedError(self.end_reason)
        if len(self._frames) >= self._max_frames or self._bytes + len(frame) > self._max_bytes:
            self.evict(f"{len(self._frames)} messages of {self._bytes} bytes waited for it")
            raise StreamClosedError(self.end_reason)
        self._frames.append(frame)
        self._bytes += len(frame)
        self._wakeup.set()

    def close(self, reason: str) -> None:
        """Ends the stream properly once what is queued was sent; later calls change nothing."""
        if self.end_reason is None:
            self.end_reason = reason
            self._wakeup.set()

    def evict(self, reason: str) -> None:
        """Cuts the consumer off at once; what is queued is forgotten, a blocked write ends."""
        self.close(f"evicted: {reason}")
        self.evicted = True
        self._frames.clear()
        self._bytes = 0
        self._writer.cancel()

    async def write_to(self, send: Send) -> None:
        """Writes frames as they come until the stream is closed and empty, or evicted."""
        with self._writer:
            while self._frames or self.end_reason is None:
                if self._frames:
                    await send(_body(self._take(), more=True))
                else:
                    await self._wait_for_news()

    async def _wait_for_news(self) -> None:
        self._wakeup = trio.Event()
        await self._wakeup.wait()

    def _take(self) -> bytes:
        """The next frame, and those behind it that fit into the same write."""
        taken = [self._frames.popleft()]
        size = len(taken[0])
        while self._frames and size + len(self._frames[0]) <= _WRITE_BYTES:
            taken.append(self._frames.popleft())
            size += len(taken[-1])
        self._bytes -= size
        return taken[0] if len(taken) == 1 else b"".join(taken)


class HeldResponse(Response):
    """Answers a request with a stream for as long as both sides want it.

    ``on_end(reason)`` is called once, however it ends. On shutdown of the server the stream is
    closed: what is queued still goes out.
    """

    def __init__(
        self,
        stream: OutboundStream,
        *,
        media_type: str = NDJSON,
        on_end: Callable[[str], None] | None = None,
    ) -> None:
        self.status_code = HTTPStatus.OK
        self.media_type = media_type
        self.background = None
        self.init_headers({"cache-control": "no-store"})
        self._stream = stream
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Runs the stream; raises ClientGoneError for one that ended without its proper end."""
        try:
            await self._run(receive, send)
        except ClientGoneError as error:
            self._stream.close(str(error))
            raise
        finally:
            self._stream.close("the server ended it")
            if self._on_end is not None:
                self._on_end(self._stream.end_reason or "")

    async def _run(self, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        await send(_body(b"", more=True))
        gone: ClientGoneError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._close_on_disconnect, receive)
            try:
                await self._stream.write_to(send)
            except ClientGoneError as error:
                gone = error
            nursery.cancel_scope.cancel()
        if gone is not None:
            raise gone
        if self._stream.evicted:
            raise ClientGoneError(self._stream.end_reason)
        await send(_body(b"", more=False))

    async def _close_on_disconnect(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._stream.close("the client disconnected or the server is shutting down")


def _body(data: bytes, *, more: bool) -> dict[str, object]:
    return {"type": "http.response.body", "body": data, "more_body": more}
