"""What a replica answers to those who call on it, and what passes between it and an agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from attrs import frozen

from simulator.network import Connection
from simulator.process import Process
from turnout.protocol.events import FromLeader
from turnout.protocol.messages import Receipt, Report, Up


@frozen
class Challenge:
    """Answer to whoever is about to open a stream."""

    text: str


@frozen
class Moved:
    """Not the leader, but this one is: an address."""

    url: str


@frozen
class TurnedAway:
    """A problem; ``is_fatal``: the stream it came over is of no use any more."""

    reason: str
    is_fatal: bool = False


SendDown: TypeAlias = Callable[[FromLeader, Callable[[], None]], None]
"""Sends what an agent is to hear along a stream; the second argument is called when it arrives."""

Answer: TypeAlias = Challenge | Moved | TurnedAway | Receipt | None


class Door(Protocol):
    """A replica's addresses for agents (``coordinator/api/agent_door.py``)."""

    @property
    def process(self) -> Process:
        """Whose door it is."""

    def challenge(self) -> Answer:
        """Give a challenge to whoever asks."""

    def open(
        self, report: Report, stream: Connection, down: SendDown
    ) -> Callable[[], None] | Answer:
        """Open an agent's stream; ``down`` sends a message along it.

        Returns what to do once the agent has been answered that its stream is open, or why it is not.
        """

    def take(self, message: Up) -> Answer:
        """Take a vote or report."""
