"""One leader's machine on a workbench, over a real guarded store; its agents are played by the test.

Store calls are carried out in the step that asks, unless they are held: then the test decides what
becomes of each. Nothing here decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from attrs import evolve

from simulator.explore.bootstrap import CHECKOUT, empty_domain, table
from simulator.explore.nodes import TIMING, ReplicaHost, agent_key
from simulator.explore.store import FakeStore
from turnout.protocol import keys
from turnout.protocol.clock import ClockNs, Instant, MonotonicNs
from turnout.protocol.codec import decode
from turnout.protocol.coordinator_state import CoordinatorState
from turnout.protocol.effects import (
    Accepted,
    CoordinatorEffect,
    Done,
    Read,
    Refused,
    Reply,
    StepDown,
    Tell,
    Transact,
)
from turnout.protocol.events import (
    CoordinatorEvent,
    Elected,
    EnrolRequested,
    FromAgent,
    ReadDone,
    Requested,
    Transacted,
    Wake,
)
from turnout.protocol.identifiers import AgentId, Epoch, Region, ReplicaId
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.messages import No, Progress, Report, Vote
from turnout.protocol.records import Active, Decision, Kind, Outcome, Request
from turnout.protocol.routing import Colour, RoutingTable
from turnout.protocol.signing import signed
from turnout.protocol.transactions import Lost, Snapshot, Unknown, Won

E = TypeVar("E", bound=CoordinatorEffect)

AGENTS: dict[str, str] = {"a0": "eu", "a1": "eu", "a2": "us"}
START_NS = 10**12
FIRST = table(("eu", "us"))
GREEN = FIRST.switched(CHECKOUT, Colour.GREEN)


class Bench:
    """A replica, its store, and what it asked for."""

    def __init__(self, replica: str = "r0", store: FakeStore | None = None) -> None:
        self.host = ReplicaHost(ReplicaId(replica), TIMING)
        self.store = store or empty_domain()
        self.state = CoordinatorState()
        self.now_ns = START_NS
        self.clock_error_ns = 0
        self.hold: tuple[str, ...] = ()
        self.deaf: tuple[str, ...] = ()
        self.held: list[Transact] = []
        self.effects: list[CoordinatorEffect] = []
        self._ticket = 0

    # --- time and events ---------------------------------------------------------------------

    @property
    def now(self) -> Instant:
        """All clocks run evenly."""
        return Instant(
            monotonic_ns=MonotonicNs(self.now_ns),
            clock_ns=ClockNs(self.now_ns + self.clock_error_ns),
            wall_ns=self.now_ns,
        )

    def give(self, event: CoordinatorEvent) -> list[CoordinatorEffect]:
        """Step, and carry out all that the store is asked for; return every effect on the way."""
        self.state, effects = self.host.step(self.state, event, self.now)
        seen = list(effects)
        for effect in effects:
            if isinstance(effect, Transact):
                seen += self._transact(effect)
            elif isinstance(effect, Read):
                seen += self._read(effect)
        self.effects = seen
        return seen

    def _transact(self, effect: Transact) -> list[CoordinatorEffect]:
        if effect.transaction.name.startswith(self.hold) and self.hold:
            self.held.append(effect)
            return []
        return self._carry_out(effect)

    def _carry_out(self, effect: Transact) -> list[CoordinatorEffect]:
        self.store, result = self.store.apply(effect.transaction, effect.operation.term)
        return self.give(Transacted(operation=effect.operation, result=result))

    def _read(self, effect: Read) -> list[CoordinatorEffect]:
        if effect.operation.name in self.deaf:
            self.deaf = tuple(name for name in self.deaf if name != effect.operation.name)
            return self.give(ReadDone(operation=effect.operation, snapshot=None))
        snapshot = self.store.read(effect.ranges, effect.revision)
        return self.give(ReadDone(operation=effect.operation, snapshot=snapshot))

    def release(self) -> list[CoordinatorEffect]:
        """Carry out what was held."""
        self.hold, held, self.held = (), self.held, []
        seen = [effect for transact in held for effect in self._carry_out(transact)]
        self.effects = seen
        return seen

    def lose_reply(self, *, carried_out: bool = True) -> list[CoordinatorEffect]:
        """The held call gets no reply; the store carried it out all the same, or did not."""
        effect = self.held.pop(0)
        if carried_out:
            self.store, _ = self.store.apply(effect.transaction, effect.operation.term)
        return self.give(Transacted(operation=effect.operation, result=Unknown(reason="lost")))

    def answer(self, effect: Transact, result: Won | Lost) -> list[CoordinatorEffect]:
        """Answer a held call as the test likes."""
        return self.give(Transacted(operation=effect.operation, result=result))

    def wait(self, ns: int) -> list[CoordinatorEffect]:
        """Let time pass, waking the machine at each of its deadlines."""
        end, seen = self.now_ns + ns, []
        while (due := self.host.machine.next_deadline(self.state)) is not None and due <= end:
            self.now_ns = max(self.now_ns, due)
            seen += self.give(Wake())
        self.now_ns = end
        self.effects = seen
        return seen

    def elect(self) -> list[CoordinatorEffect]:
        """This replica wins the leader key."""
        self.store, term = self.store.elect(self.host.replica)
        return self.give(Elected(term=term))

    # --- operators ---------------------------------------------------------------------------

    def ticket(self) -> int:
        """A fresh one."""
        self._ticket += 1
        return self._ticket

    def ask(self, request: Request) -> Accepted | Refused | Done | None:
        """Ask for a switch; return the answer if there is one yet."""
        ticket = self.ticket()
        return self.reply(ticket, self.give(Requested(ticket=ticket, request=request)))

    def administer(self, event: CoordinatorEvent) -> Accepted | Refused | Done | None:
        """Ask for anything else; the event's ticket is the newest."""
        return self.reply(self._ticket, self.give(event))

    def reply(
        self, ticket: int, effects: list[CoordinatorEffect] | None = None
    ) -> Accepted | Refused | Done | None:
        """What one ticket was answered among the effects (the last step's)."""
        found = [
            r.answer for r in of(self.effects if effects is None else effects, Reply)
            if r.ticket == ticket
        ]  # fmt: skip
        assert len(found) <= 1
        return found[0] if found else None

    # --- agents ------------------------------------------------------------------------------

    def report(self, agent: str, epoch: int = 0, **changes: object) -> Report:
        """An agent's signed report: live at this epoch, unless something is changed."""
        head = self.decision(epoch).head if epoch else None
        active = Active(incarnation=1, epoch=Epoch(epoch), digest=head.digest) if head else Active()
        record = self.state.incarnation
        report = Report(
            agent=AgentId(agent),
            region=Region(AGENTS.get(agent, "eu")),
            incarnation=record.incarnation if record else None,
            journal_id=f"journal of {agent}",
            promised=self.state.term,
            committed=head,
            active=active,
            progress=Progress.LIVE if epoch else Progress.NOTHING,
            flipped_at_ns=ClockNs(self.now_ns),
            live_at_ns=ClockNs(self.now_ns) if epoch else None,
            tables=(FIRST.digest,),
        )
        return signed(evolve(report, **changes), agent_key(AgentId(agent)))  # type: ignore[arg-type]

    def hear(
        self, agent: str, epoch: int = 0, *, opened: bool = False, **changes: object
    ) -> list[CoordinatorEffect]:
        """An agent reports."""
        report = self.report(agent, epoch, **changes)
        return self.give(FromAgent(message=report, opened=opened))

    def vote(self, agent: str, no: No | None = None, **changes: object) -> list[CoordinatorEffect]:
        """An agent votes on what is being prepared."""
        attempt, record = self.state.attempt, self.state.incarnation
        assert attempt is not None
        assert record is not None
        vote = Vote(
            agent=AgentId(agent),
            incarnation=record.incarnation,
            term=self.state.term,
            epoch=attempt.epoch,
            digest=attempt.intent.digest,
            journal_id=f"journal of {agent}",
            no=no,
            reason="it said so" if no else "",
            round_trip_ns=1,
            bound_ns=1,
        )
        return self.give(
            FromAgent(message=signed(evolve(vote, **changes), agent_key(AgentId(agent))))  # type: ignore[arg-type]
        )

    def all_say_yes(self) -> None:
        """Every required agent votes yes."""
        assert self.state.attempt is not None
        for agent in self.state.attempt.required:
            self.vote(agent)

    def all_live(self, epoch: int, agents: Mapping[str, str] = AGENTS) -> None:
        """Every agent reports to be live at an epoch."""
        for agent in agents:
            self.hear(agent, epoch)

    # --- what is written ---------------------------------------------------------------------

    def decision(self, epoch: int) -> Decision:
        """The decision about an epoch."""
        entry = self.store.items[keys.decision(Epoch(epoch))]
        return decode(entry.value, Decision, limit=MAX_TABLE_BYTES)

    def outcome(self, epoch: int) -> Outcome | None:
        """An epoch's outcome, if it has one."""
        entry = self.store.items.get(keys.outcome(Epoch(epoch)))
        return decode(entry.value, Outcome, limit=MAX_TABLE_BYTES) if entry else None

    def snapshot(self, *names: str) -> Snapshot:
        """These keys as they stand."""
        return Snapshot(
            revision=self.store.revision,
            items=tuple(self.store.items[name] for name in names if name in self.store.items),
        )


def of(effects: list[CoordinatorEffect], kind: type[E]) -> list[E]:
    """The effects of one kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


def told(effects: list[CoordinatorEffect], agent: str) -> list[object]:
    """The messages told to one agent."""
    return [tell.message for tell in of(effects, Tell) if agent in tell.agents]


def stepped_down(effects: list[CoordinatorEffect]) -> bool:
    """Whether the leader gave up."""
    return bool(of(effects, StepDown))


def switch(key: str = "k", to: Colour | None = Colour.GREEN, **changes: object) -> Request:
    """A switch of the one service."""
    request = Request(key=key, kind=Kind.SWITCH, service=CHECKOUT, to=to)
    return evolve(request, **changes)  # type: ignore[arg-type]


def apply(key: str = "first", table: RoutingTable | None = FIRST, **changes: object) -> Request:
    """An apply."""
    return evolve(Request(key=key, kind=Kind.APPLY, table=table), **changes)  # type: ignore[arg-type]


def rollback(key: str = "back", undo: int | None = None, **changes: object) -> Request:
    """A rollback of the one service."""
    request = Request(
        key=key,
        kind=Kind.ROLLBACK,
        service=CHECKOUT,
        undo=None if undo is None else Epoch(undo),
    )
    return evolve(request, **changes)  # type: ignore[arg-type]


def enrolled(agents: Mapping[str, str] = AGENTS) -> Bench:
    """A leader of a fresh domain whose agents are good."""
    bench = Bench()
    bench.elect()
    for agent, region in agents.items():
        event = EnrolRequested(
            ticket=bench.ticket(),
            agent=AgentId(agent),
            region=Region(region),
            public_key=agent_key(AgentId(agent)).public_key,
            actor="op",
        )
        assert isinstance(bench.administer(event), Done)
        bench.hear(agent, opened=True)
    assert bench.state.fleet.good == tuple(agents)
    return bench


def settled() -> Bench:
    """A leader whose first table is live everywhere, epoch 1."""
    bench = enrolled()
    assert bench.ask(apply()) == Accepted(epoch=Epoch(1))
    bench.all_say_yes()
    bench.all_live(1)
    assert bench.outcome(1) is not None
    return bench


def switched(key: str = "k", to: Colour = Colour.GREEN, **changes: object) -> Bench:
    """A settled leader that then made a switch, live everywhere, epoch 2."""
    bench = settled()
    bench.ask(switch(key, to, **changes))
    bench.all_say_yes()
    bench.all_live(2)
    return bench


def next_leader(bench: Bench, replica: str = "r1") -> Bench:
    """Another replica takes over the same store."""
    successor = Bench(replica, bench.store)
    successor.now_ns = bench.now_ns
    successor._ticket = 1000
    return successor


def reconnect(bench: Bench, epoch: int, agents: Mapping[str, str] = AGENTS) -> None:
    """Agents open their streams to a new leader."""
    for agent in agents:
        bench.hear(agent, epoch, opened=True)
