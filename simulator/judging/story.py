"""What is told afterwards: messages on their way, faults, what each proxy served. Kept for one run."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from simulator.results import Arrow, FaultSpan, Note, Serving, Story
from simulator.virtual_time import Agenda
from turnout.protocol.identifiers import AgentId
from turnout.protocol.messages import Message, Prepare, Report, Sync, Vote
from turnout.protocol.records import Active
from turnout.protocol.routing import RoutingTable


def _nothing() -> None:
    """Nobody draws this arrow."""


class Storyteller:
    """Writes a story down; with ``keeps=False`` it keeps the notes and faults, but no arrows."""

    def __init__(self, agenda: Agenda, *, keeps: bool) -> None:
        self._agenda = agenda
        self._keeps = keeps
        self._arrows: list[Arrow] = []
        self._faults: list[FaultSpan] = []
        self._serving: list[Serving] = []
        self._notes: list[Note] = []
        self._head_heard: dict[tuple[str, str], str] = {}

    def said(self, message: Message, sender: str, receiver: str) -> Callable[[], None]:
        """A message leaves; what is returned says that it has arrived.

        A head that repeats what was sent down the same way before is no news, nor is a receipt.
        """
        if not self._keeps or not self._is_news(message, sender, receiver):
            return _nothing
        place, now_ns = len(self._arrows), self._agenda.now_ns
        what = type(message).__name__.lower()
        self._arrows.append(
            Arrow(what=what, sender=sender, receiver=receiver, sent_ns=now_ns, received_ns=None)
        )
        return lambda: self._arrived(place)

    def _is_news(self, message: Message, sender: str, receiver: str) -> bool:
        if isinstance(message, Prepare | Vote):
            return True
        if isinstance(message, Sync) and message.head is not None:
            signature = message.head.signature
            if self._head_heard.get((sender, receiver)) == signature:
                return False
            self._head_heard[sender, receiver] = signature
            return True
        return isinstance(message, Report) and message.live_at_ns is not None

    def _arrived(self, place: int) -> None:
        self._arrows[place] = evolve(self._arrows[place], received_ns=self._agenda.now_ns)

    def serves(self, agent: AgentId, active: Active, table: RoutingTable, now_ns: int) -> None:
        """A proxy serves another table."""
        if self._keeps:
            colours = tuple((str(s.name), str(s.active)) for s in table.services)
            self._serving.append(
                Serving(agent=agent, since_ns=now_ns, epoch=active.epoch, colours=colours)
            )

    def noted(self, node: str, text: str) -> None:
        """Something worth a line."""
        if self._keeps:
            self._notes.append(Note(at_ns=self._agenda.now_ns, node=node, text=text))

    def hurts(self, kind: str, text: str, nodes: tuple[str, ...]) -> Callable[[], None]:
        """A fault begins; what is returned says that it has healed."""
        place, now_ns = len(self._faults), self._agenda.now_ns
        self._faults.append(
            FaultSpan(kind=kind, text=text, nodes=nodes, since_ns=now_ns, until_ns=None)
        )
        return lambda: self._healed(place)

    def _healed(self, place: int) -> None:
        if self._faults[place].until_ns is None:
            self._faults[place] = evolve(self._faults[place], until_ns=self._agenda.now_ns)

    @property
    def faults(self) -> tuple[FaultSpan, ...]:
        """Every fault so far."""
        return tuple(self._faults)

    def told(self) -> Story:
        """All of it."""
        return Story(
            arrows=tuple(self._arrows),
            faults=tuple(self._faults),
            serving=tuple(self._serving),
            notes=tuple(self._notes),
        )
