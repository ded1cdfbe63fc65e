from __future__ import annotations

from attrs import evolve

from tests.protocol.candidate import OTHER, TTL_NS, Candidate, entry, mine
from turnout.protocol import keys
from turnout.protocol.candidacy import (
    Announce,
    Campaign,
    Campaigned,
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
from turnout.protocol.clock import SECOND, MonotonicNs
from turnout.protocol.codec import canonical_bytes
from turnout.protocol.election import ELECTION, Phase
from turnout.protocol.events import Deposed, Elected, Wake
from turnout.protocol.identifiers import Term
from turnout.protocol.transactions import Absent, Lost, Put, Snapshot, Unknown, Won


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


def test_claim_of_an_earlier_life_is_taken_away_at_the_first_sight_until_it_is_gone() -> None:
    """A replica that was killed as leader and starts again need not wait for its lease to run out."""
    candidate = Candidate().told(LeaderSeen(revision=10, entry=entry(mine(4), 9), floor=0), 1)
    assert candidate.asks() == (Follow(leader=mine(4)), RevokeLease(lease=4))
    candidate.woken()
    assert candidate.asks() == (ReadLeader(floor=10),)
    assert (candidate.state.next_deadline or 0) <= 2 * SECOND
    candidate.told(LeaderSeen(revision=10, entry=entry(mine(4), 9), floor=10), SECOND)
    assert candidate.asks() == (RevokeLease(lease=4),)
    candidate.told(LeaseGone(lease=4), SECOND)
    candidate.told(LeaderSeen(revision=11, entry=None), SECOND)
    assert candidate.phase() is Phase.GRANTING


def test_claim_of_another_that_bears_the_same_name_is_left_alone_after_the_first_sight() -> None:
    """1. Two replicas bear one name. 2. The second starts: it takes the first for its earlier life,
    deposes it and leads. 3. Did the first do the same, they would go on like this without end.
    """
    candidate = Candidate().told(LeaderSeen(revision=10, entry=None, floor=0))
    candidate.told(LeaderSeen(revision=11, entry=entry(mine(4), 11)), 1)
    assert candidate.asks() == (Follow(leader=mine(4)),)
    assert candidate.phase() is Phase.FOLLOWING


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


def test_claim_that_was_given_up_in_vain_is_taken_away_when_it_is_seen() -> None:
    """Deposed by its own clock while etcd has no quorum, so that its revocation reaches nobody."""
    candidate = leading()
    while candidate.phase() is Phase.LEADING:
        candidate.woken()
    healed_ns = 300 * SECOND
    seen = LeaderSeen(revision=11, entry=entry(mine(5), 11), floor=11)
    candidate.told(seen, healed_ns)
    assert RevokeLease(lease=5) in candidate.asks()
    assert (candidate.state.next_deadline or 0) <= healed_ns + SECOND
    candidate.told(LeaderSeen(revision=12, entry=None), healed_ns + SECOND)
    assert candidate.phase() is Phase.GRANTING


def test_claim_that_was_given_up_is_forgotten_once_its_lease_is_gone() -> None:
    candidate = leading().told(LeaderSeen(revision=12, entry=None))
    assert 5 in candidate.state.given_up
    candidate.told(LeaseGone(lease=5))
    assert 5 not in candidate.state.given_up


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


def test_leader_that_hands_over_looks_soon_whether_the_key_is_gone() -> None:
    """The revocation was lost: else nobody would lead for one lease time."""
    candidate = leading().told(Resign(reason="store is full", for_good=False)).woken()
    assert (candidate.state.next_deadline or 0) < TTL_NS
    candidate.told(LeaderSeen(revision=11, entry=entry(mine(5), 11), floor=11), SECOND)
    assert RevokeLease(lease=5) in candidate.asks()


def test_follower_has_nothing_to_hand_over() -> None:
    candidate = campaigning().told(Resign(reason="store is full", for_good=False))
    assert (candidate.phase(), candidate.asks()) == (Phase.CAMPAIGNING, ())


def test_every_phase_but_the_first_is_reached_and_every_one_but_the_last_is_left() -> None:
    arrows = ELECTION.arrows()
    assert {target for _, _, target in arrows} == set(Phase)
    assert {source for source, _, _ in arrows} == set(Phase) - {Phase.RETIRED}
