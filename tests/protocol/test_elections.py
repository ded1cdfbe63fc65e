"""Several replicas on one store that loses and delays answers."""

from __future__ import annotations

from attrs import define, evolve, field
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.protocol.candidacy import (
    Announce,
    AskLease,
    Campaign,
    Campaigned,
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
    Retired,
    RevokeLease,
)
from turnout.protocol.clock import SECOND, ZERO, Instant, MonotonicNs
from turnout.protocol.election import Election, Phase, step
from turnout.protocol.events import Elected, Wake
from turnout.protocol.identifiers import ReplicaId
from turnout.protocol.limits import Timing
from turnout.protocol.transactions import KeyValue, Lost, Put, Snapshot, Unknown, Won

TIMING = Timing(election_ns=3 * SECOND)
"""Members of etcd an ocean apart: what it prolongs by itself is looked at (rule 7)."""

TTL_NS = TIMING.lease_ttl_ns


def at(monotonic_ns: int) -> Instant:
    return ZERO._replace(monotonic_ns=MonotonicNs(monotonic_ns))


@define
class World:
    """A store with one key, leases that expire, and replicas whose questions and answers get lost.

    Ghosts: which (term, replica) the store ever made, which terms replicas ever claimed.
    """

    replicas: dict[str, Election]
    now_ns: int = 0
    revision: int = 1
    key: KeyValue | None = None
    key_lease: int = 0
    leases: dict[int, int] = field(factory=dict)
    granted: int = 1000
    pending: list[tuple[str, ElectionEffect]] = field(factory=list)
    answers: list[tuple[str, ElectionEvent]] = field(factory=list)
    made: dict[int, str] = field(factory=dict)
    claimed: list[tuple[int, str]] = field(factory=list)

    def tell(self, name: str, event: ElectionEvent) -> None:
        self.replicas[name], effects = step(self.replicas[name], event, at(self.now_ns))
        for effect in effects:
            if isinstance(effect, Announce):
                if isinstance(effect.event, Elected):
                    self.claimed.append((effect.event.term, name))
            elif not isinstance(effect, Follow | Retired):
                self.pending.append((name, effect))

    def pass_time(self, length_ns: int) -> None:
        self.now_ns += length_ns
        for lease, ends_ns in list(self.leases.items()):
            if ends_ns <= self.now_ns:
                self.end(lease)
        for name, state in self.replicas.items():
            due = state.next_deadline
            if due is not None and due <= self.now_ns:
                self.tell(name, Wake())

    def elect(self) -> None:
        """The store elects: it gives every lease its whole time again, and an election besides."""
        for lease in self.leases:
            self.leases[lease] = self.now_ns + TTL_NS + TIMING.election_ns

    def end(self, lease: int) -> None:
        self.leases.pop(lease, None)
        if self.key is not None and self.key_lease == lease:
            self.key = None
            self.revision += 1
            self.show()

    def show(self) -> None:
        seen = LeaderSeen(revision=self.revision, entry=self.key)
        self.answers += [(name, seen) for name in self.replicas]

    def carry_out(self, index: int) -> None:
        """The store receives one question, late and out of order maybe, and answers it."""
        name, effect = self.pending.pop(index % len(self.pending))
        match effect:
            case ReadLeader(floor=floor):
                answer: ElectionEvent = LeaderSeen(
                    revision=self.revision, entry=self.key, floor=floor
                )
            case GrantLease(ttl_ns=ttl_ns, asked_ns=asked_ns):
                self.granted += 1
                self.leases[self.granted] = self.now_ns + ttl_ns
                answer = LeaseGranted(lease=self.granted, asked_ns=asked_ns)
            case KeepAlive(lease=lease, asked_ns=asked_ns):
                if lease in self.leases:
                    self.leases[lease] = self.now_ns + TTL_NS
                    answer = KeptAlive(lease=lease, asked_ns=asked_ns)
                else:
                    answer = LeaseGone(lease=lease)
            case RevokeLease(lease=lease):
                self.end(lease)
                answer = LeaseGone(lease=lease)
            case AskLease(lease=lease, asked_ns=asked_ns):
                if lease not in self.leases:
                    return
                answer = self.lease_seen(lease, asked_ns)
            case Campaign():
                answer = self.campaign(name, effect)
            case _:
                raise AssertionError(effect)
        self.answers.append((name, answer))

    def lease_seen(self, lease: int, asked_ns: MonotonicNs) -> LeaseSeen:
        left_s = (self.leases[lease] - self.now_ns - 1) // SECOND
        return LeaseSeen(lease=lease, asked_ns=asked_ns, granted_ns=TTL_NS, left_ns=left_s * SECOND)

    def campaign(self, name: str, effect: Campaign) -> ElectionEvent:
        if effect.lease not in self.leases:
            return LeaseGone(lease=effect.lease)
        if self.key is not None:
            found = Snapshot(revision=self.revision, items=(self.key,))
            return Campaigned(lease=effect.lease, result=Lost(found=found))
        self.revision += 1
        (put,) = effect.transaction.writes
        assert isinstance(put, Put)
        self.key = KeyValue(
            key=put.key,
            value=put.value,
            create_revision=self.revision,
            mod_revision=self.revision,
        )
        self.key_lease = effect.lease
        self.made[self.revision] = name
        self.show()
        return Campaigned(lease=effect.lease, result=Won(revision=self.revision))

    def answer(self, index: int, *, lost: bool) -> None:
        name, event = self.answers.pop(index % len(self.answers))
        if not lost:
            self.tell(name, event)
        elif isinstance(event, Campaigned):
            self.tell(name, evolve(event, result=Unknown(reason="lost")))

    def check(self) -> None:
        for term, name in self.claimed:
            assert self.made[term] == name, f"{name} claims term {term} of {self.made[term]}"
        terms = [term for term, _ in self.claimed]
        assert len(set(terms)) == len(terms), "one term was claimed twice"

    def leaders(self) -> list[str]:
        return [name for name, s in self.replicas.items() if s.phase is Phase.LEADING]


def new_world(names: tuple[str, ...]) -> World:
    return World(
        replicas={
            name: Election.begin(
                replica=ReplicaId(name), url=f"https://{name}", timing=TIMING, seed=n, now=at(0)
            )
            for n, name in enumerate(names)
        },
    )


moves = st.tuples(
    st.sampled_from(
        ["time", "store", "store", "answer", "answer", "answer", "lose", "lose request", "elect"]
    ),
    st.integers(0, 50),
)


@settings(max_examples=300)
@given(st.lists(moves, max_size=150), st.sampled_from([1, 2, 3]))
def test_terms_are_true_whatever_is_lost_late_or_reordered_and_a_healed_store_gets_one_leader(
    script: list[tuple[str, int]], count: int
) -> None:
    world = new_world(("a", "b", "c")[:count])
    for move, number in script:
        if move == "time":
            world.pass_time(number * SECOND // 10)
        elif move == "store" and world.pending:
            world.carry_out(number)
        elif move == "lose request" and world.pending:
            world.pending.pop(number % len(world.pending))
        elif move == "elect":
            world.elect()
        elif move in ("answer", "lose") and world.answers:
            world.answer(number, lost=move == "lose")
        world.check()
    # From here on everything arrives, in order; what was under way still lands late.
    for _ in range(200):
        world.pass_time(SECOND // 10)
        for _ in range(50):
            if world.pending:
                world.carry_out(0)
            if world.answers:
                world.answer(0, lost=False)
        world.check()
    (leader,) = world.leaders()
    state = world.replicas[leader]
    assert world.key is not None
    assert world.key.create_revision == state.term
    others = [s for name, s in world.replicas.items() if name != leader]
    assert all(s.leader is not None and s.leader.replica == leader for s in others)
