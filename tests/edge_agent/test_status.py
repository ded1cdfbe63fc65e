"""What an agent shows on its own loopback server, also with the control plane gone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import trio
from attrs import evolve
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from edge_agent.agent import Agent
from edge_agent.disk import MemoryDisk
from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.metrics import CountingWatcher, StateCollector
from edge_agent.narrator import Narrator
from edge_agent.status import status_app
from edge_agent.watcher import Watchers
from tests.edge_agent.edges import BLUE, GREEN, Edge, connected, leading
from tests.edge_agent.fake_coordinator import CHECKOUT, FakeCoordinator, until
from turnout.protocol.clock import SECOND
from turnout.protocol.messages import Progress
from turnout.protocol.routing import Colour, OnIsolation, RoutingTable


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def edge(registry: CollectorRegistry) -> Edge:
    return Edge(watcher=Watchers(Narrator(), CountingWatcher(registry)))


@pytest.fixture
async def leader(nursery: trio.Nursery, edge: Edge) -> AsyncIterator[FakeCoordinator]:
    async with leading(nursery, edge) as coordinator:
        yield coordinator


def client(agent: Agent, edge: Edge, registry: CollectorRegistry) -> httpx.AsyncClient:
    registry.register(StateCollector(agent))
    app = status_app(agent, edge.config, registry)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://agent")


async def samples(asked: httpx.AsyncClient) -> dict[str, float]:
    """Every sample of /metrics, by name and labels as they are written."""
    text = (await asked.get("/metrics")).text
    return {
        sample.name + "".join(f",{value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_status_and_metrics_of_a_switch(
    edge: Edge, leader: FakeCoordinator, registry: CollectorRegistry
) -> None:
    async with edge.running(leader.url) as agent, client(agent, edge, registry) as asked:
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
        edge.proxy.in_flight[CHECKOUT, Colour.BLUE] = 3
        await leader.switch(GREEN)
        await until(lambda: [d.in_flight for d in agent.state.drains] == [3])
        await until(lambda: agent.clock_bound_ns is not None)
        shown = (await asked.get("/status")).json()
        found = await samples(asked)
        assert (await asked.get("/healthz")).status_code == 200
        assert (await asked.get("/readyz")).text == "ready\n"
    assert shown["serving"] == {"incarnation": 1, "epoch": 2, "digest": GREEN.digest}
    assert shown["progress"] == "live"
    assert shown["isolated_s"] == 0
    assert shown["leader"] == {"url": leader.url, "term": 1}
    assert shown["journal"]["id"] == edge.disk.record.journal_id
    assert shown["drains"][0]["in_flight"] == 3
    assert shown["clock"]["bound_ms"] > 0
    assert found["turnout_agent_votes_total,yes,"] == 2
    assert found["turnout_agent_flips_total,false"] == 2
    assert found["turnout_agent_epoch,serving"] == 2
    assert found["turnout_agent_epoch,prepared"] == 0
    assert found["turnout_agent_progress,live"] == 1
    assert found["turnout_agent_progress,diverged"] == 0
    assert found["turnout_agent_in_flight,blue,checkout"] == 3
    assert found["turnout_agent_links_total"] == 1
    assert found["turnout_agent_proxy_up"] == 1
    assert found["turnout_agent_proving_seconds_count"] == 2
    assert found["turnout_agent_isolation_seconds"] == 0


async def test_isolated_agent_says_for_how_long_and_is_ready(
    edge: Edge, leader: FakeCoordinator, registry: CollectorRegistry
) -> None:
    async with edge.running(leader.url) as agent, client(agent, edge, registry) as asked:
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
        leader.stop()
        await until(lambda: not agent.state.linked)
        shown = (await asked.get("/status")).json()
        assert shown["leader"] is None
        assert (await samples(asked))["turnout_agent_isolation_seconds"] > 0
        assert (await asked.get("/readyz")).status_code == 200
        assert agent.state.progress is Progress.LIVE


async def test_services_that_ask_for_it_are_withdrawn_while_no_coordinator_is_heard(
    edge: Edge, leader: FakeCoordinator, registry: CollectorRegistry, nursery: trio.Nursery
) -> None:
    (service,) = BLUE.services
    asking = RoutingTable(services=(evolve(service, on_isolation=OnIsolation.WITHDRAW),))
    edge.withdraw_after_s = 0.3
    async with edge.running(leader.url) as agent, client(agent, edge, registry) as asked:
        await until(lambda: connected(leader))
        await leader.switch(asking)
        leader.stop()
        await until(lambda: edge.proxy.withdrawn == {CHECKOUT})
        assert (await asked.get("/status")).json()["withdrawn"] == [CHECKOUT]
        assert (await samples(asked))["turnout_agent_withdrawn"] == 1
        assert agent.state.progress is Progress.LIVE
        edge.proxy.crash()  # a proxy that restarts has forgotten it
        await until(lambda: edge.proxy.starts == 2 and edge.proxy.withdrawn == {CHECKOUT})
        await leader.start(nursery, int(leader.url.rpartition(":")[2]))
        await until(lambda: edge.proxy.withdrawn == frozenset())
        assert (await asked.get("/status")).json()["withdrawn"] == []


async def test_services_that_do_not_ask_are_never_withdrawn(
    edge: Edge, leader: FakeCoordinator
) -> None:
    edge.withdraw_after_s = 0.1
    async with edge.running(leader.url) as agent:
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
        leader.stop()
        await until(lambda: agent.isolated_ns > SECOND)
        assert agent.withdrawal.names == frozenset()


async def test_agent_whose_proxy_does_not_start_is_not_ready_and_says_why(
    edge: Edge, registry: CollectorRegistry
) -> None:
    edge.proxy.refuse("start", Refused(RefusalCode.PROXY_DOWN, "port taken"), times=1000)
    async with edge.running("http://127.0.0.1:9") as agent, client(agent, edge, registry) as asked:
        answer = await asked.get("/readyz")
        assert answer.status_code == 503
        assert "port taken" in answer.text
        assert (await asked.get("/healthz")).status_code == 200
        assert (await samples(asked))["turnout_agent_proxy_up"] == 0


async def test_agent_that_cannot_restore_its_table_is_not_ready(
    edge: Edge, leader: FakeCoordinator, registry: CollectorRegistry
) -> None:
    async with edge.running(leader.url):
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
    edge.proxy.live = None
    edge.proxy.refuse("stage", Refused(RefusalCode.DISK, "no room"), times=1000)
    async with edge.running("http://127.0.0.1:9") as agent, client(agent, edge, registry) as asked:
        await until(lambda: agent.state.trouble)
        answer = await asked.get("/readyz")
        assert answer.status_code == 503
        assert "epoch 1 is not served again yet: disk: no room" in answer.text


async def test_failed_disk_and_no_votes_are_counted(
    edge: Edge, leader: FakeCoordinator, registry: CollectorRegistry
) -> None:
    async with edge.running(leader.url) as agent, client(agent, edge, registry) as asked:
        await until(lambda: connected(leader))
        assert isinstance(edge.disk, MemoryDisk)
        edge.disk.fail("the disk is full")
        leader.tell(leader.prepare(BLUE))
        await until(lambda: leader.votes_of(1))
        found = await samples(asked)
    assert found["turnout_agent_votes_total,no,journal"] == 1
    assert found["turnout_agent_disk_failures_total"] == 1
