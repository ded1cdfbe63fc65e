"""The JSON of the agents and of the excluded regions."""

from __future__ import annotations

from collections.abc import Mapping

from coordinator.views.values import Json, instant, milliseconds
from turnout.protocol.coordinator_state import CoordinatorState, Fleet
from turnout.protocol.identifiers import AgentId
from turnout.protocol.records import Status


def agents_view(state: CoordinatorState, suspicions: Mapping[AgentId, str]) -> Json:
    """Every enrolled agent, and how many there are of each standing.

    ``suspicions`` says of some what the leader has against them, for people.
    """
    return {
        "fleet": state.fleet.revision,
        "counts": counts(state),
        "agents": [
            agent_view(state, agent, suspicions.get(agent, ""))
            for agent in sorted(state.fleet.agents)
        ],
    }


def counts(state: CoordinatorState) -> Json:
    """How many agents there are, by standing and with an open stream."""
    fleet = state.fleet
    by_standing = {status.value: count for status, count in standings(fleet).items()}
    connected = sum(agent in fleet.agents for agent in state.connected)
    return {"enrolled": len(fleet.agents), "connected": connected, **by_standing}


def standings(fleet: Fleet) -> dict[Status, int]:
    """How many agents have each standing."""
    named = {status: len(fleet.with_status(status)) for status in Status}
    return {**named, Status.GOOD: len(fleet.good)}


def agent_view(state: CoordinatorState, agent: AgentId, suspicion: str = "") -> Json:
    """One agent, as enrolled and as it last reported."""
    entry = state.fleet.agents[agent]
    standing = state.fleet.standing.get(agent)
    report = state.reports.get(agent)
    return {
        "agent": agent,
        "region": entry.region,
        "public_key": entry.public_key,
        "standing": state.fleet.status(agent).value,
        "reason": standing.reason if standing else None,
        "connected": agent in state.connected,
        "epoch": report.active.epoch if report else None,
        "committed": report.committed_epoch if report else None,
        "progress": report.progress.value if report else None,
        "trouble": suspicion or (report.reason if report else "") or None,
        "live_at": instant(report.live_at_ns) if report else None,
        "bound_ms": milliseconds(report.bound_ns) if report else None,
        "in_flight": sum(d.in_flight for d in report.drains if not d.ended) if report else None,
    }


def exclusions_view(state: CoordinatorState) -> Json:
    """The regions that switches pass over, with the reason given."""
    fleet = state.fleet
    reasons = {
        fleet.agents[agent].region: fleet.standing[agent].reason
        for agent in fleet.with_status(Status.EXCLUDED)
    }
    return {"exclusions": [{"region": r, "reason": reasons[r]} for r in sorted(reasons)]}
