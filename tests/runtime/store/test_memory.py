"""What only the store in memory has: a shared database and time that can be made."""

from __future__ import annotations

import trio.testing

from turnout.protocol.transactions import Put, Range, Transaction, Won
from turnout.runtime.store.contract import Batch
from turnout.runtime.store.memory import MemoryStore
from turnout.runtime.store.memory_database import MemoryDatabase

PUT = Transaction(name="put", guards=(), writes=(Put("a", b"1234", leased=True),))


async def test_stores_on_one_database_see_the_same_keys_and_close_alone() -> None:
    database = MemoryDatabase()
    one, other = MemoryStore(database), MemoryStore(database)
    assert isinstance(await one.transact(PUT, lease=await one.grant(60)), Won)
    await one.aclose()
    assert (await other.read(Range("a"))).items[0].value == b"1234"


async def test_quota_counts_what_is_kept() -> None:
    async with MemoryStore(quota_bytes=20) as store:
        for _ in range(2):
            await store.transact(PUT, lease=await store.grant(60))
        assert await store.quota() == 0.5
        await store.compact((await store.read()).revision)
        assert await store.quota() == 0.25


async def test_lease_ends_at_its_very_time(autojump_clock: trio.testing.MockClock) -> None:
    async with MemoryStore() as store:
        lease = await store.grant(5)
        await store.transact(PUT, lease=lease)
        await trio.sleep(4.99)
        assert (await store.read(Range("a"))).items
        assert await store.keep_alive(lease) == 5
        await trio.sleep(4.99)
        assert (await store.read(Range("a"))).items
        await trio.sleep(0.01)
        assert not (await store.read(Range("a"))).items


async def test_leases_that_end_together_end_one_by_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with MemoryStore() as store:
        for key in ("later", "sooner"):
            put = Transaction(name="put", guards=(), writes=(Put(key, b"", leased=True),))
            await store.transact(put, lease=await store.grant(9 if key == "later" else 8))
        revision = (await store.read()).revision
        await trio.sleep(20)
        async with store.watch(from_revision=revision + 1) as events:
            told = [await anext(events), await anext(events)]
    assert told == [
        Batch(revision=revision + 1, puts=(), deletes=("sooner",)),
        Batch(revision=revision + 2, puts=(), deletes=("later",)),
    ]
