"""What ``turnout domain rebase`` writes, worked out from a store; against one in ``tests/runtime``."""

from __future__ import annotations

from attrs import evolve

from simulator.explore.nodes import DOMAIN
from simulator.explore.store import FakeStore
from turnout.protocol import keys
from turnout.protocol.codec import canonical_bytes, decode
from turnout.protocol.identifiers import NO_TERM, AgentId, Digest, Epoch, ReplicaId, Term
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.rebasing import NEEDED, Wanted, next_incarnation, rebase
from turnout.protocol.records import (
    Decision,
    Head,
    Incarnation,
    IncarnationRecord,
    Standing,
    StandingEntry,
    Status,
)
from turnout.protocol.transactions import Delete, Put, Transaction, Won

FIRST = IncarnationRecord(incarnation=Incarnation(number=1, id="first"))
WANTED = Wanted(id="second", above=Epoch(0), at_ns=7, actor="ada", reason="restored")
TABLE = Digest("ab" * 32)
HEAD = Head(
    incarnation=FIRST.incarnation,
    decided=Epoch(5),
    committed=Epoch(4),
    digest=TABLE,
    base_epoch=Epoch(3),
    term=Term(9),
    replica=ReplicaId("c0"),
)
EXCLUDED = StandingEntry(agent=AgentId("us-a"), status=Status.EXCLUDED, reason="broken")


def store(*puts: Put, head: Head | None = HEAD) -> FakeStore:
    known = [Put(keys.INCARNATION, canonical_bytes(FIRST))]
    if head is not None:
        known.append(Put(keys.HEAD, canonical_bytes(head)))
    writes = (*known, *puts)
    return FakeStore().apply(Transaction(name="as it is", guards=(), writes=writes), NO_TERM)[0]


def worked_out(before: FakeStore, wanted: Wanted = WANTED) -> tuple[IncarnationRecord, Transaction]:
    snapshot = before.read(NEEDED)
    record = next_incarnation(snapshot, FIRST, DOMAIN, wanted)
    return record, rebase(snapshot, record, DOMAIN, wanted)


def test_rebase_follows_the_incarnation_before_with_a_first_epoch_above_all_that_is_known() -> None:
    record, _ = worked_out(store(Put(keys.intent(Epoch(8)), b"{}")))
    assert record.incarnation == Incarnation(number=2, id="second")
    assert (record.predecessor, record.first_epoch) == (FIRST.incarnation, 9)
    above, _ = worked_out(store(), evolve(WANTED, above=Epoch(40)))
    assert above.first_epoch == 41


def test_rebase_commits_the_head_s_table_by_nobody_s_term() -> None:
    before = store(Put(keys.following(Epoch(4)), b""))
    record, transaction = worked_out(before)
    after, result = before.apply(transaction, NO_TERM)
    assert isinstance(result, Won)
    head = decode(after.items[keys.HEAD].value, Head, limit=MAX_TABLE_BYTES)
    assert (head.incarnation, head.digest) == (record.incarnation, TABLE)
    assert (head.decided, head.committed, head.base_epoch, head.term) == (6, 6, 0, NO_TERM)
    stored = after.items[keys.decision(Epoch(6))].value
    assert decode(stored, Decision, limit=MAX_TABLE_BYTES).head == head
    assert keys.following(Epoch(4)) not in after.items


def test_rebase_makes_everybody_stale_but_the_excluded() -> None:
    before = store(
        Put(keys.STANDING, canonical_bytes(Standing(entries=(EXCLUDED,)))),
        Put(keys.agent(AgentId("eu-a")), b"{}"),
        Put(keys.agent(AgentId("us-a")), b"{}"),
    )
    after, _ = before.apply(worked_out(before)[1], NO_TERM)
    standing = decode(after.items[keys.STANDING].value, Standing, limit=MAX_TABLE_BYTES)
    assert [(e.agent, e.status) for e in standing.entries] == [
        ("eu-a", Status.STALE),
        ("us-a", Status.EXCLUDED),
    ]


def test_rebase_is_not_carried_out_twice_nor_while_somebody_leads() -> None:
    before = store()
    _, transaction = worked_out(before)
    after, _ = before.apply(transaction, NO_TERM)
    assert not isinstance(after.apply(transaction, NO_TERM)[1], Won)
    led, _ = before.apply(
        Transaction(name="campaign", guards=(), writes=(Put(keys.LEADER, b"{}"),)), NO_TERM
    )
    assert not isinstance(led.apply(transaction, NO_TERM)[1], Won)


def test_rebase_without_a_table_in_force_leaves_the_head_to_the_leader() -> None:
    _, of_none = worked_out(store(head=None))
    empty = evolve(HEAD, decided=Epoch(1), committed=Epoch(0), digest=Digest(""))
    _, of_empty = worked_out(store(head=empty))
    for transaction in (of_none, of_empty):
        assert [type(write) for write in transaction.writes] == [Put, Delete]
        assert transaction.writes[1] == Delete(keys.HEAD)
