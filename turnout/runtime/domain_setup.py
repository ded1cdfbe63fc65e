"""What an operator does to a domain's history by hand: begin it, and begin it anew (rebase).

These are the only writes that no leader makes. Both are signed with the domain's key, guarded, and
safe to repeat; a rebase requires in its guards that no coordinator leads.
"""

from __future__ import annotations

import secrets

from attrs import evolve, frozen

from turnout.protocol import keys
from turnout.protocol.clock import ClockNs
from turnout.protocol.codec import canonical_bytes, decode
from turnout.protocol.identifiers import (
    NO_DIGEST,
    NO_EPOCH,
    NO_TERM,
    AgentId,
    Epoch,
    ReplicaId,
)
from turnout.protocol.limits import MAX_DELETIONS_PER_TRANSACTION, MAX_TABLE_BYTES
from turnout.protocol.records import (
    Activation,
    Decision,
    Head,
    HistoryEntry,
    Incarnation,
    IncarnationRecord,
    Standing,
    StandingEntry,
    Status,
    Verdict,
)
from turnout.protocol.signing import Ed25519Verifier, Signer, is_signed_by, signed
from turnout.protocol.transactions import (
    Absent,
    Delete,
    Guard,
    KeyValue,
    Lost,
    ModifiedAt,
    Put,
    Range,
    Snapshot,
    Transaction,
    Unknown,
    Write,
)
from turnout.runtime.store.contract import Store

_OPERATOR = ReplicaId("operator")
_READ_WHOLE = (keys.AGENTS, keys.INTENTS, keys.DECISIONS, keys.FOLLOWING)


class DomainError(Exception):
    """The domain cannot be begun (anew); the text says why and what to do."""


@frozen(kw_only=True)
class Begun:
    """A domain's incarnation; ``created`` is false where it was there already."""

    record: IncarnationRecord
    created: bool


async def init_domain(store: Store, signer: Signer) -> Begun:
    """Begins a domain's history, unless the same key has begun it already.

    Raises DomainError where another key has, or no reply tells; StoreError.
    """
    first = IncarnationRecord(incarnation=Incarnation(number=1, id=secrets.token_hex(8)))
    record = signed(first, signer)
    transaction = Transaction(
        name="init-domain",
        guards=(Absent(keys.INCARNATION), Absent(keys.HEAD)),
        writes=(Put(keys.INCARNATION, canonical_bytes(record)),),
    )
    await store.transact(transaction)
    stored = (await store.read(Range(keys.INCARNATION))).get(keys.INCARNATION)
    if stored is None:
        raise DomainError("the store did not take the domain's first record; try again")
    found = _incarnation(stored, signer)
    return Begun(record=found, created=found == record)


async def rebase_domain(
    store: Store, signer: Signer, *, above: Epoch, at_ns: int, actor: str, reason: str
) -> IncarnationRecord:
    """Begins the next incarnation, in which the table of the head as stored is in force.

    For after a restore of the store that went back (S11). Its first epoch is above every epoch
    that the store knows and above ``above``, the highest that any edge is known to serve. Every
    agent is stale until it reports that epoch. Raises DomainError, StoreError.
    """
    snapshot = await store.read(
        *map(Range, (keys.INCARNATION, keys.LEADER, keys.HEAD, keys.STANDING)),
        *(Range(prefix, prefix=True) for prefix in _READ_WHOLE),
    )
    stored = snapshot.get(keys.INCARNATION)
    if stored is None:
        raise DomainError("there is no domain here: `turnout domain init` begins one")
    if snapshot.get(keys.LEADER) is not None:
        raise DomainError(
            "a coordinator leads this domain: stop every coordinator, wait until the lease of the"
            " last one has run out, and run this again"
        )
    record = _next_incarnation(snapshot, _incarnation(stored, signer), signer, above=above)
    writes = _writes(snapshot, record, signer, at_ns=at_ns, actor=actor, reason=reason)
    result = await store.transact(
        Transaction(name="rebase-domain", guards=_unchanged(snapshot), writes=writes)
    )
    if isinstance(result, Lost):
        raise DomainError("the domain changed meanwhile; nothing was written. Run this again")
    if isinstance(result, Unknown):
        raise DomainError(
            f"no reply from the store ({result.reason}): `turnout domain init` shows which"
            " incarnation it has"
        )
    return record


def _incarnation(stored: KeyValue, signer: Signer) -> IncarnationRecord:
    record = decode(stored.value, IncarnationRecord, limit=MAX_TABLE_BYTES)
    if not is_signed_by(record, signer.public_key, Ed25519Verifier()):
        raise DomainError(
            "this domain was begun with another key: use that key, or another domain's name"
        )
    return record


def _unchanged(snapshot: Snapshot) -> tuple[Guard, ...]:
    """Nobody leads, and what the new records were made from still stands."""
    guards: list[Guard] = [Absent(keys.LEADER)]
    for key in (keys.INCARNATION, keys.HEAD, keys.STANDING):
        item = snapshot.get(key)
        guards.append(ModifiedAt(key, item.mod_revision if item else 0))
    return tuple(guards)


def _next_incarnation(
    snapshot: Snapshot, before: IncarnationRecord, signer: Signer, *, above: Epoch
) -> IncarnationRecord:
    numbered = (*snapshot.below(keys.INTENTS), *snapshot.below(keys.DECISIONS))
    used = [int(item.key.rpartition("/")[2]) for item in numbered]
    head = _head(snapshot)
    highest = max([above, head.decided if head else 0, before.first_epoch - 1, *used])
    number = before.incarnation.number + 1
    record = IncarnationRecord(
        incarnation=Incarnation(number=number, id=secrets.token_hex(8)),
        predecessor=before.incarnation,
        first_epoch=Epoch(highest + 1),
    )
    return signed(record, signer)


def _head(snapshot: Snapshot) -> Head | None:
    item = snapshot.get(keys.HEAD)
    return decode(item.value, Head, limit=MAX_TABLE_BYTES) if item else None


def _writes(
    snapshot: Snapshot,
    record: IncarnationRecord,
    signer: Signer,
    *,
    at_ns: int,
    actor: str,
    reason: str,
) -> tuple[Write, ...]:
    """The incarnation, and a committed first epoch with the restored head's table.

    No source that was left before is ever released: nobody knows who has come back to it since (S9).
    Where nothing was ever committed there is no table to carry over: the leader then makes the
    empty head itself.
    """
    incarnation = Put(keys.INCARNATION, canonical_bytes(record))
    before = _head(snapshot)
    if before is None or not before.digest:
        return (incarnation, Delete(keys.HEAD))
    epoch, number = record.first_epoch, record.incarnation.number
    entry = HistoryEntry(
        epoch=epoch,
        kind="rebased",
        at_ns=ClockNs(at_ns),
        actor=actor,
        replica=_OPERATOR,
        term=NO_TERM,
        text=f"incarnation {number} begins with the table of epoch {before.committed}",
        reason=reason,
        previous=before.history,
    )
    head = signed(_first_head(before, record, entry), signer)
    decision = Decision(
        epoch=epoch,
        verdict=Verdict.COMMIT,
        head=head,
        term=NO_TERM,
        replica=_OPERATOR,
        digest=head.digest,
        reason=entry.text,
        decided_at_ns=ClockNs(at_ns),
    )
    return (
        incarnation,
        Put(keys.HEAD, canonical_bytes(head)),
        Put(keys.decision(epoch), canonical_bytes(decision)),
        Put(keys.STANDING, canonical_bytes(_all_stale(snapshot, number))),
        Put(keys.history(epoch, entry.kind), canonical_bytes(entry)),
        *(
            Delete(item.key)
            for item in snapshot.below(keys.FOLLOWING)[:MAX_DELETIONS_PER_TRANSACTION]
        ),
    )


def _first_head(before: Head, record: IncarnationRecord, entry: HistoryEntry) -> Head:
    return evolve(
        before,
        incarnation=record.incarnation,
        decided=record.first_epoch,
        committed=record.first_epoch,
        base=NO_DIGEST,
        base_epoch=NO_EPOCH,
        term=NO_TERM,
        replica=_OPERATOR,
        activation=Activation(),
        drain_timeout_ms=None,
        history=entry.digest(),
        signature="",
    )


def _all_stale(snapshot: Snapshot, number: int) -> Standing:
    """Every agent stale, but for the excluded, who stay so."""
    item = snapshot.get(keys.STANDING)
    known = decode(item.value, Standing, limit=MAX_TABLE_BYTES).entries if item else ()
    excluded = {entry.agent: entry for entry in known if entry.status is Status.EXCLUDED}
    agents = [AgentId(one.key.removeprefix(keys.AGENTS)) for one in snapshot.below(keys.AGENTS)]
    reason = f"not known to have joined incarnation {number} yet"
    return Standing(
        entries=tuple(
            excluded.get(agent) or StandingEntry(agent=agent, status=Status.STALE, reason=reason)
            for agent in sorted(agents)
        )
    )
