"""One coordinator replica: its process, its machines, its streams, and its way to the store.

What ``coordinator/replica.py`` puts together for real, with the same rules: the election's news go to
the machine, the machine's calls to the store, its messages down the streams that agents hold. A new
stream of an agent takes the old one's place; a leader that steps down closes all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from simulator.agent_door import AgentDoor
from simulator.clocks import NodeClock
from simulator.door import Answer, Moved, TurnedAway
from simulator.etcd.client import EtcdClient
from simulator.etcd.leases import LeaseTime
from simulator.host import Host
from simulator.process import Process
from simulator.signers import CheapVerifier
from simulator.world import World
from turnout.protocol import election, keys
from turnout.protocol.candidacy import (
    Announce,
    AskLease,
    Campaign,
    Campaigned,
    Claim,
    ElectionEffect,
    ElectionEvent,
    Follow,
    GrantLease,
    KeepAlive,
    KeptAlive,
    LeaderSeen,
    LeaseGone,
    LeaseGranted,
    LeaseSeen,
    ReadLeader,
    Resign,
    Retired,
    RevokeLease,
    StoreCall,
)
from turnout.protocol.clock import SECOND, Instant, MonotonicNs
from turnout.protocol.coordinator import Coordinator
from turnout.protocol.coordinator_state import CoordinatorConfig, CoordinatorState, Role
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
from turnout.protocol.election import Election
from turnout.protocol.events import (
    CoordinatorEvent,
    Elected,
    ReadDone,
    Transacted,
    Wake,
)
from turnout.protocol.identifiers import NO_TERM, ReplicaId, Term
from turnout.protocol.transactions import KeyValue, Range, Result, Snapshot

WATCH_PAUSE_NS = SECOND // 2
"""Before the store is asked again to be watched (``coordinator/candidate.py``)."""

STORE_WENT_BACK = "store-went-back"
"""The problem that a halted leader answers with (``coordinator/api/leading.py``)."""

DESK_NS = 9 * SECOND
"""So long an operator's request waits for the machine's answer (``coordinator/desk.py``)."""

Replied = Callable[[Accepted | Refused | Done], None]


class ReplicaNode:
    """One replica."""

    def __init__(
        self, replica: ReplicaId, process: Process, store: EtcdClient, world: World
    ) -> None:
        self.replica = replica
        self.process = process
        self.url = f"http://{replica}"
        self._world = world
        self._store = store
        self._chance = world.randomness.stream(f"election of {process.name}")
        self._config = CoordinatorConfig(
            replica=replica, timing=world.timing, signer=world.domain, verifier=CheapVerifier()
        )
        self._host: Host[CoordinatorState, CoordinatorEvent, CoordinatorEffect] = Host(
            process, Coordinator(self._config), self, _Watcher(self, world)
        )
        self._election: Host[Election, ElectionEvent, ElectionEffect] = Host(
            process, _ElectionMachine(), _ElectionHands(self), _ElectionWatcher(self, world)
        )
        self.door = AgentDoor(self, self._config, world)
        process.on_death.append(self._die)
        process.on_start.append(self.boot)

    @property
    def state(self) -> CoordinatorState:
        """What the coordinator's machine knows."""
        return self._host.state

    @property
    def clock(self) -> NodeClock:
        """What it goes by."""
        return self.process.clock

    @property
    def leads(self) -> bool:
        """Whether it takes itself for the leader."""
        return self.process.is_alive and self._host.state.role is Role.LEADING

    def boot(self) -> None:
        """Start: nothing is known, and the first thing is to look who leads."""
        self.door.open_anew(self._chance.randbytes(32))
        self._desk: dict[int, Replied] = {}
        self._tickets = 0
        self._term: Term = NO_TERM
        self._leader: Claim | None = None
        self._incarnation: list[bytes | None] = []
        self._host.begin(CoordinatorState())
        self._election.begin(
            Election.begin(
                replica=self.replica,
                url=self.url,
                timing=self._world.timing,
                seed=self._chance.getrandbits(64),
                now=self.process.now(),
            )
        )
        self._follow(keys.LEADER, self._leader_seen)
        self._follow(keys.INCARNATION, self._incarnation_seen)

    def _die(self) -> None:
        self._host.end()
        self._host.state = CoordinatorState()
        self._election.end()
        self.door.forget()
        self._desk.clear()

    def tell(self, event: CoordinatorEvent) -> None:
        """Something for the coordinator's machine."""
        self._host.tell(event)

    def elsewhere(self) -> Answer:
        """What whoever needs a leader is answered by one that is none."""
        if self._leader is not None and self._leader.url != self.url:
            return Moved(self._leader.url)
        return TurnedAway("this replica does not lead, and knows nobody who does", is_fatal=True)

    # ---------------------------------------------------------------- operators come in

    def ask(self, make: Callable[[int], CoordinatorEvent], replied: Replied) -> Answer | Refused:
        """Tell the machine what an operator wants; answered later, unless somebody else leads."""
        if self.state.role is Role.HALTED:
            return Refused(code=STORE_WENT_BACK, text=self.state.trouble)
        if not self.leads:
            return self.elsewhere()
        self._tickets += 1
        ticket = self._tickets
        self._desk[ticket] = replied
        self.process.after(DESK_NS, lambda: self._give_up(ticket))
        self._host.tell(make(ticket))
        return None

    def _give_up(self, ticket: int) -> None:
        self._reply(ticket, Refused(code="no-quorum", text="the store did not confirm it in time"))

    def _reply(self, ticket: int, answer: Accepted | Refused | Done) -> None:
        replied = self._desk.pop(ticket, None)
        if replied is not None:
            replied(answer)

    def _send_away(self, reason: str) -> None:
        for ticket in list(self._desk):
            self._reply(ticket, Refused(code="no-leader", text=reason))

    # ---------------------------------------------------------------- the machine

    def carry_out(self, effect: CoordinatorEffect) -> bool:
        """Do it, or start it: nothing that follows waits for anything."""
        match effect:
            case Tell():
                self.door.tell(effect)
            case Transact():
                self._transact(effect)
            case Read():
                self._read(effect)
            case Reply():
                self._reply(effect.ticket, effect.answer)
            case StepDown():
                self._step_down(effect.reason)
        return True

    def _transact(self, effect: Transact) -> None:
        self._world.observer.asked_of_store(self, effect)

        def done(result: Result | LeaseGone) -> None:
            assert not isinstance(result, LeaseGone), "only a campaign is tied to a lease"
            self._host.tell(Transacted(operation=effect.operation, result=result))

        self._store.transact(effect.transaction, done, sender=effect.operation.term)

    def _read(self, effect: Read) -> None:
        def done(snapshot: Snapshot | None) -> None:
            answer = ReadDone(operation=effect.operation, snapshot=snapshot)
            pause_ns = self._world.timing.retry_ns if snapshot is None else 0
            self.process.after(pause_ns, lambda: self._host.tell(answer))

        self._store.read(effect.ranges, effect.revision, done)

    def _step_down(self, reason: str) -> None:
        self.door.close_streams(reason)
        self._send_away(reason)
        if self._election.state.term == self._term:
            self._election.tell(Resign(reason=reason, for_good=False))

    def stepped(self, before: CoordinatorState, after: CoordinatorState) -> None:
        """What a step means for those who wait here."""
        if before.role is Role.LEADING and after.role is not Role.LEADING:
            self._send_away("this replica does not lead any more")
        if before.role is not Role.HALTED and after.role is Role.HALTED:
            self.door.close_streams(after.trouble)
        if before.fleet.agents is not after.fleet.agents and after.role is Role.LEADING:
            self.door.part_with_removed(before, after)

    # ---------------------------------------------------------------- the election

    def carry_out_election(self, effect: ElectionEffect) -> None:
        """Start the call, or tell the news."""
        match effect:
            case Announce(event=event):
                if isinstance(event, Elected):
                    self._term = event.term
                self._host.tell(event)
            case Follow(leader=leader):
                self._leader = leader
            case Retired():
                pass
            case _:
                self._call(effect)

    def _call(self, effect: StoreCall) -> None:
        store = self._store
        match effect:
            case ReadLeader():
                store.read((Range(keys.LEADER),), 0, lambda seen: self._leader_read(effect, seen))
            case GrantLease(ttl_ns=ttl_ns, asked_ns=asked_ns):
                store.grant(math.ceil(ttl_ns / SECOND), partial(self._granted, asked_ns))
            case Campaign():
                store.transact(
                    effect.transaction,
                    lambda result: self._campaigned(effect, result),
                    lease=effect.lease,
                )
            case KeepAlive():
                store.keep_alive(effect.lease, lambda alive: self._kept_alive(effect, alive))
            case RevokeLease(lease=lease):
                store.revoke(lease, partial(self._revoked, lease))
            case AskLease():
                store.lease_time(effect.lease, partial(self._lease_seen, effect))

    def _granted(self, asked_ns: MonotonicNs, lease: int | None) -> None:
        if lease is not None:
            self._election.tell(LeaseGranted(lease=lease, asked_ns=asked_ns))

    def _revoked(self, lease: int, done: bool) -> None:
        if done:
            self._election.tell(LeaseGone(lease=lease))

    def _lease_seen(self, effect: AskLease, time: LeaseTime | None) -> None:
        if time is not None:
            seen = LeaseSeen(
                lease=effect.lease,
                asked_ns=effect.asked_ns,
                granted_ns=time.granted_s * SECOND,
                left_ns=time.left_s * SECOND,
            )
            self._election.tell(seen)

    def _leader_read(self, effect: ReadLeader, seen: Snapshot | None) -> None:
        if seen is not None:
            entry = seen.get(keys.LEADER)
            self._election.tell(LeaderSeen(revision=seen.revision, entry=entry, floor=effect.floor))

    def _campaigned(self, effect: Campaign, result: Result | LeaseGone) -> None:
        if isinstance(result, LeaseGone):
            self._election.tell(LeaseGone(lease=effect.lease))
        else:
            self._election.tell(Campaigned(lease=effect.lease, result=result))

    def _kept_alive(self, effect: KeepAlive, alive: bool | None) -> None:
        if alive is True:
            self._election.tell(KeptAlive(lease=effect.lease, asked_ns=effect.asked_ns))
        elif alive is False:
            self._election.tell(LeaseGone(lease=effect.lease))

    # ---------------------------------------------------------------- watching

    def _leader_seen(self, revision: int, entry: KeyValue | None) -> None:
        self._election.tell(LeaderSeen(revision=revision, entry=entry))

    def _incarnation_seen(self, _revision: int, entry: KeyValue | None) -> None:
        """A new incarnation is led by one who read it: whoever leads now hands over."""
        value = entry.value if entry else None
        if self._incarnation and self._incarnation[-1] != value:
            self._election.tell(Resign(reason="the domain has a new incarnation", for_good=False))
        self._incarnation[:] = [value]

    def _follow(self, key: str, notice: Callable[[int, KeyValue | None], None]) -> None:
        """Read a key and watch it from there; again from the beginning whenever that breaks."""

        def again() -> None:
            self.process.after(WATCH_PAUSE_NS, lambda: self._follow(key, notice))

        def seen(snapshot: Snapshot | None) -> None:
            if snapshot is None:
                again()
                return
            notice(snapshot.revision, snapshot.get(key))
            self._store.watch(key, snapshot.revision + 1, notice, again)

        self._store.read((Range(key),), 0, seen)


class _ElectionMachine:
    """``turnout.protocol.election`` as a host drives it."""

    def step(
        self, state: Election, event: ElectionEvent, now: Instant
    ) -> tuple[Election, tuple[ElectionEffect, ...]]:
        return election.step(state, event, now)

    def next_deadline(self, state: Election, /) -> MonotonicNs | None:
        return state.next_deadline


class _ElectionHands:
    def __init__(self, node: ReplicaNode) -> None:
        self._node = node

    def carry_out(self, effect: ElectionEffect) -> bool:
        self._node.carry_out_election(effect)
        return True


class _Watcher:
    """Shows a replica's steps to whoever judges, and its seams to whoever hurts."""

    def __init__(self, node: ReplicaNode, world: World) -> None:
        self._node = node
        self._world = world

    def stepped(
        self,
        before: CoordinatorState,
        event: CoordinatorEvent | Wake,
        after: CoordinatorState,
        effects: tuple[CoordinatorEffect, ...],
    ) -> None:
        self._world.trace.step(self._node.process.name, event, effects)
        self._world.observer.replica_stepped(self._node, before, event, after)
        self._node.stepped(before, after)

    def seam(self, effects: tuple[CoordinatorEffect, ...], place: int) -> None:
        self._world.faults.at_replica_seam(self._node, effects, place)


class _ElectionWatcher:
    def __init__(self, node: ReplicaNode, world: World) -> None:
        self._node = node
        self._world = world

    def stepped(
        self,
        _before: Election,
        event: ElectionEvent | Wake,
        _after: Election,
        effects: tuple[ElectionEffect, ...],
    ) -> None:
        self._world.trace.step(self._node.process.name, event, effects)

    def seam(self, effects: tuple[ElectionEffect, ...], place: int) -> None:
        """Its effects are calls to the store: a death between two is a death before an answer."""
