"""One seed, one scenario: where everything stands, what operators do, and what goes wrong, all drawn.

Each kind of fault is in half of the seeds only: a run that suffers everything at once never gets far,
and what one fault hides another one shows (*swarm testing*, Groce and others, ISSTA 2012). A **safety
phase** of eight minutes has everything going wrong; then a random core heals *while the rest stays
broken*, and in the **liveness phase** L2 and L3 are counted from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve

from simulator import fault_kinds as kinds
from simulator import matrices
from simulator import operations as doing
from simulator.fault_kinds import KINDS, Fault, FaultKind
from simulator.matrices import Matrix
from simulator.moments import REACHED_BY, Point, ReachPoint
from simulator.operations import Do, Operation
from simulator.placement import Costs, Distances, fitting_timing
from simulator.population import ETCD_LEADER, FOLLOWERS, LEADER, Node, Role, Selector
from simulator.randomness import Randomness, Stream
from simulator.scenario import (
    ClocksSection,
    CoreSection,
    EtcdSection,
    NetworkSection,
    Scenario,
    TimingSection,
    Topology,
)
from turnout.protocol.clock import SECOND
from turnout.protocol.identifiers import Region, ServiceName
from turnout.protocol.routing import Colour

DURATION_S = 600.0
HEAL_S = 480.0
FIRST_S = 5.0
SERVICES = (ServiceName("checkout"), ServiceName("search"))

LEADERLESS = (FaultKind.CRASH, FaultKind.PAUSE, FaultKind.PARTITION)
"""What takes a leader away."""

RESTORE_SHARE = 0.05
"""Of the seeds, those whose store goes back: nothing is decided after it, so the rest is lost on them."""


def drawn(seed: int) -> Scenario:
    """The scenario of a seed: the same one whenever it is asked for."""
    chance = Randomness(seed).stream("swarm")
    topology, matrix = _topology(chance)
    nodes = topology.nodes(matrix.regions)
    core = _core(chance, nodes)
    operations = _operations(chance, nodes, topology.services)
    return Scenario(
        name=f"swarm-{seed}",
        seed=seed,
        duration_s=DURATION_S,
        topology=topology,
        timing=_timing(chance, topology, matrix),
        network=_network(chance),
        clocks=_clocks(chance),
        etcd=_etcd(chance),
        operation=operations,
        fault=(*_faults(chance, nodes), *_left_broken(chance, nodes, core)),
        core=core,
    )


# --- where everything stands -----------------------------------------------------------------------


def _topology(chance: Stream) -> tuple[Topology, Matrix]:
    name = chance.choice(("aws-19", "azure-24", "one-continent", "two-halves"))
    matrix = matrices.load(name)
    regions, per_region = _fleet(chance, matrix)
    home = chance.choice(matrix.regions)
    near = sorted(matrix.regions, key=lambda region: matrix.round_trip_ns(home, region))
    is_near = chance.random() < 0.75
    pool = near[:4] if is_near else list(matrix.regions)
    coordinators = [chance.choice(pool) for _ in range(chance.choice((1, 2, 2, 3, 3, 3)))]
    members = [chance.choice(pool) for _ in range(chance.choice((1, 2, 3, 3, 3, 3, 4, 5)))]
    topology = Topology(
        matrix=name,
        regions=tuple(regions),
        agents_per_region=per_region,
        coordinators=tuple(coordinators),
        etcd=tuple(members),
        services=SERVICES[: chance.choice((1, 1, 2))],
    )
    return topology, matrix


def _fleet(chance: Stream, matrix: Matrix) -> tuple[list[Region], int]:
    """Mostly 2 to 8 agents, sometimes about 24, rarely about 200."""
    size = chance.random()
    if size < 0.02:
        wanted, per_region = 10, 20
    elif size < 0.1:
        wanted, per_region = 8, 3
    else:
        wanted, per_region = chance.randint(2, 4), chance.randint(1, 2)
    wanted = min(wanted, len(matrix.regions))
    return chance.sample(list(matrix.regions), wanted), per_region


def _timing(chance: Stream, topology: Topology, matrix: Matrix) -> TimingSection:
    """Times that fit the map, as `turnout sim plan` would have them.

    Where not even they keep 30 s, the promise is what they come to, as a coordinator would ask for.
    """
    regions = [*topology.etcd, *topology.coordinators]
    spread_ns = max(matrix.round_trip_ns(a, b) for a in regions for b in regions)
    agents = topology.regions or matrix.regions
    far_ns = max(matrix.round_trip_ns(c, a) for c in topology.coordinators for a in agents)
    write_ns = Distances(matrix, Costs()).slowest_write_ns(topology.coordinators, topology.etcd)
    fitting = fitting_timing(far_ns, write_ns, spread_ns)
    return TimingSection(
        activation=chance.choice(("scheduled", "immediate")),
        prepare_timeout_s=fitting.prepare_timeout_ns / SECOND,
        election_s=fitting.election_ns / SECOND,
        lease_ttl_s=fitting.lease_ttl_ns / SECOND,
        undo_timeout_s=min(2.0, fitting.prepare_timeout_ns / SECOND),
        store_write_s=fitting.store_write_ns / SECOND,
        budget_s=max(fitting.budget_ns, fitting.worst_case_ns) / SECOND,
    )


def _network(chance: Stream) -> NetworkSection:
    return NetworkSection(
        spikes=chance.random() < 0.5,
        loss=chance.choice((0.0, 0.0, 0.001, 0.01, 0.03)),
        duplicates=chance.choice((0.0, 0.0, 0.01, 0.1)),
        stragglers=chance.choice((0.0, 0.0, 0.01, 0.05)),
    )


def _clocks(chance: Stream) -> ClocksSection:
    return ClocksSection(
        bound_ms=chance.choice((0.5, 2.0, 20.0)),
        claimed=chance.random() < 0.7,
        drift_ppm=chance.choice((0, 78, 250)),
    )


def _etcd(chance: Stream) -> EtcdSection:
    return EtcdSection(
        fsync_ms=chance.choice((1.0, 4.0, 20.0)),
        unheard=chance.choice((0.0, 0.0, 0.02, 0.1)),
        late=chance.choice((0.0, 0.0, 0.02, 0.1)),
    )


def _core(chance: Stream, nodes: Sequence[Node]) -> CoreSection:
    """A majority of etcd, a replica or more, and some of the agents."""
    members = [node.name for node in nodes if node.role is Role.ETCD]
    replicas = [node.name for node in nodes if node.role is Role.COORDINATOR]
    agents = [node.name for node in nodes if node.role is Role.AGENT]
    chosen = [
        *chance.sample(members, chance.randint(len(members) // 2 + 1, len(members))),
        *chance.sample(replicas, chance.randint(1, len(replicas))),
        *chance.sample(agents, chance.randint(1, len(agents))),
    ]
    if chance.random() < 0.25:
        chosen = [*members, *replicas, *agents]
    order = [node.name for node in nodes]
    named = sorted(set(chosen), key=order.index)
    return CoreSection(at_s=HEAL_S, node=tuple(Selector(name) for name in named))


# --- what operators do -----------------------------------------------------------------------------


def _operations(
    chance: Stream, nodes: Sequence[Node], services: Sequence[ServiceName]
) -> tuple[Operation, ...]:
    """Something every quarter of a minute or so; and a switch when the core has healed."""
    regions = list(dict.fromkeys(node.region for node in nodes if node.role is Role.AGENT))
    agents = [node.name for node in nodes if node.role is Role.AGENT]
    made: list[Operation] = []
    at_s, excluded = FIRST_S, []
    while at_s < HEAL_S - 20:
        service = chance.choice(services)
        operation = _operation(chance, round(at_s, 3), service, regions, agents)
        if isinstance(operation, doing.RegionOperation) and operation.do is Do.EXCLUDE:
            excluded.append(operation.region)
        made.append(operation)
        at_s += chance.uniform(2, 30)
    for place, region in enumerate(dict.fromkeys(excluded)):
        made.append(
            doing.RegionOperation(at_s=HEAL_S - 15 + place * 0.1, do=Do.INCLUDE, region=region)
        )
    made.append(_switch(chance, HEAL_S + 20, chance.choice(services)))
    made.append(_switch(chance, HEAL_S + 60, chance.choice(services)))
    return tuple(made)


def _switch(chance: Stream, at_s: float, service: ServiceName) -> Operation:
    return doing.SwitchOperation(
        at_s=at_s,
        do=Do.SWITCH,
        service=service,
        to=chance.choice(list(Colour)),
        activation=chance.choice(("scheduled", "immediate")),
        allow_stale=chance.choice((0, 0, 1, 100)),
        repeat=chance.choice((0, 0, 0, 2)),
    )


def _operation(
    chance: Stream,
    at_s: float,
    service: ServiceName,
    regions: Sequence[Region],
    agents: Sequence[str],
) -> Operation:
    die = chance.random()
    if die < 0.55:
        return _switch(chance, at_s, service)
    if die < 0.75:
        undo = chance.choice((None, None, None, chance.randint(1, 5)))
        return doing.RollbackOperation(at_s=at_s, do=Do.ROLLBACK, service=service, undo=undo)
    if die < 0.83:
        return doing.AbortOperation(at_s=at_s, do=Do.ABORT)
    if die < 0.88:
        return doing.ApplyOperation(at_s=at_s, do=Do.APPLY)
    if die < 0.96:
        do = chance.choice((Do.EXCLUDE, Do.INCLUDE, Do.INCLUDE))
        return doing.RegionOperation(at_s=at_s, do=do, region=chance.choice(regions))
    return doing.WaiveOperation(at_s=at_s, do=Do.WAIVE, node=Selector(chance.choice(agents)))


# --- what goes wrong -------------------------------------------------------------------------------


def _faults(chance: Stream, nodes: Sequence[Node]) -> tuple[Fault, ...]:
    """3 to 30 injections of those kinds that this seed has, and a few where it hurts most."""
    enabled = [kind for kind in FaultKind if chance.random() < 0.5]
    if FaultKind.ETCD_RESTORE in enabled and chance.random() > 2 * RESTORE_SHARE:
        enabled.remove(FaultKind.ETCD_RESTORE)
    if not enabled:
        return ()
    wanted = chance.randint(3, 30)
    faults = [_fault(chance, chance.choice(enabled), nodes) for _ in range(wanted)]
    delicate = [kind for kind in LEADERLESS if kind in enabled]
    if delicate:
        faults += [_takeover(chance, chance.choice(delicate)) for _ in range(chance.randint(0, 4))]
    for _ in range(chance.randint(0, 2)):
        faults += _at_an_edge(chance, enabled, nodes)
    return tuple(dict.fromkeys(faults))


def _at_an_edge(chance: Stream, enabled: Sequence[FaultKind], nodes: Sequence[Node]) -> list[Fault]:
    """What two deaths at once do to one edge, just when it votes or flips."""
    agents = [node.name for node in nodes if node.role is Role.AGENT]
    agent, switch = Selector(chance.choice(agents)), chance.randint(1, 15)
    made: list[Fault] = []
    if FaultKind.RESTART in enabled:
        when = ReachPoint(chance.choice((Point.FLIP, Point.FLIP, Point.VOTE)), agent)
        made.append(
            kinds.RestartFault(kind=FaultKind.RESTART, when=when, switch=switch, node=(agent,))
        )
    if FaultKind.PROXY_RESTART in enabled and FaultKind.PROXY_REFUSE_STAGE in enabled:
        when = ReachPoint(Point.VOTE, agent)
        made.append(
            kinds.InstantFault(
                kind=FaultKind.PROXY_RESTART, when=when, switch=switch, node=(agent,)
            )
        )
        made.append(
            kinds.NodeFault(
                kind=FaultKind.PROXY_REFUSE_STAGE,
                when=when,
                switch=switch,
                node=(agent,),
                for_s=5.0,
            )
        )
    return made


def _left_broken(chance: Stream, nodes: Sequence[Node], core: CoreSection) -> list[Fault]:
    """Most agents outside the core are gone for good before it heals, dead or cut off from all others."""
    made: list[Fault] = []
    for node in nodes:
        name = Selector(node.name)
        if node.role is Role.AGENT and name not in core.node and chance.random() < 0.7:
            at_s = round(HEAL_S - chance.uniform(0, 60), 3)
            if chance.random() < 0.5:
                made.append(kinds.NodeFault(kind=FaultKind.CRASH, at_s=at_s, node=(name,)))
            else:
                groups = ((name,), (Selector("*"),))
                made.append(kinds.LinkFault(kind=FaultKind.PARTITION, at_s=at_s, between=groups))
    return made


def _takeover(chance: Stream, kind: FaultKind) -> Fault:
    """The leader is gone for about as long as a failover takes, just when it writes or is voted for."""
    point = chance.choice((Point.ACCEPT_WRITE, Point.VOTE, Point.DECISION_WRITE, Point.DECISION))
    made: dict[str, Any] = {
        "kind": kind,
        "when": ReachPoint(point),
        "switch": chance.randint(1, 15),
        "for_s": round(chance.uniform(3.0, 20.0), 3),
    }
    if kind is FaultKind.PARTITION:
        made["between"] = ((LEADER,), (Selector("*"),))
    else:
        made["node"] = (LEADER,)
    fault: Fault = KINDS[kind].cls(**made)
    return fault


def _fault(chance: Stream, kind: FaultKind, nodes: Sequence[Node]) -> Fault:
    rule = KINDS[kind]
    names = [node.name for node in nodes if node.role in rule.roles]
    made: dict[str, Any] = {"kind": kind, **_moment(chance, nodes)}
    lasting = issubclass(rule.cls, kinds.Lasting)
    if lasting:
        made["for_s"] = _span_s(chance) if chance.random() < 0.9 else None
    if issubclass(rule.cls, kinds.LinkFault):
        made["between"] = _between(chance, nodes, names)
    elif issubclass(rule.cls, kinds.NodeFault | kinds.InstantFault | kinds.SwizzleFault):
        made["node"] = _victims(chance, names, rule.roles)
    made.update(_more(chance, kind))
    fault: Fault = rule.cls(**made)
    return fault


def _moment(chance: Stream, nodes: Sequence[Node]) -> dict[str, Any]:
    """At a moment, or at a point of some switch: just then things are at their most delicate."""
    if chance.random() < 0.5:
        return {"at_s": round(chance.uniform(1.0, HEAL_S - 10), 3)}
    point = chance.choice(list(Point))
    where = None
    if chance.random() < 0.5:
        fit = [node.name for node in nodes if node.role is REACHED_BY[point]]
        where = Selector(chance.choice(fit))
    after_ms = chance.choice((0.0, 0.0, round(chance.uniform(0, 500), 3)))
    return {
        "when": ReachPoint(point, where),
        "switch": chance.randint(1, 15),
        "after_ms": after_ms,
    }


def _span_s(chance: Stream) -> float:
    """From a tenth of a second to a minute and a half, short ones as likely as long ones."""
    return round(float(0.1 * 900 ** chance.random()), 3)


def _between(
    chance: Stream, nodes: Sequence[Node], names: Sequence[str]
) -> tuple[tuple[Selector, ...], ...]:
    """Two groups: some processes, a region, or a role, against some or everybody."""
    regions = list(dict.fromkeys(node.region for node in nodes))
    first: Sequence[str]
    die = chance.random()
    if die < 0.3:
        first = [chance.choice(regions)]
    elif die < 0.5:
        first = [chance.choice((LEADER, ETCD_LEADER, FOLLOWERS))]
    else:
        first = chance.sample(list(names), chance.randint(1, max(1, len(names) // 2)))
    second = (
        ["*"]
        if chance.random() < 0.6
        else chance.sample(list(names), chance.randint(1, len(names)))
    )
    return tuple(Selector(one) for one in first), tuple(Selector(one) for one in second)


def _victims(chance: Stream, names: Sequence[str], roles: frozenset[Role]) -> tuple[Selector, ...]:
    """One process mostly, now and then several; the leader more often than its share."""
    if Role.COORDINATOR in roles and chance.random() < 0.3:
        return (LEADER,)
    count = 1 if chance.random() < 0.75 else chance.randint(1, max(1, len(names) // 2))
    return tuple(Selector(name) for name in sorted(chance.sample(list(names), count)))


_OWN_KEYS: Mapping[FaultKind, Callable[[Stream], dict[str, Any]]] = {
    FaultKind.PARTIAL_PARTITION: lambda chance: {"share": round(chance.uniform(0.1, 0.9), 3)},
    FaultKind.LOSS: lambda chance: {"share": chance.choice((0.05, 0.2, 0.5))},
    FaultKind.LATENCY: lambda chance: {"add_ms": chance.choice((20.0, 300.0, 1500.0))},
    FaultKind.RESTART: lambda chance: {"down_ms": chance.choice((50.0, 200.0, 3000.0))},
    FaultKind.CLOCK_STEP: lambda chance: {"by_ms": chance.choice((-3.6e6, -500.0, 20.0, 3.6e6))},
    FaultKind.CLOCK_DRIFT: lambda chance: {"ppm": chance.choice((-500, -200, 200, 500))},
    FaultKind.CLOCK_LIE: lambda chance: {
        "by_ms": chance.choice((-2000.0, 100.0, 60_000.0)),
        "bound_ms": chance.choice((0.5, 10.0)),
    },
    FaultKind.DISK_SLOW: lambda chance: {"add_ms": chance.choice((5.0, 200.0, 2000.0))},
    FaultKind.ETCD_SLOW_FSYNC: lambda chance: {"add_ms": chance.choice((10.0, 150.0, 1500.0))},
    FaultKind.ETCD_RESTORE: lambda chance: {"epochs_back": chance.randint(1, 2)},
    FaultKind.PROXY_SLOW: lambda chance: {
        "add_ms": chance.choice((100.0, 1000.0, 4000.0)),
        "step": chance.choice(list(kinds.ProxyStep)),
    },
    FaultKind.PROXY_UNHEALTHY: lambda chance: {"colour": chance.choice(list(Colour))},
    FaultKind.HERD: lambda chance: {"handshakes": chance.choice((50, 500))},
    FaultKind.REPLAY: lambda _chance: {},
}


def _more(chance: Stream, kind: FaultKind) -> dict[str, Any]:
    """The keys that only this kind has."""
    own = _OWN_KEYS.get(kind)
    return own(chance) if own else {}


def without(scenario: Scenario, *, faults: Sequence[Fault]) -> Scenario:
    """The same scenario with these faults only: chance is drawn by name, so nothing else moves."""
    return evolve(scenario, fault=tuple(faults))
