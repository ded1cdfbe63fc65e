"""The etcd store while real members are killed, paused and without quorum."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest
import trio

from turnout.protocol.transactions import (
    Absent,
    Lost,
    ModifiedAt,
    Put,
    Range,
    Transaction,
    Unknown,
    Won,
)
from turnout.runtime.etcd_server import (
    EtcdCluster,
    EtcdMemberProcess,
    EtcdSettings,
    running_etcd,
)
from turnout.runtime.store.contract import Batch, Compacted, LeaseTime, WatchEvent
from turnout.runtime.store.errors import StoreUnavailable
from turnout.runtime.store.etcd import EtcdStore

Connect: TypeAlias = Callable[..., EtcdStore]

pytestmark = pytest.mark.slow


def put(key: str, value: bytes = b"") -> Transaction:
    return Transaction(name="put", guards=(), writes=(Put(key, value),))


async def roles(cluster: EtcdCluster) -> dict[str, EtcdMemberProcess]:
    """The leader, and one of those who follow."""
    leader = await cluster.leader()
    follower = next(member for member in cluster.members if member is not leader)
    return {"leader": leader, "follower": follower}


def first(cluster: EtcdCluster, member: EtcdMemberProcess) -> list[EtcdMemberProcess]:
    """All members, this one first."""
    return [member, *(other for other in cluster.members if other is not member)]


async def count_up(store: EtcdStore, numbers: int, halfway: trio.Event) -> None:
    """Write the numbers to one key, each exactly once, whatever happens to the members."""
    revision = 0
    for number in range(numbers):
        if number == numbers // 2:
            halfway.set()
        written: int | None = None
        while written is None:
            written = await _write_once(store, number, revision)
        revision = written


async def _write_once(store: EtcdStore, number: int, revision: int) -> int | None:
    transaction = Transaction(
        name="count", guards=(ModifiedAt("n", revision),), writes=(Put("n", b"%d" % number),)
    )
    try:
        result = await store.transact(transaction)
    except StoreUnavailable:
        result = Unknown(reason="not sent")
    match result:
        case Won(revision=written):
            return written
        case Lost(found=found):
            assert found.items[0].value == b"%d" % number  # the one that was unknown
            return found.items[0].mod_revision
        case Unknown():
            await trio.sleep(0.02)
            return None


async def numbers_told(events: AsyncIterator[WatchEvent], last: int) -> list[int]:
    told: list[int] = []
    async for event in events:
        assert isinstance(event, Batch)
        told.extend(int(item.value) for item in event.puts)
        if told[-1] == last:
            break
    return told


async def eventually(call: Callable[[], Awaitable[object]]) -> object:
    """The answer, as soon as the store serves again."""
    with trio.fail_after(15):
        while True:
            try:
                if not isinstance(answer := await call(), Unknown):
                    return answer
            except StoreUnavailable:
                pass
            await trio.sleep(0.05)


@pytest.mark.parametrize("role", ["leader", "follower"])
@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_member_in_use_that_fails_costs_no_write_and_no_event(
    cluster: EtcdCluster, connect: Connect, role: str, fault: str
) -> None:
    victim = (await roles(cluster))[role]
    told: list[int] = []
    halfway = trio.Event()
    async with connect(*first(cluster, victim)) as store:
        start = (await store.read()).revision

        async def follow() -> None:
            async with store.watch("n", from_revision=start + 1) as events:
                told.extend(await numbers_told(events, last=119))

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follow)
                nursery.start_soon(count_up, store, 120, halfway)
                await halfway.wait()
                victim.kill() if fault == "kill" else victim.pause()
    assert told == list(range(120))


@pytest.mark.parametrize("role", ["leader", "follower"])
async def test_watch_on_a_paused_member_moves_on_without_any_event_to_wake_it(
    cluster: EtcdCluster, connect: Connect, role: str
) -> None:
    victim = (await roles(cluster))[role]
    others = [member for member in cluster.members if member is not victim]
    async with connect(*first(cluster, victim)) as store, connect(*others) as writer:
        before = await writer.transact(put("seen"))
        assert isinstance(before, Won)
        async with store.watch(from_revision=before.revision) as events:
            with trio.fail_after(10):
                assert isinstance(await anext(events), Batch)
                victim.pause()
                await eventually(lambda: writer.transact(put("after")))
                event = await anext(events)
    assert isinstance(event, Batch)
    assert event.puts[0].key == "after"


async def test_transaction_goes_past_an_endpoint_that_is_down(
    cluster: EtcdCluster, connect: Connect
) -> None:
    down = (await roles(cluster))["follower"]
    down.kill()
    async with connect(*first(cluster, down)) as store:
        assert isinstance(await store.transact(put("a")), Won)


async def test_store_without_quorum_says_so_in_time_and_recovers(
    cluster: EtcdCluster, connect: Connect
) -> None:
    survivor, *lost = cluster.members
    async with connect(survivor, *lost) as store:
        written = await store.transact(put("a", b"1"))
        assert isinstance(written, Won)
        async with store.watch(from_revision=written.revision + 1) as events:
            for member in lost:
                member.kill()
            with trio.fail_after(3):
                with pytest.raises(StoreUnavailable):
                    await store.read(Range("a"))
                with pytest.raises(StoreUnavailable):
                    await store.grant(5)
            with trio.fail_after(1):
                assert await _undecided(store, put("a", b"2"))
            cluster.start(*lost)
            await eventually(lambda: store.transact(put("b")))
            with trio.fail_after(10):
                async for event in events:
                    assert isinstance(event, Batch)
                    if event.puts[0].key == "b":
                        break
        assert (await store.read(Range("a"))).get("a") is not None


async def _undecided(store: EtcdStore, transaction: Transaction) -> bool:
    try:
        return isinstance(await store.transact(transaction), Unknown)
    except StoreUnavailable:
        return True


async def test_transaction_that_nobody_answers_is_unknown_and_sent_at_most_once(
    cluster: EtcdCluster, connect: Connect
) -> None:
    async with connect(*cluster.members) as store:
        before = (await store.read()).revision
        for member in cluster.members:
            member.pause()
        with trio.fail_after(3):
            result = await store.transact(put("a"))
            assert isinstance(result, Unknown)
            assert "did not answer in time" in result.reason
            with pytest.raises(StoreUnavailable):
                await store.read()
        for member in cluster.members:
            member.resume()
        await eventually(store.read)
        marker = Transaction(name="mark", guards=(Absent("mark"),), writes=(Put("mark", b""),))
        await eventually(lambda: store.transact(marker))
        snapshot = await store.read(Range("", prefix=True))
        a = 1 if snapshot.get("a") else 0
        assert snapshot.revision == before + a + 1


async def test_read_that_is_cancelled_returns_at_once_and_leaves_the_store_usable(
    cluster: EtcdCluster, connect: Connect
) -> None:
    async with connect(*cluster.members) as store:
        await store.read()
        for member in cluster.members:
            member.pause()
        with trio.fail_after(1), trio.move_on_after(0.05) as scope:
            await store.read()
        assert scope.cancelled_caught
        for member in cluster.members:
            member.resume()
        await eventually(store.read)


async def test_watch_that_missed_a_compaction_says_so(
    cluster: EtcdCluster, connect: Connect
) -> None:
    victim = (await roles(cluster))["follower"]
    others = [member for member in cluster.members if member is not victim]
    async with connect(*first(cluster, victim)) as store, connect(*others) as writer:
        await writer.transact(put("a"))
        seen = (await writer.read()).revision
        async with store.watch(from_revision=seen) as events:
            with trio.fail_after(10):
                assert isinstance(await anext(events), Batch)
                victim.kill()
                await eventually(lambda: writer.transact(put("a")))
                await eventually(lambda: writer.transact(put("a")))
                newest = (await writer.read()).revision
                await writer.compact(newest)
                assert [event async for event in events] == [Compacted(revision=newest)]
        listed = await store.read(Range("", prefix=True))
        async with store.watch(from_revision=listed.revision + 1) as events:
            await eventually(lambda: writer.transact(put("b")))
            with trio.fail_after(10):
                again = await anext(events)
        assert isinstance(again, Batch)


async def test_lease_is_kept_alive_across_the_death_of_the_leader(
    cluster: EtcdCluster, connect: Connect
) -> None:
    leader = (await roles(cluster))["leader"]
    async with connect(*first(cluster, leader)) as store:
        lease = await store.grant(10)
        hold = Transaction(name="hold", guards=(), writes=(Put("held", b"", leased=True),))
        await store.transact(hold, lease=lease)
        leader.kill()
        assert await eventually(lambda: store.keep_alive(lease)) == 10
        assert (await store.read(Range("held"))).get("held") is not None


async def test_lease_that_etcds_election_prolonged_has_more_left_until_it_is_renewed(
    tmp_path: Path, connect: Connect
) -> None:
    """By this a follower knows that a leader has died, and etcd's with it (election, rule 7)."""
    slow = EtcdSettings(heartbeat_ms=200, election_ms=2000)
    async with running_etcd(tmp_path, 3, slow) as cluster:
        leader = await cluster.leader()
        others = [other for other in cluster.members if other is not leader]
        async with connect(*others) as store:
            lease = await store.grant(10)
            assert await store.lease_time(lease) == LeaseTime(granted_s=10, left_s=9)
            leader.kill()
            prolonged = await eventually(lambda: store.lease_time(lease))
            assert isinstance(prolonged, LeaseTime)
            assert prolonged.left_s in (10, 11)
            await store.keep_alive(lease)
            assert await store.lease_time(lease) == LeaseTime(granted_s=10, left_s=9)


async def test_quota_is_told_by_the_members_that_are_left(
    cluster: EtcdCluster, connect: Connect
) -> None:
    async with connect(*cluster.members) as store:
        cluster.members[0].kill()
        await eventually(store.quota)
        assert 0 < await store.quota() < 0.01
        cluster.kill()
        with pytest.raises(StoreUnavailable):
            await store.quota()


async def test_store_that_is_closed_leaves_no_thread_behind(
    cluster: EtcdCluster, connect: Connect
) -> None:
    before = set(threading.enumerate())
    async with connect(*cluster.members) as store, store.watch(from_revision=1) as events:
        await store.transact(put("a"))
        await anext(events)
        cluster.members[0].pause()
        assert set(threading.enumerate()) > before
    with trio.fail_after(5):
        while set(threading.enumerate()) - before:  # noqa: ASYNC110 - gRPC's threads set no event
            await trio.sleep(0.02)
