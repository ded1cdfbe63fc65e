"""WebSockets through a proxy: opened (RFC 6455 section 1.3), echoed on, and living on across flips.

What a proxy sees of a WebSocket is its handshake and bytes in both directions; frames are no business of
its, so the bytes here have none.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial

import trio
from attrs import define

from turnout.protocol.routing import Colour

_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_HEAD_END = b"\r\n\r\n"
_PIECE_BYTES = 4096
_PERIOD_S = 0.05
_PATIENCE_S = 5.0
_OK = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def _accept(key: str) -> str:
    return base64.b64encode(hashlib.sha1((key + _MAGIC).encode()).digest()).decode()  # noqa: S324 - as the RFC has it


async def serve_echo(
    name: str, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """A backend that says its name on each upgraded stream, and then what it hears."""

    async def talk(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await _talk(stream, name)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    task_status.started(f"127.0.0.1:{listeners[0].socket.getsockname()[1]}")
    await trio.serve_listeners(talk, listeners)


async def _talk(stream: trio.SocketStream, name: str) -> None:
    head = b""
    while not head.endswith(_HEAD_END):
        piece = await stream.receive_some(_PIECE_BYTES)
        if not piece:
            return
        head += piece
    lines = (line.partition(": ") for line in head.decode("latin-1").split("\r\n")[1:])
    fields = {field.lower(): value for field, _, value in lines}
    if "sec-websocket-key" not in fields:
        await stream.send_all(_OK)
        return
    accept = _accept(fields["sec-websocket-key"])
    await stream.send_all(
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        + f"sec-websocket-accept: {accept}\r\n\r\n".encode()
        + f"{name}\n".encode()
    )
    while piece := await stream.receive_some(_PIECE_BYTES):
        await stream.send_all(piece)


@define
class WebSockets:
    """Users with WebSockets, and what became of what they sent."""

    edge: tuple[str, int]
    host: str
    backends: Mapping[Colour, str]
    opened: int = 0
    sent: int = 0
    failed: int = 0
    misrouted: int = 0
    living: int = 0

    async def live_on(self, colour: Colour, seconds: float) -> None:
        """Open one, which ``colour`` must answer, and talk over it for so long."""
        self.opened += 1
        self.living += 1
        try:
            with trio.fail_after(seconds + _PATIENCE_S):
                async with await trio.open_tcp_stream(*self.edge) as stream:
                    await self._talk(stream, colour, seconds)
        except (OSError, trio.BrokenResourceError, trio.TooSlowError, ValueError):
            self.failed += 1
        finally:
            self.living -= 1

    async def _talk(self, stream: trio.SocketStream, colour: Colour, seconds: float) -> None:
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        await stream.send_all(
            f"GET / HTTP/1.1\r\nhost: {self.host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            f"sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n".encode()
        )
        receive = partial(stream.receive_some, _PIECE_BYTES)
        heard = b""
        while _HEAD_END not in heard or not heard.endswith(b"\n"):
            heard += await _something(receive)
            while _HEAD_END in heard and not heard.partition(_HEAD_END)[2]:
                heard += await _something(receive)
        head, _, name = heard.partition(_HEAD_END)
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise ValueError("not upgraded")
        if name.decode().strip() != colour.value:
            self.misrouted += 1
        for number in range(max(1, round(seconds / _PERIOD_S))):
            self.sent += 1
            word = f"{number:08}".encode()
            await stream.send_all(word)
            echo = b""
            while len(echo) < len(word):
                echo += await _something(receive)
            if echo != word:
                raise ValueError("another echo")
            await trio.sleep(_PERIOD_S)


async def _something(receive: Callable[[], Awaitable[bytes | bytearray]]) -> bytes:
    piece = bytes(await receive())
    if not piece:
        raise ValueError("cut")
    return piece
