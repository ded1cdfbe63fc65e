"""The machine is told who is there in the order in which it came about."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from coordinator.presence import Presence
from coordinator.registry import Registry, new_stream
from turnout.protocol.events import AgentGone, FromAgent
from turnout.protocol.identifiers import NO_TERM, AgentId, Region
from turnout.protocol.messages import Report
from turnout.runtime.http.streams import OutboundStream

A = AgentId("a")
OPENING = Report(agent=A, region=Region("eu"), incarnation=None, journal_id="j1", promised=NO_TERM)


class Streams:
    """One agent's streams, and a machine's queue that has room for so many events."""

    def __init__(self, nursery: trio.Nursery, room: int) -> None:
        self.nursery = nursery
        self.registry = Registry()
        self.sender, self.receiver = trio.open_memory_channel[FromAgent | AgentGone](room)
        self.presence = Presence(self.registry, nursery, self.sender.send)

    async def open(self) -> OutboundStream:
        stream = new_stream()
        self.nursery.start_soon(self.presence.opened, OPENING, stream)
        await trio.testing.wait_all_tasks_blocked()
        return stream

    async def told(self) -> list[str]:
        """What the machine is told, until it is told nothing more."""
        told: list[str] = []
        while True:
            await trio.testing.wait_all_tasks_blocked()
            try:
                event = self.receiver.receive_nowait()
            except trio.WouldBlock:
                return told
            told.append("gone" if isinstance(event, AgentGone) else "opened")


@pytest.fixture(params=[0, 1, 100])
def streams(nursery: trio.Nursery, request: pytest.FixtureRequest) -> Streams:
    return Streams(nursery, request.param)


async def test_stream_that_ended_is_told_and_forgotten(streams: Streams) -> None:
    stream = await streams.open()
    streams.presence.ended(A, stream)
    assert await streams.told() == ["opened", "gone"]
    assert len(streams.registry) == 0


async def test_stream_whose_place_was_taken_ends_without_a_word(streams: Streams) -> None:
    first, second = await streams.open(), await streams.open()
    streams.presence.ended(A, first)
    assert await streams.told() == ["opened", "opened"]
    assert streams.registry.get(A) is second


async def test_agent_that_is_back_before_its_end_was_told_is_not_taken_for_gone(
    nursery: trio.Nursery,
) -> None:
    streams = Streams(nursery, 100)
    streams.presence.ended(A, await streams.open())
    await streams.presence.opened(OPENING, second := new_stream())
    assert await streams.told() == ["opened", "opened"]
    assert streams.registry.get(A) is second


async def test_agent_that_is_back_is_told_last_whoever_waits_first_for_room(
    streams: Streams,
) -> None:
    for _ in range(5):
        streams.presence.ended(A, await streams.open())
        await streams.open()
        assert (await streams.told())[-1] == "opened"
        assert len(streams.registry) == 1
