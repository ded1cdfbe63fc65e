"""What a store promises, whoever keeps the promise.

The promises are etcd's (https://etcd.io/docs/v3.4/learning/api_guarantees/), restricted to what
Turnout needs and can test: reads are linearizable, a transaction happens wholly at one revision
or not at all, a watch delivers every later revision once and in order. Keys are relative to the
domain the store was made for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self, TypeAlias

from attrs import frozen

from turnout.protocol.transactions import KeyValue, Range, Result, Snapshot, Transaction


@frozen(kw_only=True)
class Batch:
    """Everything that one revision changed below the watched prefix, each key at most once."""

    revision: int
    puts: tuple[KeyValue, ...]
    deletes: tuple[str, ...]


@frozen(kw_only=True)
class Compacted:
    """The last thing a watch says: what came next is no longer kept.

    The reader lists again, compares, and watches from that list's revision + 1.
    ``revision`` is the oldest the store still has.
    """

    revision: int


WatchEvent: TypeAlias = Batch | Compacted


@frozen(kw_only=True)
class LeaseTime:
    """What a lease was granted for, and how many whole seconds it has left."""

    granted_s: int
    left_s: int


class Store(ABC):
    """The guarded keys of one domain.

    Use as an async context manager, or call ``aclose``. Every method may raise
    ``StoreUnavailable``, ``StoreTimeout`` or ``NotAuthorised`` beside what it names itself.
    """

    @abstractmethod
    async def read(self, *ranges: Range, revision: int = 0) -> Snapshot:
        """Read all ranges at one revision: the newest (0), linearizably, or an older one.

        Raises ``RevisionCompacted`` or ``RevisionAhead`` where that revision cannot be read.
        Without ranges it tells the newest revision.
        """

    @abstractmethod
    async def transact(self, transaction: Transaction, *, lease: int = 0) -> Result:
        """Carry out a guarded transaction, sent at most once.

        ``Lost.found`` holds the guarded keys at the very revision the guards were checked at.
        ``Unknown`` says that no answer came: read before telling anybody anything. An error says
        that it was surely not carried out: ``LeaseExpired`` where ``lease`` is gone,
        ``StoreRefused`` where it breaks a limit or writes a key twice.
        """

    @abstractmethod
    async def grant(self, ttl_s: int) -> int:
        """Make a lease and return its id. The store may lengthen a TTL that is too short for it."""

    @abstractmethod
    async def keep_alive(self, lease: int) -> float:
        """Give the lease its full time again; return it in seconds. Raises ``LeaseExpired``."""

    @abstractmethod
    async def lease_time(self, lease: int) -> LeaseTime:
        """Tell how long the lease has left; raises ``LeaseExpired``, also if it is only about to end.

        That is less than it was granted for, however short ago it was renewed. It is as much or more
        where the store has prolonged it by itself, as etcd does by an election timeout when it has
        elected a leader. No linearizable answer: a leader gives it without asking the others.
        """

    @abstractmethod
    async def revoke(self, lease: int) -> None:
        """End the lease and delete its keys at one revision; one that is gone is no error."""

    @abstractmethod
    def watch(
        self, prefix: str = "", *, from_revision: int
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent]]:
        """Follow all keys below ``prefix`` from that revision on, that one included.

        Inside the ``async with`` iterate over a ``Batch`` per revision that changed something,
        rising, none left out and none twice, whatever happens to connections and servers; while
        nobody can serve, the iterator waits. After a ``Compacted`` it ends. One task iterates.
        """

    @abstractmethod
    async def compact(self, revision: int) -> None:
        """Forget what only revisions below this one need; doing it again is no error.

        Raises ``RevisionAhead`` for a revision that does not exist yet.
        """

    @abstractmethod
    async def quota(self) -> float:
        """Return the used fraction of the store's quota; of several members the fullest counts."""

    @abstractmethod
    async def aclose(self) -> None:
        """End everything under way; afterwards every call raises ``StoreUnavailable``."""

    async def __aenter__(self) -> Self:
        """Return the store itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the store."""
        await self.aclose()
