"""The machine's reads and transactions, sent to the store; their results come back as events.

Each call is made once. What becomes of one that fails is the machine's affair: it repeats its
guarded transactions until it knows, and asks its questions again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
import trio

from coordinator.metrics import Metrics
from turnout.protocol.clock import SECOND
from turnout.protocol.effects import Read, Transact
from turnout.protocol.events import ReadDone, Transacted
from turnout.protocol.transactions import Result, Snapshot, Unknown
from turnout.runtime.store.contract import Store
from turnout.runtime.store.errors import RevisionCompacted, StoreError, StoreRefused

Tell = Callable[[ReadDone | Transacted], Awaitable[None]]

_log = structlog.get_logger(__name__)


class StoreCalls:
    """Starts calls in the order asked; each is a task of its own, and a machine has few."""

    def __init__(
        self,
        store: Store,
        nursery: trio.Nursery,
        tell: Tell,
        metrics: Metrics,
        *,
        pause_ns: int,
    ) -> None:
        """``pause_ns`` passes before a failed read is answered, so that none repeats in a whirl."""
        self._store = store
        self._nursery = nursery
        self._tell = tell
        self._metrics = metrics
        self._pause_s = pause_ns / SECOND
        self.trouble = ""
        """What the store last said against a call; empty once one was answered again."""

    def transact(self, effect: Transact) -> None:
        """Send a transaction; answered by ``Transacted``."""
        self._nursery.start_soon(self._transact, effect)

    def read(self, effect: Read) -> None:
        """Read; answered by ``ReadDone``."""
        self._nursery.start_soon(self._read, effect)

    async def _transact(self, effect: Transact) -> None:
        name = effect.transaction.name
        began = trio.current_time()
        result: Result
        try:
            result = await self._store.transact(effect.transaction)
            self.trouble = result.reason if isinstance(result, Unknown) else ""
        except StoreError as error:
            # Surely not carried out; for the machine that is one of the things "unknown" may be.
            result = Unknown(reason=str(error))
            self._complain(error, name)
        self._metrics.store_call(name, type(result).__name__.lower(), trio.current_time() - began)
        await self._tell(Transacted(operation=effect.operation, result=result))

    async def _read(self, effect: Read) -> None:
        name = effect.operation.name
        began = trio.current_time()
        snapshot: Snapshot | None = None
        try:
            snapshot = await self._store.read(*effect.ranges, revision=effect.revision)
            self.trouble = ""
        except StoreError as error:
            self._complain(error, name)
        took_s = trio.current_time() - began
        self._metrics.store_call(name, "failed" if snapshot is None else "done", took_s)
        if snapshot is None:
            await trio.sleep(self._pause_s)
        await self._tell(ReadDone(operation=effect.operation, snapshot=snapshot))

    def _complain(self, error: StoreError, name: str) -> None:
        self.trouble = f"the store failed at '{name}': {error}"
        refused = isinstance(error, StoreRefused) and not isinstance(error, RevisionCompacted)
        log = _log.error if refused else _log.warning
        log("store call failed", call=name, reason=str(error))
