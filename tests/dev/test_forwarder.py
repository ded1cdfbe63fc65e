"""The link between an agent and the coordinators: through, cut, cut behind a message, healed."""

from __future__ import annotations

import attrs
import pytest
import trio

from turnout.dev.forwarder import AgentLink


@attrs.define
class Wire:
    """A link, and the server behind it, which repeats what it is told in capitals."""

    link: AgentLink
    heard: list[bytes]
    cut_when_heard: list[bool]

    async def dial(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", int(self.link.urls[0].rpartition(":")[2]))


@pytest.fixture
async def wire(nursery: trio.Nursery) -> Wire:
    heard: list[bytes] = []
    cut_when_heard: list[bool] = []
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"

    async def answer(stream: trio.SocketStream) -> None:
        async for data in stream:
            heard.append(bytes(data))
            cut_when_heard.append(link.is_cut)
            reply = url.encode() if data == b"where" else bytes(data).upper()
            await stream.send_all(reply)

    nursery.start_soon(trio.serve_listeners, answer, [listener])
    link = AgentLink("eu-a", [url])
    await nursery.start(link.serve)
    return Wire(link, heard, cut_when_heard)


async def say(stream: trio.SocketStream, text: bytes) -> bytes:
    await stream.send_all(text)
    with trio.fail_after(5):
        return bytes(await stream.receive_some())


async def silent(stream: trio.SocketStream, text: bytes) -> bool:
    await stream.send_all(text)
    with trio.move_on_after(0.1):
        await stream.receive_some()
        return False
    return True


async def test_open_link_carries_both_ways(wire: Wire) -> None:
    async with await wire.dial() as stream:
        assert await say(stream, b"hello") == b"HELLO"


async def test_cut_link_is_silent_and_delivers_what_waited_when_healed(wire: Wire) -> None:
    async with await wire.dial() as stream:
        assert await say(stream, b"one") == b"ONE"
        wire.link.cut()
        assert await silent(stream, b"two")
        assert wire.heard == [b"one"]
        wire.link.heal()
        with trio.fail_after(5):
            assert await stream.receive_some() == b"TWO"


async def test_connection_made_while_cut_works_after_healing(wire: Wire) -> None:
    wire.link.cut()
    async with await wire.dial() as stream:
        assert await silent(stream, b"one")
        wire.link.heal()
        with trio.fail_after(5):
            assert await stream.receive_some() == b"ONE"


async def test_link_cut_after_a_message_delivers_it_but_not_its_answer(wire: Wire) -> None:
    async with await wire.dial() as stream:
        wire.link.cut_after(b"vote")
        assert await say(stream, b"report") == b"REPORT"
        assert await silent(stream, b"my vote")
        assert wire.heard == [b"report", b"my vote"]
        # Whoever hears it is cut off already: no answer is quick enough.
        assert wire.cut_when_heard == [False, True]


async def test_redirect_to_a_coordinator_leads_through_the_link(wire: Wire) -> None:
    async with await wire.dial() as stream:
        assert await say(stream, b"where") == wire.link.urls[0].encode()


async def test_connection_ends_where_no_coordinator_listens(nursery: trio.Nursery) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    link = AgentLink("eu-a", [f"http://127.0.0.1:{port}"])
    await nursery.start(link.serve)
    async with await Wire(link, [], []).dial() as stream:
        with trio.fail_after(5):
            assert await stream.receive_some() == b""
