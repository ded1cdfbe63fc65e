"""What a dead leader left: a lease that etcd has prolonged, and that nobody renews (rule 7)."""

from __future__ import annotations

from attrs import evolve

from tests.protocol.candidate import ME, OTHER, TIMING, TTL_NS, Candidate, at, entry, mine
from turnout.protocol.candidacy import (
    AskLease,
    Campaigned,
    KeepAlive,
    LeaderSeen,
    LeaseGone,
    LeaseGranted,
    LeaseSeen,
    ReadLeader,
    RevokeLease,
)
from turnout.protocol.clock import SECOND, MonotonicNs
from turnout.protocol.election import Election, Phase
from turnout.protocol.limits import Timing
from turnout.protocol.transactions import Won

FAR = evolve(TIMING, election_ns=3 * SECOND)
"""As with etcd's members an ocean apart: an election of theirs is long beside the lease of 5 s."""

PATIENCE_NS = TTL_NS // 4


def following(timing: Timing = FAR) -> Candidate:
    """One that follows another, and has looked once."""
    begin = Election.begin(replica=ME, url="https://me", timing=timing, seed=7, now=at(0))
    return Candidate(begin).told(LeaderSeen(revision=10, entry=entry(OTHER, 9), floor=0))


def saw(
    candidate: Candidate,
    seconds: int,
    at_ns: int,
    *,
    asked_ns: int | None = None,
    granted: int = 5,
    lease: int = OTHER.lease,
) -> Candidate:
    """It is told how long the leader's lease has left, which it asked just now unless said otherwise."""
    seen = LeaseSeen(
        lease=lease,
        asked_ns=MonotonicNs(at_ns if asked_ns is None else asked_ns),
        granted_ns=granted * SECOND,
        left_ns=seconds * SECOND,
    )
    return candidate.told(seen, at_ns)


def looked_at(candidate: Candidate) -> list[int]:
    """Whose time left it has just asked for."""
    return [asked.lease for asked in candidate.asks() if isinstance(asked, AskLease)]


def test_follower_looks_at_the_leaders_lease_whenever_it_looks_at_the_key() -> None:
    candidate = following().woken()
    assert candidate.asks()[0] == ReadLeader(floor=10)
    assert looked_at(candidate) == [OTHER.lease]


def test_follower_takes_away_a_lease_that_etcd_prolonged_and_nobody_renews() -> None:
    candidate = saw(following(), 7, SECOND)
    assert candidate.asks() == ()
    assert candidate.state.next_deadline == SECOND + PATIENCE_NS
    candidate.woken()
    assert looked_at(candidate) == [OTHER.lease]
    saw(candidate, 5, 2 * SECOND + PATIENCE_NS)
    assert candidate.asks() == (RevokeLease(lease=OTHER.lease),)
    assert candidate.phase() is Phase.FOLLOWING


def test_follower_asks_again_what_is_not_answered() -> None:
    candidate = saw(following(), 7, SECOND).woken()
    for _ in range(3):
        asked_ns = candidate.state.next_deadline or 0
        assert asked_ns <= 4 * SECOND
        candidate.woken()
        assert looked_at(candidate) == [OTHER.lease]
        assert candidate.state.next_deadline == asked_ns + SECOND // 2


def test_follower_takes_away_again_until_it_is_done() -> None:
    candidate = saw(saw(following(), 7, SECOND), 6, SECOND + PATIENCE_NS)
    assert candidate.asks() == (RevokeLease(lease=OTHER.lease),)
    assert candidate.state.next_deadline == SECOND + PATIENCE_NS + SECOND // 2
    saw(candidate.woken(), 5, 3 * SECOND)
    assert candidate.asks() == (RevokeLease(lease=OTHER.lease),)
    candidate.told(LeaseGone(lease=OTHER.lease), 3 * SECOND)
    candidate.told(LeaderSeen(revision=12, entry=None), 3 * SECOND)
    assert candidate.phase() is Phase.GRANTING
    # What was asked for in the meantime is nobody's any more.
    assert saw(candidate, 5, 3 * SECOND).asks() == ()
    while (candidate.state.next_deadline or 0) < 5 * SECOND:
        candidate.woken()
        assert looked_at(candidate) == []


def test_lease_that_is_renewed_is_its_leaders() -> None:
    for seconds in range(5):
        candidate = following().woken()
        assert looked_at(candidate) == [OTHER.lease]
        candidate.told(LeaderSeen(revision=10, entry=entry(OTHER, 9), floor=10), TTL_NS)
        saw(candidate, seconds, TTL_NS)
        assert candidate.asks() == ()
        assert candidate.state.next_deadline == 2 * TTL_NS, "no look is added to those at the key"


def test_doubt_is_over_when_the_lease_is_renewed() -> None:
    candidate = saw(saw(following(), 7, SECOND), 4, SECOND + PATIENCE_NS)
    assert candidate.asks() == ()
    saw(candidate, 7, 2 * SECOND + PATIENCE_NS)
    assert candidate.asks() == ()


def test_late_answer_says_nothing_of_now() -> None:
    candidate = saw(following(), 7, SECOND)
    saw(candidate, 7, SECOND + PATIENCE_NS + 1, asked_ns=SECOND)
    assert candidate.asks() == ()
    candidate.woken()
    assert looked_at(candidate) == [OTHER.lease]


def test_doubt_of_an_earlier_election_of_etcd_does_not_count() -> None:
    candidate = saw(following(), 7, SECOND)
    assert saw(candidate, 7, 4 * SECOND + 1).asks() == ()


def unheard(until_ns: int) -> Candidate:
    """One that follows another, and has asked in vain from ``TTL_NS`` until then."""
    candidate = following()
    while (candidate.state.next_deadline or 0) <= until_ns:
        candidate.woken()
    return candidate


def test_first_sight_is_enough_where_the_store_was_away_for_a_lease_time() -> None:
    candidate = saw(unheard(2 * TTL_NS), 7, 2 * TTL_NS)
    assert candidate.asks() == (RevokeLease(lease=OTHER.lease),)
    candidate = saw(unheard(2 * TTL_NS - 1), 7, 2 * TTL_NS - 1)
    assert candidate.asks() == ()
    # An answer to what was asked first says nothing of how long the store was away.
    candidate = saw(unheard(2 * TTL_NS), 7, 2 * TTL_NS, asked_ns=TTL_NS)
    assert candidate.asks() == ()
    # Renewed, it is its leader's, however long the store was away.
    candidate = saw(unheard(2 * TTL_NS), 4, 2 * TTL_NS)
    assert candidate.asks() == ()
    assert saw(candidate, 7, 2 * TTL_NS + SECOND).asks() == ()


def test_store_that_was_away_under_another_leader_says_nothing_of_this_one() -> None:
    candidate = unheard(2 * TTL_NS)
    newer = evolve(OTHER, lease=100)
    candidate.told(LeaderSeen(revision=12, entry=entry(newer, 12)), 2 * TTL_NS)
    assert saw(candidate, 7, 2 * TTL_NS, lease=100).asks() == ()


def test_doubt_of_a_leader_that_was_followed_by_another_does_not_count() -> None:
    newer = evolve(OTHER, lease=100)
    candidate = saw(following(), 7, SECOND)
    candidate.told(LeaderSeen(revision=12, entry=entry(newer, 12)), SECOND)
    assert saw(candidate, 6, SECOND + PATIENCE_NS).asks() == ()
    assert saw(candidate, 6, SECOND + 2 * PATIENCE_NS).asks() == ()
    assert saw(candidate, 6, SECOND + 2 * PATIENCE_NS, lease=100).asks() == ()


def test_lease_that_etcd_lengthened_is_doubted_by_what_it_was_granted_for() -> None:
    candidate = saw(following(), 6, SECOND, granted=7)
    assert saw(candidate, 5, SECOND + PATIENCE_NS, granted=7).asks() == ()
    candidate = saw(following(), 8, SECOND, granted=7)
    assert saw(candidate, 7, SECOND + PATIENCE_NS, granted=7).asks() != ()


def test_lease_that_etcd_does_not_count_yet_is_nobodys_silence() -> None:
    """A leader of etcd that has just been elected has no end for any lease."""
    for seconds in (9, 9_223_372_036):
        candidate = saw(following(), seconds, SECOND)
        assert saw(candidate, 6, SECOND + PATIENCE_NS).asks() == ()


def test_nobody_looks_where_etcd_adds_too_little_to_tell() -> None:
    assert following(TIMING).woken().asks() == (ReadLeader(floor=10),)
    enough = evolve(TIMING, election_ns=2 * SECOND, lease_ttl_ns=6 * SECOND)
    assert looked_at(following(enough).woken()) == [OTHER.lease]


def test_leader_renews_twice_as_often_as_others_doubt_it() -> None:
    for timing, renewal_ns in ((FAR, TTL_NS // 8), (TIMING, TTL_NS // 3)):
        candidate = following(timing).told(LeaderSeen(revision=12, entry=None))
        candidate.told(LeaseGranted(lease=5, asked_ns=MonotonicNs(0)))
        candidate.told(Campaigned(lease=5, result=Won(revision=13)))
        assert KeepAlive(lease=5, asked_ns=MonotonicNs(0)) in candidate.asks()
        assert candidate.state.next_deadline == renewal_ns
    assert 2 * (TTL_NS // 8) <= PATIENCE_NS


def test_key_that_nobody_can_read_has_no_lease_to_ask_for() -> None:
    begin = Election.begin(replica=ME, url="https://me", timing=FAR, seed=7, now=at(0))
    unreadable = evolve(entry(OTHER, 9), value=b"?")
    candidate = Candidate(begin).told(LeaderSeen(revision=10, entry=unreadable, floor=0))
    assert candidate.woken().asks() == (ReadLeader(floor=10),)


def test_leader_asks_for_nobodys_lease() -> None:
    candidate = following().told(LeaderSeen(revision=12, entry=None))
    candidate.told(LeaseGranted(lease=5, asked_ns=MonotonicNs(0)))
    candidate.told(Campaigned(lease=5, result=Won(revision=13)))
    candidate.told(LeaderSeen(revision=13, entry=entry(mine(5), 13)))
    for _ in range(6):
        candidate.woken()
        (renewal,) = candidate.asks()
        assert isinstance(renewal, KeepAlive)
    assert saw(candidate, 6, SECOND, lease=5).asks() == ()
    assert saw(candidate, 5, SECOND + PATIENCE_NS, lease=5).asks() == ()
