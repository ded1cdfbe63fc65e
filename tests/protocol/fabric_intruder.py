"""Who repeats and forges messages on the fabric's wire; what is durable must not notice (S10).

*Replays* are of messages that their addressee has taken in before, in this life and this reign.
*Forgeries* are what somebody can make who has heard everything and has no key but one agent's.
"""

from __future__ import annotations

import random
from typing import Protocol

from attrs import evolve

from simulator.explore.store import FakeStore
from simulator.judging.chronicle import Chronicle
from simulator.signers import CheapSigner
from tests.protocol.fabric_nodes import Edge, Replica
from turnout.protocol.clock import ClockNs
from turnout.protocol.events import AgentEvent, CoordinatorEvent, FromAgent, FromLeader
from turnout.protocol.identifiers import AgentId, Digest, Epoch, Term
from turnout.protocol.invariants import Intrusion
from turnout.protocol.messages import (
    Down,
    Message,
    No,
    Prepare,
    Progress,
    Rebase,
    Receipt,
    Report,
    Sync,
    Up,
    Vote,
)
from turnout.protocol.records import Active, Head, Incarnation, IncarnationRecord
from turnout.protocol.signing import signed

REMEMBERED = 60
"""Messages that are remembered of each node: some seconds of a fleet's talk."""

MALLORY = CheapSigner("mallory")


class Cluster(Protocol):
    """What an intruder sees of a fabric."""

    random: random.Random
    store: FakeStore
    chronicle: Chronicle
    edges: dict[AgentId, Edge]

    def say(self, text: str) -> None: ...
    def tell_agent(self, edge: Edge, event: AgentEvent) -> None: ...
    def tell_replica(self, replica: Replica, event: CoordinatorEvent) -> None: ...


class Intruder:
    """Overhears what arrives, and speaks for others."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._heard: dict[str, list[tuple[object, Message]]] = {}

    def overhear(self, node: Edge | Replica, message: Message) -> None:
        """Remember a message that this node takes in."""
        heard = self._heard.setdefault(_name(node), [])
        heard.append((_reign(node), message))
        del heard[:-REMEMBERED]

    def replay(self, node: Edge | Replica) -> None:
        """Say again what the node has heard already."""
        heard = [m for reign, m in self._heard.get(_name(node), ()) if reign == _reign(node)]
        if heard:
            message = self._cluster.random.choice(heard)
            self._intrude(node, message, f"a repeated {type(message).__name__}")

    def forge(self, node: Edge | Replica, number: int) -> None:
        """Say something like what the node has heard, which is not true."""
        heard = [m for _, m in self._heard.get(_name(node), ())]
        if heard:
            message = self._cluster.random.choice(heard)
            forged = self._forged(message, number)
            if forged != message:
                self._intrude(node, forged, f"a forged {type(message).__name__} ({number})")

    def _forged(self, message: Message, number: int) -> Message:
        match message:
            case Sync() | Prepare():
                return _forged_head(message, number)
            case Rebase():
                return evolve(message, record=evolve(message.record, signature="no"))
            case Receipt():
                return evolve(message, term=Term(0))
            case Vote():
                return _forged_vote(message, number)
            case Report():
                edge = self._cluster.edges[message.agent]
                return _forged_report(message, number, edge, self._newest_head())

    def _newest_head(self) -> Head | None:
        """The newest head that any node has heard."""
        said = [m for heard in self._heard.values() for _, m in heard]
        heads = [m.head for m in said if isinstance(m, Sync | Prepare) and m.head is not None]
        return max(heads, key=lambda head: head.decided, default=None)

    def _intrude(self, node: Edge | Replica, message: Message, what: str) -> None:
        if not node.alive:
            return
        doomed, node.dies_after = node.dies_after, None
        before = self._durable(node)
        what = f"{what} to {_name(node)}"
        self._cluster.say(what)
        if isinstance(node, Edge):
            assert isinstance(message, Down)
            self._cluster.tell_agent(node, FromLeader(message=message))
        else:
            assert isinstance(message, Up)
            self._cluster.tell_replica(node, FromAgent(message=message))
        node.dies_after = doomed
        intrusion = Intrusion(what=what, before=before, after=self._durable(node))
        self._cluster.chronicle.intrusions.append(intrusion)

    def _durable(self, node: Edge | Replica) -> object:
        """What a message could change for good: on disk, in the proxy, or by a write on its way."""
        if isinstance(node, Edge):
            return node.node.disk, node.serving, node.node.staged, node.node.operations
        state = node.state
        return (
            self._cluster.store.items,
            state.role,
            state.head,
            state.attempt,
            state.fleet,
            state.following,
            state.pending,
            state.waiting,
        )


def _name(node: Edge | Replica) -> str:
    return node.agent if isinstance(node, Edge) else node.replica


def _reign(node: Edge | Replica) -> object:
    """What a node remembers ends with its life, and a leader's with its reign.

    What an agent hears before it knows of any incarnation it does not take in: that begins another.
    """
    if isinstance(node, Edge):
        return node.life, node.record.incarnation is None
    return node.life, node.state.term


# --- what can be made of what was heard ----------------------------------------------------------


def _forged_head(message: Sync | Prepare, number: int) -> Down:
    head, incarnation = message.head, message.incarnation
    if head is None or number == 0:
        low = Incarnation(number=incarnation.number + 1, id="mallory's")
        return Rebase(record=signed(IncarnationRecord(incarnation=low), MALLORY))
    match number:
        case 1:  # a decision that nobody made
            head = evolve(head, decided=Epoch(head.decided + 1))
        case 2:
            newer = Epoch(head.decided + 1)
            head = evolve(head, decided=newer, committed=newer, base=head.digest)
        case 3:
            head = signed(evolve(head, decided=Epoch(head.decided + 1)), MALLORY)
        case 4:  # the same words, from another history
            older = Incarnation(number=incarnation.number - 1, id="older")
            return evolve(message, incarnation=older, head=evolve(head, incarnation=older))
        case _:  # another table under a true head's name
            head = evolve(head, decided=Epoch(head.decided + 1), digest=Digest("f" * 64))
    return evolve(message, head=head)


def _forged_vote(vote: Vote, number: int) -> Vote:
    match number:
        case 0:
            return evolve(vote, epoch=Epoch(vote.epoch + 1))
        case 1:
            return evolve(vote, digest=Digest("f" * 64))
        case 2:
            return evolve(vote, journal_id=f"{vote.journal_id}'s twin")
        case 3:
            return evolve(vote, term=Term(vote.term + 1))
        case 4:
            return signed(evolve(vote, no=None, reason="", signature=""), MALLORY)
        case _:
            return signed(evolve(vote, no=No.REFUSED, signature=""), MALLORY)


def _forged_report(report: Report, number: int, edge: Edge, newest: Head | None) -> Report:
    """An agent that has a key, but not the domain's, may invent a head under it (P6)."""
    match number:
        case 0:
            return evolve(report, journal_id=f"{report.journal_id}'s twin")
        case 1:
            return evolve(report, promised=Term(report.promised + 1))
        case 2 | 3:
            return report if newest is None else signed(_rosy(report, newest), MALLORY)
        case 4:
            return evolve(report, agent=AgentId("mallory"))
        case _:
            if report.committed is None:
                return report
            head = evolve(report.committed, decided=Epoch(report.committed.decided + 10**9))
            return signed(evolve(report, committed=head, signature=""), edge.host.signer)


def _rosy(report: Report, newest: Head) -> Report:
    """That this agent is live with the newest commit, and has drained."""
    active = Active(
        incarnation=newest.incarnation.number, epoch=newest.committed, digest=newest.digest
    )
    return evolve(
        report,
        incarnation=newest.incarnation,
        committed=newest,
        active=active,
        progress=Progress.LIVE,
        live_at_ns=ClockNs(report.sent_ns),
        drains=(),
        signature="",
    )
