"""Whoever is in the fleet no more is parted with, once, whoever removed it and when."""

from __future__ import annotations

from attrs import evolve

from coordinator.departures import Departures
from turnout.protocol.coordinator_state import CoordinatorState, Fleet, Role
from turnout.protocol.frozenmap import FrozenMap
from turnout.protocol.identifiers import AgentId, Region
from turnout.protocol.records import AgentEntry


def leading(**keys: str) -> CoordinatorState:
    """A leader whose fleet has these agents, each with its key."""
    entries = {
        AgentId(agent): AgentEntry(agent=AgentId(agent), region=Region("eu"), public_key=key)
        for agent, key in keys.items()
    }
    return CoordinatorState(role=Role.LEADING, fleet=Fleet(agents=FrozenMap(entries)))


class Watched:
    """Steps, and whom they parted with."""

    def __init__(self) -> None:
        self.departed: list[AgentId] = []
        self.departures = Departures(self.departed.append)

    def step(self, after: CoordinatorState) -> None:
        self.departures.stepped(CoordinatorState(), after)


def test_agent_that_was_removed_departs_once() -> None:
    watched = Watched()
    for fleet in (leading(a="1", b="1"), leading(b="1"), leading(b="1")):
        watched.step(fleet)
    assert watched.departed == ["a"]


def test_agent_that_was_removed_and_enrolled_under_another_key_between_two_reigns_departs() -> None:
    watched = Watched()
    watched.step(leading(a="1", b="1"))
    watched.step(CoordinatorState())
    watched.step(evolve(leading(), role=Role.TAKING_OVER))
    watched.step(leading(a="2", b="1"))
    assert watched.departed == ["a"]


def test_replica_that_leads_no_more_parts_with_nobody() -> None:
    watched = Watched()
    watched.step(leading(a="1"))
    watched.step(CoordinatorState())
    assert watched.departed == []
