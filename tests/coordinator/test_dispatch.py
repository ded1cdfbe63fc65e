from __future__ import annotations

import pytest
import trio.testing

from coordinator.dispatch import Dispatch
from coordinator.feed import GATHER_S, Feed
from coordinator.registry import Registry
from coordinator.verifying import RememberingVerifier
from turnout.protocol.effects import Tell
from turnout.protocol.identifiers import AgentId, ReplicaId, Term
from turnout.protocol.messages import Down, Sync
from turnout.protocol.records import Incarnation
from turnout.protocol.wire import encode
from turnout.runtime.http.streams import OutboundStream

SYNC = Sync(
    incarnation=Incarnation(number=1, id="x"), term=Term(2), replica=ReplicaId("c0"), head=None
)


def agents(*names: str) -> tuple[AgentId, ...]:
    return tuple(AgentId(name) for name in names)


class Encoder:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self, message: Down) -> bytes:
        self.times += 1
        return encode(message)


def frames(stream: OutboundStream) -> list[bytes]:
    return list(stream._frames)


def test_message_to_many_is_encoded_once_and_held_once() -> None:
    registry, encoder = Registry(), Encoder()
    streams = [OutboundStream(max_frames=4, max_bytes=10_000) for _ in range(3)]
    for agent, stream in zip(agents("a", "b", "c"), streams, strict=True):
        registry.attach(agent, stream)
    Dispatch(registry, encoder).tell(Tell(agents=agents("a", "b", "c", "away"), message=SYNC))
    assert encoder.times == 1
    first = frames(streams[0])[0]
    assert first == encode(SYNC) + b"\n"
    assert all(frames(stream)[0] is first for stream in streams)


def test_message_to_nobody_who_listens_is_not_encoded() -> None:
    encoder = Encoder()
    Dispatch(Registry(), encoder).tell(Tell(agents=agents("away"), message=SYNC))
    assert encoder.times == 0


def test_agent_whose_outbox_is_full_is_evicted_and_the_others_are_served() -> None:
    registry = Registry()
    slow = OutboundStream(max_frames=1, max_bytes=10_000)
    quick = OutboundStream(max_frames=8, max_bytes=10_000)
    registry.attach(AgentId("slow"), slow)
    registry.attach(AgentId("quick"), quick)
    dispatch = Dispatch(registry, encode)
    for _ in range(3):
        dispatch.tell(Tell(agents=agents("slow", "quick"), message=SYNC))
    assert slow.evicted
    assert len(frames(quick)) == 3


def test_registry_keeps_the_newest_stream_of_an_agent() -> None:
    registry, agent = Registry(), AgentId("a")
    old, new = (OutboundStream(max_frames=1, max_bytes=10) for _ in range(2))
    registry.attach(agent, old)
    registry.attach(agent, new)
    assert old.end_reason == "the agent opened another stream"
    assert not registry.detach(agent, old)
    assert registry.get(agent) is new
    assert registry.detach(agent, new)
    assert len(registry) == 0


def test_registry_ends_every_stream_with_the_reason() -> None:
    registry = Registry()
    stream = OutboundStream(max_frames=1, max_bytes=10)
    registry.attach(AgentId("a"), stream)
    registry.close_all("deposed")
    assert stream.end_reason == "deposed"


async def test_feed_gathers_changes_that_come_together(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    feed = Feed()
    woken: list[float] = []

    async def watch() -> None:
        while True:
            if await feed.change(60):
                woken.append(trio.current_time())

    nursery.start_soon(watch)
    await trio.testing.wait_all_tasks_blocked()
    for state in range(100):
        feed.stepped(state, state + 1)
    await trio.sleep(GATHER_S * 3)
    assert len(woken) == 1


async def test_feed_without_changes_says_so_after_a_while(
    autojump_clock: trio.testing.MockClock,
) -> None:
    feed, state = Feed(), object()
    began = trio.current_time()
    feed.stepped(state, state)
    assert not await feed.change(2.0)
    assert trio.current_time() - began == pytest.approx(2.0)


def test_verifier_asks_once_for_the_same_question_and_forgets_the_oldest() -> None:
    asked: list[bytes] = []

    class Real:
        def verify(self, public_key: str, payload: bytes, signature: str) -> bool:
            asked.append(payload)
            return (public_key, signature) == ("k", "good")

    verifier = RememberingVerifier(Real())
    assert verifier.verify("k", b"m", "good")
    assert verifier.verify("k", b"m", "good")
    assert not verifier.verify("k", b"m", "bad")
    assert not verifier.verify("k", b"m", "bad")
    assert asked == [b"m", b"m"]
    for number in range(5000):
        verifier.verify("k", b"%d" % number, "good")
    verifier.verify("k", b"m", "good")
    assert asked[-1] == b"m"
