"""Who judges the fabric after each step, and remembers what was said and written (ghosts)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from simulator.explore.store import FakeStore
from tests.protocol.fabric_nodes import Edge
from turnout.protocol import keys
from turnout.protocol.codec import decode
from turnout.protocol.coordinator_state import Fleet
from turnout.protocol.identifiers import NO_EPOCH, AgentId, Digest, Epoch
from turnout.protocol.invariants import SAFETY, AgentPicture, Picture, Violation, judge
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.messages import Message, Prepare, Sync, Vote
from turnout.protocol.records import Active, Head, Status, Verdict
from turnout.protocol.takeover import fleet_of
from turnout.protocol.transactions import KeyValue, Range

EVERYTHING = frozenset(number for number, _ in SAFETY)
AFTER_A_RESTORE = frozenset({"S4", "S5", "S6"})


class Witness:
    """Fills the picture, and judges it whenever something in it has changed."""

    def __init__(self) -> None:
        self.named: set[tuple[Epoch, Digest]] = set()
        self.told: set[tuple[Epoch, Verdict]] = set()
        self.founded = (0, Epoch(0))
        """The incarnation that is judged, and the epoch that its operator founded it with."""
        self._founding: Active | None = None
        self.judged = EVERYTHING
        """The numbers of the invariants that can be judged as things are."""
        self._judged: tuple[object, ...] = ()
        self._fleet: tuple[KeyValue | None, Fleet] = (None, Fleet())

    def hear(self, message: Message) -> None:
        """Remember what a message names and announces."""
        if not isinstance(message, Prepare | Sync | Vote):
            return
        number, first = self.founded
        if message.incarnation.number < number:
            return
        if isinstance(message, Prepare | Vote):
            self.named.add((message.epoch, message.digest))
        if isinstance(message, Prepare | Sync) and message.head is not None:
            self.named.add((message.head.committed, message.head.digest))
            self.told.update(told for told in announced(message.head) if told[0] > first)

    def begin_anew(self, number: int, first: Epoch) -> None:
        """Judge another incarnation from here on: epochs are compared within one only."""
        self.founded, self._founding = (number, first), None
        self.judged = EVERYTHING
        self.named.clear()
        self.told.clear()

    def doubt(self) -> None:
        """The store was restored to an older state: until an operator founds another incarnation
        nobody promises that what it has lost is not decided again; what edges serve still rises."""
        self.judged = AFTER_A_RESTORE

    def fleet(self, store: FakeStore) -> Fleet:
        """Who is enrolled, in which standing."""
        written = store.items.get(keys.STANDING)
        if written is not self._fleet[0]:
            ranges = (Range(keys.STANDING), Range(keys.AGENTS, prefix=True))
            self._fleet = (written, fleet_of(store.read(ranges)))
        return self._fleet[1]

    def judge(self, store: FakeStore, edges: Mapping[AgentId, Edge]) -> tuple[Violation, ...]:
        """Return what is broken now."""
        seen = (
            len(store.rulings),
            len(store.foreign),
            store.items.get(keys.STANDING),
            len(self.named),
            len(self.told),
            *(edge.node.ghosts for edge in edges.values()),
        )
        if len(seen) == len(self._judged) and all(
            a is b or a == b for a, b in zip(seen, self._judged, strict=True)
        ):
            return ()
        self._judged = seen
        found = judge(self._picture(store, edges))
        return tuple(violation for violation in found if violation.number in self.judged)

    def _picture(self, store: FakeStore, edges: Mapping[AgentId, Edge]) -> Picture:
        fleet = self.fleet(store)
        agents = []
        for agent, edge in edges.items():
            ghosts = edge.node.ghosts
            agents.append(
                AgentPicture(
                    agent=agent,
                    standing=fleet.status(agent) if agent in fleet.agents else Status.STALE,
                    served=tuple(a for a in ghosts.served if a.rank >= self.founded),
                    unjournalled=ghosts.unjournalled,
                    yes=ghosts.yes,
                    answered=ghosts.answered,
                )
            )
        return Picture(
            founded=self._found(store),
            rulings=tuple(
                r
                for r in store.rulings
                if (r.decision.head.incarnation.number, r.decision.epoch) > self.founded
            ),
            agents=tuple(agents),
            named=tuple(sorted(self.named)),
            told=tuple(sorted(self.told)),
            foreign_writes=store.foreign,
        )

    def _found(self, store: FakeStore) -> Active | None:
        """What the incarnation was founded with, as its first head said."""
        stored = store.items.get(keys.HEAD)
        number, first = self.founded
        if self._founding is None and first and stored is not None:
            head = decode(stored.value, Head, limit=MAX_TABLE_BYTES)
            if head.committed == first:
                self._founding = Active(incarnation=number, epoch=first, digest=head.digest)
        return self._founding


def announced(head: Head) -> Iterator[tuple[Epoch, Verdict]]:
    """The decisions that a head announces: what it says of its newest epochs."""
    for epoch in {head.committed, head.decided} - {NO_EPOCH}:
        verdict = head.resolves(epoch)
        if verdict is not None:
            yield epoch, verdict
