"""Beginning a domain, and beginning it anew after a restore, in the store's own terms."""

from __future__ import annotations

import pytest

from turnout.protocol import keys
from turnout.protocol.codec import canonical_bytes, decode
from turnout.protocol.identifiers import AgentId, Digest, Epoch, Region, ReplicaId, Term
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.records import (
    AgentEntry,
    Decision,
    Head,
    IncarnationRecord,
    Standing,
    StandingEntry,
    Status,
    Verdict,
)
from turnout.protocol.signing import Ed25519Signer, Ed25519Verifier, is_signed_by, signed
from turnout.protocol.transactions import Put, Range, Result, Transaction, Unknown, Won
from turnout.runtime.domain_setup import (
    INIT_ATTEMPTS,
    DomainError,
    init_domain,
    rebase_domain,
)
from turnout.runtime.store.contract import Store
from turnout.runtime.store.memory import MemoryStore

SIGNER = Ed25519Signer.from_seed(b"\1" * 32)
OTHER = Ed25519Signer.from_seed(b"\2" * 32)
TABLE = Digest("ab" * 32)


async def put(store: Store, *writes: Put) -> None:
    result = await store.transact(Transaction(name="test", guards=(), writes=writes))
    assert isinstance(result, Won)


async def rebase(store: Store, above: int = 0) -> IncarnationRecord:
    return await rebase_domain(
        store, SIGNER, above=Epoch(above), at_ns=1, actor="ada", reason="restored"
    )


@pytest.fixture
async def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def restored(store: MemoryStore) -> MemoryStore:
    """A domain at epoch 4 of its first incarnation, with two agents; one is excluded."""
    first = (await init_domain(store, SIGNER)).record
    head = Head(
        incarnation=first.incarnation,
        decided=Epoch(5),
        committed=Epoch(4),
        digest=TABLE,
        base=Digest("cd" * 32),
        base_epoch=Epoch(3),
        term=Term(9),
        replica=ReplicaId("c0"),
    )
    excluded = StandingEntry(agent=AgentId("us-a"), status=Status.EXCLUDED, reason="broken")
    await put(
        store,
        Put(keys.HEAD, canonical_bytes(signed(head, SIGNER))),
        Put(keys.STANDING, canonical_bytes(Standing(entries=(excluded,)))),
        *(
            Put(
                keys.agent(AgentId(name)),
                canonical_bytes(
                    AgentEntry(agent=AgentId(name), region=Region(name[:2]), public_key="00")
                ),
            )
            for name in ("eu-a", "us-a")
        ),
    )
    return store


async def test_domain_is_begun_with_a_signed_first_incarnation(store: MemoryStore) -> None:
    begun = await init_domain(store, SIGNER)
    assert begun.created
    assert (begun.record.incarnation.number, begun.record.first_epoch) == (1, 1)
    assert is_signed_by(begun.record, SIGNER.public_key, Ed25519Verifier())


async def test_domain_begun_again_with_its_key_stays_as_it_is(store: MemoryStore) -> None:
    first = await init_domain(store, SIGNER)
    again = await init_domain(store, SIGNER)
    assert not again.created
    assert again.record == first.record


async def test_domain_of_another_key_is_refused(store: MemoryStore) -> None:
    await init_domain(store, SIGNER)
    with pytest.raises(DomainError, match="another key"):
        await init_domain(store, OTHER)


async def test_rebase_puts_the_restored_table_in_force_in_the_next_incarnation(
    restored: MemoryStore,
) -> None:
    record = await rebase(restored)
    assert record.incarnation.number == 2
    assert record.predecessor is not None
    assert record.predecessor.number == 1
    snapshot = await restored.read(Range(keys.HEAD), Range(keys.decision(record.first_epoch)))
    stored, decided = snapshot.items
    head = decode(stored.value, Head, limit=MAX_TABLE_BYTES)
    assert head.incarnation == record.incarnation
    assert (head.decided, head.committed, head.digest) == (6, 6, TABLE)
    assert is_signed_by(head, SIGNER.public_key, Ed25519Verifier())
    decision = decode(decided.value, Decision, limit=MAX_TABLE_BYTES)
    assert (decision.verdict, decision.head) == (Verdict.COMMIT, head)


async def test_rebase_begins_above_every_epoch_that_anybody_names(restored: MemoryStore) -> None:
    await put(restored, Put(keys.intent(Epoch(8)), b"{}"))
    assert (await rebase(restored)).first_epoch == 9
    assert (await rebase(restored, above=40)).first_epoch == 41


async def test_rebase_makes_every_agent_stale_but_keeps_exclusions(restored: MemoryStore) -> None:
    await rebase(restored)
    item = (await restored.read(Range(keys.STANDING))).items[0]
    standing = decode(item.value, Standing, limit=MAX_TABLE_BYTES)
    assert {entry.agent: entry.status for entry in standing.entries} == {
        "eu-a": Status.STALE,
        "us-a": Status.EXCLUDED,
    }


async def test_rebase_lets_nobody_release_what_was_left_before(restored: MemoryStore) -> None:
    """S9: the store that went back does not know who has come back to a source since."""
    await put(restored, Put(keys.following(Epoch(4)), b""), Put(keys.following(Epoch(5)), b""))
    await rebase(restored)
    assert not (await restored.read(Range(keys.FOLLOWING, prefix=True))).items


async def test_rebase_is_refused_while_a_coordinator_leads(restored: MemoryStore) -> None:
    await put(restored, Put(keys.LEADER, b"{}"))
    before = await restored.read(Range("", prefix=True))
    with pytest.raises(DomainError, match="stop every coordinator"):
        await rebase(restored)
    assert (await restored.read(Range("", prefix=True))).items == before.items


async def test_rebase_of_a_domain_without_a_table_leaves_the_head_to_the_leader(
    store: MemoryStore,
) -> None:
    await init_domain(store, SIGNER)
    record = await rebase(store)
    assert record.incarnation.number == 2
    assert (await store.read(Range(keys.HEAD))).items == ()


async def test_rebase_needs_a_domain(store: MemoryStore) -> None:
    with pytest.raises(DomainError, match="domain init"):
        await rebase(store)


class SlowToBegin(MemoryStore):
    """A store that has no time for its first writes."""

    lost = 0

    async def transact(self, transaction: Transaction, *, lease: int = 0) -> Result:
        if self.lost:
            self.lost -= 1
            return Unknown(reason="no answer in time")
        return await super().transact(transaction, lease=lease)


async def test_first_record_that_the_store_did_not_take_is_written_again() -> None:
    store = SlowToBegin()
    store.lost = INIT_ATTEMPTS - 1
    assert (await init_domain(store, SIGNER)).created


async def test_store_that_never_takes_the_first_record_is_told() -> None:
    store = SlowToBegin()
    store.lost = INIT_ATTEMPTS
    with pytest.raises(DomainError, match="did not take the domain's first record"):
        await init_domain(store, SIGNER)
