"""What the store remembers: old switches, the history, and what a plan must look up.

Everything is read linearizably and in few, bounded reads: a transaction of etcd takes 128 ranges. What
is listed costs as much as is shown, wherever the numbers are: a rebase may leave a gap of a million.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
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
from turnout.protocol.transactions import KeyValue, Range, Snapshot
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

    async def decided(self, newest: Epoch, limit: int) -> list[Epoch]:
        """The last ``limit`` epochs that were decided, from ``newest`` down."""
        found = await self._last(keys.DECISIONS, keys.decision, newest, limit, keys_only=True)
        return [Epoch(int(item.key.removeprefix(keys.DECISIONS))) for item in found]

    async def history(self, newest: Epoch, limit: int) -> Page:
        """Whole epochs from ``newest`` down, until at least ``limit`` entries are together.

        They are in the order of time: what was refused while a switch was under way belongs to
        the head before it.
        """
        entries = _entries(await self._last(keys.HISTORY, _history_of, newest, limit))
        before = None
        if len(entries) == limit:
            oldest = entries[-1].epoch
            older = Range(keys.HISTORY, until=_history_of(oldest), limit=1, keys_only=True)
            snapshot = await self._store.read(Range(_history_of(oldest), prefix=True), older)
            whole = _history_in(snapshot, oldest)
            entries = (*(entry for entry in entries if entry.epoch > oldest), *whole)
            before = oldest if len(snapshot.items) > len(whole) else None
        in_time = sorted(entries, key=lambda e: (e.at_ns, e.epoch, e.kind), reverse=True)
        return Page(entries=tuple(in_time), before=before)

    async def _last(
        self,
        beginning: str,
        key_of: Callable[[Epoch], str],
        newest: Epoch,
        limit: int,
        *,
        keys_only: bool = False,
    ) -> tuple[KeyValue, ...]:
        """The last ``limit`` keys of a kind, from an epoch down; there is one or more for each.

        Numbers have gaps, of a million where a rebase made it so. But to find the last keys of a
        range, etcd sorts all of it: 0.25 s for 100,000. So the last ``limit`` numbers are asked for
        first, and all that are below them only where they are too few.
        """
        ends = key_of(Epoch(newest + 1)), key_of(Epoch(max(0, newest + 1 - limit))), beginning
        found: tuple[KeyValue, ...] = ()
        for until, lowest in itertools.pairwise(ends):
            if len(found) < limit:
                wanted = Range(lowest, until=until, descending=True, keys_only=keys_only)
                snapshot = await self._store.read(evolve(wanted, limit=limit - len(found)))
                found += snapshot.items
        return found

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
    return _entries(snapshot.below(_history_of(epoch)))


def _entries(items: Iterable[KeyValue]) -> tuple[HistoryEntry, ...]:
    return tuple(decode(item.value, HistoryEntry, limit=MAX_TABLE_BYTES) for item in items)


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
