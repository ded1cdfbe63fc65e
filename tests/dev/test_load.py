"""The load generator records what really came back, and the judge counts it rightly."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import pytest
import trio

from turnout.dev.load import Generator
from turnout.dev.observations import (
    NOBODY,
    Observation,
    ObservationFile,
    Requests,
    Rule,
    first_of_epoch,
    judged,
)

GOOD = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nx-backend: blue\r\n"
    b"x-turnout-epoch: 3\r\nx-turnout-colour: blue\r\n\r\nblue"
)

UNROUTED = b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\nx-turnout-epoch: 3\r\nconnection: close\r\n\r\nnone"


@attrs.define
class Edge:
    """An edge that answers every request with the same bytes."""

    answer: bytes = GOOD
    port: int = 0
    paths: set[bytes] = attrs.field(factory=set)
    streams: set[trio.SocketStream] = attrs.field(factory=set)

    async def handle(self, stream: trio.SocketStream) -> None:
        self.streams.add(stream)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.answer_all(stream)
        self.streams.discard(stream)

    async def answer_all(self, stream: trio.SocketStream) -> None:
        waiting = b""
        async for data in stream:
            waiting += data
            while b"\r\n\r\n" in waiting:
                head, _, waiting = waiting.partition(b"\r\n\r\n")
                self.paths.add(head.split()[1])
                await stream.send_all(self.answer)
                if self.answer is not GOOD:
                    await stream.aclose()
                    return


@pytest.fixture
async def edge(nursery: trio.Nursery) -> Edge:
    edge = Edge()
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    edge.port = listener.socket.getsockname()[1]
    nursery.start_soon(trio.serve_listeners, edge.handle, [listener])
    return edge


@attrs.define
class Load:
    """A generator at work, told what to do as its owner tells it."""

    commands: int
    file: ObservationFile
    seen: list[Observation] = attrs.field(factory=list)

    def rate(self, per_s: int) -> None:
        os.write(self.commands, f"rate {per_s}\n".encode())

    async def until(self, enough: Callable[[list[Observation]], bool]) -> list[Observation]:
        with trio.fail_after(20):
            while not enough(self.seen):
                await trio.sleep(0.02)
                self.seen += self.file.new()
        return self.seen


@asynccontextmanager
async def load_on(port: int, record: Path) -> AsyncIterator[Load]:
    heard, said = os.pipe()
    generator = Generator(("127.0.0.1", port), "checkout.example", record, heard)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, generator.run)
        try:
            yield Load(said, ObservationFile(record))
        finally:
            os.close(said)  # which ends the generator
    os.close(heard)


async def seen_by(
    edge: Edge, record: Path, enough: Callable[[list[Observation]], bool]
) -> list[Observation]:
    async with load_on(edge.port, record) as load:
        load.rate(400)
        return await load.until(enough)


async def test_whole_answers_are_recorded_with_epoch_and_colour(edge: Edge, tmp_path: Path) -> None:
    kinds = {"keep-alive", "new connection", "slow"}
    seen = await seen_by(edge, tmp_path / "r", lambda seen: {one.kind for one in seen} == kinds)
    assert {(one.epoch, one.colour, one.failed) for one in seen} == {(3, "blue", False)}
    assert edge.paths == {b"/", b"/slow?seconds=5"}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(GOOD.replace(b": 4", b": 400"), id="cut short"),
        pytest.param(GOOD.replace(b"200 OK", b"503 Unavailable"), id="503"),
        pytest.param(
            GOOD.replace(b"200 OK", b"404 Not Found"),
            id="a backend's 404",
        ),
        pytest.param(UNROUTED.replace(b"404 Not Found", b"503 Unavailable"), id="the proxy's 503"),
        pytest.param(GOOD + b"blue", id="more than was announced"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000, id="a head without an end"),
        pytest.param(GOOD.replace(b"x-turnout-epoch: 3\r\n", b""), id="no epoch"),
        pytest.param(GOOD.replace(b"x-backend: blue", b"x-backend: green"), id="colours differ"),
        pytest.param(b"nonsense\r\n\r\n", id="not HTTP"),
    ],
)
async def test_anything_else_is_a_failure(edge: Edge, tmp_path: Path, answer: bytes) -> None:
    edge.answer = answer
    seen = await seen_by(edge, tmp_path / "r", lambda seen: len(seen) >= 5)
    assert all(one.failed for one in seen)


async def test_edge_that_is_not_there_is_a_failure(edge: Edge, tmp_path: Path) -> None:
    (gone,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    edge.port = gone.socket.getsockname()[1]
    await gone.aclose()
    seen = await seen_by(edge, tmp_path / "r", lambda seen: len(seen) >= 5)
    assert all(one.failed for one in seen)


@pytest.mark.parametrize(
    ("answer", "epoch"),
    [
        pytest.param(UNROUTED, 3, id="no route"),
        pytest.param(
            UNROUTED.replace(b"404 Not Found", b"503 Unavailable").replace(b": 3", b": 0"),
            0,
            id="no table yet",
        ),
    ],
)
async def test_proxy_that_says_it_has_no_route_is_recorded_as_nobody(
    edge: Edge, tmp_path: Path, answer: bytes, epoch: int
) -> None:
    edge.answer = answer
    seen = await seen_by(edge, tmp_path / "r", lambda seen: len(seen) >= 5)
    assert {(one.epoch, one.colour, one.failed) for one in seen} == {(epoch, NOBODY, False)}


async def test_rate_of_zero_closes_every_kept_connection(edge: Edge, tmp_path: Path) -> None:
    async with load_on(edge.port, tmp_path / "r") as load:
        load.rate(400)
        await load.until(lambda seen: len(seen) >= 20)
        assert edge.streams
        load.rate(0)
        with trio.fail_after(20):
            while edge.streams:  # noqa: ASYNC110 - the generator sets no event
                await trio.sleep(0.02)
        assert not any(one.failed for one in load.seen + load.file.new())


async def test_edge_that_closes_a_connection_nobody_uses_has_failed_nobody(
    edge: Edge, tmp_path: Path
) -> None:
    async with load_on(edge.port, tmp_path / "r") as load:
        load.rate(400)
        await load.until(lambda seen: len(seen) >= 20)
        load.rate(3)  # none for a good while, and then again
        await load.until(lambda seen: not seen or seen[-1].done_ns < time.time_ns() - 100_000_000)
        for stream in list(edge.streams):
            await stream.aclose()
        before = len(load.seen)
        await load.until(lambda seen: len(seen) > before)
        assert not any(one.failed for one in load.seen)


def observation(sent_ns: int, colour: str, **more: object) -> Observation:
    return Observation(sent_ns=sent_ns, done_ns=sent_ns + 1_000_000, colour=colour, **more)  # type: ignore[arg-type]


def rule(since_ns: int, *colours: str) -> Rule:
    return Rule(since_ns=since_ns, colours=frozenset(colours))


def test_answer_from_the_source_is_misrouted_only_if_sent_after_the_region_was_live() -> None:
    seen = [observation(100, "blue"), observation(201, "blue"), observation(202, "green")]
    rules = [rule(50, "blue"), rule(150, "blue", "green"), rule(200, "green")]
    assert judged(seen, rules) == Requests(sent=3, misrouted=1, slowest_s=0.001)


def test_answer_without_a_route_is_a_failure_unless_there_is_none_yet() -> None:
    rules = [rule(0, NOBODY), rule(100, NOBODY, "blue"), rule(200, "blue")]
    seen = [observation(at, NOBODY) for at in (50, 150, 250)]
    assert judged(seen, rules).failed == 1
    assert judged(seen, []).failed == 3
    assert judged([observation(50, "blue")], rules).misrouted == 1


def test_failed_and_slow_requests_are_counted() -> None:
    seen = [
        observation(1, "", failed=True),
        observation(2, "blue", kind="slow"),
        observation(3, "blue", kind="new connection"),
    ]
    counted = Requests(sent=3, failed=1, slow=1, on_new_connections=1, slowest_s=0.001)
    assert judged(seen, []) == counted


def test_nothing_seen_is_nothing_counted() -> None:
    assert judged([], []) == Requests()


def test_first_answer_of_an_epoch_is_found_by_when_it_was_asked_for() -> None:
    seen = [
        observation(5, "blue", epoch=1),
        observation(9, "green", epoch=2),
        observation(7, "green", epoch=3),
    ]
    assert first_of_epoch(seen, 2) == 7
    assert first_of_epoch(seen, 4) is None


def test_half_written_line_waits_for_its_rest(tmp_path: Path) -> None:
    line = observation(1, "blue").line()
    path = tmp_path / "r"
    path.write_bytes(line + line[:5])
    file = ObservationFile(path)
    assert file.new() == [observation(1, "blue")]
    path.write_bytes(line + line)
    assert file.new() == [observation(1, "blue")]
    assert file.new() == []
