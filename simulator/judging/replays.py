"""Who says again what was said before, to the very node that has heard it: nothing may come of it (S10)."""

from __future__ import annotations

from collections import deque

from simulator.agent_node import AgentNode
from simulator.judging.chronicle import Chronicle
from simulator.replica_node import ReplicaNode
from turnout.protocol.events import FromLeader
from turnout.protocol.invariants import Intrusion
from turnout.protocol.messages import Down, Message, Prepare
from turnout.protocol.participant_state import ParticipantState

REMEMBERED = 400
"""Messages remembered of each node: a switch's, with its heads."""


class Replays:
    """Overhears what is said to each node, and repeats it on demand."""

    def __init__(self, chronicle: Chronicle) -> None:
        self._chronicle = chronicle
        self._heard: dict[str, deque[tuple[object, Message]]] = {}
        self.listens = False
        """Whether anybody will ask for a repetition: remembering costs."""

    def overhear(self, message: Message, receiver: str, reign: object) -> None:
        """A message is on its way to a node, in this life or reign of it."""
        if self.listens:
            heard = self._heard.setdefault(receiver, deque(maxlen=REMEMBERED))
            heard.append((reign, message))

    def to_agent(self, node: AgentNode) -> None:
        """Repeat to an agent all that is remembered of its present life.

        What counts is what its machine makes of it at once: the record that it goes on to write, and
        what it asks of its proxy. While it is busy with something else, or has not been able to write
        what it has heard, nothing can be told apart; and one that lost what it had staged
        stages it once more whenever it is asked, as its leader asks it every second.
        """
        for life, message in list(self._heard.get(node.process.name, ())):
            owes = _owes_its_journal(node.state) or bool(node.state.staged_lost)
            is_heard = life == node.process.life and not _is_new(node.state, message)
            if is_heard and node.is_idle and not owes and isinstance(message, Down):
                before = (node.state.record, node.state.operation, node.state.serving)
                node.hear(FromLeader(message=message))
                after = (node.state.record, node.state.operation, node.state.serving)
                self._note(f"a repeated {type(message).__name__} to {node.agent}", before, after)

    def to_replica(self, node: ReplicaNode) -> None:
        """Repeat to a leader, at its door, all that it has heard."""
        for _, message in list(self._heard.get(node.process.name, ())):
            if node.leads and not isinstance(message, Down):
                before = (node.state.head, node.state.fleet, node.state.pending)
                node.door.take(message)
                after = (node.state.head, node.state.fleet, node.state.pending)
                self._note(f"a repeated {type(message).__name__} to {node.replica}", before, after)

    def _note(self, what: str, before: object, after: object) -> None:
        self._chronicle.intrusions.append(Intrusion(what=what, before=before, after=after))


def _is_new(state: ParticipantState, message: Message) -> bool:
    """Whether a question is of a term that the disk did not take when it was asked."""
    record, head = state.record, state.head
    decided = head.decided if head else record.committed_epoch
    return (
        isinstance(message, Prepare)
        and message.incarnation == record.incarnation
        and message.term > record.promised
        and message.epoch > decided
    )


def _owes_its_journal(state: ParticipantState) -> bool:
    """Whether a decision was heard that the disk did not take: hearing it again is no repetition."""
    head, record = state.head, state.record
    if head is None:
        return False
    in_doubt = record.prepared is not None and record.prepared.epoch <= head.decided
    return in_doubt or record.committed_epoch < head.committed
