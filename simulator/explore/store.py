"""A store as one immutable value: what etcd guarantees, and nothing that it does not.

Revisions only rise. Each reign of a leader gets a block of them, so that the same writes give the
same revisions whatever happened before: the exhaustive exploration needs equal stores to be equal.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, frozen

from turnout.protocol import keys
from turnout.protocol.candidacy import Claim
from turnout.protocol.codec import canonical_bytes, decode
from turnout.protocol.frozenmap import FrozenMap
from turnout.protocol.identifiers import AgentId, ReplicaId, Term
from turnout.protocol.invariants import Ruling
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.records import AgentRecord, Decision
from turnout.protocol.takeover import fleet_of
from turnout.protocol.transactions import (
    Absent,
    CreatedAt,
    Delete,
    Equals,
    Guard,
    KeyValue,
    Lost,
    ModifiedAt,
    Present,
    Put,
    Range,
    Snapshot,
    Transaction,
    Won,
)

REIGN = 1000
"""Revisions that one reign may use."""

Items = FrozenMap[str, KeyValue]


@frozen(kw_only=True)
class FakeStore:
    """All keys at the present revision.

    Attributes:
        past: what was there at each revision that wrote an intent.
        rulings: every decision ever written, even if overwritten (a ghost).
        foreign: writes that won while the leader key was not their sender's (a ghost).
    """

    revision: int = 1
    items: Items = FrozenMap()
    past: FrozenMap[int, Items] = FrozenMap()
    rulings: tuple[Ruling, ...] = ()
    foreign: tuple[str, ...] = ()

    def read(self, ranges: tuple[Range, ...], revision: int = 0) -> Snapshot:
        """Read at the present revision, or at one that an intent was written at."""
        items = self.past[revision] if revision else self.items
        found = {}
        for wanted in ranges:
            for key in sorted(items):
                if key == wanted.key or (wanted.prefix and key.startswith(wanted.key)):
                    bare = wanted.keys_only and key not in found
                    found[key] = evolve(items[key], value=b"") if bare else items[key]
        return Snapshot(revision=self.revision, items=tuple(found.values()))

    def apply(
        self,
        transaction: Transaction,
        term: Term,
        disks: Mapping[AgentId, AgentRecord] | None = None,
    ) -> tuple[FakeStore, Won | Lost]:
        """Carry out a guarded transaction, or refuse it with the guarded keys as they stand.

        ``disks`` are the agents' journals at this moment, for the checker's memory.
        """
        if not all(holds(self.items, guard) for guard in transaction.guards):
            ranges = tuple(Range(guard.key) for guard in transaction.guards)
            return self, Lost(found=self.read(ranges))
        return self._write(transaction, term, disks)

    def _write(
        self, transaction: Transaction, term: Term, disks: Mapping[AgentId, AgentRecord] | None
    ) -> tuple[FakeStore, Won]:
        revision = self.revision + 1
        items, past = self.items, self.past
        for write in transaction.writes:
            items = _written(items, write, revision)
            if write.key.startswith(keys.INTENTS):
                past = past.put(revision, items)
        for at in past:
            if at == revision:
                past = past.put(revision, items)
        after = evolve(self, revision=revision, items=items, past=past)
        return after.remembering(transaction, term, disks), Won(revision=revision)

    def remembering(
        self, transaction: Transaction, term: Term, disks: Mapping[AgentId, AgentRecord] | None
    ) -> FakeStore:
        """The same store with what the checker must know of a transaction that it took."""
        leader = self.items.get(keys.LEADER)
        leader_term = Term(leader.create_revision) if leader else None
        rulings, foreign = self.rulings, self.foreign
        for write in transaction.writes:
            if isinstance(write, Put) and write.key.startswith(keys.DECISIONS):
                decision = decode(write.value, Decision, limit=MAX_TABLE_BYTES)
                required = self._required(decision)
                ruling = Ruling(
                    decision=decision,
                    required=required,
                    held=None if disks is None else _holders(decision, disks),
                    leader_term=leader_term,
                )
                rulings = (*rulings, ruling)
        if leader_term != term:
            foreign = (*foreign, f"{transaction.name} of term {term} won in {leader_term}")
        return evolve(self, rulings=rulings, foreign=foreign)

    def _required(self, decision: Decision) -> tuple[tuple[AgentId, str], ...]:
        intent = self.items.get(keys.intent(decision.epoch))
        if intent is None:
            return ()
        snapshot = evolve(self, items=self.past[intent.create_revision]).read(
            (Range(keys.STANDING), Range(keys.AGENTS, prefix=True))
        )
        fleet = fleet_of(snapshot)
        return tuple((agent, fleet.agents[agent].journal_id) for agent in fleet.good)

    def elect(self, replica: ReplicaId) -> tuple[FakeStore, Term]:
        """Let the leader's lease run out, and another replica (or the same) win the key."""
        revision = (self.revision // REIGN + 1) * REIGN
        record = canonical_bytes(Claim(replica=replica, url="", lease=0))
        items = self.items.drop(keys.LEADER)
        items = _written(items, Put(keys.LEADER, record), revision)
        return evolve(self, revision=revision, items=items), Term(revision)


def _holders(decision: Decision, disks: Mapping[AgentId, AgentRecord]) -> tuple[AgentId, ...]:
    """The agents whose journal holds the yes that this decision would rest on."""
    named = (decision.epoch, decision.digest)
    prepared = {agent: record.prepared for agent, record in disks.items()}
    return tuple(a for a, p in sorted(prepared.items()) if p and (p.epoch, p.digest) == named)


def _written(items: Items, write: Put | Delete, revision: int) -> Items:
    if isinstance(write, Delete):
        return items.drop(write.key)
    before = items.get(write.key)
    created = before.create_revision if before else revision
    entry = KeyValue(
        key=write.key, value=write.value, create_revision=created, mod_revision=revision
    )
    return items.put(write.key, entry)


def holds(items: Items, guard: Guard) -> bool:
    """Whether one guard holds."""
    found = items.get(guard.key)
    match guard:
        case Absent():
            return found is None
        case Present():
            return found is not None
        case CreatedAt():
            return found is not None and found.create_revision == guard.revision
        case ModifiedAt():
            return (found.mod_revision if found else 0) == guard.revision
        case Equals():
            return found is not None and found.value == guard.value
