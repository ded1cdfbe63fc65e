"""What an agent says of coordinators that will not have it, and of those that it does not believe."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import structlog
import trio
from attrs import evolve
from prometheus_client import CollectorRegistry
from structlog.testing import LogCapture
from structlog.typing import EventDict

from edge_agent.agent import Agent
from edge_agent.metrics import CountingWatcher, StateCollector
from edge_agent.narrator import Narrator
from edge_agent.status import status_app
from edge_agent.watcher import Watchers
from tests.edge_agent.edges import AGENT, BLUE, OTHER, Edge, connected, leading
from tests.edge_agent.fake_coordinator import DOMAIN, FakeCoordinator, until
from turnout.protocol.messages import Rebase
from turnout.protocol.records import Head, Incarnation, IncarnationRecord
from turnout.protocol.signing import signed
from turnout.runtime import problems

UNENROLLED = problems.UNKNOWN_AGENT.problem(
    "No agent 'eu-a' is enrolled: see `turnout agents add`."
)
NO_STREAM = "no stream to a coordinator"


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


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[EventDict]:
    capture = LogCapture()
    logger = structlog.wrap_logger(structlog.PrintLogger(), processors=[capture])
    for module in ("link", "narrator"):
        monkeypatch.setattr(f"edge_agent.{module}._log", logger)
    return capture.entries


def reasons(log: list[EventDict], event: str = NO_STREAM) -> list[str]:
    return [line["reason"] for line in log if line["event"] == event]


async def status_of(agent: Agent, edge: Edge) -> dict[str, str]:
    """What /status says of the coordinators."""
    app = status_app(agent, edge.config, CollectorRegistry())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as client:
        found: dict[str, str] = (await client.get("/status")).json()["coordinators"]
        return found


async def test_agent_with_a_wrong_key_says_so_once_shows_it_and_counts(
    edge: Edge, leader: FakeCoordinator, log: list[EventDict], registry: CollectorRegistry
) -> None:
    edge.signer = OTHER
    async with edge.running(leader.url) as agent:
        await until(lambda: len(leader.forged) > 2)
        trouble = (await status_of(agent, edge))["trouble"]
    assert reasons(log) == [trouble]
    assert "The signature does not match" in trouble
    sample = registry.get_sample_value(
        "turnout_agent_turned_away_total", {"reason": "bad-signature"}
    )
    assert sample is not None
    assert sample >= 2


async def test_reason_is_said_again_when_it_changes_and_after_the_agent_was_taken(
    edge: Edge, leader: FakeCoordinator, log: list[EventDict]
) -> None:
    leader.refuse = UNENROLLED
    async with edge.running(leader.url) as agent:
        await until(lambda: len(reasons(log)) == 1)
        leader.refuse = problems.NO_LEADER.problem("one is being elected")
        await until(lambda: len(reasons(log)) == 2)
        leader.refuse = None
        await until(lambda: connected(leader))
        assert (await status_of(agent, edge))["trouble"] == ""
        leader.refuse = UNENROLLED
        leader.streams[AGENT].close("restarted")
        await until(lambda: "turnout agents add" in reasons(log)[-1])
    first, second, *_, last = reasons(log)
    assert "turnout agents add" in first
    assert "one is being elected" in second
    assert last == first


@pytest.mark.parametrize(
    "nonsense", [[], "no", {"x": ""}, {"challenge": 1}, {"challenge": "x" * 200}]
)
async def test_leader_that_gives_no_challenge_is_told_of_and_tried_again(
    edge: Edge, leader: FakeCoordinator, log: list[EventDict], nonsense: object
) -> None:
    leader.nonsense = nonsense
    async with edge.running(leader.url):
        await until(lambda: len(leader.challenges) > 2)
        assert not leader.opened
        leader.nonsense = None
        await until(lambda: connected(leader))
    (told,) = reasons(log)
    assert "challenge" in told


async def test_replicas_that_refuse_for_different_reasons_are_each_told_once(
    edge: Edge, leader: FakeCoordinator, log: list[EventDict], registry: CollectorRegistry
) -> None:
    leader.refuse = UNENROLLED
    async with edge.running(leader.url, "http://127.0.0.1:9"):

        def refusals() -> float:
            labels = {"reason": "unknown-agent"}
            return registry.get_sample_value("turnout_agent_turned_away_total", labels) or 0

        await until(lambda: refusals() >= 3)
    assert len(reasons(log)) == 2


def test_replicas_that_a_redirect_may_name_without_end_are_not_remembered_without_end(
    edge: Edge, log: list[EventDict]
) -> None:
    link = edge.agent("http://127.0.0.1:9").link
    for number in range(1000):
        link.ended(f"http://replica-{number}", "refused")
    link.ended("http://replica-999", "refused")
    assert len(reasons(log)) == 1000
    link.ended("http://replica-0", "refused")
    assert len(reasons(log)) == 1001


async def test_messages_that_the_leader_will_not_have_are_told_once(
    edge: Edge, leader: FakeCoordinator, log: list[EventDict]
) -> None:
    async with edge.running(leader.url):
        await until(lambda: connected(leader))
        leader.refuse = problems.REPLAYED.problem("seen before")
        leader.tell(leader.prepare(BLUE))
        leader.tell(evolve(leader.prepare(BLUE), term=leader.term))
        await until(lambda: "seen before" in reasons(log, "not taken by the leader"))
    told = [(line["message"], line["reason"]) for line in log if "message" in line]
    assert len(told) == len(set(told))


async def test_agent_with_a_wrong_domain_key_says_so_on_both_sides(
    edge: Edge, leader: FakeCoordinator, log: list[EventDict], registry: CollectorRegistry
) -> None:
    edge.domain_key = OTHER.public_key
    async with edge.running(leader.url) as agent:
        registry.register(StateCollector(agent))
        await until(lambda: bool(leader.reports and leader.newest(AGENT).reason))
        told = leader.newest(AGENT).reason
        assert (await status_of(agent, edge))["mistrust"] == told
        assert registry.get_sample_value("turnout_agent_mistrust") == 1
        count = len(leader.reports)
        leader.tell(
            Rebase(record=signed(IncarnationRecord(incarnation=leader.incarnation), DOMAIN))
        )
        leader.tell(leader.sync())
        await until(lambda: len(leader.reports) > count)
    assert reasons(log, "the coordinators are not believed") == [told]
    assert f"domain_key, {OTHER.public_key[:16]}" in told
    assert edge.disk.record.incarnation is None


async def test_agent_of_another_history_says_so_and_serves_on(
    edge: Edge, leader: FakeCoordinator, log: list[EventDict]
) -> None:
    async with edge.running(leader.url):
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
    leader.incarnation = Incarnation(number=1, id="begun again")
    leader.head = signed(Head(incarnation=leader.incarnation), DOMAIN)
    async with edge.running(leader.url):
        await until(lambda: "another domain" in leader.newest(AGENT).reason)
    (told,) = reasons(log, "the coordinators are not believed")
    assert "incarnation 1 (begun again)" in told
    assert edge.epoch == 1
