"""A replica's door for agents: which streams are open, and whose word counts.

What ``coordinator/api/agent_door.py``, ``presence.py`` and ``registry.py`` do for real, by the rules of
``turnout.protocol.openings`` and ``gate``: a stream is opened in answer to a challenge, a new one of an
agent takes the old one's place, and what is not the newest on its stream is not heard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import frozen

from simulator.door import Answer, Challenge, SendDown, TurnedAway
from simulator.network import Connection
from simulator.process import Process
from simulator.world import ReplicaView, World
from turnout.protocol.clock import MonotonicNs
from turnout.protocol.coordinator_state import CoordinatorConfig, CoordinatorState
from turnout.protocol.effects import Tell
from turnout.protocol.events import AgentGone, CoordinatorEvent, FromAgent, FromLeader
from turnout.protocol.gate import Suspicion, admit_from_agent
from turnout.protocol.identifiers import AgentId
from turnout.protocol.messages import Receipt, Report, Up
from turnout.protocol.openings import Openings


class Owner(ReplicaView, Protocol):
    """The replica whose door it is."""

    def tell(self, event: CoordinatorEvent) -> None:
        """Something for its machine."""

    def elsewhere(self) -> Answer:
        """Who leads, as far as it knows."""


@frozen(eq=False)
class _Stream:
    """An agent's stream, and the report that it was opened with."""

    opening: Report
    connection: Connection
    down: SendDown


class AgentDoor:
    """Where agents come in."""

    def __init__(self, owner: Owner, config: CoordinatorConfig, world: World) -> None:
        self._owner = owner
        self._config = config
        self._world = world
        self._openings = Openings(b"")
        self._streams: dict[AgentId, _Stream] = {}

    @property
    def process(self) -> Process:
        """Whose door it is."""
        return self._owner.process

    def open_anew(self, key: bytes) -> None:
        """The process has started: nothing that was said to an earlier life of it counts."""
        self._openings = Openings(key)
        self._streams = {}

    def forget(self) -> None:
        """The process has died."""
        self._streams.clear()

    def challenge(self) -> Answer:
        """Give a challenge to whoever asks."""
        if not self._owner.leads:
            return self._owner.elsewhere()
        return Challenge(self._openings.challenge(self.process.now().monotonic_ns))

    def open(
        self, report: Report, stream: Connection, down: SendDown
    ) -> Callable[[], None] | Answer:
        """Open an agent's stream."""
        refusal = self._suspicion(report)
        if refusal is not None:
            return refusal
        if not self._openings.is_fresh(report, self.process.now().monotonic_ns):
            return TurnedAway("the report answers no challenge of now", is_fatal=True)
        self._openings.opened(report)
        agent = report.agent
        old = self._streams.get(agent)
        opened = self._streams[agent] = _Stream(report, stream, down)
        if old is not None:
            old.connection.close(self.process, "the agent opened another stream")
        stream.when_ended(self.process, lambda _: self._gone(agent, opened))
        self._world.observer.shown(self._owner, report)
        return lambda: self._owner.tell(FromAgent(message=report, opened=True))

    def take(self, message: Up) -> Answer:
        """Take a vote or report."""
        refusal = self._suspicion(message)
        if refusal is not None:
            return refusal
        if isinstance(message, Report):
            if not self._openings.follows(message):
                return TurnedAway("a newer report was heard, or it is of another stream")
            self._world.observer.shown(self._owner, message)
        self._owner.tell(FromAgent(message=message))
        if not self.process.is_alive:
            return None
        return self._receipt(message)

    def _suspicion(self, message: Up) -> Answer:
        if not self._owner.leads:
            return self._owner.elsewhere()
        config = self._config
        suspicion = admit_from_agent(
            message, self._owner.state, config.verifier, config.signer.public_key
        )
        if suspicion is None or suspicion is Suspicion.STORE_WENT_BACK:
            return None
        return TurnedAway(f"not taken: {suspicion}")

    def _receipt(self, message: Up) -> Receipt:
        now = self.process.now()
        return Receipt(
            term=self._owner.state.term,
            replica=self._owner.replica,
            echo_ns=message.sent_ns if isinstance(message, Report) else MonotonicNs(0),
            clock_ns=now.clock_ns,
            wall_ns=now.wall_ns,
            wall_bound_ns=now.wall_bound_ns,
        )

    def _gone(self, agent: AgentId, stream: _Stream) -> None:
        self._openings.closed(stream.opening)
        if self._streams.get(agent) is stream:
            del self._streams[agent]
            self._owner.tell(AgentGone(agent=agent))

    def close_streams(self, reason: str) -> None:
        """End every stream; each is told to the machine, which may know already."""
        streams, self._streams = self._streams, {}
        for agent, stream in streams.items():
            stream.connection.close(self.process, reason)
            self._openings.closed(stream.opening)
            self._owner.tell(AgentGone(agent=agent))

    def tell(self, effect: Tell) -> None:
        """Send one message down these agents' streams; who has none is passed over."""
        observer, message, process = self._world.observer, effect.message, self.process
        heard = FromLeader(message=message)
        for agent in effect.agents:
            stream = self._streams.get(agent)
            if stream is not None:
                arrived = observer.said(message, process, stream.connection.dialler)
                stream.down(heard, arrived)

    def part_with_removed(self, before: CoordinatorState, after: CoordinatorState) -> None:
        """Forget agents that are enrolled no more, or are others under their names."""
        for agent, entry in before.fleet.agents.items():
            now = after.fleet.agents.get(agent)
            if now is None or now.public_key != entry.public_key:
                self._openings.forget(agent)
                stream = self._streams.get(agent)
                if stream is not None:
                    stream.connection.close(self.process, "the agent was removed")
                    self._gone(agent, stream)
