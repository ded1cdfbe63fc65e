"""What every store promises (turnout/runtime/store/contract.py), shown for each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
import trio.testing

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
    Transaction,
    Won,
    Write,
)
from turnout.runtime.store.contract import Batch, Compacted, LeaseTime, Store, WatchEvent
from turnout.runtime.store.errors import (
    LeaseExpired,
    RevisionAhead,
    RevisionCompacted,
    StoreRefused,
    StoreUnavailable,
)

EVERYTHING = Range("", prefix=True)


async def write(
    store: Store, *writes: Write, guards: tuple[Guard, ...] = (), lease: int = 0
) -> int:
    """Carry out writes that must win, and return their revision."""
    result = await attempt(store, *writes, guards=guards, lease=lease)
    assert isinstance(result, Won)
    return result.revision


async def attempt(
    store: Store, *writes: Write, guards: tuple[Guard, ...] = (), lease: int = 0
) -> Result:
    return await store.transact(Transaction(name="test", guards=guards, writes=writes), lease=lease)


async def values(store: Store) -> dict[str, bytes]:
    return {item.key: item.value for item in (await store.read(EVERYTHING)).items}


async def following(events: AsyncIterator[WatchEvent], count: int) -> list[WatchEvent]:
    with trio.fail_after(10):
        return [await anext(events) for _ in range(count)]


# ------------------------------------------------------------------------------------------ reads


async def test_store_that_is_empty_reads_as_nothing_at_a_revision(store: Store) -> None:
    snapshot = await store.read(EVERYTHING, Range("head"))
    assert snapshot.items == ()
    assert snapshot.revision >= 1


async def test_read_without_ranges_tells_the_newest_revision(store: Store) -> None:
    revision = await write(store, Put("a", b"1"))
    assert (await store.read()).revision == revision


async def test_read_of_several_ranges_is_one_snapshot_in_their_order_each_key_once(
    store: Store,
) -> None:
    await write(store, Put("b/2", b"2"), Put("b/1", b"1"), Put("bb", b"no"), Put("a", b"x"))
    snapshot = await store.read(Range("b/", prefix=True), Range("a"), Range("b/2"), Range("nobody"))
    assert [item.key for item in snapshot.items] == ["b/1", "b/2", "a"]


async def test_read_of_keys_only_leaves_the_values_in_the_store(store: Store) -> None:
    first = await write(store, Put("t/1", b"large"), Put("t/2", b"larger"), Put("u", b"other"))
    second = await write(store, Put("t/2", b"largest"))
    snapshot = await store.read(Range("t/", prefix=True, keys_only=True))
    assert snapshot.items == (
        KeyValue(key="t/1", value=b"", create_revision=first, mod_revision=first),
        KeyValue(key="t/2", value=b"", create_revision=first, mod_revision=second),
    )
    old = await store.read(Range("t/2", keys_only=True), revision=first)
    assert [(item.key, item.mod_revision) for item in old.items] == [("t/2", first)]


@pytest.mark.parametrize("listed_first", [True, False])
async def test_key_that_is_listed_and_read_comes_with_its_value(
    store: Store, *, listed_first: bool
) -> None:
    await write(store, Put("t/1", b"1"), Put("t/2", b"2"))
    ranges = [Range("t/", prefix=True, keys_only=True), Range("t/2")]
    snapshot = await store.read(*(ranges if listed_first else reversed(ranges)))
    assert {item.key: item.value for item in snapshot.items} == {"t/1": b"", "t/2": b"2"}


async def test_read_from_one_key_to_another_leaves_out_the_second(store: Store) -> None:
    await write(store, *(Put(key, b"") for key in ("n/1", "n/2", "n/20", "n/3", "o")))
    snapshot = await store.read(Range("n/2", until="n/3"))
    assert [item.key for item in snapshot.items] == ["n/2", "n/20"]
    assert (await store.read(Range("n/3", until="n/2"))).items == ()


async def test_read_with_a_limit_tells_the_first_that_there_are_or_the_last(store: Store) -> None:
    first = await write(store, *(Put(f"n/{n}", b"old") for n in range(5)), Put("o", b"no"))
    await write(store, Delete("n/0"), Delete("n/4"), Put("n/2", b"new"))
    lowest = await store.read(Range("n/", prefix=True, limit=2))
    assert [(item.key, item.value) for item in lowest.items] == [("n/1", b"old"), ("n/2", b"new")]
    highest = Range("n/", prefix=True, limit=2, descending=True)
    assert [item.key for item in (await store.read(highest)).items] == ["n/3", "n/2"]
    then = await store.read(highest, revision=first)
    assert [item.key for item in then.items] == ["n/4", "n/3"]
    listed = await store.read(Range("n/1", until="n/3", keys_only=True, descending=True))
    assert [(item.key, item.value) for item in listed.items] == [("n/2", b""), ("n/1", b"")]


async def test_limits_are_of_each_range_and_a_key_of_two_of_them_comes_once(store: Store) -> None:
    await write(store, *(Put(f"n/{n}", b"1") for n in range(4)))
    last = Range("n/", prefix=True, limit=2, descending=True, keys_only=True)
    snapshot = await store.read(last, Range("n/1", until="n/9", limit=2))
    told = [(item.key, item.value) for item in snapshot.items]
    assert told == [("n/3", b""), ("n/2", b"1"), ("n/1", b"1")]


async def test_read_of_a_key_finds_no_longer_key(store: Store) -> None:
    await write(store, Put("ab", b"1"))
    assert (await store.read(Range("a"))).items == ()


async def test_read_of_an_older_revision_shows_what_stood_then(store: Store) -> None:
    first = await write(store, Put("a", b"old"), Put("b", b"b"))
    await write(store, Put("a", b"new"), Delete("b"), Put("c", b"c"))
    snapshot = await store.read(EVERYTHING, revision=first)
    assert snapshot.revision == first
    assert [(item.key, item.value) for item in snapshot.items] == [("a", b"old"), ("b", b"b")]


async def test_read_of_a_revision_that_does_not_exist_is_refused(store: Store) -> None:
    newest = (await store.read()).revision
    with pytest.raises(RevisionAhead):
        await store.read(EVERYTHING, revision=newest + 1)


async def test_read_of_many_ranges_is_one_snapshot_in_their_order(store: Store) -> None:
    numbers = range(300)
    first = await write(store, *(Put(f"k{n}", b"1") for n in numbers if n % 3 == 0))
    await write(store, Put("k0", b"2"), Delete("k299"), Delete("k297"))
    ranges = [Range(f"k{n}") for n in numbers]
    now = await store.read(*ranges, Range("k", prefix=True, keys_only=True))
    assert [item.key for item in now.items] == [f"k{n}" for n in numbers if n % 3 == 0 and n != 297]
    assert now.get("k0") == KeyValue(
        key="k0", value=b"2", create_revision=first, mod_revision=now.revision
    )
    then = await store.read(*ranges, revision=first)
    assert {item.value for item in then.items} == {b"1"}
    assert len(then.items) == 100


async def test_read_of_many_ranges_never_sees_half_a_transaction(
    store: Store, nursery: trio.Nursery
) -> None:
    await write(store, Put("a", b"0"), Put("z", b"0"))

    async def go_on_writing() -> None:
        for number in range(1, 1000):
            value = str(number).encode()
            await write(store, Put("a", value), Put("z", value))

    nursery.start_soon(go_on_writing)
    between = [Range(f"k{n}") for n in range(300)]
    for _ in range(20):
        snapshot = await store.read(Range("a"), *between, Range("z"))
        first, last = snapshot.items
        assert (first.value, first.mod_revision) == (last.value, last.mod_revision)
    nursery.cancel_scope.cancel()


async def test_keys_and_values_come_back_as_they_were_given(store: Store) -> None:
    await write(store, Put("söme/键 with space", bytes(range(256))), Put("empty", b""))
    assert await values(store) == {"söme/键 with space": bytes(range(256)), "empty": b""}


# ----------------------------------------------------------------------------------- transactions


async def test_key_keeps_its_create_revision_until_it_is_deleted(store: Store) -> None:
    created = await write(store, Put("a", b"1"))
    changed = await write(store, Put("a", b"2"))
    item = (await store.read(Range("a"))).get("a")
    assert item == KeyValue(key="a", value=b"2", create_revision=created, mod_revision=changed)
    await write(store, Delete("a"))
    again = await write(store, Put("a", b"3"))
    item = (await store.read(Range("a"))).get("a")
    assert item == KeyValue(key="a", value=b"3", create_revision=again, mod_revision=again)


async def test_writes_of_a_transaction_happen_at_one_revision(store: Store) -> None:
    before = await write(store, Put("old", b""))
    revision = await write(store, Put("a", b"1"), Put("b", b"2"), Delete("old"))
    assert revision == before + 1
    snapshot = await store.read(EVERYTHING)
    assert {item.mod_revision for item in snapshot.items} == {revision}


async def test_transaction_that_changes_nothing_makes_no_revision(store: Store) -> None:
    before = (await store.read()).revision
    assert await write(store, Delete("nobody")) == before
    assert await write(store) == before
    assert (await store.read()).revision == before


GUARDS: list[tuple[str, Callable[[KeyValue], Guard], bool]] = [
    ("absent-missing", lambda _: Absent("missing"), True),
    ("absent-there", lambda _: Absent("there"), False),
    ("present-missing", lambda _: Present("missing"), False),
    ("present-there", lambda _: Present("there"), True),
    ("created-then", lambda kv: CreatedAt("there", kv.create_revision), True),
    ("created-at-another", lambda kv: CreatedAt("there", kv.mod_revision), False),
    ("created-missing", lambda kv: CreatedAt("missing", kv.create_revision), False),
    ("modified-then", lambda kv: ModifiedAt("there", kv.mod_revision), True),
    ("modified-at-another", lambda kv: ModifiedAt("there", kv.create_revision), False),
    ("modified-never", lambda _: ModifiedAt("missing", 0), True),
    ("modified-never-there", lambda _: ModifiedAt("there", 0), False),
    ("equals", lambda _: Equals("there", b"now"), True),
    ("equals-another", lambda _: Equals("there", b"then"), False),
    ("equals-missing", lambda _: Equals("missing", b""), False),
]


@pytest.mark.parametrize(
    ("guard", "holds"), [row[1:] for row in GUARDS], ids=[row[0] for row in GUARDS]
)
async def test_guard_lets_write_only_if_it_holds(
    store: Store, guard: Callable[[KeyValue], Guard], holds: bool
) -> None:
    await write(store, Put("there", b"then"))
    await write(store, Put("there", b"now"))
    there = (await store.read(Range("there"))).items[0]
    result = await attempt(store, Put("written", b""), guards=(guard(there),))
    assert isinstance(result, Won) is holds
    assert ("written" in await values(store)) is holds


async def test_lost_transaction_writes_nothing_and_shows_the_guarded_keys(store: Store) -> None:
    revision = await write(store, Put("a", b"1"), Put("b", b"2"), Put("other", b"3"))
    guards = (Equals("b", b"not"), Absent("c"), Present("a"), CreatedAt("a", revision))
    result = await attempt(store, Put("d", b""), Delete("a"), guards=guards)
    assert isinstance(result, Lost)
    assert result.found.revision == revision
    assert [(item.key, item.value) for item in result.found.items] == [("b", b"2"), ("a", b"1")]
    assert await values(store) == {"a": b"1", "b": b"2", "other": b"3"}


async def test_of_many_racing_for_one_key_exactly_one_wins(store: Store) -> None:
    results: list[Result] = []

    async def race(runner: bytes) -> None:
        results.append(await attempt(store, Put("k", runner), guards=(Absent("k"),)))

    async with trio.open_nursery() as nursery:
        for n in range(20):
            nursery.start_soon(race, b"%d" % n)
    assert sum(isinstance(result, Won) for result in results) == 1
    winner = (await store.read(Range("k"))).items[0].value
    found = {item.value for r in results if isinstance(r, Lost) for item in r.found.items}
    assert found == {winner}


REFUSED: list[tuple[str, tuple[Write, ...]]] = [
    ("put twice", (Put("a", b"1"), Put("a", b"2"))),
    ("put and deleted", (Delete("a"), Put("a", b"2"))),
    ("too many", tuple(Put(f"k{n}", b"") for n in range(129))),
    ("too big", (Put("a", bytes(1536 * 1024)),)),
]


@pytest.mark.parametrize("writes", [row[1] for row in REFUSED], ids=[row[0] for row in REFUSED])
async def test_transaction_beyond_the_limits_is_refused_by_name(
    store: Store, writes: tuple[Write, ...]
) -> None:
    with pytest.raises(StoreRefused, match="'test'"):
        await attempt(store, *writes)
    assert await values(store) == {}


async def test_transaction_may_delete_a_key_twice(store: Store) -> None:
    before = await write(store, Put("a", b"1"))
    assert await write(store, Delete("a"), Delete("a")) == before + 1


async def test_transaction_at_the_limit_is_carried_out(store: Store) -> None:
    await write(store, *[Put(f"k{n:03}", bytes(10_000)) for n in range(128)])
    assert len((await store.read(EVERYTHING)).items) == 128


# ----------------------------------------------------------------------------------------- leases


async def test_lease_that_is_not_renewed_takes_its_keys_along(
    store: Store, store_clock: trio.testing.MockClock | None
) -> None:
    lease = await store.grant(1)
    written = await write(
        store, Put("mine", b"", leased=True), Put("also", b"", leased=True), Put("free", b""),
        lease=lease,
    )  # fmt: skip
    async with store.watch(from_revision=written + 1) as events:
        assert await following(events, 1) == [
            Batch(revision=written + 1, puts=(), deletes=("also", "mine"))
        ]
    assert await values(store) == {"free": b""}
    with pytest.raises(LeaseExpired):
        await store.keep_alive(lease)


async def test_lease_that_is_renewed_lives_on(
    store: Store, store_clock: trio.testing.MockClock | None
) -> None:
    kept, left = await store.grant(2), await store.grant(2)
    await write(store, Put("left", b"", leased=True), lease=left)
    written = await write(store, Put("kept", b"", leased=True), lease=kept)
    async with store.watch(from_revision=written + 1) as events, trio.open_nursery() as nursery:
        nursery.start_soon(_renew_for_ever, store, kept)
        assert await following(events, 1) == [
            Batch(revision=written + 1, puts=(), deletes=("left",))
        ]
        nursery.cancel_scope.cancel()
    assert await values(store) == {"kept": b""}
    assert await store.keep_alive(kept) >= 2


async def _renew_for_ever(store: Store, lease: int) -> None:
    while True:
        await store.keep_alive(lease)
        await trio.sleep(0.5)


async def test_lease_that_is_revoked_deletes_its_keys_at_one_revision(store: Store) -> None:
    lease = await store.grant(60)
    await write(store, Put("b", b"", leased=True), Put("a", b"", leased=True), lease=lease)
    before = (await store.read()).revision
    await store.revoke(lease)
    await store.revoke(lease)
    snapshot = await store.read(EVERYTHING)
    assert (snapshot.revision, snapshot.items) == (before + 1, ())


async def test_lease_has_less_left_than_it_was_granted_for_however_fresh_it_is(
    store: Store,
) -> None:
    lease = await store.grant(60)
    assert await store.lease_time(lease) == LeaseTime(granted_s=60, left_s=59)
    await store.keep_alive(lease)
    assert await store.lease_time(lease) == LeaseTime(granted_s=60, left_s=59)


async def test_lease_that_is_gone_has_no_time_left(store: Store) -> None:
    lease = await store.grant(60)
    await store.revoke(lease)
    with pytest.raises(LeaseExpired, match="has expired or was revoked"):
        await store.lease_time(lease)
    with pytest.raises(LeaseExpired):
        await store.lease_time(1234567)


async def test_lease_lets_go_of_a_key_that_is_written_without_it(store: Store) -> None:
    lease = await store.grant(60)
    await write(store, Put("a", b"", leased=True), Put("b", b"", leased=True), lease=lease)
    await write(store, Put("a", b"free"))
    await store.revoke(lease)
    assert await values(store) == {"a": b"free"}


async def test_lease_does_not_take_a_key_that_was_made_anew(store: Store) -> None:
    lease = await store.grant(60)
    await write(store, Put("a", b"", leased=True), lease=lease)
    await write(store, Delete("a"))
    await write(store, Put("a", b"anew"))
    await store.revoke(lease)
    assert await values(store) == {"a": b"anew"}


async def test_put_under_a_lease_that_is_gone_writes_nothing(store: Store) -> None:
    lease = await store.grant(60)
    await store.revoke(lease)
    with pytest.raises(LeaseExpired):
        await attempt(store, Put("a", b"", leased=True), Put("b", b""), lease=lease)
    assert await values(store) == {}


async def test_guard_that_fails_is_told_before_a_lease_that_is_gone(store: Store) -> None:
    lease = await store.grant(60)
    await store.revoke(lease)
    result = await attempt(
        store, Put("a", b"", leased=True), guards=(Present("nobody"),), lease=lease
    )
    assert isinstance(result, Lost)


async def test_leased_put_without_a_lease_is_a_mistake(store: Store) -> None:
    with pytest.raises(ValueError, match="without a lease"):
        await attempt(store, Put("a", b"", leased=True))


async def test_lease_without_time_to_live_is_a_mistake(store: Store) -> None:
    with pytest.raises(ValueError, match="at least 1 s"):
        await store.grant(0)


# ---------------------------------------------------------------------------------------- watches


async def test_watch_tells_what_was_and_what_comes_by_revision(store: Store) -> None:
    first = await write(store, Put("w/a", b"1"), Put("other", b""))
    await write(store, Put("other", b"2"))
    async with store.watch("w/", from_revision=first) as events:
        a = KeyValue(key="w/a", value=b"1", create_revision=first, mod_revision=first)
        assert await following(events, 1) == [Batch(revision=first, puts=(a,), deletes=())]
        last = await write(store, Delete("w/a"), Put("w/b", b"3"), Put("other", b""))
        b = KeyValue(key="w/b", value=b"3", create_revision=last, mod_revision=last)
        assert await following(events, 1) == [Batch(revision=last, puts=(b,), deletes=("w/a",))]


async def test_watch_from_a_revision_tells_nothing_older(store: Store) -> None:
    await write(store, Put("a", b"1"))
    second = await write(store, Put("a", b"2"))
    third = await write(store, Put("a", b"3"))
    async with store.watch(from_revision=second) as events:
        told = await following(events, 2)
    assert [event.revision for event in told] == [second, third]


async def test_watch_from_a_revision_to_come_waits_for_it(store: Store) -> None:
    now = await write(store, Put("a", b"1"))
    async with store.watch(from_revision=now + 2) as events:
        await write(store, Put("a", b"too early"))
        revision = await write(store, Put("a", b"2"))
        assert [event.revision for event in await following(events, 1)] == [revision]


async def test_watches_under_load_tell_every_revision_once_and_in_order(store: Store) -> None:
    start = (await store.read()).revision
    told: list[list[int]] = [[], [], []]

    async def follow(into: list[int]) -> None:
        async with store.watch("n/", from_revision=start + 1) as events:
            async for event in events:
                assert isinstance(event, Batch)
                into.extend(int(put.value) for put in event.puts)
                if len(into) == 300:
                    return

    async def count(worker: int) -> None:
        for n in range(100):
            await write(store, Put(f"n/{worker}", b"%d" % (worker * 1000 + n)))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for into in told:
                nursery.start_soon(follow, into)
            for worker in range(3):
                nursery.start_soon(count, worker)
    assert told[0] == told[1] == told[2]
    assert sorted(told[0]) == [w * 1000 + n for w in range(3) for n in range(100)]
    for worker in range(3):
        assert [n for n in told[0] if n // 1000 == worker] == sorted(
            n for n in told[0] if n // 1000 == worker
        )


async def test_watch_that_is_cancelled_goes_on_where_it_was(store: Store) -> None:
    start = (await store.read()).revision
    async with store.watch(from_revision=start + 1) as events:
        with trio.move_on_after(0.05) as scope:
            await anext(events)
        assert scope.cancelled_caught
        revision = await write(store, Put("a", b"1"))
        assert [event.revision for event in await following(events, 1)] == [revision]


async def test_watch_from_now_is_a_mistake(store: Store) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        async with store.watch(from_revision=0):
            pass


# ------------------------------------------------------------------------------------- compaction


async def test_watch_of_what_was_compacted_says_so_and_ends(store: Store) -> None:
    first = await write(store, Put("a", b"1"))
    await write(store, Put("a", b"2"))
    third = await write(store, Put("a", b"3"))
    await store.compact(third)
    async with store.watch(from_revision=first) as events:
        with trio.fail_after(10):
            assert [event async for event in events] == [Compacted(revision=third)]


async def test_watch_from_the_revision_compacted_to_still_tells_it(store: Store) -> None:
    await write(store, Put("a", b"1"))
    second = await write(store, Put("a", b"2"))
    await store.compact(second)
    async with store.watch(from_revision=second) as events:
        assert [event.revision for event in await following(events, 1)] == [second]


async def test_compaction_keeps_what_stands_and_forgets_what_stood(store: Store) -> None:
    first = await write(store, Put("a", b"1"), Put("gone", b""))
    await write(store, Delete("gone"))
    third = await write(store, Put("a", b"2"))
    await store.compact(third)
    await store.compact(third)
    assert [item.value for item in (await store.read(EVERYTHING, revision=third)).items] == [b"2"]
    with pytest.raises(RevisionCompacted):
        await store.read(EVERYTHING, revision=first)
    item = (await store.read(Range("a"))).items[0]
    assert (item.create_revision, item.mod_revision) == (first, third)


async def test_compaction_of_the_future_is_refused(store: Store) -> None:
    newest = (await store.read()).revision
    with pytest.raises(RevisionAhead):
        await store.compact(newest + 1)


# -------------------------------------------------------------------------------- quota and close


async def test_quota_is_a_small_fraction_of_an_almost_empty_store(store: Store) -> None:
    await write(store, Put("a", bytes(1000)))
    assert 0 < await store.quota() < 0.01


CALLS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "read": lambda store: store.read(EVERYTHING),
    "transact": lambda store: attempt(store, Put("a", b"1")),
    "grant": lambda store: store.grant(1),
    "keep_alive": lambda store: store.keep_alive(1),
    "revoke": lambda store: store.revoke(1),
    "compact": lambda store: store.compact(1),
    "quota": lambda store: store.quota(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
async def test_store_that_is_closed_refuses(
    store: Store, call: Callable[[Store], Awaitable[object]]
) -> None:
    await store.aclose()
    await store.aclose()
    with pytest.raises(StoreUnavailable, match="closed"):
        await call(store)


async def test_watch_of_a_store_that_is_closed_ends_with_an_error(store: Store) -> None:
    start = (await store.read()).revision
    refused = trio.Event()

    async def follow() -> None:
        async with store.watch(from_revision=start + 1) as events:
            with pytest.raises(StoreUnavailable, match="closed"):
                await anext(events)
            refused.set()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await trio.testing.wait_all_tasks_blocked()
            await store.aclose()
            await refused.wait()
