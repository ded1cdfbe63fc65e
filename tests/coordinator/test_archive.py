"""What is read of the past: all of it, page by page, at a cost that no gap in the numbers raises."""

from __future__ import annotations

from collections.abc import Mapping

import trio
from hypothesis import given
from hypothesis import strategies as st

from coordinator.archive import Archive, Page
from turnout.protocol import keys
from turnout.protocol.clock import ClockNs
from turnout.protocol.codec import canonical_bytes
from turnout.protocol.identifiers import NO_DIGEST, Epoch, ReplicaId, Term
from turnout.protocol.records import HistoryEntry
from turnout.protocol.transactions import Put, Range, Snapshot, Transaction
from turnout.runtime.store.memory import MemoryStore

MILLION = 1_000_000
NEWEST = Epoch(2 * MILLION)


class CountingStore(MemoryStore):
    """Counts what is read, and how much that was."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.items = 0

    async def read(self, *ranges: Range, revision: int = 0) -> Snapshot:
        snapshot = await super().read(*ranges, revision=revision)
        self.reads += 1
        self.items += len(snapshot.items)
        return snapshot


def entry(epoch: int, kind: str) -> HistoryEntry:
    return HistoryEntry(
        epoch=Epoch(epoch),
        kind=kind,
        at_ns=ClockNs(epoch),
        actor="ada",
        replica=ReplicaId("c0"),
        term=Term(1),
        text="",
        previous=NO_DIGEST,
    )


async def store_with(entries_of: Mapping[int, int]) -> CountingStore:
    """A store whose history has so many entries of each epoch, and a decision of it."""
    store = CountingStore()
    for epoch, count in entries_of.items():
        kinds = [f"kind-{number}" for number in range(count)]
        history = [
            Put(keys.history(Epoch(epoch), kind), canonical_bytes(entry(epoch, kind)))
            for kind in kinds
        ]
        decision = Put(keys.decision(Epoch(epoch)), b"")
        writes = (*history, decision)
        await store.transact(Transaction(name="past", guards=(), writes=writes))
    return store


async def pages(archive: Archive, limit: int) -> list[Page]:
    """The whole history as somebody reads it who follows ``before``."""
    read = [await archive.history(NEWEST, limit)]
    while (before := read[-1].before) is not None:
        read.append(await archive.history(Epoch(before - 1), limit))
    return read


numbers = st.one_of(st.integers(0, 40), st.integers(MILLION, MILLION + 40))


@given(entries_of=st.dictionaries(numbers, st.integers(1, 5), max_size=20), limit=st.integers(1, 9))
def test_history_is_told_once_newest_first_in_whole_epochs_whatever_gaps_it_has(
    entries_of: dict[int, int], limit: int
) -> None:
    trio.run(_told_once, entries_of, limit)


async def _told_once(entries_of: dict[int, int], limit: int) -> None:
    read = await pages(Archive(await store_with(entries_of)), limit)
    told = [(e.epoch, e.kind) for page in read for e in page.entries]
    everything = [(e, f"kind-{n}") for e, count in entries_of.items() for n in range(count)]
    assert told == sorted(everything, reverse=True)
    assert all(len(page.entries) >= limit for page in read[:-1])
    epochs = [{e.epoch for e in page.entries} for page in read]
    assert sum(map(len, epochs)) == len(entries_of)


@given(epochs=st.sets(numbers, max_size=30), limit=st.integers(1, 9))
def test_last_decided_epochs_are_found_whatever_gaps_they_have(
    epochs: set[int], limit: int
) -> None:
    async def decided() -> list[Epoch]:
        return await Archive(await store_with(dict.fromkeys(epochs, 1))).decided(NEWEST, limit)

    assert trio.run(decided) == sorted(epochs, reverse=True)[:limit]


async def test_page_costs_as_much_as_it_shows_however_long_the_past_and_wide_its_gap() -> None:
    past = dict.fromkeys([*range(200), *range(MILLION, MILLION + 3)], 2)
    archive = Archive(store := await store_with(past))
    for newest in (NEWEST, Epoch(150)):
        store.reads, store.items = 0, 0
        page = await archive.history(newest, 20)
        assert len(page.entries) == 20
        assert store.reads <= 3
        assert store.items <= 2 * 20
