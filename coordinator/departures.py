"""Agents that an operator removed: what this process keeps of each goes with it.

The machine's fleet is followed rather than the operator's request. A removal may be in the store
though nobody has waited for its answer, or another leader may have carried it out; and under the
name another key may have been enrolled meanwhile, of which nothing is known yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from turnout.protocol.coordinator_state import CoordinatorState, Role
from turnout.protocol.identifiers import AgentId
from turnout.protocol.records import AgentEntry


class Departures:
    """Tells which agents are in the fleet no more, or are others under their names."""

    def __init__(self, part_with: Callable[[AgentId], None]) -> None:
        self._part_with = part_with
        self._known: Mapping[AgentId, AgentEntry] = {}

    def stepped(self, _before: CoordinatorState, after: CoordinatorState) -> None:
        """Note a step; the fleet that a leader had is compared with the one it has next."""
        enrolled = after.fleet.agents
        if after.role is not Role.LEADING or enrolled is self._known:
            return
        for agent, entry in self._known.items():
            now = enrolled.get(agent)
            if now is None or now.public_key != entry.public_key:
                self._part_with(agent)
        self._known = enrolled
