"""Refused attempts in the history: what is written, what is only counted, and who may write."""

from __future__ import annotations

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from coordinator.refusal_book import (
    INTERVAL_S,
    MAX_DETAIL,
    MAX_NAME,
    MAX_PER_HEAD,
    MAX_QUEUED,
    REPEAT_S,
    STALE_S,
    Refusal,
    RefusalBook,
)
from turnout.protocol import keys
from turnout.protocol.candidacy import Claim
from turnout.protocol.clock import ClockNs
from turnout.protocol.codec import canonical_bytes, decode
from turnout.protocol.coordinator_state import CoordinatorState, Role
from turnout.protocol.identifiers import Digest, Epoch, ReplicaId, Term
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.records import Head, HistoryEntry, Incarnation, IncarnationRecord
from turnout.protocol.transactions import Delete, Put, Range, Result, Transaction, Unknown, Won
from turnout.runtime.store.errors import StoreUnavailable
from turnout.runtime.store.memory import MemoryStore

REPLICA = ReplicaId("r0")
INCARNATION = Incarnation(number=1, id="first")
RECORD = IncarnationRecord(incarnation=INCARNATION)


class Troubled(MemoryStore):
    """A store whose next calls go wrong: not carried out, or carried out without an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.troubles: list[str] = []
        self.calls = 0

    async def transact(self, transaction: Transaction, *, lease: int = 0) -> Result:
        self.calls += 1
        trouble = self.troubles.pop(0) if self.troubles else ""
        if trouble == "down":
            raise StoreUnavailable("it is down")
        result = await super().transact(transaction, lease=lease)
        return Unknown(reason="no answer came") if trouble == "mute" else result


class Desk:
    """A replica as far as the book sees it."""

    def __init__(self) -> None:
        self.store = Troubled()
        self.state = CoordinatorState()
        self.book = RefusalBook(self.store, lambda: self.state, REPLICA)

    async def lead(self, decided: int = 7) -> None:
        """Win the leader key, in a reign of its own."""
        await self.lose_the_key()
        claim = canonical_bytes(Claim(replica=REPLICA, url="", lease=0))
        writes = (Put(keys.LEADER, claim), Put(keys.INCARNATION, canonical_bytes(RECORD)))
        won = await self.store.transact(Transaction(name="lead", guards=(), writes=writes))
        assert isinstance(won, Won)
        self.store.calls = 0
        head = Head(incarnation=INCARNATION, decided=Epoch(decided), history=Digest("last"))
        term = Term(won.revision)
        self.state = CoordinatorState(role=Role.LEADING, term=term, incarnation=RECORD, head=head)

    async def lose_the_key(self) -> None:
        """The lease runs out; this replica does not know it yet."""
        writes = (Delete(keys.LEADER),)
        await self.store.transact(Transaction(name="expired", guards=(), writes=writes))

    async def entries(self) -> list[HistoryEntry]:
        """The history, oldest first."""
        found = await self.store.read(Range(keys.HISTORY, prefix=True))
        read = [decode(i.value, HistoryEntry, limit=MAX_TABLE_BYTES) for i in found.items]
        return sorted(read, key=lambda entry: entry.at_ns)


def refusal(number: int = 0, **changes: object) -> Refusal:
    one = Refusal(
        at_ns=ClockNs(1000 + number),
        actor="ada",
        address="10.0.0.7",
        action="POST /v1/switches",
        code="unknown-service",
        detail=f"There is no service 'chekout {number}'.",
    )
    return evolve(one, **changes)  # type: ignore[arg-type]


@pytest.fixture
async def desk(nursery: trio.Nursery) -> Desk:
    made = Desk()
    nursery.start_soon(made.book.keep)
    return made


async def test_refusal_is_written_with_who_what_where_when_and_why(
    desk: Desk, autojump_clock: MockClock
) -> None:
    await desk.lead()
    desk.book.note(refusal())
    await trio.sleep(INTERVAL_S)
    (entry,) = await desk.entries()
    assert (entry.epoch, entry.kind, entry.at_ns, entry.term) == (7, "refused", 1000, 2)
    assert (entry.actor, entry.reason, entry.replica) == ("ada", "unknown-service", "r0")
    assert entry.text == ("POST /v1/switches from 10.0.0.7: There is no service 'chekout 0'.")
    assert entry.previous == "last", "it hangs on the chain of decisions, and is no link of it"


async def test_refusals_of_one_head_are_entries_of_their_own(
    desk: Desk, autojump_clock: MockClock
) -> None:
    await desk.lead()
    for number in range(3):
        desk.book.note(refusal(number))
    await trio.sleep(4 * INTERVAL_S)
    assert [entry.at_ns for entry in await desk.entries()] == [1000, 1001, 1002]


async def test_same_refusal_again_is_counted_and_told_by_the_next_entry(
    desk: Desk, autojump_clock: MockClock
) -> None:
    await desk.lead()
    for moment in range(10):
        desk.book.note(refusal(at_ns=ClockNs(1000 + moment)))
        await trio.sleep(INTERVAL_S)
    assert len(await desk.entries()) == 1
    desk.book.note(refusal(20))
    await trio.sleep(3 * INTERVAL_S)
    assert (await desk.entries())[-1].text.endswith("(and 9 more, left out)")
    desk.book.note(refusal(21))
    await trio.sleep(3 * INTERVAL_S)
    assert "more" not in (await desk.entries())[-1].text, "they are told once"


async def test_same_refusal_after_a_minute_is_news(desk: Desk, autojump_clock: MockClock) -> None:
    await desk.lead()
    desk.book.note(refusal())
    await trio.sleep(REPEAT_S + 1)
    desk.book.note(refusal(at_ns=ClockNs(9000)))
    await trio.sleep(INTERVAL_S)
    assert [entry.at_ns for entry in await desk.entries()] == [1000, 9000]


async def test_flood_is_one_entry_a_second_and_the_rest_is_counted(
    desk: Desk, autojump_clock: MockClock
) -> None:
    await desk.lead()
    for number in range(1000):
        desk.book.note(refusal(number))
    await trio.sleep(5.5 * INTERVAL_S)
    assert desk.store.calls == 6
    await trio.sleep(2 * MAX_QUEUED * INTERVAL_S)
    entries = await desk.entries()
    assert len(entries) == MAX_QUEUED
    assert f"(and {1000 - MAX_QUEUED} more, left out)" in entries[0].text
    assert not any("left out" in entry.text for entry in entries[1:])


async def test_flood_that_lasts_fills_no_epoch(desk: Desk, autojump_clock: MockClock) -> None:
    await desk.lead()
    for number in range(MAX_PER_HEAD + 20):
        desk.book.note(refusal(number))
        await trio.sleep(INTERVAL_S)
    assert len(await desk.entries()) == MAX_PER_HEAD
    await desk.lead(decided=8)
    desk.book.note(refusal(5000))
    await trio.sleep(3 * INTERVAL_S)
    newest = (await desk.entries())[-1]
    assert newest.epoch == 8
    assert "(and 20 more, left out)" in newest.text


async def test_refusal_without_a_leader_is_written_once_this_replica_leads(
    desk: Desk, autojump_clock: MockClock
) -> None:
    desk.book.note(refusal(code="no-leader"))
    await trio.sleep(10)
    assert desk.store.calls == 0
    await desk.lead()
    await trio.sleep(2 * INTERVAL_S)
    (entry,) = await desk.entries()
    assert (entry.reason, entry.at_ns) == ("no-leader", 1000)


async def test_refusal_that_nobody_could_write_is_left_out_and_counted(
    desk: Desk, autojump_clock: MockClock
) -> None:
    desk.book.note(refusal())
    await trio.sleep(STALE_S + 2 * INTERVAL_S)
    await desk.lead()
    await trio.sleep(2 * INTERVAL_S)
    assert await desk.entries() == []
    desk.book.note(refusal(1))
    await trio.sleep(2 * INTERVAL_S)
    (entry,) = await desk.entries()
    assert entry.text.endswith("(and 1 more, left out)")


async def test_replica_that_was_deposed_unawares_writes_nothing(
    desk: Desk, autojump_clock: MockClock
) -> None:
    await desk.lead()
    await desk.lose_the_key()
    desk.book.note(refusal())
    await trio.sleep(2 * INTERVAL_S)
    assert await desk.entries() == []


async def test_refusal_that_meets_the_end_of_a_reign_is_written_in_the_next(
    desk: Desk, autojump_clock: MockClock
) -> None:
    await desk.lead()
    desk.store.troubles = ["down"]
    desk.book.note(refusal())
    await trio.sleep(INTERVAL_S / 2)
    await desk.lose_the_key()
    desk.state = CoordinatorState()
    await trio.sleep(2 * INTERVAL_S)
    assert await desk.entries() == []
    await desk.lead()
    await trio.sleep(2 * INTERVAL_S)
    (entry,) = await desk.entries()
    assert entry.term == desk.state.term


async def test_entry_without_an_answer_is_sent_again_and_written_once(
    desk: Desk, autojump_clock: MockClock
) -> None:
    await desk.lead()
    desk.store.troubles = ["mute"]
    desk.book.note(refusal())
    await trio.sleep(3 * INTERVAL_S)
    assert desk.store.calls == 2
    assert len(await desk.entries()) == 1
    desk.store.troubles = ["down", "down"]
    desk.book.note(refusal(1))
    await trio.sleep(5 * INTERVAL_S)
    assert len(await desk.entries()) == 2


async def test_entry_that_the_store_never_takes_makes_room_for_the_next(
    desk: Desk, autojump_clock: MockClock
) -> None:
    await desk.lead()
    desk.store.troubles = ["down"] * 5
    desk.book.note(refusal())
    desk.book.note(refusal(1))
    await trio.sleep(10 * INTERVAL_S)
    (entry,) = await desk.entries()
    assert entry.at_ns == 1001
    assert "(and 1 more" in entry.text


async def test_text_without_end_or_with_control_characters_is_cut_and_cleaned() -> None:
    one = refusal(actor="a" * 5000, detail="x\x1b[2J" * 5000, action="DELETE /v1/agents/\n")
    assert len(one.actor) == MAX_NAME
    assert len(one.detail) == MAX_DETAIL
    assert all(c.isprintable() for c in one.actor + one.detail + one.action)
    assert one.action == "DELETE /v1/agents/?"
