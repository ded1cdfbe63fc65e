"""What an agent remembers: its journal and its tables, on a real disk or (in benches) in memory.

A disk takes from fractions of a millisecond to seconds, so the real one works in a thread; the
machine's host waits for it, since nothing may overtake a durable effect, and all else goes on.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Protocol

import trio.to_thread

from edge_agent.journal_file import JournalFile
from edge_agent.state_folder import StateError
from edge_agent.table_files import TableFiles
from turnout.protocol.identifiers import Digest
from turnout.protocol.records import AgentRecord, SignedTable

_ID_BYTES = 16


class Disk(Protocol):
    """Keeps what must survive. Whatever raises StateError has not been kept."""

    @property
    def record(self) -> AgentRecord:
        """The record that is known to be kept."""

    @property
    def finding(self) -> str:
        """What was wrong with the journal when it was opened, for people; empty if nothing."""

    async def persist(self, record: AgentRecord) -> None:
        """Keep the record. Raises StateError."""

    async def save_table(self, table: SignedTable) -> None:
        """Keep the table. Raises StateError."""

    async def forget_tables(self, keep: tuple[Digest, ...]) -> None:
        """Delete all tables but these; never raises."""

    async def tables(self) -> tuple[SignedTable, ...]:
        """Every table that is kept, read and verified again. Raises StateError."""

    def close(self) -> None:
        """Let go of it."""


def new_journal_id() -> str:
    """A name that no other journal has."""
    return secrets.token_hex(_ID_BYTES)


class FileDisk:
    """A state folder on a local disk, whose lock the caller holds."""

    def __init__(self, folder: Path) -> None:
        """Open and recover; blocks. Raises StateError."""
        self._journal = JournalFile.open(folder / "journal", new_journal_id())
        self._tables = TableFiles(folder / "tables")

    @property
    def record(self) -> AgentRecord:
        """The last record that is known to be on the disk."""
        return self._journal.record

    @property
    def finding(self) -> str:
        """What was wrong with the journal."""
        return self._journal.finding

    async def persist(self, record: AgentRecord) -> None:
        """Append to the journal and sync."""
        await trio.to_thread.run_sync(self._journal.append, record)

    async def save_table(self, table: SignedTable) -> None:
        """Write the table's file and sync."""
        await trio.to_thread.run_sync(self._tables.save, table)

    async def forget_tables(self, keep: tuple[Digest, ...]) -> None:
        """Delete the files of all other tables."""
        await trio.to_thread.run_sync(self._tables.forget_all_but, keep)

    async def tables(self) -> tuple[SignedTable, ...]:
        """Read every table file that is whole."""
        return await trio.to_thread.run_sync(self._tables.read_all)

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()


class MemoryDisk:
    """The same without a disk: a thousand agents in one process would else measure fsync.

    It is a value that outlives the agent over it, as a disk does. ``fail`` makes it hurt.
    """

    def __init__(self) -> None:
        self.record = AgentRecord(journal_id=new_journal_id())
        self.finding = ""
        self._tables: dict[Digest, SignedTable] = {}
        self._failures: list[str] = []

    def fail(self, reason: str, *, times: int = 1) -> None:
        """Refuse the next ``times`` things to be kept."""
        self._failures.extend([reason] * times)

    async def persist(self, record: AgentRecord) -> None:
        """Keep the record."""
        await self._take_part()
        self.record = record

    async def save_table(self, table: SignedTable) -> None:
        """Keep the table."""
        await self._take_part()
        self._tables[table.digest] = table

    async def forget_tables(self, keep: tuple[Digest, ...]) -> None:
        """Forget all other tables."""
        await trio.lowlevel.checkpoint()
        self._tables = {name: table for name, table in self._tables.items() if name in keep}

    async def tables(self) -> tuple[SignedTable, ...]:
        """Every table kept."""
        await trio.lowlevel.checkpoint()
        return tuple(self._tables.values())

    def close(self) -> None:
        """Nothing to let go of."""

    async def _take_part(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._failures:
            raise StateError(self._failures.pop(0))
