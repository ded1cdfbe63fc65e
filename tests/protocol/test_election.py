from __future__ import annotations

from attrs import define, evolve, field
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.protocol import keys
from turnout.protocol.candidacy import (
    Announce,
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
    ReadLeader,
    Resign,
    Retired,
    RevokeLease,
)
from turnout.protocol.clock import SECOND, ZERO, Instant, MonotonicNs
from turnout.protocol.codec import canonical_bytes
from turnout.protocol.election import ELECTION, Election, Phase, step
from turnout.protocol.events import Deposed, Elected, Wake
from turnout.protocol.identifiers import ReplicaId, Term
from turnout.protocol.limits import Timing
from turnout.protocol.transactions import Absent, KeyValue, Lost, Put, Snapshot, Unknown, Won

TIMING = Timing()
TTL_NS = TIMING.lease_ttl_ns
ME = ReplicaId("me")
OTHER = Claim(replica=ReplicaId("other"), url="https://other", lease=99)


def at(monotonic_ns: int) -> Instant:
    return evolve(ZERO, monotonic_ns=MonotonicNs(monotonic_ns))


def entry(claim: Claim, revision: int) -> KeyValue:
    return KeyValue(
        key=keys.LEADER,
        value=canonical_bytes(claim),
        create_revision=revision,
        mod_revision=revision,
    )


def mine(lease: int) -> Claim:
    return Claim(replica=ME, url="https://me", lease=lease)


@define
class Candidate:
    """One machine, told things at made-up times; remembers what it asked for last."""

    state: Election = field(
        factory=lambda: Election.begin(
            replica=ME, url="https://me", timing=TIMING, seed=7, now=at(0)
        )
    )
    asked: tuple[ElectionEffect, ...] = ()

    def told(self, event: ElectionEvent, at_ns: int = 0) -> Candidate:
        self.state, self.asked = step(self.state, event, at(at_ns))
        return self

    # Methods, since a type checker takes attributes for unchanged from one assertion to the next.
    def asks(self) -> tuple[ElectionEffect, ...]:
        return self.asked

    def phase(self) -> Phase:
        return self.state.phase

    def woken(self) -> Candidate:
        """Wake it when it wants to be."""
        due = self.state.next_deadline
        assert due is not None
        return self.told(Wake(), due)


def granting() -> Candidate:
    return Candidate().told(LeaderSeen(revision=10, entry=None))


def campaigning() -> Candidate:
    return granting().told(LeaseGranted(lease=5, asked_ns=MonotonicNs(0)))


def leading() -> Candidate:
    return campaigning().told(Campaigned(lease=5, result=Won(revision=11)))


# --- following ----------------------------------------------------------------------------------


def test_replica_reads_the_key_when_it_starts_and_again_until_answered() -> None:
    candidate = Candidate().woken()
    assert candidate.asks() == (ReadLeader(floor=0),)
    candidate.woken()
    assert candidate.asks() == (ReadLeader(floor=0),)
    assert (candidate.state.next_deadline or 0) <= 2 * SECOND


def test_replica_that_is_woken_early_does_nothing() -> None:
    candidate = Candidate().woken().told(Wake(), 1)
    assert candidate.asks() == ()


def test_follower_redirects_to_whoever_leads_and_looks_once_a_lease_time() -> None:
    candidate = Candidate().told(LeaderSeen(revision=10, entry=entry(OTHER, 9), floor=0), 1)
    assert candidate.asks() == (Follow(leader=OTHER),)
    assert candidate.phase() is Phase.FOLLOWING
    assert candidate.state.next_deadline == 1 + TTL_NS
    candidate.told(LeaderSeen(revision=12, entry=entry(OTHER, 9)))
    assert candidate.asks() == ()


def test_key_that_nobody_can_read_is_somebodys_all_the_same() -> None:
    unreadable = evolve(entry(OTHER, 9), value=b"?")
    candidate = Candidate().told(LeaderSeen(revision=10, entry=unreadable))
    assert candidate.phase() is Phase.FOLLOWING
    assert candidate.state.leader is None


def test_vacant_key_is_campaigned_for_under_a_lease_by_put_if_absent() -> None:
    candidate = granting()
    assert candidate.asks() == (GrantLease(ttl_ns=TTL_NS, asked_ns=MonotonicNs(0)),)
    candidate.told(LeaseGranted(lease=5, asked_ns=MonotonicNs(0)))
    (campaign,) = candidate.asks()
    assert isinstance(campaign, Campaign)
    assert campaign.lease == 5
    assert campaign.transaction.guards == (Absent(keys.LEADER),)
    assert campaign.transaction.writes == (Put(keys.LEADER, canonical_bytes(mine(5)), leased=True),)


def test_old_sight_of_a_vacant_key_is_ignored() -> None:
    candidate = Candidate().told(LeaderSeen(revision=10, entry=entry(OTHER, 9)))
    candidate.told(LeaderSeen(revision=8, entry=None))
    assert candidate.asks() == ()
    candidate.told(LeaderSeen(revision=8, entry=None, floor=7))
    assert candidate.asks() == ()


def test_store_that_went_back_is_believed() -> None:
    candidate = Candidate().told(LeaderSeen(revision=100, entry=entry(OTHER, 9)))
    candidate.told(LeaderSeen(revision=8, entry=None, floor=100))
    assert candidate.phase() is Phase.GRANTING
    assert candidate.state.seen == 8


# --- campaigning --------------------------------------------------------------------------------


def test_lease_that_is_not_granted_is_asked_for_again() -> None:
    candidate = granting().woken()
    assert [type(effect) for effect in candidate.asks()] == [GrantLease]
    assert candidate.phase() is Phase.GRANTING


def test_somebody_else_was_faster_while_the_lease_was_granted() -> None:
    candidate = granting().told(LeaderSeen(revision=11, entry=entry(OTHER, 11)))
    assert candidate.phase() is Phase.FOLLOWING
    assert candidate.asks() == (Follow(leader=OTHER),)
    candidate.told(LeaseGranted(lease=5, asked_ns=MonotonicNs(0)))
    assert candidate.asks() == (RevokeLease(lease=5),)


def test_winner_leads_with_the_revision_as_its_term_and_keeps_its_lease_alive() -> None:
    candidate = leading()
    assert candidate.phase() is Phase.LEADING
    assert candidate.asks() == (
        Announce(event=Elected(term=Term(11))),
        KeepAlive(lease=5, asked_ns=MonotonicNs(0)),
    )


def test_loser_follows_the_winner_and_returns_its_lease() -> None:
    found = Snapshot(revision=12, items=(entry(OTHER, 11),))
    candidate = campaigning().told(Campaigned(lease=5, result=Lost(found=found)))
    assert candidate.phase() is Phase.FOLLOWING
    assert candidate.asks() == (Follow(leader=OTHER), RevokeLease(lease=5))


def test_loser_to_itself_leads() -> None:
    # The first campaign's reply was lost and it landed late: the second finds it.
    found = Snapshot(revision=13, items=(entry(mine(5), 11),))
    candidate = campaigning().told(Campaigned(lease=5, result=Lost(found=found)))
    assert candidate.state.term == 11
    assert Announce(event=Elected(term=Term(11))) in candidate.asks()


def test_loser_who_is_told_of_no_winner_reads_again() -> None:
    found = Snapshot(revision=12, items=())
    candidate = campaigning().told(Campaigned(lease=5, result=Lost(found=found)))
    assert candidate.asks() == ()
    assert candidate.woken().asks() == (ReadLeader(floor=12),)


def unresolved() -> Candidate:
    candidate = campaigning().told(Campaigned(lease=5, result=Unknown(reason="no reply")))
    assert candidate.asks() == (ReadLeader(floor=10),)
    return candidate


def test_lost_reply_is_resolved_by_reading_that_it_was_won() -> None:
    candidate = unresolved().told(LeaderSeen(revision=13, entry=entry(mine(5), 11), floor=10))
    assert candidate.phase() is Phase.LEADING
    assert candidate.state.term == 11


def test_lost_reply_is_resolved_by_reading_that_another_won() -> None:
    candidate = unresolved().told(LeaderSeen(revision=13, entry=entry(OTHER, 11), floor=10))
    assert candidate.asks() == (Follow(leader=OTHER), RevokeLease(lease=5))


def test_own_name_under_an_older_lease_is_not_a_victory() -> None:
    candidate = unresolved().told(LeaderSeen(revision=13, entry=entry(mine(4), 11), floor=10))
    assert candidate.phase() is Phase.FOLLOWING


def test_lost_reply_and_a_vacant_key_campaign_again_under_the_same_lease_once() -> None:
    candidate = unresolved().told(LeaderSeen(revision=13, entry=None, floor=10))
    (campaign,) = candidate.asks()
    assert isinstance(campaign, Campaign)
    assert campaign.lease == 5
    candidate.told(LeaderSeen(revision=13, entry=None))
    assert candidate.asks() == ()


def test_candidate_does_not_give_up_for_what_its_watch_shows_late() -> None:
    candidate = campaigning().told(LeaderSeen(revision=12, entry=entry(OTHER, 12)))
    assert candidate.phase() is Phase.CAMPAIGNING
    candidate.told(Campaigned(lease=5, result=Won(revision=14)))
    assert candidate.state.term == 14


def test_campaign_without_any_answer_is_given_up_when_its_lease_may_be_gone() -> None:
    candidate = campaigning()
    while candidate.phase() is Phase.CAMPAIGNING:
        candidate.woken()
    assert candidate.asks() == (RevokeLease(lease=5),)
    candidate.told(Campaigned(lease=5, result=Won(revision=11)))
    assert (candidate.phase(), candidate.asks()) == (Phase.FOLLOWING, ())


def test_campaign_whose_lease_is_gone_is_given_up() -> None:
    candidate = campaigning().told(LeaseGone(lease=5))
    assert candidate.phase() is Phase.FOLLOWING


def test_victory_seen_by_the_watch_before_the_reply_is_one_victory() -> None:
    candidate = campaigning().told(LeaderSeen(revision=11, entry=entry(mine(5), 11)))
    assert candidate.state.term == 11
    candidate.told(Campaigned(lease=5, result=Won(revision=11)))
    assert candidate.asks() == ()


def test_result_of_a_campaign_under_another_lease_is_ignored() -> None:
    candidate = campaigning().told(Campaigned(lease=4, result=Won(revision=11)))
    assert (candidate.phase(), candidate.asks()) == (Phase.CAMPAIGNING, ())


# --- leading ------------------------------------------------------------------------------------


def deposed(candidate: Candidate) -> str:
    """Why a leader says that it is deposed."""
    announcement, revocation = (e for e in candidate.asks() if not isinstance(e, Follow))
    assert isinstance(announcement, Announce)
    assert isinstance(announcement.event, Deposed)
    assert revocation == RevokeLease(lease=5)
    assert candidate.phase() is Phase.FOLLOWING
    return announcement.event.reason


def test_leader_that_hears_nothing_for_one_lease_time_deposes_itself() -> None:
    candidate, now_ns = leading(), None
    while candidate.phase() is Phase.LEADING:
        now_ns = candidate.state.next_deadline
        candidate.woken()
    assert now_ns == TTL_NS
    assert "no answer from the store" in deposed(candidate)


def test_leader_that_is_kept_alive_leads_on_counting_from_when_it_asked() -> None:
    candidate, asked_ns = leading(), MonotonicNs(0)
    for _ in range(20):
        candidate.woken()
        (renewal,) = candidate.asks()
        assert isinstance(renewal, KeepAlive)
        asked_ns = renewal.asked_ns
        candidate.told(KeptAlive(lease=5, asked_ns=asked_ns), asked_ns + SECOND)
    assert candidate.phase() is Phase.LEADING
    assert candidate.state.renewed_ns == asked_ns


def test_late_and_foreign_renewals_change_nothing() -> None:
    candidate = leading()
    candidate.told(KeptAlive(lease=5, asked_ns=MonotonicNs(3 * SECOND)), 4 * SECOND)
    renewed = candidate.state
    candidate.told(KeptAlive(lease=5, asked_ns=MonotonicNs(2 * SECOND)), 4 * SECOND)
    candidate.told(KeptAlive(lease=6, asked_ns=MonotonicNs(4 * SECOND)), 4 * SECOND)
    candidate.told(LeaseGone(lease=6), 4 * SECOND)
    candidate.told(LeaderSeen(revision=10, entry=None), 4 * SECOND)
    candidate.told(LeaderSeen(revision=11, entry=entry(mine(5), 11)), 4 * SECOND)
    assert evolve(candidate.state, leader=None) == evolve(renewed, leader=None)


def test_leader_whose_lease_is_gone_is_deposed() -> None:
    assert "lease is gone" in deposed(leading().told(LeaseGone(lease=5)))


def test_leader_that_sees_its_key_gone_taken_or_made_anew_is_deposed() -> None:
    assert "is gone" in deposed(leading().told(LeaderSeen(revision=12, entry=None)))
    taken = LeaderSeen(revision=12, entry=entry(OTHER, 12))
    assert "is another's" in deposed(leading().told(taken))
    anew = LeaderSeen(revision=12, entry=entry(mine(5), 12))
    assert "made anew" in deposed(leading().told(anew))


# --- handing over -------------------------------------------------------------------------------


def test_leader_that_resigns_for_good_returns_its_lease_and_retires() -> None:
    candidate = leading().told(Resign(reason="shutdown", for_good=True))
    assert candidate.asks() == (
        Announce(event=Deposed(reason="shutdown")),
        RevokeLease(lease=5),
    )
    candidate.told(LeaderSeen(revision=12, entry=None))
    assert candidate.asks() == ()
    candidate.told(LeaseGone(lease=5))
    assert candidate.asks() == (Retired(),)
    assert candidate.state.next_deadline is None


def test_leader_that_resigns_without_an_answer_asks_again_and_retires_with_its_lease() -> None:
    candidate = leading().told(Resign(reason="shutdown", for_good=True)).woken()
    assert candidate.asks() == (RevokeLease(lease=5),)
    while candidate.phase() is Phase.RESIGNING:
        candidate.woken()
    assert candidate.asks() == (Retired(),)


def test_candidate_that_resigns_announces_nothing_and_returns_its_lease() -> None:
    candidate = campaigning().told(Resign(reason="shutdown", for_good=True))
    assert candidate.asks() == (RevokeLease(lease=5),)
    candidate.told(Campaigned(lease=5, result=Won(revision=11)))
    assert candidate.asks() == ()


def test_follower_that_resigns_retires_at_once_and_for_good() -> None:
    candidate = granting().told(Resign(reason="shutdown", for_good=True))
    assert candidate.asks() == (Retired(),)
    candidate.told(LeaseGranted(lease=5, asked_ns=MonotonicNs(0)))
    assert candidate.asks() == (RevokeLease(lease=5),)
    candidate.told(LeaderSeen(revision=12, entry=None))
    assert candidate.asks() == ()
    candidate.told(Resign(reason="again", for_good=True))
    assert candidate.asks() == ()


def test_leader_that_hands_over_lets_another_lead_for_one_lease_time() -> None:
    candidate = leading().told(Resign(reason="store is full", for_good=False))
    assert deposed(candidate) == "store is full"
    candidate.told(LeaderSeen(revision=12, entry=None), SECOND)
    assert candidate.phase() is Phase.FOLLOWING
    assert candidate.state.next_deadline == TTL_NS
    candidate.woken().told(LeaderSeen(revision=12, entry=None, floor=12), TTL_NS)
    assert candidate.phase() is Phase.GRANTING


def test_follower_has_nothing_to_hand_over() -> None:
    candidate = campaigning().told(Resign(reason="store is full", for_good=False))
    assert (candidate.phase(), candidate.asks()) == (Phase.CAMPAIGNING, ())


def test_every_phase_but_the_first_is_reached_and_every_one_but_the_last_is_left() -> None:
    arrows = ELECTION.arrows()
    assert {target for _, _, target in arrows} == set(Phase)
    assert {source for source, _, _ in arrows} == set(Phase) - {Phase.RETIRED}


# --- several replicas on one store that loses and delays answers ----------------------------------


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
                lease = max(self.leases, default=self.revision * 1000) + 1
                self.leases[lease] = self.now_ns + ttl_ns
                answer = LeaseGranted(lease=lease, asked_ns=asked_ns)
            case KeepAlive(lease=lease, asked_ns=asked_ns):
                if lease in self.leases:
                    self.leases[lease] = self.now_ns + TTL_NS
                    answer = KeptAlive(lease=lease, asked_ns=asked_ns)
                else:
                    answer = LeaseGone(lease=lease)
            case RevokeLease(lease=lease):
                self.end(lease)
                answer = LeaseGone(lease=lease)
            case Campaign():
                answer = self.campaign(name, effect)
            case _:
                raise AssertionError(effect)
        self.answers.append((name, answer))

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
        ["time", "store", "store", "answer", "answer", "answer", "lose", "lose request"]
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
