"""The journal as a file: opened, recovered, appended to, compacted; distrusted once it failed.

What its bytes mean is ``turnout.protocol.journal``'s affair. Here is what a disk adds:

1. *Read is not synced.* An agent killed between write and fsync leaves a record that its successor
   reads from the page cache, and a power cut may still take. So opening syncs before it believes.
2. *A failed fsync is never retried* (it would lie, see ``durable.py``). The file is closed, read
   again, and never appended to again: the next record goes into a new file that replaces it. What
   counts until then is the last record that was synced. The one that failed may be on the disk all
   the same; nothing was told to anybody on its strength, and an agent that restarts with it has
   promised more than it said, which is harmless.
3. *A journal that is missing, or whose end is damaged, may have held a promise.* The newest record
   that can be read goes on under a new journal id: it still says what to serve, and the leader
   takes no vote under an id that it does not know (H13).

All calls block for as long as the disk takes (0.25 ms is usual): call them from a worker thread.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from attrs import evolve

from edge_agent.durable import (
    PRIVATE_FILE,
    disk_trouble,
    replace_durably,
    sync_folder,
    write_and_sync,
)
from edge_agent.state_folder import StateError
from turnout.protocol.journal import COMPACT_ABOVE_BYTES, encode, recover
from turnout.protocol.records import AgentRecord

_DAMAGED_COPY = ".damaged"


class JournalFile:
    """One agent's journal, opened by :meth:`open`; the caller holds the folder's lock.

    Attributes:
        record: the last record that is known to be on the disk.
        finding: what was wrong when it was opened, for people; empty if nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._synced_bytes = 0
        self.record = AgentRecord(journal_id="")
        self.finding = ""

    @classmethod
    def open(cls, path: Path, fresh_id: str) -> Self:
        """Open and recover the journal, or begin one under ``fresh_id``.

        Raises:
            StateError: it cannot be read, synced or (where a new one is needed) written.
        """
        journal = cls(path)
        try:
            data = journal._read_synced()
            journal._recover(data, fresh_id)
        except OSError as error:
            raise StateError(f"{path}: {disk_trouble(error)}") from error
        return journal

    def append(self, record: AgentRecord) -> None:
        """Put the record on the disk; :attr:`record` is it afterwards.

        Raises:
            StateError: it is not known to be there, and :attr:`record` is the one before.
            LostJournalError: nor is the one before. Nothing more can be promised under this id.
        """
        line = encode(record)
        try:
            if self._descriptor is None or self._synced_bytes >= COMPACT_ABOVE_BYTES:
                self._rewrite(line)
            else:
                write_and_sync(self._descriptor, line)
                self._synced_bytes += len(line)
        except OSError as error:
            self._distrust(record)
            raise StateError(f"{self._path}: {disk_trouble(error)}") from error
        self.record = record

    def close(self) -> None:
        """Close the file; everything in it is synced."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _read_synced(self) -> bytes | None:
        """What the disk holds, made durable first; None where there is no journal."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, PRIVATE_FILE)
        except FileNotFoundError:
            return None
        self._descriptor = descriptor
        os.fdatasync(descriptor)
        sync_folder(self._path.parent)
        return self._path.read_bytes()

    def _recover(self, data: bytes | None, fresh_id: str) -> None:
        found = recover(data or b"")
        if found.trusted and found.record is not None:
            self.record, self._synced_bytes = found.record, found.keep
        else:
            self._begin(evolve(found.record or self.record, journal_id=fresh_id))
        self.finding = _finding(data, found.damaged, found.keep, trusted=found.trusted)
        if self.finding and found.trusted:
            self.close()  # not appended to any more: the next record begins a clean file

    def _begin(self, record: AgentRecord) -> None:
        """Replace a journal that proves nothing; a copy stays for whoever looks into it."""
        self.close()
        if self._path.exists():
            copy = self._path.with_name(self._path.name + _DAMAGED_COPY)
            copy.unlink(missing_ok=True)
            copy.hardlink_to(self._path)
        self._rewrite(encode(record))
        self.record = record

    def _rewrite(self, line: bytes) -> None:
        """Replace the file by one that holds this record only."""
        self.close()
        replace_durably(self._path, line)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        self._synced_bytes = len(line)

    def _distrust(self, attempted: AgentRecord) -> None:
        """Close the file and see whether it still holds what was synced before."""
        self.close()
        try:
            data = self._path.read_bytes()
        except OSError as error:
            raise LostJournalError(f"{self._path}: {disk_trouble(error)}") from error
        readings = [recover(data[: self._synced_bytes]), recover(data)]
        if not any(r.trusted and r.record in (self.record, attempted) for r in readings):
            raise LostJournalError(
                f"{self._path} no longer holds what was synced to it: the disk is failing. "
                "Replace it and start the agent again; it will be resynchronised"
            )


class LostJournalError(StateError):
    """The journal lost what it held: the agent must stop, its proxy goes on serving."""


def _finding(data: bytes | None, damaged: str, keep: int, *, trusted: bool) -> str:
    """What was wrong with a journal, and what follows; empty if nothing."""
    if data is None:
        return "there was no journal: a new one was begun"
    if not trusted:
        why = damaged or "it holds no whole record"
        return (
            f"the journal is damaged ({why}): it goes on under a new id, after a resynchronisation"
        )
    if damaged:
        return f"the journal is damaged before its last record ({damaged}): nothing is lost"
    torn = len(data) - keep
    return f"a record cut short by a crash was dropped ({torn} bytes)" if torn else ""
