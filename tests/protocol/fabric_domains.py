"""Domains to begin a story in, made by the machines themselves."""

from __future__ import annotations

from functools import cache

from attrs import evolve

from simulator.explore.bootstrap import CHECKOUT, empty_domain, table
from simulator.explore.nodes import AgentNode, agent_key
from simulator.explore.store import FakeStore
from tests.protocol.fabric import Fabric
from turnout.protocol.clock import SECOND
from turnout.protocol.effects import Accepted
from turnout.protocol.events import EnrolRequested
from turnout.protocol.identifiers import AgentId, Epoch, Region, ReplicaId
from turnout.protocol.records import Kind, Mode, Request
from turnout.protocol.routing import AfterDrain, Colour, RoutingTable

REGIONS = ("eu", "us")
AGENTS = {AgentId("a0"): Region("eu"), AgentId("a1"): Region("eu"), AgentId("a2"): Region("us")}


def switch(to: Colour, key: str, activation: Mode = Mode.IMMEDIATE) -> Request:
    """A switch of the one service."""
    return Request(key=key, kind=Kind.SWITCH, service=CHECKOUT, to=to, activation=activation)


def rollback(key: str, undo: Epoch | None = None) -> Request:
    """A rollback of the one service."""
    return Request(key=key, kind=Kind.ROLLBACK, service=CHECKOUT, undo=undo)


def first_table() -> RoutingTable:
    """One service with backends everywhere, all on blue."""
    return table(REGIONS)


def apply(key: str, wanted: RoutingTable | None = None) -> Request:
    """An apply of a table, the first one if none is named."""
    return Request(key=key, kind=Kind.APPLY, table=wanted or first_table())


def enrol(fabric: Fabric, agent: AgentId) -> None:
    """Enrol an agent, in the region that it is in."""
    edge = fabric.edges[agent]
    fabric.ask(
        f"enrol {agent}",
        lambda ticket: EnrolRequested(
            ticket=ticket,
            agent=agent,
            region=edge.node.region,
            public_key=agent_key(agent).public_key,
            actor="op",
        ),
    )


def empty(seed: int = 0) -> Fabric:
    """A domain whose agents are enrolled and good, and that has no table yet."""
    nodes = [AgentNode(agent=agent, region=region) for agent, region in AGENTS.items()]
    fabric = Fabric(empty_domain(), nodes, seed=seed)
    fabric.elect(ReplicaId("r0"))
    for agent in AGENTS:
        enrol(fabric, agent)
    assert fabric.run_until(lambda: len(fabric.witness.fleet.good) == 3, 30 * SECOND)
    return fabric


def in_good_order(seed: int = 0) -> Fabric:
    """A domain whose first table is live everywhere, epoch 1."""
    fabric = empty(seed)
    wish = fabric.request(apply("first"))
    assert fabric.run_until(lambda: is_over(fabric, Epoch(1)), 30 * SECOND)
    assert wish.answer == Accepted(epoch=Epoch(1))
    fabric.run_for(2 * SECOND)
    return fabric


def is_over(fabric: Fabric, epoch: Epoch) -> bool:
    """Whether the epoch has an outcome."""
    return f"outcomes/{epoch:012d}" in fabric.store.items


def soon_released() -> RoutingTable:
    """The first table, but that a source which is left is soon drained, closed and scaled down."""
    (service,) = first_table().services
    brief = evolve(service, drain_timeout_ms=2000, retain_ms=500, after_drain=AfterDrain.CLOSE)
    return RoutingTable(services=(brief,))


@cache
def _left_behind() -> tuple[FakeStore, tuple[AgentNode, ...]]:
    fabric = in_good_order()
    fabric.request(apply("second", soon_released()))
    assert fabric.run_until(lambda: is_over(fabric, Epoch(2)), 30 * SECOND)
    fabric.run_for(2 * SECOND)
    return fabric.store, tuple(edge.node for edge in fabric.edges.values())


def after_a_power_cut(seed: int) -> Fabric:
    """A domain in good order of which everything starts from its disk, and nobody leads yet."""
    store, nodes = _left_behind()
    return Fabric(store, nodes, seed=seed)
