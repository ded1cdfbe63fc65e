"""An agent's disk: its journal (real bytes) and its tables, the time they take, and what goes wrong.

    disk = Disk(process, randomness)
    opened = disk.open()                        # at each start of the agent
    disk.persist(record, lambda reason: ...)    # None once it is synced, else why it is not

A host dies with its agent here, as a power cut has it: what was not synced is at chance's mercy. A
process that is merely killed loses less, so whatever a real kill can leave is among what this one can.

A table's file is written beside its place and renamed into it, so it is there whole or not at all; one
that has rotted does not have the digest of its name any more and counts as absent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, frozen

from simulator.healing import Heal, added
from simulator.journal_file import DiskError, Fate, JournalFile
from simulator.process import Process
from simulator.randomness import Randomness
from turnout.protocol.clock import MS
from turnout.protocol.errors import MalformedError
from turnout.protocol.identifiers import Digest
from turnout.protocol.records import AgentRecord, SignedTable
from turnout.protocol.routing import RoutingTable

Kept = Callable[[str | None], None]
"""Hears that something is on the disk (None), or why it is not."""

FULL = "the disk is full"

_PERCENT = 100


@frozen(kw_only=True)
class DiskKnobs:
    """How fast a disk is, and when a journal is compacted.

    Attributes:
        sync_ns: an fsync takes between this and half as much again. 0.25 ms: fdatasync of one
            record, measured on Debian 12 over a cloud's SSD.
        slow_percent, slow_sync_ns: so many in a hundred take anything up to this. 1 % and 10 ms:
            etcd's documentation asks for a p99 of its log's fsync below 10 ms, and good disks
            reach it.
        compact_above_bytes: a journal this long is begun anew. The real one waits for 1 MiB; at
            64 KiB a long run sees it happen, and a boot has little to read.
    """

    sync_ns: int = MS // 4
    slow_percent: int = 1
    slow_sync_ns: int = 10 * MS
    compact_above_bytes: int = 64 * 1024


@frozen(kw_only=True)
class Opened:
    """What an agent finds on its disk when it starts; ``finding`` for people, empty if all is well."""

    record: AgentRecord
    tables: tuple[SignedTable, ...]
    finding: str


@define(eq=False)
class _Trouble:
    """What is wrong with syncs: ``left`` of them (None: all) fail, or take longer."""

    reason: str = ""
    left: int | None = None
    add_ns: int = 0


class Disk:
    """One agent's disk. It does one thing at a time, as its agent waits for each.

    Attributes:
        on_lost: called when the journal no longer holds what was synced to it: nothing can be
            promised under its id any more, so the agent stops (and ``then`` is not called).
    """

    def __init__(
        self, process: Process, randomness: Randomness, knobs: DiskKnobs = DiskKnobs()
    ) -> None:
        self._process = process
        self._knobs = knobs
        self._chance = randomness.stream(f"disk of {process.name}")
        self._journal = JournalFile(self._chance, compact_above_bytes=knobs.compact_above_bytes)
        self._tables: dict[Digest, SignedTable] = {}
        self._rotted: list[Digest] = []
        self._coming: SignedTable | None = None
        self._troubles: list[_Trouble] = []
        self._slow: list[_Trouble] = []
        self._next_fate: Fate | None = None
        self.on_lost: Callable[[], None] = process.kill
        process.on_death.append(self._crash)

    @property
    def record(self) -> AgentRecord:
        """The last record that is known to be kept."""
        return self._journal.record

    @property
    def line(self) -> bytes:
        """That record as it was written last."""
        return self._journal.line

    def install(self, record: AgentRecord, tables: Sequence[SignedTable]) -> None:
        """Let this be on the disk when the run begins."""
        self._journal.install(record)
        self._tables = {table.digest: table for table in tables}

    def open(self) -> Opened:
        """Read what is there, as an agent does when it starts; it takes no time of its own.

        Raises:
            DiskError: it cannot be read, or a new journal cannot be begun: the agent ends, and
                whoever supervises it starts it again.
        """
        trouble = self._take_trouble()
        if trouble not in ("", FULL):
            raise DiskError(trouble)
        self._journal.open(trouble)
        for digest in self._rotted:
            self._tables.pop(digest, None)
        self._rotted.clear()
        return Opened(record=self.record, tables=self.tables(), finding=self._journal.finding)

    def persist(self, record: AgentRecord, then: Kept) -> None:
        """Append the record and sync."""
        try:
            self._journal.write(record)
        except MalformedError as error:
            reason = str(error)
            self._process.after(0, lambda: then(reason))
            return
        self._process.after(self._sync_ns(), lambda: self._persisted(then))

    def _persisted(self, then: Kept) -> None:
        trouble = self._take_trouble()
        if not trouble:
            self._journal.synced()
            then(None)
        elif self._journal.sync_failed():
            then(trouble)
        else:
            self.on_lost()

    def save_table(self, table: SignedTable, then: Kept) -> None:
        """Write the table's file, sync it, and sync its name."""
        self._coming = table
        self._process.after(self._sync_ns(), lambda: self._saved(table, then))

    def _saved(self, table: SignedTable, then: Kept) -> None:
        self._coming = None
        trouble = self._take_trouble()
        if not trouble:
            self._keep(table)
        then(trouble or None)

    def _keep(self, table: SignedTable) -> None:
        self._tables[table.digest] = table
        self._rotted = [digest for digest in self._rotted if digest != table.digest]

    def forget_tables(self, keep: tuple[Digest, ...]) -> None:
        """Delete all other tables."""
        self._tables = {digest: self._tables[digest] for digest in self._tables if digest in keep}

    def tables(self) -> tuple[SignedTable, ...]:
        """Every table whose file is whole, by digest."""
        whole = (digest for digest in sorted(self._tables) if digest not in self._rotted)
        return tuple(self._tables[digest] for digest in whole)

    def table(self, digest: Digest) -> RoutingTable | None:
        """A table as the running agent has it in memory: rot in its file does not reach it."""
        held = self._tables.get(digest)
        return held.table if held else None

    # --- faults ------------------------------------------------------------------------------

    def fail(self, reason: str = "the disk reports an error", *, times: int | None = None) -> Heal:
        """Let syncs fail: so many of them, or all until healed."""
        return added(self._troubles, _Trouble(reason=reason, left=times))

    def full(self) -> Heal:
        """Let nothing more be written; what is there can be read."""
        return self.fail(FULL)

    def slow(self, add_ns: int) -> Heal:
        """Let each sync take so much longer."""
        return added(self._slow, _Trouble(add_ns=add_ns))

    def tear(self, fate: Fate = Fate.TORN) -> None:
        """Let the next crash that comes during a sync leave the record so."""
        self._next_fate = fate

    def rot(self, *, last: bool | None = None) -> bool:
        """Let a byte of the journal rot, in its last record or an earlier one (None: either).

        Returns whether there was such a record. Nobody notices before the next start.
        """
        return self._journal.rot(last=last)

    def rot_table(self) -> bool:
        """Let one table's file rot; return whether there was a whole one."""
        whole = [table.digest for table in self.tables()]
        if whole:
            self._rotted.append(self._chance.choice(whole))
        return bool(whole)

    def replace(self) -> None:
        """Put in a new, empty disk, free of the old one's faults."""
        self._journal.replace()
        self._tables.clear()
        self._rotted.clear()
        self._troubles.clear()
        self._slow.clear()

    # --- within ------------------------------------------------------------------------------

    def _sync_ns(self) -> int:
        knobs, chance = self._knobs, self._chance
        if chance.randrange(_PERCENT) < knobs.slow_percent:
            took_ns = chance.randrange(knobs.sync_ns, max(knobs.slow_sync_ns, knobs.sync_ns) + 1)
        else:
            took_ns = knobs.sync_ns + chance.randrange(knobs.sync_ns // 2 + 1)
        return took_ns + sum(trouble.add_ns for trouble in self._slow)

    def _take_trouble(self) -> str:
        """Why this sync fails; empty if it does not."""
        if not self._troubles:
            return ""
        trouble = self._troubles[0]
        if trouble.left is not None:
            trouble.left -= 1
            if trouble.left <= 0:
                self._troubles.remove(trouble)
        return trouble.reason

    def _crash(self) -> None:
        if self._journal.crash(self._next_fate):
            self._next_fate = None
        coming, self._coming = self._coming, None
        if coming is not None and self._chance.randrange(2):
            self._keep(coming)
