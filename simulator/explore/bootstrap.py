"""A domain in good order to start exploring from, made by the machines themselves.

The leader is elected, agents are enrolled and good, the first table is live everywhere; all of it
by the same steps as later, taken one after another. Then the network is emptied.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from attrs import evolve

from simulator.explore.nodes import DOMAIN, AgentHost, AgentNode, ReplicaHost, agent_key, far
from simulator.explore.steps import Step, StepKind, Steps
from simulator.explore.store import FakeStore
from simulator.explore.world import Budget, Space, World
from turnout.protocol import keys
from turnout.protocol.codec import canonical_bytes
from turnout.protocol.coordinator_state import CoordinatorState
from turnout.protocol.events import EnrolRequested, Requested
from turnout.protocol.frozenmap import FrozenMap
from turnout.protocol.identifiers import AgentId, Region, ReplicaId, ServiceName
from turnout.protocol.records import Incarnation, IncarnationRecord, Kind, Request
from turnout.protocol.routing import (
    Backends,
    Colour,
    RegionBackends,
    RoutingTable,
    Service,
    Weights,
)
from turnout.protocol.signing import signed
from turnout.protocol.transactions import KeyValue

CHECKOUT = ServiceName("checkout")


def table(regions: tuple[str, ...], *, port: int = 80) -> RoutingTable:
    """One service, with one backend a colour in each region."""
    backends = tuple(
        RegionBackends(
            region=Region(region),
            blue=Backends(addresses=(f"10.0.0.1:{port}",)),
            green=Backends(addresses=(f"10.0.1.1:{port}",)),
        )
        for region in sorted(regions)
    )
    service = Service(
        name=CHECKOUT,
        hosts=("checkout.example",),
        weights=Weights.all_to(Colour.BLUE),
        backends=backends,
    )
    return RoutingTable(services=(service,))


def apply(port: int, key: str, *, agents: int = 2) -> Requested:
    """A request for a table of its own: another port, another digest."""
    regions = tuple(f"region-{i}" for i in range(agents))
    request = Request(key=key, kind=Kind.APPLY, table=table(regions, port=port))
    return Requested(ticket=3, request=request)


def switch(to: Colour, key: str) -> Requested:
    """A request for a switch of the one service."""
    request = Request(key=key, kind=Kind.SWITCH, service=CHECKOUT, to=to)
    return Requested(ticket=1, request=request)


def rollback(key: str) -> Requested:
    """A request to roll the one service back."""
    return Requested(ticket=2, request=Request(key=key, kind=Kind.ROLLBACK, service=CHECKOUT))


def empty_domain() -> FakeStore:
    """A store that holds a signed incarnation and nothing else."""
    incarnation = Incarnation(number=1, id="first")
    record = signed(IncarnationRecord(incarnation=incarnation), DOMAIN)
    entry = KeyValue(
        key=keys.INCARNATION,
        value=canonical_bytes(record),
        create_revision=1,
        mod_revision=1,
    )
    return FakeStore(items=FrozenMap({keys.INCARNATION: entry}))


def make_space(replicas: int, agents: int, *, prompt_proxies: bool = False) -> Space:
    """Hosts for a world of this size, each agent in a region of its own."""
    return Space(
        tuple(ReplicaHost(ReplicaId(f"r{i}")) for i in range(replicas)),
        tuple(AgentHost(AgentId(f"a{i}"), Region(f"region-{i}")) for i in range(agents)),
        prompt_proxies=prompt_proxies,
    )


def in_good_order(space: Space) -> World:
    """Elect, enrol, and apply the first table; return the world at rest."""
    nodes, net = [], 0
    for host in space.agents:
        node = AgentNode(agent=host.agent, region=host.region)
        node, sent = host.restart(node)
        node = evolve(node, state=evolve(node.state, timers=far(node.state.timers)))
        nodes.append(space.nodes(node))
        for message in sent:
            net |= space.bit(-1, message)
    world: World = (
        space.stores(empty_domain()),
        tuple(space.states(CoordinatorState()) for _ in space.replicas),
        tuple(nodes),
        net,
        (),
        space.budgets(Budget(elections=(0,))),
    )
    elected = _first(space, world, lambda step: step.kind is StepKind.REPLICA_IS_ELECTED)
    assert elected is not None
    world = at_rest(space, elected)
    for host in space.agents:
        agent = host.agent
        event = EnrolRequested(
            ticket=0,
            agent=agent,
            region=host.region,
            public_key=agent_key(agent).public_key,
            actor="",
        )
        world = at_rest(space, space.replica_step(world, 0, event))
        world = at_rest(space, world)  # now that it is enrolled, its report counts
    first = apply(80, "first", agents=len(space.agents))
    return at_rest(space, space.replica_step(world, 0, first))


def at_rest(space: Space, world: World, *, limit: int = 5000) -> World:
    """Deliver every parcel once, carry out and answer everything, until there is nothing left.

    No deadline fires and nothing is lost: how a calm world ends.
    """
    delivered = 0
    for _ in range(limit):
        fresh = world[3] & ~delivered
        number = (fresh & -fresh).bit_length() - 1
        if fresh:
            delivered |= 1 << number
        calm = (*world[:5], space.budgets(Budget()))
        after = _first(space, calm, partial(_is_calm, parcel=number if fresh else None))
        if after is not None:
            world = (*after[:5], world[5])
        elif not fresh:
            return world
    raise AssertionError("the world does not come to rest")


def _is_calm(step: Step, parcel: int | None) -> bool:
    """Whether a step delivers this parcel or, where there is none, ends something under way."""
    if parcel is None:
        return step.kind in (StepKind.STORE_ANSWERS, StepKind.AGENT_FINISHES) and not step.cut
    heard = step.kind in (StepKind.AGENT_HEARS, StepKind.REPLICA_HEARS)
    return heard and step.number == parcel and not step.cut


def _first(space: Space, world: World, is_wanted: Callable[[Step], bool]) -> World | None:
    return next((after for step, after in Steps(space)(world) if is_wanted(step)), None)
