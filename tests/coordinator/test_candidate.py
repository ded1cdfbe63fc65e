"""The election's effects on a store in memory, in time that nobody waits for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from coordinator.candidate import Candidate
from turnout.protocol import keys
from turnout.protocol.candidacy import Claim
from turnout.protocol.clock import SECOND, ClockNs, Instant, MonotonicNs
from turnout.protocol.codec import canonical_bytes
from turnout.protocol.election import Election
from turnout.protocol.events import Deposed, Elected
from turnout.protocol.identifiers import ReplicaId
from turnout.protocol.limits import Timing
from turnout.protocol.transactions import Put, Range, Transaction
from turnout.runtime.store.memory import MemoryStore
from turnout.runtime.store.memory_database import MemoryDatabase

TIMING = Timing()


class TrioClock:
    def now(self) -> Instant:
        now_ns = round(trio.current_time() * SECOND)
        return Instant(monotonic_ns=MonotonicNs(now_ns), clock_ns=ClockNs(now_ns), wall_ns=now_ns)


class Replica:
    """A candidate, and what it announced."""

    def __init__(self, name: str, database: MemoryDatabase, timing: Timing) -> None:
        self.store = MemoryStore(database)
        self.announced: list[Elected | Deposed] = []
        clock = TrioClock()
        begin = Election.begin(
            replica=ReplicaId(name),
            url=f"http://{name}",
            timing=timing,
            seed=len(name),
            now=clock.now(),
        )
        self.candidate = Candidate(self.store, begin, self._announce, clock)

    async def _announce(self, event: Elected | Deposed) -> None:
        self.announced.append(event)
        await trio.lowlevel.checkpoint()

    def leads(self) -> bool:
        return bool(self.announced) and isinstance(self.announced[-1], Elected)


Start = Callable[..., Replica]


@pytest.fixture
def start(
    nursery: trio.Nursery,
) -> Start:
    def begin(name: str, database: MemoryDatabase, timing: Timing = TIMING) -> Replica:
        replica = Replica(name, database, timing)
        nursery.start_soon(replica.candidate.run)
        return replica

    return begin


async def test_first_replica_leads_and_the_second_knows_it(
    start: Start, autojump_clock: MockClock
) -> None:
    database = MemoryDatabase()
    first = start("c0", database)
    await trio.sleep(1)
    second = start("c1", database)
    await trio.sleep(30)
    assert first.leads()
    assert second.announced == []
    assert second.candidate.leader is not None
    assert second.candidate.leader.url == "http://c0"
    first_elected = first.announced[0]
    assert isinstance(first_elected, Elected)
    stored = (await first.store.read(Range(keys.LEADER))).items[0]
    assert stored.create_revision == first_elected.term


async def test_leader_that_retires_is_followed_at_once(
    start: Start, autojump_clock: MockClock
) -> None:
    database = MemoryDatabase()
    first = start("c0", database)
    await trio.sleep(1)
    second = start("c1", database)
    await trio.sleep(1)
    await first.candidate.retire("shut down")
    await trio.sleep(1)
    assert second.leads()
    assert isinstance(first.announced[-1], Deposed)


async def test_leader_that_hands_over_of_an_earlier_term_keeps_the_key(
    start: Start, autojump_clock: MockClock
) -> None:
    database = MemoryDatabase()
    replica = start("c0", database)
    await trio.sleep(1)
    elected = replica.announced[0]
    assert isinstance(elected, Elected)
    replica.candidate.hand_over("old news", of_term=type(elected.term)(elected.term - 1))
    await trio.sleep(1)
    assert replica.leads()
    replica.candidate.hand_over("new news", of_term=elected.term)
    await trio.sleep(1)
    assert not replica.leads()
    await trio.sleep(10)
    assert replica.leads(), "after a lease time it campaigns again"


async def test_leader_without_a_store_deposes_itself_after_one_lease_time(
    start: Start, autojump_clock: MockClock
) -> None:
    database = MemoryDatabase()
    replica = start("c0", database)
    await trio.sleep(1)
    assert replica.leads()
    await replica.store.aclose()
    await trio.sleep(TIMING.lease_ttl_ns / SECOND + 0.1)
    assert not replica.leads()
    assert "the store does not answer" in replica.candidate.trouble


async def test_dead_leaders_lease_that_etcd_prolonged_is_taken_away(
    start: Start, autojump_clock: MockClock
) -> None:
    """Rule 7 of the election: etcd would let it live for 8 s."""
    database, far = MemoryDatabase(), Timing(election_ns=3 * SECOND)
    first = start("c0", database, far)
    await trio.sleep(1)
    second = start("c1", database, far)
    await trio.sleep(2)
    await first.store.aclose()
    # The second has just looked: it looks again after a lease time, and twice then.
    await trio.sleep(3)
    database.prolong(3, trio.current_time())
    await trio.sleep(4)
    assert second.leads()


async def test_leader_key_whose_lease_the_store_does_not_know_is_somebodys(
    start: Start, autojump_clock: MockClock
) -> None:
    database, far = MemoryDatabase(), Timing(election_ns=3 * SECOND)
    claim = Claim(replica=ReplicaId("c9"), url="http://c9", lease=4711)
    put = Put(keys.LEADER, canonical_bytes(claim))
    await MemoryStore(database).transact(Transaction(name="claim", guards=(), writes=(put,)))
    replica = start("c0", database, far)
    await trio.sleep(30)
    assert replica.announced == []
    assert replica.candidate.leader == claim
    assert replica.candidate.trouble == ""


async def test_leader_hands_over_when_the_domain_gets_another_incarnation(
    start: Start, autojump_clock: MockClock
) -> None:
    database = MemoryDatabase()
    replica = start("c0", database)
    await trio.sleep(1)
    assert replica.leads()
    write = Put(keys.INCARNATION, b"another")
    await MemoryStore(database).transact(Transaction(name="rebase", guards=(), writes=(write,)))
    await trio.sleep(1)
    assert isinstance(replica.announced[-1], Deposed)
    assert "new incarnation" in replica.announced[-1].reason
    await trio.sleep(10)
    assert replica.leads()
