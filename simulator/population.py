"""Who takes part in a run: every process by name, and who is meant by a selector.

A selector names one process (``agent eu-west-1/1``), all that are in a region (``eu-west-1``), all
there are (``*``), or a role that moves about (``leader``), which is looked up when it is used.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NewType

from attrs import frozen

from simulator.process import NodeName
from turnout.protocol.identifiers import AgentId, Region

Selector = NewType("Selector", str)
"""``agent eu-west-1/1``, ``eu-west-1``, ``*``, ``leader``, ``etcd-leader``, ``followers``."""

EVERYONE = Selector("*")
LEADER = Selector("leader")
ETCD_LEADER = Selector("etcd-leader")
FOLLOWERS = Selector("followers")


class Role(enum.StrEnum):
    """What a process is."""

    AGENT = "agent"
    COORDINATOR = "coordinator"
    ETCD = "etcd"
    OPERATOR = "operator"


MOVING: Mapping[Selector, Role] = {
    LEADER: Role.COORDINATOR,
    FOLLOWERS: Role.COORDINATOR,
    ETCD_LEADER: Role.ETCD,
}
"""The selectors whose meaning changes during a run, and what kind of process they mean."""


@frozen(kw_only=True)
class Node:
    """One process, before it runs."""

    name: NodeName
    role: Role
    region: Region


def role_of(name: NodeName) -> Role:
    """What a process is, by its name."""
    return Role(name.partition(" ")[0])


def agent_id(region: Region, number: int) -> AgentId:
    """The id of a region's agent; they are counted from 1."""
    return AgentId(f"{region}/{number}")


def agents_of(regions: Sequence[Region], per_region: int) -> Iterator[Node]:
    """So many agents in each region: ``agent eu-west-1/1``."""
    for region in regions:
        for number in range(1, per_region + 1):
            name = NodeName(f"{Role.AGENT} {agent_id(region, number)}")
            yield Node(name=name, role=Role.AGENT, region=region)


def placed(role: Role, regions: Sequence[Region]) -> Iterator[Node]:
    """One process for each entry: ``etcd us-east-1``, numbered (``/2``) where a region has several."""
    met: dict[Region, int] = {}
    for region in regions:
        met[region] = met.get(region, 0) + 1
        number = f"/{met[region]}" if regions.count(region) > 1 else ""
        yield Node(name=NodeName(f"{role} {region}{number}"), role=role, region=region)


def select(
    selectors: Iterable[Selector],
    nodes: Sequence[Node],
    moving: Mapping[Selector, Sequence[NodeName]] | None = None,
) -> tuple[NodeName, ...]:
    """Every process that the selectors mean, once each, in the order of ``nodes``.

    ``moving`` says who has which moving role; without it, whoever could come to have it is meant.
    """
    wanted = [_meant_by(selector, nodes, moving) for selector in selectors]
    return tuple(node.name for node in nodes if any(node.name in names for names in wanted))


def _meant_by(
    selector: Selector,
    nodes: Sequence[Node],
    moving: Mapping[Selector, Sequence[NodeName]] | None,
) -> Sequence[NodeName]:
    if selector in MOVING:
        if moving is not None:
            return moving.get(selector, ())
        return [node.name for node in nodes if node.role is MOVING[selector]]
    if selector == EVERYONE:
        return [node.name for node in nodes]
    return [node.name for node in nodes if str(selector) in (node.name, node.region)]
