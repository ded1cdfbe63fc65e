"""The load generator records what really came back, and the judge counts it rightly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import trio

from turnout.dev.load import Generator
from turnout.dev.observations import (
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


@attrs.define
class Edge:
    """An edge that answers every request with the same bytes."""

    answer: bytes = GOOD
    port: int = 0
    paths: set[bytes] = attrs.field(factory=set)

    async def handle(self, stream: trio.SocketStream) -> None:
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


async def seen_by(
    edge: Edge, record: Path, enough: Callable[[list[Observation]], bool]
) -> list[Observation]:
    generator = Generator(("127.0.0.1", edge.port), "checkout.example", record)
    file, seen = ObservationFile(record), list[Observation]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(generator.run)
        generator.set_rate(400)
        with trio.fail_after(20):
            while not enough(seen):
                await trio.sleep(0.02)
                seen += file.new()
        nursery.cancel_scope.cancel()
    return seen


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
            GOOD.replace(b"200 OK", b"404 Not Found")
            .replace(b"x-backend: blue\r\n", b"")
            .replace(b"x-turnout-colour: blue\r\n", b""),
            id="the proxy's own 404",
        ),
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


def observation(sent_ns: int, colour: str, **more: object) -> Observation:
    return Observation(sent_ns=sent_ns, done_ns=sent_ns + 1_000_000, colour=colour, **more)  # type: ignore[arg-type]


def test_answer_from_the_source_is_misrouted_only_if_sent_after_the_region_was_live() -> None:
    seen = [observation(100, "blue"), observation(201, "blue"), observation(202, "green")]
    rules = [Rule(since_ns=50, colour="blue"), Rule(since_ns=200, colour="green")]
    assert judged(seen, rules) == Requests(sent=3, misrouted=1, slowest_s=0.001)


def test_failed_and_slow_requests_are_counted() -> None:
    seen = [observation(1, "", failed=True), observation(2, "blue", kind="slow")]
    assert judged(seen, []) == Requests(sent=2, failed=1, slow=1, slowest_s=0.001)


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
