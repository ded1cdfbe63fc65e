"""Edges for tests of the agent: disk, proxy and key in memory, and an agent run over them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from attrs import define, field

from edge_agent.agent import Agent, AgentParts
from edge_agent.disk import Disk, MemoryDisk
from edge_agent.drivers.memory import MemoryDriver, MemoryProxy
from edge_agent.watcher import Watcher
from edge_agent.withdrawal import AFTER_S
from tests.edge_agent.fake_coordinator import DOMAIN, REGION, FakeCoordinator, table_of
from turnout.protocol.clock import MS
from turnout.protocol.identifiers import AgentId, Epoch
from turnout.protocol.limits import Timing
from turnout.protocol.participant_state import ParticipantConfig
from turnout.protocol.routing import Colour
from turnout.protocol.signing import Ed25519Signer, Ed25519Verifier
from turnout.runtime.clock import SystemClock

AGENT = AgentId("eu-a")
OTHER = Ed25519Signer.from_seed(bytes(31) + b"x")
BLUE, GREEN = table_of(Colour.BLUE), table_of(Colour.GREEN)

# As in production, but for waits that a test would only sit through.
TIMING = Timing(retry_ns=50 * MS, streams_per_replica=1)


@define(kw_only=True)
class Edge:
    """What outlives an agent: its disk, its proxy, its key, whom it believes."""

    name: AgentId = AGENT
    disk: Disk = field(factory=MemoryDisk)
    proxy: MemoryProxy = field(factory=MemoryProxy)
    signer: Ed25519Signer = field(factory=lambda: Ed25519Signer.from_seed(bytes(31) + b"a"))
    watcher: Watcher = field(factory=Watcher)
    domain_key: str = DOMAIN.public_key
    withdraw_after_s: float = AFTER_S

    @property
    def config(self) -> ParticipantConfig:
        return ParticipantConfig(
            agent=self.name, region=REGION, domain_key=self.domain_key, timing=TIMING
        )

    def agent(self, *urls: str) -> Agent:
        return Agent(
            AgentParts(
                config=self.config,
                coordinators=urls,
                signer=self.signer,
                verifier=Ed25519Verifier(),
                disk=self.disk,
                driver=MemoryDriver(self.proxy),
                clock=SystemClock(),
                watcher=self.watcher,
                withdraw_after_s=self.withdraw_after_s,
            )
        )

    @asynccontextmanager
    async def running(self, *urls: str) -> AsyncIterator[Agent]:
        """An agent that is killed at the end: nothing of it but disk and proxy remains."""
        agent = self.agent(*urls)
        async with trio.open_nursery() as nursery:
            await nursery.start(agent.run)
            yield agent
            nursery.cancel_scope.cancel()

    @property
    def epoch(self) -> Epoch | None:
        return self.proxy.live.epoch if self.proxy.live else None


def connected(leader: FakeCoordinator) -> bool:
    """Whether the agent has opened a stream, been rebased, and reported since."""
    reports = [r for r in leader.reports if r.incarnation == leader.incarnation]
    return AGENT in leader.streams and bool(reports)


@asynccontextmanager
async def leading(nursery: trio.Nursery, *edges: Edge) -> AsyncIterator[FakeCoordinator]:
    """A leader that these edges are enrolled with."""
    coordinator = FakeCoordinator()
    for edge in edges:
        coordinator.keys[edge.name] = edge.signer.public_key
    await coordinator.start(nursery)
    yield coordinator
    coordinator.stop()
