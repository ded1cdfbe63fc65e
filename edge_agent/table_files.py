"""Routing tables on disk: one file each, named by digest, verified whenever it is read.

The journal names tables by digest, so a file that does not have the digest of its name is not the
table that was committed, whatever it is: it counts as absent, and is fetched again. The files are
the compressed form that the store and the wire have too. All calls block on the disk.
"""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from edge_agent.durable import (
    PRIVATE_FOLDER,
    disk_trouble,
    is_temporary,
    replace_durably,
    sync_folder,
)
from edge_agent.state_folder import StateError
from turnout.protocol.errors import MalformedError
from turnout.protocol.identifiers import Digest
from turnout.protocol.limits import MAX_STORED_TABLE_BYTES
from turnout.protocol.records import SignedTable
from turnout.protocol.wire import pack_table, unpack_table

_log = structlog.get_logger(__name__)


class TableFiles:
    """The tables below one folder, which is made if there is none."""

    def __init__(self, folder: Path) -> None:
        """Raises StateError where the folder cannot be made or synced."""
        self._folder = folder
        try:
            folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            sync_folder(folder.parent)
            # A crash may have come between a rename and the folder's sync: before anybody relies
            # on what is read here, it is made durable.
            sync_folder(folder)
        except OSError as error:
            raise StateError(f"{folder}: {disk_trouble(error)}") from error

    def read_all(self) -> tuple[SignedTable, ...]:
        """Every whole table, by digest; the others are named in the log and passed over.

        Raises:
            StateError: the folder itself cannot be read.
        """
        tables = (self._read(path) for path in self._paths())
        return tuple(table for table in tables if table is not None)

    def save(self, table: SignedTable) -> None:
        """Put the table's file on the disk. Raises StateError where it is not there for good."""
        path = self._folder / table.digest
        try:
            replace_durably(path, pack_table(table))
        except OSError as error:
            raise StateError(f"{path}: {disk_trouble(error)}") from error

    def forget_all_but(self, keep: tuple[Digest, ...]) -> None:
        """Delete the files of all other tables; what cannot be deleted costs space only."""
        for path in self._folder.iterdir():
            if path.name in keep and not is_temporary(path):
                continue
            try:
                path.unlink()
            except OSError as error:
                _log.warning("a table is not deleted", file=str(path), reason=disk_trouble(error))

    def _paths(self) -> list[Path]:
        try:
            return sorted(path for path in self._folder.iterdir() if not is_temporary(path))
        except OSError as error:
            raise StateError(f"{self._folder}: {disk_trouble(error)}") from error

    def _read(self, path: Path) -> SignedTable | None:
        try:
            table = unpack_table(_read_bounded(path))
            if table.digest != path.name:
                raise MalformedError(f"its digest is {table.digest}")
        except (OSError, MalformedError) as error:
            reason = disk_trouble(error) if isinstance(error, OSError) else str(error)
            _log.warning("a table is not used", file=str(path), reason=reason)
            return None
        return table


def _read_bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        os.fdatasync(file.fileno())
        return file.read(MAX_STORED_TABLE_BYTES + 1)
