"""What the store remembers: old switches, the history, and what a plan must look up.

Everything is read linearizably and in few, bounded reads: a transaction of etcd takes 128 ranges.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from attrs import evolve, frozen

from coordinator.story import Story, of_records
from turnout.protocol import keys
from turnout.protocol.codec import decode
from turnout.protocol.coordinator_state import CoordinatorState
from turnout.protocol.identifiers import Epoch
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.planning import Need
from turnout.protocol.records import Decision, HistoryEntry, Intent, Outcome
from turnout.protocol.transactions import Range, Snapshot
from turnout.protocol.wire import unpack_table
from turnout.runtime.store.contract import Store

_EPOCHS_A_READ = 20
"""Six ranges each, within the 128 that one read may have."""

T = TypeVar("T")


@frozen(kw_only=True)
class Page:
    """Some of the history, newest first; ``before`` continues it, None at its beginning."""

    entries: tuple[HistoryEntry, ...]
    before: Epoch | None


class Archive:
    """Reads old records."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def switch(self, epoch: Epoch) -> Story | None:
        """One switch; None where nothing of that number was ever attempted."""
        stories = await self.switches([epoch])
        return stories[0] if stories else None

    async def switches(self, epochs: Iterable[Epoch]) -> list[Story]:
        """These switches, in the order asked, without those that the store does not have."""
        asked, stories = list(epochs), list[Story]()
        while asked:
            batch, asked = asked[:_EPOCHS_A_READ], asked[_EPOCHS_A_READ:]
            snapshot = await self._store.read(*(r for epoch in batch for r in _ranges_of(epoch)))
            found = (_story_in(snapshot, epoch) for epoch in batch)
            stories += [story for story in found if story is not None]
        return stories

    async def history(self, newest: Epoch, limit: int) -> Page:
        """Whole epochs from ``newest`` down, until at least ``limit`` entries are together.

        They are in the order of time: what was refused while a switch was under way belongs to
        the head before it.
        """
        entries: list[HistoryEntry] = []
        epoch: int = newest
        while epoch >= 0 and len(entries) < limit:
            batch = [Epoch(e) for e in range(epoch, max(-1, epoch - _EPOCHS_A_READ), -1)]
            ranges = (Range(_history_of(e), prefix=True) for e in batch)
            snapshot = await self._store.read(*ranges)
            for one in batch:
                if len(entries) >= limit:
                    break
                entries += _history_in(snapshot, one)
                epoch = one - 1
        entries.sort(key=lambda e: (e.at_ns, e.epoch, e.kind), reverse=True)
        return Page(entries=tuple(entries), before=Epoch(epoch + 1) if epoch >= 0 else None)

    async def look_up(self, state: CoordinatorState, need: Need) -> CoordinatorState:
        """A copy of the state that has what a plan needs; the machine's own stays as it is."""
        wanted = [keys.decision(epoch) for epoch in need.decisions]
        wanted += [keys.table(digest) for digest in need.tables]
        snapshot = await self._store.read(*(Range(key) for key in wanted))
        library, tables = state.library, state.tables
        for item in snapshot.below(keys.DECISIONS):
            decision = decode(item.value, Decision, limit=MAX_TABLE_BYTES)
            library = library.put(decision.epoch, decision)
        for item in snapshot.below(keys.TABLES):
            table = unpack_table(item.value)
            tables = tables.put(table.digest, table)
        return evolve(state, library=library, tables=tables)


def _ranges_of(epoch: Epoch) -> tuple[Range, ...]:
    records = (keys.intent, keys.decision, keys.outcome, keys.following, keys.released)
    singles = (Range(key_of(epoch)) for key_of in records)
    return (*singles, Range(_history_of(epoch), prefix=True))


def _history_of(epoch: Epoch) -> str:
    return keys.history(epoch, "")


def _history_in(snapshot: Snapshot, epoch: Epoch) -> tuple[HistoryEntry, ...]:
    found = snapshot.below(_history_of(epoch))
    return tuple(decode(item.value, HistoryEntry, limit=MAX_TABLE_BYTES) for item in found)


def _story_in(snapshot: Snapshot, epoch: Epoch) -> Story | None:
    intent = _record(snapshot, keys.intent(epoch), Intent)
    decision = _record(snapshot, keys.decision(epoch), Decision)
    if intent is None and decision is None:
        return None
    return of_records(
        epoch,
        intent=intent,
        decision=decision,
        outcome=_record(snapshot, keys.outcome(epoch), Outcome),
        is_followed=snapshot.get(keys.following(epoch)) is not None,
        is_released=snapshot.get(keys.released(epoch)) is not None,
        history=tuple(e for e in _history_in(snapshot, epoch) if e.kind != keys.REFUSED),
    )


def _record(snapshot: Snapshot, key: str, cls: type[T]) -> T | None:
    item = snapshot.get(key)
    return None if item is None else decode(item.value, cls, limit=MAX_TABLE_BYTES)
