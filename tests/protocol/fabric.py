"""A small cluster in virtual time: both machines, real journal bytes, real guarded transactions.

Mutable, so that a test reads as a story: two coordinators, three agents, a store, a wire. All that
happens has a moment on one true clock; every node has clocks of its own. What the weather may do:
lose, repeat, reorder and delay messages; lose the store's replies, or let its writes take effect
after everybody has given them up; and a node may die between any two effects of a step. It is judged
as a simulation is (``simulator/judging``).
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from typing import NoReturn

from attrs import evolve

from simulator.etcd.ledger import Committed
from simulator.explore.nodes import TIMING, AgentNode
from simulator.explore.store import FakeStore
from simulator.judging.chronicle import Chronicle
from simulator.judging.witness import Witness
from simulator.world import ProxyEffect
from tests.protocol.fabric_intruder import Intruder
from tests.protocol.fabric_nodes import Clock, Edge, Link, Replica, Trace, WatchfulHost
from tests.protocol.fabric_operators import Operators, Wish
from tests.protocol.fabric_proxies import Proxies
from tests.protocol.fabric_weather import CALM
from turnout.protocol import keys
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.coordinator_state import CoordinatorState
from turnout.protocol.effects import (
    AgentEffect,
    CoordinatorEffect,
    Persist,
    Read,
    Reply,
    Send,
    StepDown,
    Tell,
    Transact,
)
from turnout.protocol.events import (
    AgentEvent,
    AgentGone,
    CoordinatorEvent,
    Deposed,
    Elected,
    FromAgent,
    FromLeader,
    LinkDown,
    LinkUp,
    ReadDone,
    Requested,
    Transacted,
    Wake,
)
from turnout.protocol.identifiers import AgentId, Region, ReplicaId, Term
from turnout.protocol.invariants import Violation
from turnout.protocol.limits import Timing
from turnout.protocol.messages import Down, Receipt, Report, Up, Vote
from turnout.protocol.participant_state import ParticipantState
from turnout.protocol.records import AgentRecord, Request
from turnout.protocol.transactions import Unknown, Won


class Fabric:
    """The cluster."""

    def __init__(
        self,
        store: FakeStore,
        agents: Iterable[AgentNode],
        *,
        seed: int = 0,
        timing: Timing = TIMING,
        replicas: int = 2,
    ) -> None:
        self.now_ns = 0
        self.random = random.Random(seed)
        self.weather = CALM
        self.store = store
        self.timing = timing
        self.trace: Trace | None = None
        self.replicas = {
            name: Replica.make(name, timing, clock=Clock(offset_ns=(i + 3) * 1000 * SECOND))
            for i, name in enumerate(ReplicaId(f"r{i}") for i in range(replicas))
        }
        self.edges: dict[AgentId, Edge] = {}
        self.witness = Witness(self._fail)
        self.witness.begin(store.items)
        self.holder: ReplicaId | None = None
        self.lapsed = False
        self.operators = Operators(self)
        self.proxies = Proxies(self)
        self.chronicle = Chronicle(self.witness, self.proxies.in_flight)
        self.chronicle.begin(store.items)
        self.intruder = Intruder(self)
        self.held: Callable[[AgentId, Up | Down], bool] | None = None
        self.box: list[Callable[[], None]] = []
        self.late_writes: list[Callable[[], object]] = []
        self.fate: Callable[[Transact], str] | None = None
        self.deaf = False
        self.store_life = 0
        self._links = itertools.count(1)
        self._order = itertools.count()
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        for node in agents:
            self._add(node)
        for edge in self.edges.values():
            self.boot(edge)

    # --- time --------------------------------------------------------------------------------

    def after(self, delay_ns: int, act: Callable[[], None]) -> None:
        """Do this later."""
        heapq.heappush(self._agenda, (self.now_ns + max(0, delay_ns), next(self._order), act))

    def run_for(self, ns: int) -> None:
        """Let time pass."""
        self.run_until(lambda: False, ns)

    def run_until(self, done: Callable[[], bool], limit_ns: int) -> bool:
        """Let time pass until something holds, at most so long; return whether it does."""
        end = self.now_ns + limit_ns
        while not done():
            if not self._agenda or self._agenda[0][0] > end:
                self.now_ns = end
                return done()
            self.now_ns, _, act = heapq.heappop(self._agenda)
            act()
        return True

    def between(self, span: tuple[int, int]) -> int:
        """A length within a span of the weather's."""
        return span[0] if span[0] == span[1] else self.random.randint(*span)

    def _chance(self, share: float) -> bool:
        return share > 0 and self.random.random() < share

    # --- agents ------------------------------------------------------------------------------

    def add_agent(self, agent: AgentId, region: Region) -> Edge:
        """Put another agent beside a fresh proxy."""
        edge = self._add(AgentNode(agent=agent, region=region))
        self.boot(edge)
        return edge

    def _add(self, node: AgentNode) -> Edge:
        host = WatchfulHost(node.agent, node.region, self.timing)
        clock = Clock(offset_ns=(len(self.edges) + 20) * 1000 * SECOND)
        edge = self.edges[node.agent] = Edge(host=host, node=node, clock=clock)
        self.witness.watch(edge)
        self.chronicle.found(edge)
        return edge

    def boot(self, edge: Edge, *, proxy_too: bool = False) -> None:
        """Kill the agent, if it lives, and start it from its disk; then it looks for a leader."""
        self.kill(edge)
        before, edge.alive = edge.node, True
        edge.node, _ = edge.host.restart(
            before, proxy_too=proxy_too, link=False, now=edge.clock.now(self.now_ns)
        )
        self.chronicle.booted(edge.agent)
        self._stepped(edge, before, ())
        self._dial_later(edge, 10 * MS)

    def kill(self, edge: Edge) -> None:
        """The agent dies; its proxy goes on."""
        self._hang_up(edge, "died")
        edge.alive, edge.life = False, edge.life + 1
        edge.node = evolve(edge.node, state=ParticipantState(), operations=())

    def tell_agent(self, edge: Edge, event: AgentEvent) -> None:
        """One step of an agent, cut short where it is to die before its last effects."""
        if not edge.alive:
            return
        now, before, doomed = edge.clock.now(self.now_ns), edge.node, edge.dies_after
        count = 0 if doomed is None else edge.host.count_effects(before, event, now)
        if doomed is not None and count > doomed:
            edge.dies_after = None
            edge.node, sent = edge.host.step(before, event, now, effects=doomed)
            self._stepped(edge, before, sent)
            self.say(f"{edge.agent} dies after {doomed} of {count} effects")
            self.kill(edge)
            return
        edge.node, sent = edge.host.step(before, event, now)
        if isinstance(event, FromLeader):
            self.chronicle.hears(edge, before.state, edge.node.state, self.now_ns)
        self._stepped(edge, before, sent)

    def _stepped(self, edge: Edge, before: AgentNode, sent: tuple[Up, ...]) -> None:
        if self.trace is not None:
            self.trace.journal(edge, before)
        self.chronicle.stepped(edge, before.state, edge.node.state, self.now_ns)
        for effect, record in edge.host.take_done():
            self._did(edge, effect, record)
        for message in sent:
            self._send_up(edge, message)
        self._arm(edge, lambda: self.tell_agent(edge, Wake()))

    def _did(self, edge: Edge, effect: AgentEffect, record: AgentRecord) -> None:
        """An agent's host has carried out an effect, over this record."""
        if isinstance(effect, Persist):
            self.witness.ghosts[edge.agent].journalled(effect.record)
            self.chronicle.journalled(edge.agent, effect.record, self.now_ns)
        elif isinstance(effect, Send) and isinstance(effect.message, Vote):
            self.witness.votes(edge.agent, effect.message, record)
        elif isinstance(effect, ProxyEffect):
            self.chronicle.orders(edge, effect, self.now_ns)
            self.proxies.begin(edge, effect)

    def _arm(self, node: Edge | Replica, wake: Callable[[], None]) -> None:
        """Wake a node when its machine wants it, by the node's own clock."""
        due = node.deadline
        if due is None or due == node.armed:
            return
        node.armed = due
        life = node.life

        def ring() -> None:
            if node.armed == due:
                node.armed = None
            if node.life != life or not node.alive:
                return
            deadline = node.deadline
            if deadline is not None and deadline <= node.clock.monotonic_ns(self.now_ns):
                wake()
            else:
                self._arm(node, wake)

        self.after(node.clock.true_at(due) - self.now_ns, ring)

    # --- the wire ----------------------------------------------------------------------------

    def cut(self, edge: Edge, *, up: bool = True, down: bool = True) -> None:
        """Nothing passes any more, one way or both."""
        edge.cut_up, edge.cut_down = edge.cut_up or up, edge.cut_down or down

    def heal(self, edge: Edge) -> None:
        """Everything passes again; what was said is lost."""
        edge.cut_up = edge.cut_down = False

    def _dial_later(self, edge: Edge, delay_ns: int) -> None:
        life = edge.life

        def dial() -> None:
            if edge.alive and edge.life == life and edge.link is None:
                self._dial(edge)

        self.after(delay_ns, dial)

    def _dial(self, edge: Edge) -> None:
        """Try whoever says that it leads; an unlucky try is repeated."""
        leading = [r for r in self.replicas.values() if r.leads]
        if edge.cut_up or edge.cut_down or not leading:
            self._dial_later(edge, 500 * MS)
            return
        replica = self.random.choice(leading)
        link = Link(number=next(self._links), agent=edge.agent, replica=replica.replica)
        edge.link, edge.opening, edge.heard_ns = link, True, self.now_ns
        self._listen_for_silence(edge, link)
        self.tell_agent(edge, LinkUp())

    def _listen_for_silence(self, edge: Edge, link: Link) -> None:
        left = edge.heard_ns + self.timing.silence_ns - self.now_ns

        def listen() -> None:
            if edge.link == link:
                if self.now_ns - edge.heard_ns >= self.timing.silence_ns:
                    self._hang_up(edge, "silence")
                else:
                    self._listen_for_silence(edge, link)

        self.after(left, listen)

    def _hang_up(self, edge: Edge, reason: str) -> None:
        """The agent's end of a stream is gone; the leader's end notices later."""
        link, edge.link = edge.link, None
        if link is None:
            return
        self.after(self.between((20 * MS, 2 * SECOND)), lambda: self._gone(link))
        if reason != "died":
            self.tell_agent(edge, LinkDown(reason=reason))
            self._dial_later(edge, self.between((50 * MS, 500 * MS)))

    def _gone(self, link: Link) -> None:
        replica = self.replicas[link.replica]
        if replica.links.get(link.agent) == link:
            del replica.links[link.agent]
            self.tell_replica(replica, AgentGone(agent=link.agent))

    def _send_up(self, edge: Edge, message: Up) -> None:
        link = edge.link
        if link is None:
            return
        opened = edge.opening and isinstance(message, Report)
        edge.opening = edge.opening and not opened
        self.witness.hears(message)
        if self.trace is not None:
            self.trace.up(edge.agent, message)
        self._carry(
            edge.agent,
            message,
            lambda: self._arrive_up(link, message, opened=opened),
            surely=opened,
        )

    def _arrive_up(self, link: Link, message: Up, *, opened: bool) -> None:
        edge, replica = self.edges[link.agent], self.replicas[link.replica]
        is_stranger = link.agent not in replica.state.fleet.agents
        if edge.cut_up or not replica.leads or (opened and is_stranger):
            if opened:
                self._break(edge, link)
            return
        if opened:
            if edge.link != link:
                return
            replica.links[link.agent] = link
        if isinstance(message, Report):
            self.chronicle.shows(replica, message, self.store.items)
        self.intruder.overhear(replica, message)
        self.tell_replica(replica, FromAgent(message=message, opened=opened))
        if isinstance(message, Report) and replica.leads:
            now = replica.clock.now(self.now_ns)
            receipt = Receipt(
                term=replica.state.term,
                replica=replica.replica,
                echo_ns=message.sent_ns,
                clock_ns=now.clock_ns,
                wall_ns=now.wall_ns,
                wall_bound_ns=now.wall_bound_ns,
            )
            self._send_down(replica, link.agent, receipt)

    def _break(self, edge: Edge, link: Link) -> None:
        if edge.link == link:
            self._hang_up(edge, "refused")

    def _send_down(self, replica: Replica, agent: AgentId, message: Down) -> None:
        link = replica.links.get(agent)
        if link is None:
            return
        self.witness.hears(message)
        if self.trace is not None:
            self.trace.down(agent, message)
        self._carry(agent, message, lambda: self._arrive_down(link, message))

    def _arrive_down(self, link: Link, message: Down) -> None:
        edge = self.edges[link.agent]
        if edge.cut_down or not edge.alive:
            return
        if edge.link == link:
            edge.heard_ns = self.now_ns
        self.intruder.overhear(edge, message)
        self.tell_agent(edge, FromLeader(message=message))

    def _carry(
        self,
        agent: AgentId,
        message: Up | Down,
        arrive: Callable[[], None],
        *,
        surely: bool = False,
    ) -> None:
        """Give a message to the wire: which may lose, repeat and delay it, or hold it in a box."""
        if self.held is not None and self.held(agent, message):
            self.say(f"held: {type(message).__name__} of {agent}")
            self.box.append(arrive)
            return
        weather = self.weather
        if not surely and self._chance(weather.drop):
            return
        self.after(self.between(weather.delay_ns), arrive)
        if not surely and self._chance(weather.repeat):
            self.after(self.between((weather.delay_ns[0], 20 * weather.delay_ns[1])), arrive)

    # --- replicas ----------------------------------------------------------------------------

    def tell_replica(self, replica: Replica, event: CoordinatorEvent) -> None:
        """One step of a replica, cut short where it is to die before its last effects."""
        if not replica.alive:
            return
        before = replica.state
        now = replica.clock.now(self.now_ns)
        replica.state, effects = replica.host.step(before, event, now)
        doomed = replica.dies_after
        if self.trace is not None:
            self.trace.role(replica, before)
        for number, effect in enumerate(effects):
            if number == doomed:
                replica.dies_after = None
                self.say(f"{replica.replica} dies after {doomed} of {len(effects)} effects")
                self.crash(replica)
                return
            self._carry_out(replica, effect)
        if before.fleet.agents is not replica.state.fleet.agents and replica.leads:
            self._part_with_removed(replica)
        self._arm(replica, lambda: self.tell_replica(replica, Wake()))

    def _part_with_removed(self, replica: Replica) -> None:
        """An agent that is removed loses its stream: under its name another may be enrolled."""
        for agent, link in tuple(replica.links.items()):
            if agent not in replica.state.fleet.agents:
                del replica.links[agent]
                self._break_later(link)

    def _break_later(self, link: Link) -> None:
        edge = self.edges[link.agent]
        self.after(self.between(self.weather.delay_ns), lambda: self._break(edge, link))

    def _carry_out(self, replica: Replica, effect: CoordinatorEffect) -> None:
        match effect:
            case Tell():
                for agent in effect.agents:
                    self._send_down(replica, agent, effect.message)
            case Transact():
                self._transact(replica, effect)
            case Read():
                self._read(replica, effect)
            case Reply():
                self.operators.replied(replica, effect)
            case StepDown():
                self._step_down(replica)

    def crash(self, replica: Replica) -> None:
        """The process dies: its memory, its streams, its calls' replies."""
        replica.alive, replica.life = False, replica.life + 1
        replica.state = CoordinatorState()
        replica.armed = None
        self.lapsed = self.lapsed or self.holder == replica.replica
        self._close_streams(replica)
        self.operators.send_away(replica)
        self._lease_may_end()

    def start(self, replica: Replica) -> None:
        """The process starts again."""
        replica.alive = True

    def cut_store(self, replica: Replica, *, cut: bool = True) -> None:
        """A replica loses the store, or finds it again."""
        replica.store_cut = cut
        self._lease_may_end()

    def _step_down(self, replica: Replica) -> None:
        self._close_streams(replica)
        self.operators.send_away(replica)
        replica.resting_until_ns = self.now_ns + self.timing.lease_ttl_ns
        if self.holder == replica.replica:
            self.holder = None
            self.after(50 * MS, self.elect)

    def _close_streams(self, replica: Replica) -> None:
        for link in tuple(replica.links.values()):
            self._break_later(link)
        replica.links.clear()

    # --- the leader key ----------------------------------------------------------------------

    def _lease_may_end(self) -> None:
        """Once its holder cannot renew it for a lease time, the key is gone, and it knows."""
        term = self.term

        def expire() -> None:
            if term == self.term and self.holder is not None and not self._is_held():
                loser, self.holder = self.replicas[self.holder], None
                self._depose_later(loser, term)
                self.elect()

        self.after(self.timing.lease_ttl_ns + self.between(self.weather.lease_ns), expire)

    @property
    def term(self) -> Term:
        """The leader key's create-revision as it stands; 0 where there is none."""
        entry = self.store.items.get(keys.LEADER)
        return Term(entry.create_revision if entry else 0)

    def elect(self, name: ReplicaId | None = None) -> None:
        """Let the key go to a replica that can hold it; the one before hears of it late."""
        if name is None and self._is_held():
            return
        able = [r for r in self.replicas.values() if r.can_hold]
        fresh = [r for r in able if r.resting_until_ns <= self.now_ns] or able
        if name is None and not fresh:
            self.after(500 * MS, self.elect)
            return
        winner = self.replicas[name] if name else self.random.choice(fresh)
        loser = self.replicas[self.holder] if self.holder not in (None, winner.replica) else None
        self.store, term = self.store.elect(winner.replica)
        self.holder, self.lapsed = winner.replica, False
        self.say(f"{winner.replica} wins the leader key: term {term}")
        if loser is not None:
            self._depose_later(loser, loser.state.term)
        self.chronicle.takes_over(winner.replica)
        self.tell_replica(winner, Elected(term=term))

    def _is_held(self) -> bool:
        """Whether somebody renews the key's lease: a process that died takes that with it."""
        return self.holder is not None and not self.lapsed and self.replicas[self.holder].can_hold

    def _depose_later(self, loser: Replica, term: Term) -> None:
        def depose() -> None:
            if loser.state.term == term:
                self.tell_replica(loser, Deposed(reason="the lease ran out"))

        self.after(self.between(self.weather.zombie_ns), depose)

    # --- the store ---------------------------------------------------------------------------

    def _transact(self, replica: Replica, effect: Transact) -> None:
        """Carry a transaction out; or its reply is lost; or it is given up first, and lands late."""
        self.chronicle.asks(replica, effect, self.now_ns)
        fate = self.fate(effect) if self.fate else ""
        store_life, life = self.store_life, replica.life

        def land(*, heard: bool) -> None:
            if self.store_life == store_life:
                done = self._take_effect(replica, effect)
                if heard:
                    self._reply(replica, life, done)

        if replica.store_cut:
            fate = "unsent"
        elif not fate and self._chance(self.weather.unheard):
            fate = "unheard"
        elif not fate and self._chance(self.weather.belated):
            fate = "belated"
        took_ns = self.between(self.weather.store_ns)
        if fate in ("", "unheard"):
            self.after(took_ns, lambda: land(heard=not fate))
        elif fate == "belated":
            late_ns = self.between((SECOND // 2, 6 * SECOND))
            self.after(late_ns, lambda: land(heard=False))
        elif fate == "kept":
            self.late_writes.append(lambda: self._take_effect(replica, effect))
        if fate:
            self.say(f"store: {replica.replica}'s {effect.transaction.name} gets no reply")
            late = Transacted(operation=effect.operation, result=Unknown(reason="late"))
            self.after(SECOND // 2, lambda: self._reply(replica, life, late))

    def _take_effect(self, replica: Replica, effect: Transact) -> Transacted:
        before, term = self.store, effect.operation.term
        self.store, result = before.apply(effect.transaction, term)
        if self.trace is not None:
            self.trace.store(replica.replica, effect, result)
        if isinstance(result, Won):
            committed = Committed(
                revision=result.revision,
                transaction=effect.transaction,
                sender=term,
                won=True,
                writes=effect.transaction.writes,
                items_before=before.items,
            )
            self.witness.wrote(committed, self.store.items)
            self.chronicle.wrote(committed, self.store.items, self.now_ns)
        return Transacted(operation=effect.operation, result=result)

    def _reply(self, replica: Replica, life: int, event: CoordinatorEvent) -> None:
        """A reply of the store's, unless the process that asked is gone."""
        if replica.life == life:
            self.tell_replica(replica, event)

    def _read(self, replica: Replica, effect: Read) -> None:
        life = replica.life

        def answer() -> None:
            if replica.life != life:
                return
            deaf = replica.store_cut or self.deaf or self._chance(self.weather.deafness)
            if deaf:
                done = ReadDone(operation=effect.operation, snapshot=None)
                self.after(self.timing.retry_ns, lambda: self._reply(replica, life, done))
                return
            snapshot = self.store.read(effect.ranges, effect.revision)
            self._reply(replica, life, ReadDone(operation=effect.operation, snapshot=snapshot))

        self.after(self.between(self.weather.store_ns), answer)

    # --- operators ---------------------------------------------------------------------------

    def request(self, request: Request) -> Wish:
        """Ask for a switch, apply or rollback, until there is an answer."""
        return self.ask(request.key, lambda ticket: Requested(ticket=ticket, request=request))

    def ask(self, name: str, make: Callable[[int], CoordinatorEvent]) -> Wish:
        """Ask whoever leads, again and again, until there is an answer."""
        return self.operators.ask(name, make)

    # --- judging -----------------------------------------------------------------------------

    def _fail(self, found: Violation) -> NoReturn:
        raise AssertionError(f"at {self.now_ns / SECOND:.3f} s: {found.number}: {found.text}")

    def say(self, text: str) -> None:
        """Have it written down."""
        if self.trace is not None:
            self.trace.say(text)
