"""Who judges S1-S7: the picture of the whole, as it stands and as it ever was.

It is judged whenever something in it has changed: what the store holds and what is announced, all of
it; an agent's flip or vote, that agent. Each time the newest epochs are looked at, those that anything
may still be said about; at the end of a run the whole of it is, once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from simulator.etcd.ledger import Committed
from simulator.judging.ghosts import Ghost
from simulator.judging.stored import value_of
from simulator.world import AgentSeen
from turnout.protocol import keys
from turnout.protocol.coordinator_state import Fleet
from turnout.protocol.identifiers import NO_EPOCH, AgentId, Digest, Epoch, Term
from turnout.protocol.invariants import (
    OF_ONE_AGENT,
    SAFETY,
    AgentPicture,
    Picture,
    Ruling,
    Violation,
    judge,
)
from turnout.protocol.messages import Message, Prepare, Sync, Vote
from turnout.protocol.records import Active, AgentRecord, Decision, Head, Intent, Status, Verdict
from turnout.protocol.takeover import fleet_of
from turnout.protocol.transactions import KeyValue, Put, Snapshot

EVERYTHING = frozenset(number for number, _ in SAFETY)

AFTER_A_RESTORE = frozenset({"S4", "S5", "S6"})
"""What is still promised when the store has gone back, until an operator founds another incarnation."""

KEPT_EPOCHS = 4
"""How far below the newest decision the running picture looks; laggards make it look further."""


class Witness:
    """Remembers, and judges."""

    def __init__(self, found: Callable[[Violation], None]) -> None:
        """``found`` is told each violation, once for each time that it is seen."""
        self._found = found
        self.agents: dict[AgentId, AgentSeen] = {}
        self.ghosts: dict[AgentId, Ghost] = {}
        self.fleet = Fleet()
        self.rulings: list[Ruling] = []
        self.judged = EVERYTHING
        self.robbed: set[AgentId] = set()
        """Agents whose disk lost what was synced to it: their yes was durable, wherever it is now."""
        self.founded: Active | None = None
        """The commit that the incarnation which is judged began with."""
        self._required: dict[Epoch, tuple[tuple[AgentId, str], ...]] = {}
        self._named: dict[tuple[Epoch, Digest], None] = {}
        self._told: dict[tuple[Epoch, Verdict], None] = {}
        self._heads: set[str] = set()
        self._heard: Message | None = None
        self._foreign: list[str] = []
        self._number = 1
        self._first_ruling = 0

    def watch(self, node: AgentSeen) -> None:
        """Remember this agent too, which has kept and serves what it is found with."""
        self.agents[node.agent] = node
        ghost = self.ghosts[node.agent] = Ghost(node.agent)
        ghost.journalled(node.record)
        if node.serving.epoch:
            ghost.served.append(node.serving)

    def begin(self, items: Mapping[str, KeyValue]) -> None:
        """What the store holds when the run begins."""
        self.fleet = _fleet(items)
        stored = items.get(keys.HEAD)
        if stored is not None:
            head = value_of(stored.value, Head)
            if head.committed:
                number = head.incarnation.number
                self.founded = Active(incarnation=number, epoch=head.committed, digest=head.digest)
                self._told[head.committed, Verdict.COMMIT] = None

    def begin_anew(self, head: Head, items: Mapping[str, KeyValue]) -> None:
        """An operator founded another incarnation with this head: judge that from here on.

        Its epochs are above all that anybody ever named, so what is remembered by epoch stays.
        """
        self._number = head.incarnation.number
        self.founded = Active(incarnation=self._number, epoch=head.committed, digest=head.digest)
        self._first_ruling = len(self.rulings)
        self.judged = EVERYTHING
        self._named.clear()
        self._told.clear()
        self.fleet = _fleet(items)

    @property
    def highest(self) -> Epoch:
        """The highest epoch that anybody has named in this incarnation."""
        return max((epoch for epoch, _ in self._named), default=NO_EPOCH)

    def doubt(self, items: Mapping[str, KeyValue]) -> None:
        """The store was restored to an older state: nobody promises what it has lost."""
        self.judged = AFTER_A_RESTORE
        self.fleet = _fleet(items)

    @property
    def doubts(self) -> bool:
        """Whether the store went back, and nobody has founded the domain anew."""
        return self.judged is AFTER_A_RESTORE

    # ---------------------------------------------------------------- what is seen

    def hears(self, message: Message) -> None:
        """A message leaves: what it names, and what it announces as decided."""
        if message is self._heard:
            return  # the same one to another agent
        self._heard = message
        if not isinstance(message, Prepare | Sync | Vote):
            return
        if message.incarnation.number < self._number:
            return
        if isinstance(message, Prepare | Vote):
            self._name(message.epoch, message.digest)
        head = message.head if isinstance(message, Prepare | Sync) else None
        if head is None or head.signature in self._heads:
            return
        self._heads.add(head.signature)
        self._name(head.committed, head.digest)
        for told in announced(head):
            if told not in self._told and not self._is_founding(told[0]):
                self._told[told] = None
                self.judge()

    def _is_founding(self, epoch: Epoch) -> bool:
        return self.founded is not None and epoch <= self.founded.epoch

    def _name(self, epoch: Epoch, digest: Digest) -> None:
        if (epoch, digest) not in self._named:
            self._named[epoch, digest] = None
            self.judge()

    def votes(self, agent: AgentId, vote: Vote, record: AgentRecord) -> None:
        """A vote leaves while ``record`` is on its agent's disk."""
        if self.ghosts[agent].votes(vote, record):
            self.judge_one(agent)

    def flips(self, agent: AgentId, active: Active) -> None:
        """An agent's proxy serves another table: it rises, of whichever incarnation it is."""
        ghost = self.ghosts[agent]
        if ghost.served and active.rank <= ghost.served[-1].rank:
            text = f"{agent} went from epoch {ghost.served[-1].epoch} to {active.epoch}"
            self._found(Violation("S5", text))
        ghost.flips(active)
        self.judge_one(agent)

    def wrote(self, committed: Committed, items: Mapping[str, KeyValue]) -> None:
        """The store has carried a transaction out; ``items`` are as it stands now."""
        leader = committed.items_before.get(keys.LEADER)
        leader_term = Term(leader.create_revision) if leader else None
        name = committed.transaction.name if committed.transaction else ""
        if committed.sender is not None and leader_term != committed.sender:
            self._foreign.append(f"{name} of term {committed.sender} won in {leader_term}")
        puts = [write for write in committed.writes if isinstance(write, Put)]
        if any(put.key == keys.STANDING for put in puts):
            self.fleet = _fleet(items)
        for put in puts:
            if put.key.startswith(keys.INTENTS):
                intent = value_of(put.value, Intent)
                agents = self.fleet.agents
                self._required[intent.epoch] = tuple(
                    (agent, agents[agent].journal_id) for agent in self.fleet.good
                )
            elif put.key.startswith(keys.DECISIONS):
                self._rule(value_of(put.value, Decision), leader_term)
        if puts:
            self.judge()

    def _rule(self, decision: Decision, leader_term: Term | None) -> None:
        held = self._holders(decision)
        required = self._required.get(decision.epoch, ())
        self.rulings.append(
            Ruling(decision=decision, required=required, held=held, leader_term=leader_term)
        )

    def _holders(self, decision: Decision) -> tuple[AgentId, ...]:
        """The agents whose disk holds the yes that this decision would rest on, or was robbed."""
        named = (decision.epoch, decision.digest)
        prepared = {agent: node.record.prepared for agent, node in self.agents.items()}
        return tuple(
            agent
            for agent, held in sorted(prepared.items())
            if agent in self.robbed or (held and (held.epoch, held.digest) == named)
        )

    def required(self, decision: Decision) -> tuple[AgentId, ...]:
        """The agents that a decision counts on: asked, and not named absent."""
        asked = self._required.get(decision.epoch, ())
        return tuple(agent for agent, _ in asked if agent not in decision.absent)

    # ---------------------------------------------------------------- judging

    def judge(self, *, whole: bool = False) -> None:
        """Look at the newest epochs, or at all of them."""
        since = Epoch(0) if whole else self._since(self.ghosts)
        self._tell(judge(self._picture(since, self.ghosts)))

    def judge_one(self, agent: AgentId) -> None:
        """One agent has flipped or voted: nothing else can be wrong now that was not before."""
        self._tell(judge(self._picture(self._since((agent,)), (agent,)), OF_ONE_AGENT))

    def _tell(self, violations: tuple[Violation, ...]) -> None:
        for violation in violations:
            if violation.number in self.judged:
                self._found(violation)

    def _since(self, agents: Iterable[AgentId]) -> Epoch:
        """The first epoch that a running picture of these agents must show."""
        newest = self.rulings[-1].decision.epoch if self.rulings else NO_EPOCH
        since = newest - KEPT_EPOCHS
        for agent in agents:
            for table in self.ghosts[agent].served[-2:]:  # two, to see that they rose
                since = min(since, table.epoch)
        return Epoch(max(0, since))

    def rulings_of_now(self) -> list[Ruling]:
        """Those of the incarnation that is judged."""
        return self.rulings[self._first_ruling :] if self._first_ruling else self.rulings

    def _agent_picture(self, agent: AgentId, since: Epoch) -> AgentPicture:
        fleet = self.fleet
        standing = fleet.status(agent) if agent in fleet.agents else Status.STALE
        return self.ghosts[agent].picture(standing, since, self._number)

    def _picture(self, since: Epoch, agents: Iterable[AgentId]) -> Picture:
        return Picture(
            founded=self.founded,
            rulings=tuple(r for r in self.rulings_of_now() if r.decision.epoch >= since),
            agents=tuple(self._agent_picture(agent, since) for agent in agents),
            named=tuple(sorted(name for name in self._named if name[0] >= since)),
            told=tuple(
                sorted(
                    told
                    for told in self._told
                    if told[0] >= since and not self._is_founding(told[0])
                )
            ),
            foreign_writes=tuple(self._foreign),
        )


def _fleet(items: Mapping[str, KeyValue]) -> Fleet:
    """Who is enrolled, in which standing."""
    found = [items[k] for k in sorted(items) if k == keys.STANDING or k.startswith(keys.AGENTS)]
    return fleet_of(Snapshot(revision=0, items=tuple(found)))


def announced(head: Head) -> Iterator[tuple[Epoch, Verdict]]:
    """The decisions that a head announces: what it says of its newest epochs."""
    for epoch in sorted({head.committed, head.decided} - {NO_EPOCH}):
        verdict = head.resolves(epoch)
        if verdict is not None:
            yield epoch, verdict
