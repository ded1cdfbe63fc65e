"""Garbage over a real etcd: a day is over at once, and what nobody needs is gone."""

from __future__ import annotations

import trio
from attrs import evolve, frozen

from tests.coordinator.conftest import Begin
from tests.coordinator.world import World, until
from turnout.protocol import keys
from turnout.protocol.clock import SECOND, ClockNs, Instant, MonotonicNs
from turnout.protocol.tidying import TIDY_TIMER
from turnout.protocol.transactions import Range
from turnout.runtime.host import Clock


@frozen
class Ahead:
    """A clock of some hours later."""

    clock: Clock
    hours: int

    def now(self) -> Instant:
        now, by = self.clock.now(), self.hours * 3600 * SECOND
        return now._replace(
            monotonic_ns=MonotonicNs(now.monotonic_ns + by),
            clock_ns=ClockNs(now.clock_ns + by),
        )


async def stored(world: World, prefix: str) -> list[str]:
    async with world.store() as store:
        snapshot = await store.read(Range(prefix, prefix=True, keys_only=True))
    return [item.key.removeprefix(prefix) for item in snapshot.items]


async def forgotten(world: World) -> None:
    """Wait until the keys are gone; the tables went with them."""
    with trio.fail_after(10):
        while True:
            if not await stored(world, keys.REQUESTS):
                return
            await trio.sleep(0.05)


async def test_old_tables_and_keys_are_deleted_and_everything_goes_on(begin: Begin) -> None:
    world = await begin(coordinators=2)
    for drain_ms in (1000, 2000, 3000):
        table = world.table()
        services = tuple(evolve(s, drain_timeout_ms=drain_ms) for s in table.services)
        answer = await world.apply(evolve(table, services=services))
        await world.finished(answer.json()["epoch"])
        await world.all_good()
    assert len(await stored(world, keys.TABLES)) == 4
    leader = await world.leader()
    host = leader.running.replica.host
    clock = host._clock
    host._clock = Ahead(clock, 2)
    await until(lambda: not leader.state.following and leader.state.timers.armed(TIDY_TIMER))
    host._clock = Ahead(clock, 28)
    await forgotten(world)
    head = leader.state.head
    assert head is not None
    assert sorted(await stored(world, keys.TABLES)) == sorted([head.digest, head.base])
    await leader.stop()
    await world.all_good()
    for dry_run in (True, False):
        answer = await world.post(
            "/v1/rollbacks", {"undo": 2, "service": "search", "dry_run": dry_run}
        )
        assert answer.status_code == 404, answer.text
        assert "not in the store any more" in answer.json()["detail"]
    document = await world.finished((await world.switch("green")).json()["epoch"])
    assert document["outcome"] == "live"
