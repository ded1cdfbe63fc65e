"""The store in memory against real etcd: any sequence of operations gives the same answers."""

from __future__ import annotations

import itertools

import trio
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turnout.protocol.transactions import (
    Absent,
    CreatedAt,
    Delete,
    Equals,
    Guard,
    KeyValue,
    Lost,
    ModifiedAt,
    Present,
    Put,
    Range,
    Result,
    Snapshot,
    Transaction,
    Won,
)
from turnout.runtime.etcd_server import EtcdCluster
from turnout.runtime.store.contract import Batch, Store
from turnout.runtime.store.errors import StoreRefused
from turnout.runtime.store.etcd import EtcdStore
from turnout.runtime.store.etcd_options import EtcdOptions
from turnout.runtime.store.memory import MemoryStore

_DOMAINS = itertools.count()
_EVERYTHING = Range("", prefix=True)

keys = st.sampled_from(["a", "a/b", "a/c", "b"])
values = st.sampled_from([b"", b"1", b"2"])
revisions = st.integers(0, 6)  # after the start; 0 stands for "never"

guards = st.one_of(
    st.builds(Absent, keys),
    st.builds(Present, keys),
    st.builds(CreatedAt, keys, revisions),
    st.builds(ModifiedAt, keys, revisions),
    st.builds(Equals, keys, values),
)
writes = st.one_of(st.builds(Put, keys, values, st.booleans()), st.builds(Delete, keys))
transactions = st.builds(
    Transaction,
    name=st.just("twin"),
    guards=st.lists(guards, max_size=2).map(tuple),
    writes=st.lists(writes, max_size=3).map(tuple),
)
_LAST = Transaction(name="last", guards=(), writes=(Put("a/last", b""),))


class Twin:
    """One store whose revisions are told from the start, as the other's."""

    def __init__(self, store: Store, start: int, lease: int) -> None:
        self.store = store
        self.start = start
        self.lease = lease

    async def transact(self, transaction: Transaction) -> Result | str:
        guarded = tuple(self._later(guard) for guard in transaction.guards)
        try:
            result = await self.store.transact(
                evolve(transaction, guards=guarded), lease=self.lease
            )
        except StoreRefused as refusal:
            return str(refusal)
        if isinstance(result, Won):
            return Won(revision=result.revision - self.start)
        assert isinstance(result, Lost)
        return Lost(found=self._earlier(result.found))

    async def everything_at(self, revision: int) -> Snapshot:
        return self._earlier(await self.store.read(_EVERYTHING, revision=self.start + revision))

    async def listed(self) -> Snapshot:
        """All keys without their values, but for one; and some, from both ends."""
        some = Range("a", until="b", limit=2), Range("a", until="c", limit=1, descending=True)
        everything = evolve(_EVERYTHING, keys_only=True)
        return self._earlier(await self.store.read(*some, everything, Range("b")))

    async def told(self) -> list[Batch]:
        """Everything a watch tells of the sequence; a last write marks where it ends."""
        assert isinstance(await self.transact(_LAST), Won)
        told: list[Batch] = []
        with trio.fail_after(10):
            async with self.store.watch("a", from_revision=self.start + 1) as events:
                async for event in events:
                    assert isinstance(event, Batch)
                    told.append(self._batch(event))
                    if _LAST.writes[0].key in [put.key for put in event.puts]:
                        break
        return told

    async def end(self) -> Snapshot:
        await self.store.revoke(self.lease)
        return self._earlier(await self.store.read(_EVERYTHING))

    def _later(self, guard: Guard) -> Guard:
        if isinstance(guard, CreatedAt | ModifiedAt) and guard.revision:
            return evolve(guard, revision=guard.revision + self.start)
        return guard

    def _earlier(self, snapshot: Snapshot) -> Snapshot:
        items = tuple(self._item(item) for item in snapshot.items)
        return Snapshot(revision=snapshot.revision - self.start, items=items)

    def _item(self, item: KeyValue) -> KeyValue:
        return evolve(
            item,
            create_revision=item.create_revision - self.start,
            mod_revision=item.mod_revision - self.start,
        )

    def _batch(self, batch: Batch) -> Batch:
        puts = sorted((self._item(put) for put in batch.puts), key=lambda item: item.key)
        return Batch(
            revision=batch.revision - self.start,
            puts=tuple(puts),
            deletes=tuple(sorted(batch.deletes)),
        )


async def twin(store: Store) -> Twin:
    return Twin(store, (await store.read()).revision, await store.grant(60))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sequence=st.lists(transactions, max_size=6))
def test_memory_and_etcd_answer_any_sequence_alike(
    lonely_etcd: EtcdCluster, sequence: list[Transaction]
) -> None:
    trio.run(_compare, lonely_etcd, sequence)


async def _compare(etcd: EtcdCluster, sequence: list[Transaction]) -> None:
    options = EtcdOptions(
        endpoints=etcd.endpoints, domain=f"twin-{next(_DOMAINS)}", timeout_s=5, lifesign_s=5
    )
    async with MemoryStore() as memory, EtcdStore(options) as real:
        ours, theirs = await twin(memory), await twin(real)
        for transaction in sequence:
            assert await ours.transact(transaction) == await theirs.transact(transaction)
        told = await ours.told()
        assert told == await theirs.told()
        assert await ours.listed() == await theirs.listed()
        for revision in range(1, told[-1].revision):
            assert await ours.everything_at(revision) == await theirs.everything_at(revision)
        assert await ours.end() == await theirs.end()
