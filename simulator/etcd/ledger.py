"""The one sequence of committed entries and what it comes to, told to the judge as it grows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import frozen

from simulator.etcd.database import Applied, Backup, Database, View
from simulator.etcd.entries import Carry, Entry, Revoke
from turnout.protocol.transactions import KeyValue, Transaction, Won, Write


@frozen(kw_only=True)
class Committed:
    """One committed entry that may have touched keys.

    Attributes:
        revision: the newest one after it.
        transaction: None where a lease ended.
        sender: as the client told it.
        won: whether the guards held, and the lease was there; of a lease's end always true.
        writes: the puts and deletes that were made, in order.
        items_before: all keys as they stood before it.
    """

    revision: int
    transaction: Transaction | None
    sender: int | None
    won: bool
    writes: tuple[Write, ...]
    items_before: Mapping[str, KeyValue]


class Ledger:
    """All that is committed. Raft's promise is checked here: no two members apply different entries."""

    def __init__(self, on_commit: Callable[[Committed], None]) -> None:
        self.database = Database()
        self._entries: list[Entry] = []
        self._on_commit = on_commit
        self._leases = 0

    def new_lease(self) -> int:
        """Return a number that no lease has had."""
        self._leases += 1
        return self._leases

    def restore(self, backup: Backup) -> None:
        """Go back to a backup, with an empty log."""
        self.database = Database.restored(backup)
        self._entries = []

    def apply(self, place: int, entry: Entry) -> Applied:
        """Return what the entry at a place of the log came to, for a member that applies it."""
        if place < len(self._entries):
            assert self._entries[place] is entry, "two members disagree about the log"
            return self.database.applied[place]
        assert place == len(self._entries), "a member applied an entry before its time"
        self._entries.append(entry)
        before = self.database.revision
        applied = self.database.apply(entry.proposal.command)
        self._report(entry, applied, before)
        return applied

    def revision_after(self, applied: int) -> int:
        """Return the revision at which whoever has applied so many entries stands."""
        if applied == 0:
            return self.database.first_revision
        return self.database.applied[applied - 1].revision

    def _report(self, entry: Entry, applied: Applied, before: int) -> None:
        command = entry.proposal.command
        if isinstance(command, Carry | Revoke):
            carried = command if isinstance(command, Carry) else None
            committed = Committed(
                revision=applied.revision,
                transaction=carried.transaction if carried else None,
                sender=carried.sender if carried else None,
                won=carried is None or isinstance(applied.answer, Won),
                writes=applied.writes,
                items_before=View(self.database, before),
            )
            self._on_commit(committed)
