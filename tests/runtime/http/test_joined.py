from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import pytest
import trio

from turnout.runtime.http.joined import JoiningTransport
from turnout.runtime.tls import trusting_nobody

pytestmark = pytest.mark.timeout(30)

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def served(
    nursery: trio.Nursery, handler: Callable[[trio.SocketStream], Awaitable[None]]
) -> int:
    """Serve on loopback; returns the port."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, handler, [listener])
    port: int = listener.socket.getsockname()[1]
    return port


async def test_request_arrives_in_one_piece_and_its_connection_is_kept(
    nursery: trio.Nursery,
) -> None:
    pieces: list[bytes] = []
    connections = 0

    async def answer(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        while data := bytes(await stream.receive_some()):
            pieces.append(data)
            await stream.send_all(ANSWER)

    port = await served(nursery, answer)
    async with httpx.AsyncClient(transport=JoiningTransport(trusting_nobody())) as client:
        for body in (b"first", b"second"):
            assert (await client.post(f"http://127.0.0.1:{port}/", content=body)).text == "ok"
    assert [piece.rpartition(b"\r\n\r\n")[2] for piece in pieces] == [b"first", b"second"]
    assert connections == 1
    nursery.cancel_scope.cancel()


async def test_answer_of_a_server_that_closes_early_is_read(nursery: trio.Nursery) -> None:
    async def refuse(stream: trio.SocketStream) -> None:
        await stream.send_all(ANSWER)
        await stream.aclose()

    port = await served(nursery, refuse)
    async with httpx.AsyncClient(transport=JoiningTransport(trusting_nobody())) as client:
        response = await client.post(f"http://127.0.0.1:{port}/", content=b"body")
    assert response.text == "ok"
    nursery.cancel_scope.cancel()
