"""Held streams: the outbox by itself, then over sockets with consumers that do not keep up."""

from __future__ import annotations

import httpx
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Message

from tests.runtime.http.harness import RawClient, Running, StartServer
from turnout.runtime.http.limits import HttpLimits
from turnout.runtime.http.lines import LineSplitter, LineTooLongError, line
from turnout.runtime.http.streams import HeldResponse, OutboundStream, StreamClosedError

pytestmark = pytest.mark.timeout(30)


def stream_of(max_frames: int = 4, max_bytes: int = 1000) -> OutboundStream:
    return OutboundStream(max_frames=max_frames, max_bytes=max_bytes)


def test_full_queue_of_frames_evicts_the_consumer() -> None:
    stream = stream_of(max_frames=2)
    stream.send_nowait(b"a\n")
    stream.send_nowait(b"b\n")
    with pytest.raises(StreamClosedError, match="2 messages of 4 bytes waited"):
        stream.send_nowait(b"c\n")
    assert stream.evicted
    with pytest.raises(StreamClosedError):
        stream.send_nowait(b"d\n")


def test_full_queue_of_bytes_evicts_the_consumer() -> None:
    stream = stream_of(max_bytes=10)
    stream.send_nowait(b"x" * 10)
    with pytest.raises(StreamClosedError):
        stream.send_nowait(b"x")
    assert stream.evicted


async def test_frames_waiting_together_go_out_in_one_write() -> None:
    stream, sent = stream_of(), list[bytes]()

    async def send(message: Message) -> None:
        sent.append(message["body"])

    for frame in (b"a\n", b"b\n", b"c\n"):
        stream.send_nowait(frame)
    stream.close("the test is over")
    await stream.write_to(send)
    assert sent == [b"a\nb\nc\n"]


async def test_writing_frees_room_for_more(nursery: trio.Nursery) -> None:
    stream, sent = stream_of(max_frames=1), list[bytes]()

    async def send(message: Message) -> None:
        sent.append(message["body"])

    nursery.start_soon(stream.write_to, send)
    for n in range(5):
        stream.send_nowait(b"%d\n" % n)
        await trio.testing.wait_all_tasks_blocked()
    stream.close("the test is over")
    assert sent == [b"%d\n" % n for n in range(5)]


async def test_eviction_ends_a_write_that_is_stuck(autojump_clock: trio.testing.MockClock) -> None:
    stream = stream_of(max_frames=1)
    stream.send_nowait(b"a\n")

    async def stuck(_message: Message) -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.write_to, stuck)
        await trio.testing.wait_all_tasks_blocked()
        stream.send_nowait(b"b\n")
        with pytest.raises(StreamClosedError):
            stream.send_nowait(b"c\n")


def test_line_ends_a_message_and_refuses_one_of_two_lines() -> None:
    assert line(b"{}") == b"{}\n"
    with pytest.raises(AssertionError):
        line(b"{\n}")
    with pytest.raises(AssertionError):
        line(b"")


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"."))), st.data())
def test_splitter_finds_the_same_lines_however_they_are_cut(
    lines: list[bytes], data: st.DataObject
) -> None:
    content = b"".join(one + b"\n" for one in lines)
    splitter, found = LineSplitter(20), list[bytes]()
    while content:
        cut = data.draw(st.integers(1, len(content)))
        found += splitter.feed(content[:cut])
        content = content[cut:]
    assert found == lines


@pytest.mark.parametrize(
    "pieces", [[b"x" * 11], [b"x" * 6, b"x" * 6], [b"a\n" + b"x" * 11 + b"\n"]]
)
def test_line_over_the_limit_is_refused(pieces: list[bytes]) -> None:
    splitter = LineSplitter(10)
    *first, last = pieces
    assert [splitter.feed(piece) for piece in first] == [[] for _ in first]
    with pytest.raises(LineTooLongError):
        splitter.feed(last)


class Hub:
    """An application with held streams, as the coordinator's dispatch will be."""

    def __init__(self, max_frames: int = 64) -> None:
        self.streams: dict[str, OutboundStream] = {}
        self.ends: dict[str, str] = {}
        self.ended = trio.Event()
        self._max_frames = max_frames
        self.app = Starlette(routes=[Route("/stream/{name}", self.hold, methods=["GET", "POST"])])

    async def hold(self, request: Request) -> HeldResponse:
        name = request.path_params["name"]
        stream = OutboundStream(max_frames=self._max_frames, max_bytes=10_000_000)
        self.streams[name] = stream
        stream.send_nowait(b"welcome\n")
        return HeldResponse(stream, on_end=lambda reason: self.end(name, reason))

    def end(self, name: str, reason: str) -> None:
        del self.streams[name]
        self.ends[name] = reason
        self.ended.set()


async def open_stream(running: Running, name: str) -> RawClient:
    client = await running.connect()
    await client.send(f"POST /stream/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await client.read_until(b"welcome\n")
    return client


async def test_message_reaches_every_stream(start_server: StartServer) -> None:
    hub = Hub()
    running = await start_server(hub.app)
    clients = [await open_stream(running, f"agent-{n}") for n in range(20)]
    for stream in hub.streams.values():
        stream.send_nowait(b"prepare\n")
    with trio.fail_after(5):
        told = [await client.read_until(b"prepare\n") for client in clients]
    assert told == [b"\r\n8\r\nprepare\n"] * 20


async def test_stream_closed_by_the_server_ends_properly(start_server: StartServer) -> None:
    hub = Hub()
    running = await start_server(hub.app)
    client = await open_stream(running, "a")
    hub.streams["a"].send_nowait(b"last\n")
    hub.streams["a"].close("leadership lost")
    assert (await client.read_until(b"\n\r\n0\r\n\r\n")).endswith(b"last\n\r\n0\r\n\r\n")
    await hub.ended.wait()
    assert hub.ends == {"a": "leadership lost"}


async def test_deaf_consumer_is_evicted_by_its_queue_while_others_go_on(
    start_server: StartServer,
) -> None:
    hub = Hub(max_frames=8)
    running = await start_server(hub.app, limits=HttpLimits(write_timeout_s=20))
    await open_stream(running, "deaf")
    good = await open_stream(running, "good")
    frame = b"x" * 100_000 + b"\n"
    while "deaf" in hub.streams:
        for stream in list(hub.streams.values()):
            try:
                stream.send_nowait(frame)
            except StreamClosedError:
                await hub.ended.wait()
        await good.read_until(b"x\n")
    assert hub.ends["deaf"].startswith("evicted: ")
    assert list(hub.streams) == ["good"]


async def test_disconnect_of_a_consumer_is_reported_at_once(start_server: StartServer) -> None:
    hub = Hub()
    running = await start_server(hub.app)
    client = await open_stream(running, "a")
    await client.stream.aclose()
    with trio.fail_after(5):
        await hub.ended.wait()
    assert "disconnected" in hub.ends["a"]


async def test_held_streams_end_properly_when_the_server_shuts_down(
    start_server: StartServer,
) -> None:
    hub = Hub()
    running = await start_server(hub.app)
    clients = [await open_stream(running, f"agent-{n}") for n in range(5)]
    running.server.shut_down()
    for client in clients:
        assert (await client.read_to_end()).endswith(b"0\r\n\r\n")
    await running.stopped.wait()
    assert len(hub.ends) == 5


async def test_held_response_works_without_sockets() -> None:
    hub = Hub()

    async def close_soon() -> None:
        await trio.testing.wait_all_tasks_blocked()
        hub.streams["a"].close("done")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(close_soon)
        transport = httpx.ASGITransport(hub.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            answer = await client.get("/stream/a")
    assert answer.text == "welcome\n"
    assert answer.headers["content-type"] == "application/x-ndjson"
