"""etcd's semantics without etcd: revisions, history, leases, compaction, as plain code.

Nothing here waits, and time is an argument in seconds, so it can be tested and reasoned about
step by step. Several ``MemoryStore`` may share one database, as several replicas share an etcd.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import trio
from attrs import define, evolve, field, frozen

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
from turnout.runtime.store.contract import Batch, Compacted, LeaseTime
from turnout.runtime.store.errors import LeaseExpired, RevisionAhead, RevisionCompacted


@frozen
class _Version:
    """One key from ``revision`` on; ``entry`` is None where it was deleted."""

    revision: int
    entry: KeyValue | None


@define
class _Lease:
    ttl_s: int
    expires_at: float
    keys: set[str] = field(factory=set)


def _is_in(wanted: Range, key: str) -> bool:
    if wanted.prefix:
        return key.startswith(wanted.key)
    if wanted.until:
        return wanted.key <= key < wanted.until
    return key == wanted.key


class MemoryDatabase:
    """All keys with their history, and the leases."""

    def __init__(self) -> None:
        """Begin where a fresh etcd begins: empty, at revision 1."""
        self.revision = 1
        self.changed = trio.Event()
        self._compacted = 0
        self._history: dict[str, list[_Version]] = {}
        self._log: list[Batch] = []
        self._leases: dict[int, _Lease] = {}
        self._leases_granted = 0

    def read(self, ranges: Iterable[Range], revision: int) -> Snapshot:
        """Return the ranges as they stood at a revision; 0 is the newest."""
        wanted = revision or self.revision
        if wanted > self.revision:
            raise RevisionAhead(f"revision {wanted} is above the newest, {self.revision}")
        if wanted < self._compacted:
            raise RevisionCompacted("that revision has been compacted away; list again")
        only_listed: dict[str, bool] = {}
        for asked in ranges:
            for key in self._keys(asked, wanted):
                only_listed[key] = asked.keys_only and only_listed.get(key, True)
        found = (self._at(key, wanted) for key in only_listed)
        items = tuple(
            evolve(item, value=b"") if only_listed[item.key] else item for item in found if item
        )
        return Snapshot(revision=wanted, items=items)

    def transact(self, transaction: Transaction, lease: int) -> Won | Lost:
        """Check the guards, then the lease, then write everything at the next revision."""
        if not all(self._holds(guard) for guard in transaction.guards):
            guarded = [Range(guard.key) for guard in transaction.guards]
            return Lost(found=self.read(guarded, 0))
        puts = [write for write in transaction.writes if isinstance(write, Put)]
        if any(put.leased for put in puts):
            self._lease(lease)
        gone = [write.key for write in transaction.writes if isinstance(write, Delete)]
        self._commit(puts, gone, lease)
        return Won(revision=self.revision)

    def grant(self, ttl_s: int, now: float) -> int:
        """Make a lease that lives for ``ttl_s`` from now."""
        self._leases_granted += 1
        self._leases[self._leases_granted] = _Lease(ttl_s, now + ttl_s)
        return self._leases_granted

    def keep_alive(self, lease: int, now: float) -> float:
        """Let the lease live for its whole time from now."""
        found = self._lease(lease)
        found.expires_at = now + found.ttl_s
        return float(found.ttl_s)

    def lease_time(self, lease: int, now: float) -> LeaseTime:
        """Tell what is left of the lease in whole seconds, the one that has begun not counted."""
        found = self._lease(lease)
        return LeaseTime(granted_s=found.ttl_s, left_s=math.ceil(found.expires_at - now) - 1)

    def prolong(self, more_s: float, now: float) -> None:
        """Let all leases live for their whole time and so much more, as etcd does when it elects."""
        for lease in self._leases.values():
            lease.expires_at = now + lease.ttl_s + more_s

    def revoke(self, lease: int) -> None:
        """Delete the lease and its keys."""
        ended = self._leases.pop(lease, None)
        if ended is not None:
            self._commit([], sorted(ended.keys), 0)

    def expire(self, now: float) -> None:
        """End every lease whose time is over, the oldest first."""
        over = [(v.expires_at, k) for k, v in self._leases.items() if v.expires_at <= now]
        for _expires_at, lease in sorted(over):
            self.revoke(lease)

    def next_expiry(self) -> float:
        """Return when the next lease will end, infinity where there is none."""
        return min((lease.expires_at for lease in self._leases.values()), default=float("inf"))

    def compact(self, revision: int) -> None:
        """Forget the versions and changes that only revisions below this one need."""
        if revision > self.revision:
            raise RevisionAhead(f"revision {revision} is above the newest, {self.revision}")
        self._compacted = max(self._compacted, revision)
        self._log = [batch for batch in self._log if batch.revision >= self._compacted]
        kept = {key: self._kept(versions) for key, versions in self._history.items()}
        self._history = {key: versions for key, versions in kept.items() if versions}

    def after(self, revision: int, prefix: str) -> Batch | Compacted | None:
        """Return the first change below the prefix at or after a revision, if there is one yet."""
        if revision < self._compacted:
            return Compacted(revision=self._compacted)
        for batch in self._log:
            puts = tuple(put for put in batch.puts if put.key.startswith(prefix))
            deletes = tuple(key for key in batch.deletes if key.startswith(prefix))
            if batch.revision >= revision and (puts or deletes):
                return Batch(revision=batch.revision, puts=puts, deletes=deletes)
        return None

    def wake_watchers(self) -> None:
        """Let everybody who waits for ``changed`` look again."""
        self.changed.set()
        self.changed = trio.Event()

    def size_bytes(self) -> int:
        """Return the size of all keys and values that are kept."""
        entries = [v.entry for versions in self._history.values() for v in versions]
        return sum(len(entry.key) + len(entry.value) for entry in entries if entry is not None)

    def _keys(self, wanted: Range, revision: int) -> list[str]:
        """Return the keys of a range that existed at a revision, as many as asked for."""
        there = (key for key in self._history if _is_in(wanted, key) and self._at(key, revision))
        return sorted(there, reverse=wanted.descending)[: wanted.limit or None]

    def _at(self, key: str, revision: int) -> KeyValue | None:
        versions = self._history.get(key, [])
        return next((v.entry for v in reversed(versions) if v.revision <= revision), None)

    def _kept(self, versions: list[_Version]) -> list[_Version]:
        """Return what a key's history keeps: what came later, and what stood at the compaction."""
        later = [v for v in versions if v.revision > self._compacted]
        standing = [v for v in versions if v.revision <= self._compacted][-1:]
        return [v for v in standing if v.entry is not None] + later

    def _holds(self, guard: Guard) -> bool:
        entry = self._at(guard.key, self.revision)
        match guard:
            case Absent():
                return entry is None
            case Present():
                return entry is not None
            case CreatedAt(revision=revision):
                return revision == (entry.create_revision if entry else 0)
            case ModifiedAt(revision=revision):
                return revision == (entry.mod_revision if entry else 0)
            case Equals(value=value):
                return entry is not None and entry.value == value

    def _lease(self, lease: int) -> _Lease:
        if lease not in self._leases:
            raise LeaseExpired.of(lease)
        return self._leases[lease]

    def _commit(self, puts: list[Put], deletes: list[str], lease: int) -> None:
        """Make one revision of all changes; without any there is no new revision."""
        gone = [key for key in dict.fromkeys(deletes) if self._at(key, self.revision)]
        if not puts and not gone:
            return
        before, self.revision = self.revision, self.revision + 1
        entries = [self._entry(put, before) for put in puts]
        for put, entry in zip(puts, entries, strict=True):
            self._append(put.key, entry)
            if put.leased:
                self._leases[lease].keys.add(put.key)
        for key in gone:
            self._append(key, None)
        self._log.append(Batch(revision=self.revision, puts=tuple(entries), deletes=tuple(gone)))
        self.wake_watchers()

    def _entry(self, put: Put, before: int) -> KeyValue:
        old = self._at(put.key, before)
        return KeyValue(
            key=put.key,
            value=put.value,
            create_revision=old.create_revision if old else self.revision,
            mod_revision=self.revision,
        )

    def _append(self, key: str, entry: KeyValue | None) -> None:
        """Add a version; whatever lease the key was tied to lets go of it."""
        self._history.setdefault(key, []).append(_Version(self.revision, entry))
        for lease in self._leases.values():
            lease.keys.discard(key)
