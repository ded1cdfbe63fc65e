"""The store in one process: the contract without a network, for tests.

Time is trio's, so under a ``MockClock`` leases expire without anybody waiting. Stores made on one
``MemoryDatabase`` see the same keys, as replicas on one etcd do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from turnout.protocol.transactions import Range, Result, Snapshot, Transaction
from turnout.runtime.store.checks import (
    check_from_revision,
    check_transaction,
    check_ttl,
)
from turnout.runtime.store.contract import Compacted, LeaseTime, Store, WatchEvent
from turnout.runtime.store.errors import StoreUnavailable
from turnout.runtime.store.memory_database import MemoryDatabase


class MemoryStore(Store):
    """One client of a database in memory."""

    def __init__(
        self, database: MemoryDatabase | None = None, *, quota_bytes: int = 2 * 1024**3
    ) -> None:
        """Use a database that is shared, or one of its own."""
        self._database = database or MemoryDatabase()
        self._quota_bytes = quota_bytes
        self._closed = False

    async def read(self, *ranges: Range, revision: int = 0) -> Snapshot:
        """Read all ranges."""
        return (await self._at_this_moment()).read(ranges, revision)

    async def transact(self, transaction: Transaction, *, lease: int = 0) -> Result:
        """Carry the transaction out; nothing is ever unknown here."""
        check_transaction(transaction, lease)
        return (await self._at_this_moment()).transact(transaction, lease)

    async def grant(self, ttl_s: int) -> int:
        """Grant a lease."""
        check_ttl(ttl_s)
        return (await self._at_this_moment()).grant(ttl_s, trio.current_time())

    async def keep_alive(self, lease: int) -> float:
        """Renew a lease."""
        return (await self._at_this_moment()).keep_alive(lease, trio.current_time())

    async def lease_time(self, lease: int) -> LeaseTime:
        """Tell how long a lease has left."""
        return (await self._at_this_moment()).lease_time(lease, trio.current_time())

    async def revoke(self, lease: int) -> None:
        """Revoke a lease."""
        (await self._at_this_moment()).revoke(lease)

    @asynccontextmanager
    async def watch(
        self, prefix: str = "", *, from_revision: int
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        """Follow a prefix."""
        check_from_revision(from_revision)
        yield MemoryWatch(self._at_this_moment, prefix, from_revision)

    async def compact(self, revision: int) -> None:
        """Compact the history."""
        (await self._at_this_moment()).compact(revision)

    async def quota(self) -> float:
        """Compare what keys and values take with the quota."""
        return (await self._at_this_moment()).size_bytes() / self._quota_bytes

    async def aclose(self) -> None:
        """Refuse everything from now on; the database stays for others."""
        self._closed = True
        self._database.wake_watchers()
        await trio.lowlevel.checkpoint()

    async def _at_this_moment(self) -> MemoryDatabase:
        """Return the database as of now, with what has expired gone."""
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise StoreUnavailable("this store has been closed")
        self._database.expire(trio.current_time())
        return self._database


class MemoryWatch:
    """The iterator behind ``Store.watch``; unlike a generator it survives a cancelled ``anext``."""

    def __init__(
        self, at_this_moment: Callable[[], Awaitable[MemoryDatabase]], prefix: str, revision: int
    ) -> None:
        """Remember what to follow, and whom to ask for the database."""
        self._at_this_moment = at_this_moment
        self._prefix = prefix
        self._next_revision = revision
        self._ended = False

    def __aiter__(self) -> MemoryWatch:
        """Return itself."""
        return self

    async def __anext__(self) -> WatchEvent:
        """Return the next event, however long that takes; end after ``Compacted``."""
        if self._ended:
            raise StopAsyncIteration
        while True:
            database = await self._at_this_moment()
            event = database.after(self._next_revision, self._prefix)
            if event is not None:
                self._ended = isinstance(event, Compacted)
                self._next_revision = event.revision + 1
                return event
            with trio.move_on_at(database.next_expiry()):
                await database.changed.wait()
