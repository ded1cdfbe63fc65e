"""One etcd server: it agrees with the others, applies what is agreed, and answers clients.

A client may ask any member. What must go through the log a follower hands to the leader, and answers
once it has applied the entry itself; for a read it asks the leader how far it must have applied. So on
wide areas a request to a follower takes two ways more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from attrs import define, frozen

from simulator.etcd.database import Answer, Applied
from simulator.etcd.entries import Carry, Command, Compact, Grant, Nothing, Proposal, Revoke
from simulator.etcd.knobs import EtcdKnobs
from simulator.etcd.leases import LeaseTime, Lessor
from simulator.etcd.ledger import Ledger
from simulator.etcd.peers import Peers
from simulator.etcd.raft import Raft
from simulator.etcd.raft_messages import Message
from simulator.etcd.raft_parts import Role
from simulator.etcd.reads import LEADER_CHANGED, NO_LEADER, Reads, Refusal
from simulator.etcd.storage import Storage
from simulator.network import Connection, Network
from simulator.process import Process
from simulator.randomness import Stream
from turnout.protocol.transactions import KeyValue, Range, Snapshot, Transaction


@frozen
class Opened:
    """The first thing that a watch says."""


@frozen
class Changed:
    """A watched key was put, or (None) deleted."""

    revision: int
    entry: KeyValue | None


@frozen
class Compacted:
    """The last thing that a watch says: what comes next is no longer kept."""


Told: TypeAlias = Answer | Snapshot | LeaseTime | bool | Refusal | Opened | Changed | Compacted
Tell: TypeAlias = Callable[[Told], None]
AskLeader: TypeAlias = Callable[["Member", Tell], None]

COMPACTED = Refusal("etcdserver: mvcc: required revision has been compacted", helps_nowhere=True)
AHEAD = Refusal("etcdserver: mvcc: required revision is a future revision", helps_nowhere=True)
WATCH_TICKS = 3
"""Elections without a leader after which a member ends its watches (``v3rpc/interceptor.go``)."""


@define(eq=False)
class Watcher:
    """One watch that a client has here."""

    key: str
    from_revision: int
    connection: Connection
    tell: Tell


def _never(_leader: Member) -> bool:
    return False


class Member:
    """One server.

    Attributes:
        applied: how many entries it has applied; ``revision``: where that brought it.
        rest: asked, as leader, whether heartbeats may be left out (``quiet.py``).
    """

    def __init__(
        self,
        *,
        place: int,
        size: int,
        process: Process,
        network: Network,
        stream: Stream,
        knobs: EtcdKnobs,
        ledger: Ledger,
        members: list[Member],
    ) -> None:
        self.place, self.process, self.ledger, self.knobs = place, process, ledger, knobs
        self.applied = self.revision = self.compacted = 0
        self._members, self.stream = members, stream
        self._numbers = 0
        self._elections = 0
        self._waiting: dict[int, Tell] = {}
        self._watchers: list[Watcher] = []
        self._held: list[tuple[int, Message]] = []
        self.rest: Callable[[Member], bool] = _never
        self.storage = Storage(process, knobs.fsync_ns, self._send_held)
        self.peers = Peers(place, size, process, network, knobs, self._peers_of, self._connected)
        self.raft = Raft(place, size, process, self.storage, stream, knobs, self)
        self.lessor = Lessor(process, knobs, self._lease_is_over)
        self.reads = Reads(process, knobs, self._ask_index)
        process.on_death.append(self._die)
        process.on_start.append(self.start)

    def start(self, first_timeout_ns: int | None = None) -> None:
        """The process has started, with what its disk has kept."""
        self.applied = min(self.applied, self.storage.synced)
        self.revision = self.ledger.revision_after(self.applied)
        self.lessor.start()
        self.raft.start(first_timeout_ns)
        self.peers.start()
        self.committed()

    def format(self, leases: dict[int, int]) -> None:
        """Its disk is made anew from a backup, with its leases; the process is dead."""
        assert not self.process.is_alive
        self.storage.format()
        self.applied = self.raft.commit = 0
        self.compacted = self.ledger.database.compacted
        self.lessor.ttl_s = leases

    def _die(self) -> None:
        self.storage.crash()
        self.peers.forget()
        self.reads.forget()
        self._waiting, self._watchers, self._held = {}, [], []

    def _peers_of(self, place: int) -> Peers:
        return self._members[place].peers

    # --- among members --------------------------------------------------------------------------

    def send(self, peer: int, message: Message) -> None:
        """Send to another member; while its own disk is busy a member says nothing new."""
        if self.storage.is_busy:
            self._held.append((peer, message))
        else:
            self.peers.send(peer, partial(self._members[peer].take, self.place, message))

    def _send_held(self) -> None:
        held, self._held = self._held, []
        for peer, message in held:
            self.send(peer, message)

    def take(self, peer: int, message: Message) -> None:
        """Something came from another member."""
        self.peers.heard(peer)
        self.raft.take(peer, message)

    def _connected(self, peer: int) -> None:
        self.raft.connected(peer)

    def may_rest(self) -> bool:
        """Let all members rest if all is well."""
        return self.rest(self)

    def leader_changed(self) -> None:
        """Somebody else leads, or nobody: whoever relied on the leader's answer must ask anew."""
        self._elections += 1
        self.reads.fail(LEADER_CHANGED)
        if self.raft.role is Role.LEADER:
            self.lessor.promote()
        else:
            self.lessor.demote()
        if self.raft.leader is None:
            wait_ns = WATCH_TICKS * self.knobs.election_ns
            self.process.after(wait_ns, partial(self._still_without, self._elections))

    def _still_without(self, elections: int) -> None:
        if self._elections == elections:
            watchers, self._watchers = self._watchers, []
            for watcher in watchers:
                watcher.tell(NO_LEADER)

    # --- applying -------------------------------------------------------------------------------

    def committed(self) -> None:
        """More entries are known to be committed: apply them, and tell whoever waits.

        Whoever judges an entry may kill this very process over it.
        """
        entries, life = self.storage.entries, self.process.life
        while self.applied < self.raft.commit:
            entry = entries[self.applied]
            applied = self.ledger.apply(self.applied, entry)
            if self.process.life != life or not self.process.is_alive:
                return
            self.applied += 1
            self.revision = applied.revision
            self._take_up(entry.proposal, applied)
        self.reads.applied(self.applied)

    def _take_up(self, proposal: Proposal, applied: Applied) -> None:
        match proposal.command:
            case Grant(lease=lease, ttl_s=ttl_s):
                self.lessor.granted(lease, ttl_s)
            case Revoke(lease=lease):
                self.lessor.revoked(lease)
            case Compact(revision=revision):
                self.compacted = max(self.compacted, min(revision, self.revision))
            case Carry() | Nothing():
                pass
        if self._watchers and applied.writes:
            self._tell_watchers(applied)
        if proposal.origin == self.place:
            tell = self._waiting.pop(proposal.number, None)
            if tell is not None:
                tell(applied.answer)

    def _tell_watchers(self, applied: Applied) -> None:
        self._watchers = [w for w in self._watchers if w.connection.is_open(self.process)]
        for write in applied.writes:
            for watcher in self._watchers:
                if watcher.key == write.key and watcher.from_revision <= applied.revision:
                    entry = self.ledger.database.at(write.key, applied.revision)
                    watcher.tell(Changed(applied.revision, entry))

    # --- what clients ask -----------------------------------------------------------------------

    def transact(
        self, transaction: Transaction, lease: int, sender: int | None, tell: Tell
    ) -> None:
        """Carry a transaction out, if it can be agreed on."""
        knobs = self.knobs
        heard = not (knobs.unheard and self.stream.random() < knobs.unheard)
        ask = partial(self._ask, Carry(transaction, lease, sender), tell, heard=heard)
        if knobs.late and self.stream.random() < knobs.late:
            self.process.after(self.stream.randrange(knobs.late_ns), ask)
        else:
            ask()

    def grant(self, ttl_s: int, tell: Tell) -> None:
        """Make a lease; a time to live that is too short for this cluster is lengthened."""
        self._ask(Grant(self.ledger.new_lease(), max(ttl_s, self.knobs.least_ttl_s)), tell)

    def revoke(self, lease: int, tell: Tell) -> None:
        """End a lease."""
        self._ask(Revoke(lease), tell)

    def compact(self, revision: int) -> None:
        """Forget what is older than a revision."""
        self.raft.propose(Proposal(Compact(revision)))

    def keep_alive(self, lease: int, tell: Tell) -> None:
        """Give a lease its time again: the leader does, without the log and without the others."""
        self._ask_leader(lambda leader, told: leader.lessor.renew(lease, told), tell)

    def lease_time(self, lease: int, tell: Tell) -> None:
        """Tell how long a lease has left, or False: the leader alone knows."""
        self._ask_leader(lambda leader, told: told(leader.lessor.time(lease) or False), tell)

    def _ask_leader(self, ask: AskLeader, tell: Tell) -> None:
        leader = self.raft.leader
        if leader is None:
            tell(NO_LEADER)
        elif leader == self.place:
            ask(self, tell)
        else:
            there = self._members[leader]
            self.peers.send(leader, partial(there.asked_by, self.place, ask, tell))

    def asked_by(self, peer: int, ask: AskLeader, tell: Tell) -> None:
        """A follower was asked what only the leader knows."""
        self.peers.heard(peer)
        if self.raft.role is Role.LEADER:
            there = self._members[peer]
            ask(
                self,
                lambda told: self.peers.send(
                    peer, partial(there.answered_by, self.place, told, tell)
                ),
            )

    def answered_by(self, peer: int, told: Told, tell: Tell) -> None:
        """The leader has answered."""
        self.peers.heard(peer)
        tell(told)

    def status(self, tell: Tell) -> None:
        """Say whether this member lives and knows a leader."""
        tell(NO_LEADER if self.raft.leader is None else True)

    def read(self, ranges: tuple[Range, ...], revision: int, tell: Tell) -> None:
        """Read linearizably, at the newest revision (0) or an older one."""
        if self.raft.leader is None:
            tell(NO_LEADER)
        else:
            self.reads.add(lambda: self._read(ranges, revision, tell), tell)

    def watch(self, key: str, from_revision: int, connection: Connection, tell: Tell) -> None:
        """Tell of each change of a key from a revision on."""
        if self.raft.leader is None:
            tell(NO_LEADER)
            return
        if from_revision < self.compacted:
            tell(Compacted())
            return
        tell(Opened())
        for revision, entry in self.ledger.database.changes(key, from_revision, self.revision):
            tell(Changed(revision, entry))
        self._watchers.append(Watcher(key, from_revision, connection, tell))

    def unwatch(self, tell: Tell) -> None:
        """Tell no more of it."""
        self._watchers = [watcher for watcher in self._watchers if watcher.tell is not tell]

    def _ask(self, command: Command, tell: Tell, *, heard: bool = True) -> None:
        if self.raft.leader is None:
            tell(NO_LEADER)
            return
        self._numbers += 1
        if heard:
            self._waiting[self._numbers] = tell
        self.raft.propose(Proposal(command, self.place, self._numbers))

    def _lease_is_over(self, lease: int) -> None:
        self.raft.propose(Proposal(Revoke(lease)))

    def _read(self, ranges: tuple[Range, ...], revision: int, tell: Tell) -> None:
        if revision > self.revision:
            tell(AHEAD)
        elif revision and revision < self.compacted:
            tell(COMPACTED)
        else:
            tell(self.ledger.database.read(ranges, revision or self.revision))

    def _ask_index(self, number: int) -> None:
        if self.raft.role is Role.LEADER:
            self.raft.read_index(lambda index: self.index_told(number, index))
        else:
            self.raft.ask_index(number)

    def index_told(self, number: int, index: int) -> None:
        """Reads that were asked for before this question must see the log up to this index."""
        self.reads.index_told(number, index, self.applied)
