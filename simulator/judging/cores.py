"""Which part of the world can be held to the promises of liveness, and from when."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from simulator.fault_kinds import Fault, FaultKind
from simulator.judging.course import Core
from simulator.population import Node, Role, role_of
from simulator.process import NodeName
from simulator.scenario import CoreSection
from turnout.protocol.clock import SECOND
from turnout.protocol.identifiers import AgentId

START_NS = 5 * SECOND
"""A world that starts everywhere at once has a leader and its agents by then."""


@frozen(kw_only=True)
class Befell:
    """A fault as it was injected.

    Attributes:
        nodes: whom it touches; ``hurt``: whom it keeps out of a core.
        groups: the two groups between which it is, of a fault of links.
        until_ns: None: it has not healed.
    """

    fault: Fault
    nodes: tuple[NodeName, ...]
    hurt: tuple[NodeName, ...]
    groups: tuple[tuple[NodeName, ...], ...] = ()
    since_ns: int
    until_ns: int | None


def named_core(
    section: CoreSection,
    names: Sequence[NodeName],
    nodes: Sequence[Node],
    agents: Sequence[AgentId],
) -> Core:
    """The core that a scenario names."""
    well = [agent for agent in agents if NodeName(f"{Role.AGENT} {agent}") in names]
    is_whole = len(names) == sum(node.role is not Role.OPERATOR for node in nodes)
    return Core(agents=tuple(well), healed_ns=section.at_ns, is_whole=is_whole)


def core_of(
    nodes: Sequence[Node], befell: Sequence[Befell], agents: Sequence[AgentId]
) -> Core | None:
    """The core that works at the end, and since when; None where none does."""
    if _is_tolerated(nodes, befell):
        return Core(agents=tuple(agents), healed_ns=0, is_whole=True)
    hurt = {name for one in befell if one.until_ns is None for name in one.hurt}
    if not _control_plane_works(nodes, hurt):
        return None
    well = [agent for agent in agents if NodeName(f"{Role.AGENT} {agent}") not in hurt]
    healed_ns = max((one.until_ns for one in befell if one.until_ns is not None), default=0)
    begun_ns = max((one.since_ns for one in befell), default=0)
    return Core(
        agents=tuple(well),
        healed_ns=max(healed_ns, begun_ns, START_NS),
        is_whole=not hurt,
    )


def _control_plane_works(nodes: Sequence[Node], hurt: set[NodeName]) -> bool:
    """Whether a majority of etcd and a replica are well."""
    members = [node.name for node in nodes if node.role is Role.ETCD]
    replicas = [node.name for node in nodes if node.role is Role.COORDINATOR]
    well = sum(name not in hurt for name in members)
    return 2 * well > len(members) and any(name not in hurt for name in replicas)


_ONE_DEATH = frozenset(
    {
        FaultKind.CRASH,
        FaultKind.RESTART,
        FaultKind.ETCD_LEADER_CRASH,
        FaultKind.ETCD_MEMBER_CRASH,
        FaultKind.PROXY_RESTART,
    }
)


def _is_tolerated(nodes: Sequence[Node], befell: Sequence[Befell]) -> bool:
    """Whether L1 is promised through all of this: one death of each kind of process, no more.

    An agent must be started again; a replica or a member of etcd need not, if others are left.
    """
    deaths = dict.fromkeys(Role, 0)
    for one in befell:
        if one.fault.kind not in _ONE_DEATH:
            return False
        for name in one.nodes:
            deaths[role_of(name)] += 1
        is_agent = any(name.startswith(f"{Role.AGENT} ") for name in one.nodes)
        if is_agent and (one.until_ns is None or one.until_ns - one.since_ns > SECOND):
            return False
    members = sum(node.role is Role.ETCD for node in nodes)
    replicas = sum(node.role is Role.COORDINATOR for node in nodes)
    return (
        deaths[Role.AGENT] <= 1
        and deaths[Role.COORDINATOR] <= min(1, replicas - 1)
        and deaths[Role.ETCD] <= min(1, (members - 1) // 2)
    )
