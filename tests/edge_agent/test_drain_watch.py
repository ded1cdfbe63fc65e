"""Counting a source down: what is told, what is doubted, and what a proxy's restart does to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from attrs import define, field

from edge_agent.drain_watch import DrainWatch
from edge_agent.drivers.base import RETRY_INTERVAL_S, RefusalCode, Refused
from edge_agent.drivers.memory import MemoryDriver, MemoryProxy
from edge_agent.proxy_work import ProxyWork
from edge_agent.table_shelf import TableShelf
from tests.edge_agent.fake_coordinator import until
from tests.edge_agent.proxy_harness import (
    BLUE,
    GREEN,
    PATIENCE_S,
    REGION,
    Harness,
    active,
    make_service,
    make_table,
)
from turnout.protocol.effects import WatchDrain
from turnout.protocol.events import AgentEvent, InFlight, ProxyRestarted
from turnout.protocol.identifiers import Epoch, ServiceName
from turnout.protocol.limits import Timing
from turnout.protocol.records import SignedTable
from turnout.protocol.routing import Colour, RoutingTable, Service
from turnout.runtime.clock import SystemClock

CHECKOUT = ServiceName("checkout")
DOWN = None


class ScriptedDriver(MemoryDriver):
    """Reads what it was given, one reading after another; then the last one for ever."""

    def __init__(self, readings: Iterable[int | None]) -> None:
        super().__init__(MemoryProxy())
        self.read_at: list[float] = []
        self._readings = list(readings)

    async def in_flight(self, service: Service, colour: Colour) -> int:  # noqa: ARG002
        await trio.lowlevel.checkpoint()
        self.read_at.append(trio.current_time())
        reading = self._readings.pop(0) if len(self._readings) > 1 else self._readings[0]
        if reading is DOWN:
            raise Refused(RefusalCode.PROXY_DOWN, "nobody to ask")
        return reading


@define
class Ear:
    """Hears what a watch tells."""

    heard: list[AgentEvent] = field(factory=list)

    async def tell(self, event: AgentEvent) -> None:
        await trio.lowlevel.checkpoint()
        self.heard.append(event)

    @property
    def counts(self) -> list[int]:
        return [event.count for event in self.heard if isinstance(event, InFlight)]


def shelf_with(table: RoutingTable) -> TableShelf:
    shelf = TableShelf()
    shelf.put(SignedTable(table=table))
    shelf.active = table.digest
    return shelf


async def counts_told(driver: ScriptedDriver) -> list[int]:
    """What a watch tells in a minute."""
    ear = Ear()
    shelf = shelf_with(make_table(make_service()))
    watch = DrainWatch(driver, shelf, ear.tell, is_up=lambda: True)
    async with trio.open_nursery() as nursery:
        watch.begin(nursery, CHECKOUT, BLUE)
        await trio.sleep(60)
        watch.stop(CHECKOUT, BLUE)
    return ear.counts


@pytest.mark.parametrize(
    ("readings", "told"),
    [
        pytest.param([2, 2, 1, 0], [2, 1, 0], id="counts down"),
        pytest.param([0], [0], id="was never busy"),
        pytest.param([1, 0, 1, 0, 1], [1], id="a request pauses between tries"),
        pytest.param([0, 1, 0, 0, 5], [1, 0, 5], id="a pause, then really empty, then not"),
        pytest.param([1, 0, DOWN, 0, 2], [1, 2], id="the proxy was down between two zeros"),
        pytest.param([3, DOWN, DOWN, 0], [3, 0], id="the proxy came back without its requests"),
    ],
)
async def test_zero_is_told_once_it_was_read_twice_in_a_row(
    autojump_clock: trio.testing.MockClock,
    readings: list[int | None],
    told: list[int],
) -> None:
    assert await counts_told(ScriptedDriver(readings)) == told


async def test_readings_are_further_apart_than_a_request_pauses_between_tries(
    autojump_clock: trio.testing.MockClock,
) -> None:
    driver = ScriptedDriver([0])
    await counts_told(driver)
    first, second = driver.read_at[:2]
    assert second - first > RETRY_INTERVAL_S


async def test_nobody_is_asked_while_the_proxy_is_being_started(
    autojump_clock: trio.testing.MockClock,
) -> None:
    driver, ear = ScriptedDriver([4]), Ear()
    is_up = False
    shelf = shelf_with(make_table(make_service()))
    watch = DrainWatch(driver, shelf, ear.tell, is_up=lambda: is_up)
    async with trio.open_nursery() as nursery:
        watch.begin(nursery, CHECKOUT, BLUE)
        await trio.sleep(10)
        assert not driver.read_at
        is_up = True
        await trio.sleep(10)
        watch.stop(CHECKOUT, BLUE)
    assert ear.counts == [4]


@asynccontextmanager
async def working(proxy: Harness, table: RoutingTable) -> AsyncIterator[tuple[ProxyWork, Ear]]:
    """The agent's work on a proxy that serves this table."""
    ear = Ear()
    work = ProxyWork(
        proxy.driver,
        shelf_with(table),
        REGION,
        tell=ear.tell,
        clock=SystemClock(),
        timing=Timing(),
    )
    await work.start_proxy()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work.run)
        await trio.testing.wait_all_tasks_blocked()
        yield work, ear
        nursery.cancel_scope.cancel()


async def test_drain_goes_on_being_watched_after_the_proxy_restarted(proxy: Harness) -> None:
    await proxy.serve(1, proxy.table(BLUE), incarnation=2)
    await proxy.hold_request(BLUE)
    green = proxy.table(GREEN)
    await proxy.serve(2, green, incarnation=2)
    async with working(proxy, green) as (work, ear):
        work.begin(WatchDrain(epoch=Epoch(2), service=CHECKOUT, colour=BLUE))
        await until(lambda: ear.counts == [1])
        proxy.kill_proxy()
        await until(lambda: ear.counts == [1, 0], within_s=PATIENCE_S)
    restarts = [event for event in ear.heard if isinstance(event, ProxyRestarted)]
    assert restarts == [ProxyRestarted(serving=active(2, green, incarnation=2))]
