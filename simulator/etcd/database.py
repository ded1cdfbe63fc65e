"""What the log comes to: keys at revisions with their history, leases, and each entry's answer.

The log is one sequence, so what it comes to is worked out once, when an entry is first applied
anywhere. A member has no copy of its own: where it stands is the number of entries that it has applied,
and so a revision; all that it tells is read at that revision.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias, assert_never

from attrs import evolve, frozen

from simulator.etcd.entries import Carry, Command, Compact, Grant, Nothing, Revoke
from turnout.protocol.candidacy import LeaseGone
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
    Write,
)

Answer: TypeAlias = Won | Lost | LeaseGone | int | None
"""Of a transaction its result, of a grant the lease, of anything else nothing."""


@frozen(kw_only=True)
class Applied:
    """What one entry came to.

    Attributes:
        revision: the newest one after it.
        writes: what it changed, in order: puts and deletes.
    """

    revision: int
    answer: Answer
    writes: tuple[Write, ...] = ()


@frozen
class Lease:
    """A lease as it stands: its time to live and the keys that are tied to it."""

    ttl_s: int
    keys: tuple[str, ...] = ()


@frozen(kw_only=True)
class Backup:
    """A copy of all that stood at one revision."""

    revision: int
    items: tuple[KeyValue, ...]
    leases: tuple[tuple[int, Lease], ...]


NEVER: list[int] = []


class View(Mapping[str, KeyValue]):
    """All keys as they stood at one revision."""

    def __init__(self, database: Database, revision: int) -> None:
        self.database, self.revision = database, revision

    def __getitem__(self, key: str) -> KeyValue:
        """Return one key's entry."""
        found = self.database.at(key, self.revision)
        if found is None:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[str]:
        """Name the keys, in order."""
        return (key for key in self.database.names if self.database.at(key, self.revision))

    def __len__(self) -> int:
        """Count them."""
        return sum(1 for _ in self)


class Database:
    """All keys, as they are and as they were.

    Attributes:
        revision: the newest; a fresh etcd begins at 1.
        items: the keys that exist now.
        names: all keys that ever existed, in order.
        leases: those that exist now.
        applied: what each entry of the log came to, in order.
        compacted: the newest revision that was compacted to.
        first_revision: where it stood before the log's first entry.
    """

    def __init__(self) -> None:
        self.revision = self.first_revision = 1
        self.items: dict[str, KeyValue] = {}
        self.names: list[str] = []
        self.leases: dict[int, Lease] = {}
        self.applied: list[Applied] = []
        self.compacted = 0
        self._revisions: dict[str, list[int]] = {}
        self._versions: dict[str, list[KeyValue | None]] = {}
        self._lease_of: dict[str, int] = {}

    @classmethod
    def restored(cls, backup: Backup) -> Database:
        """Return what an etcd holds that was made from a backup: nothing older is known."""
        made = cls()
        made.revision = made.first_revision = made.compacted = backup.revision
        for item in backup.items:
            made._remember(item.key, item.mod_revision, item)
        made.leases = dict(backup.leases)
        made._lease_of = {key: number for number, lease in backup.leases for key in lease.keys}
        return made

    def backup(self) -> Backup:
        """Copy all that stands."""
        return Backup(
            revision=self.revision,
            items=tuple(self.items.values()),
            leases=tuple(self.leases.items()),
        )

    # --- reading --------------------------------------------------------------------------------

    def at(self, key: str, revision: int) -> KeyValue | None:
        """Return one key as it stood at a revision."""
        if revision >= self.revision:
            return self.items.get(key)
        place = bisect_right(self._revisions.get(key, NEVER), revision)
        return self._versions[key][place - 1] if place else None

    def read(self, ranges: Iterable[Range], revision: int) -> Snapshot:
        """Return the ranges as they stood at a revision."""
        found: dict[str, KeyValue] = {}
        for wanted in ranges:
            for item in self._found(wanted, revision):
                if not wanted.keys_only:
                    found[item.key] = item
                elif item.key not in found:
                    found[item.key] = evolve(item, value=b"")
        return Snapshot(revision=revision, items=tuple(found.values()))

    def _found(self, wanted: Range, revision: int) -> list[KeyValue]:
        if not wanted.prefix and not wanted.until:
            item = self.at(wanted.key, revision)
            return [] if item is None else [item]
        found = [item for name in self._names_in(wanted) if (item := self.at(name, revision))]
        if wanted.descending:
            found.reverse()
        return found[: wanted.limit or None]

    def _names_in(self, wanted: Range) -> list[str]:
        start = bisect_left(self.names, wanted.key)
        if not wanted.prefix:
            return self.names[start : bisect_left(self.names, wanted.until)]
        end = start
        while end < len(self.names) and self.names[end].startswith(wanted.key):
            end += 1
        return self.names[start:end]

    def changes(self, key: str, first: int, last: int) -> list[tuple[int, KeyValue | None]]:
        """Return the versions of a key from one revision to another, both included."""
        revisions = self._revisions.get(key, NEVER)
        places = range(bisect_left(revisions, first), bisect_right(revisions, last))
        return [(revisions[place], self._versions[key][place]) for place in places]

    # --- applying -------------------------------------------------------------------------------

    def apply(self, command: Command) -> Applied:
        """Carry out the log's next command."""
        match command:
            case Carry():
                applied = self._carry(command)
            case Grant(lease=lease, ttl_s=ttl_s):
                self.leases[lease] = Lease(ttl_s)
                applied = self._nothing_written(lease)
            case Revoke(lease=lease):
                applied = self._revoke(lease)
            case Compact(revision=revision):
                self.compacted = max(self.compacted, min(revision, self.revision))
                applied = self._nothing_written(None)
            case Nothing():
                applied = self._nothing_written(None)
            case _:
                assert_never(command)
        self.applied.append(applied)
        return applied

    def preload(self, items: Mapping[str, bytes]) -> None:
        """Put keys at one revision, before any log."""
        assert not self.applied
        self._write([Put(key, value) for key, value in items.items()], 0)
        self.first_revision = self.revision

    def _nothing_written(self, answer: Answer) -> Applied:
        return Applied(revision=self.revision, answer=answer)

    def _carry(self, command: Carry) -> Applied:
        """Check the guards, then the lease, then write everything at the next revision."""
        transaction = command.transaction
        if not all(holds(self.items.get(guard.key), guard) for guard in transaction.guards):
            return self._nothing_written(Lost(found=self._guarded(transaction)))
        leased = any(isinstance(write, Put) and write.leased for write in transaction.writes)
        if leased and command.lease not in self.leases:
            return self._nothing_written(LeaseGone(lease=command.lease))
        writes = self._write(transaction.writes, command.lease)
        answer = Won(revision=self.revision)
        return Applied(revision=self.revision, answer=answer, writes=writes)

    def _guarded(self, transaction: Transaction) -> Snapshot:
        return self.read([Range(guard.key) for guard in transaction.guards], self.revision)

    def _revoke(self, lease: int) -> Applied:
        ended = self.leases.pop(lease, None)
        keys = sorted(ended.keys) if ended else []
        writes = self._write([Delete(key) for key in keys], 0)
        return Applied(revision=self.revision, answer=None, writes=writes)

    def _write(self, writes: Iterable[Write], lease: int) -> tuple[Write, ...]:
        """Make one revision of all that changes something; return that."""
        gone = {w.key: w for w in writes if isinstance(w, Delete) and w.key in self.items}
        made: tuple[Write, ...] = (*(w for w in writes if isinstance(w, Put)), *gone.values())
        if made:
            self.revision += 1
        for write in made:
            self._let_go(write.key)
            if isinstance(write, Put):
                self._remember(write.key, self.revision, self._entry(write))
                self._tie(write, lease)
            else:
                self._remember(write.key, self.revision, None)
        return made

    def _entry(self, put: Put) -> KeyValue:
        before = self.items.get(put.key)
        created = before.create_revision if before else self.revision
        return KeyValue(
            key=put.key, value=put.value, create_revision=created, mod_revision=self.revision
        )

    def _remember(self, key: str, revision: int, item: KeyValue | None) -> None:
        if key not in self._revisions:
            insort(self.names, key)
            self._revisions[key], self._versions[key] = [], []
        self._revisions[key].append(revision)
        self._versions[key].append(item)
        if item is None:
            del self.items[key]
        else:
            self.items[key] = item

    def _tie(self, put: Put, number: int) -> None:
        if put.leased:
            lease = self.leases[number]
            self.leases[number] = evolve(lease, keys=(*lease.keys, put.key))
            self._lease_of[put.key] = number

    def _let_go(self, key: str) -> None:
        """Whatever lease a key was tied to has no hold on its next version."""
        number = self._lease_of.pop(key, None)
        lease = self.leases.get(number) if number is not None else None
        if lease is not None and number is not None:
            self.leases[number] = evolve(lease, keys=tuple(k for k in lease.keys if k != key))


def holds(found: KeyValue | None, guard: Guard) -> bool:
    """Whether a guard holds, of its key as it stands."""
    match guard:
        case Absent():
            return found is None
        case Present():
            return found is not None
        case CreatedAt(revision=revision):
            return revision == (found.create_revision if found else 0)
        case ModifiedAt(revision=revision):
            return revision == (found.mod_revision if found else 0)
        case Equals(value=value):
            return found is not None and found.value == value
