from __future__ import annotations

from tests.protocol.participant.bench import (
    ABORT7,
    BLUE,
    EMPTY,
    GREEN,
    HEAD6,
    HEAD7,
    OTHER,
    Bench,
    fresh_record,
    head_at,
    kinds,
    of,
    operation,
    prepare,
    refusal,
    reports,
    sync,
    votes,
)
from turnout.protocol.clock import MS
from turnout.protocol.effects import Persist, Stage
from turnout.protocol.events import LinkDown, ProxyRestarted, Staged
from turnout.protocol.identifiers import Epoch
from turnout.protocol.messages import No
from turnout.protocol.transitions import Voting


def test_agent_votes_yes_after_promise_staging_and_fsync_in_this_order() -> None:
    bench = Bench()
    asked = bench.hear(prepare(7, GREEN, HEAD6))
    assert kinds(asked) == ["SaveTable", "Persist", "Stage"]
    assert operation(asked) == Stage(
        epoch=Epoch(7), digest=GREEN.digest, check=True, against=BLUE.digest
    )
    answered = bench.staged(staging_ns=3 * MS)
    assert kinds(answered) == ["Persist", "Vote"]
    (vote,) = votes(answered)
    assert (vote.no, vote.term, vote.epoch, vote.digest) == (None, 10, 7, GREEN.digest)
    assert (vote.staging_ns, vote.journal_id) == (3 * MS, "j1")
    assert bench.voting() is Voting.PREPARED


def test_promise_already_made_needs_no_second_fsync() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    bench.hear(sync(ABORT7))
    assert kinds(bench.hear(prepare(8, GREEN, ABORT7))) == ["Stage"]


def test_first_table_is_voted_on_by_an_agent_that_serves_nothing_h13() -> None:
    bench = Bench(fresh_record(), OTHER)
    bench.hear(prepare(1, GREEN, EMPTY))
    (vote,) = votes(bench.staged())
    assert vote.no is None


def test_agent_without_the_newest_commit_votes_no_base_s3() -> None:
    bench = Bench(fresh_record(), OTHER)
    (vote,) = votes(bench.hear(prepare(7, GREEN, HEAD6)))
    assert vote.no is No.BASE
    assert "not in this agent's journal" in vote.reason


def test_agent_that_has_not_flipped_to_the_base_votes_no_base() -> None:
    bench = Bench()
    bench.hear(sync(HEAD7, table=GREEN))
    bench.staged(refusal())
    (vote,) = votes(bench.hear(prepare(8, OTHER, HEAD7)))
    assert vote.no is No.BASE
    assert "serves epoch 6" in vote.reason


def test_agent_whose_proxy_refused_the_flip_votes_yes_for_the_rollback_h2() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    bench.hear(sync(HEAD7))
    bench.activated(refusal())
    bench.hear(prepare(8, BLUE, HEAD7))
    (vote,) = votes(bench.staged())
    assert (vote.no, vote.epoch) == (None, 8)
    # The older commit stays due: it is activated if the rollback aborts, and not before.
    bench.wait(60_000 * MS)
    assert bench.state.operation is None
    effects = bench.hear(sync(head_at(8, 7, GREEN, base=BLUE)))
    assert operation(effects) == Stage(
        epoch=Epoch(7), digest=GREEN.digest, check=False, against=BLUE.digest
    )
    bench.live()
    assert bench.state.record.active.epoch == 7


def test_refused_staging_is_voted_no_in_the_proxys_words_and_the_no_is_repeated() -> None:
    bench = Bench()
    message = prepare(7, GREEN, HEAD6)
    bench.hear(message)
    effects = bench.staged(refusal(No.UNHEALTHY, "10.0.1.1:80 answers 503"))
    (vote,) = votes(effects)
    assert (vote.no, vote.reason) == (No.UNHEALTHY, "10.0.1.1:80 answers 503")
    assert bench.state.record.prepared is None
    assert votes(bench.hear(message)) == (vote,)
    assert bench.voting() is Voting.REFUSED
    bench.hear(sync(ABORT7))
    assert bench.voting() is Voting.IDLE


def test_new_leader_gets_a_fresh_answer_after_a_no_h11() -> None:
    bench = Bench()
    bench.hear(prepare(7, GREEN, HEAD6))
    bench.staged(refusal())
    bench.hear(prepare(7, GREEN, HEAD6, term=11, replica="r2"))
    (vote,) = votes(bench.staged())
    assert (vote.no, vote.term) == (None, 11)


def test_prepare_repeated_while_staging_changes_nothing() -> None:
    bench = Bench()
    bench.hear(prepare(7, GREEN, HEAD6))
    before = bench.state
    assert bench.hear(prepare(7, GREEN, HEAD6)) == ()
    assert bench.state == before


def test_new_leader_while_staging_gets_the_vote_in_its_own_term_h11() -> None:
    bench = Bench()
    bench.hear(prepare(7, GREEN, HEAD6))
    assert kinds(bench.hear(prepare(7, GREEN, HEAD6, term=11))) == ["Persist"]
    effects = bench.staged()
    (vote,) = votes(effects)
    assert vote.term == 11
    (persist,) = of(effects, Persist)
    assert persist.record.prepared is not None
    assert persist.record.prepared.term == 11


def test_yes_is_repeated_to_a_new_leader_after_journalling_its_term_h11() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    effects = bench.hear(prepare(7, GREEN, HEAD6, term=11, bare=True))
    assert kinds(effects) == ["Persist", "Vote"]
    (vote,) = votes(effects)
    assert (vote.no, vote.term) == (None, 11)
    assert kinds(bench.hear(prepare(7, GREEN, HEAD6, term=11))) == ["Vote"]


def test_another_digest_for_a_prepared_epoch_is_voted_no_conflict_s2() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    other = prepare(7, OTHER, HEAD6, term=11)
    for _ in range(2):
        (vote,) = votes(bench.hear(other))
        assert (vote.no, vote.digest) == (No.CONFLICT, OTHER.digest)
    assert bench.voting() is Voting.PREPARED


def test_another_digest_for_an_epoch_being_staged_is_voted_no_conflict_s2() -> None:
    bench = Bench()
    bench.hear(prepare(7, GREEN, HEAD6))
    (vote,) = votes(bench.hear(prepare(7, OTHER, HEAD6, term=11)))
    assert vote.no is No.CONFLICT
    assert votes(bench.staged()) == ()


def test_prepare_without_a_table_that_is_not_here_is_answered_by_a_report() -> None:
    bench = Bench()
    effects = bench.hear(prepare(7, GREEN, HEAD6, bare=True))
    assert kinds(effects) == ["Persist", "Report"]
    (report,) = reports(effects)
    assert report.tables == (BLUE.digest,)
    bench.hear(prepare(7, GREEN, HEAD6))
    (vote,) = votes(bench.staged())
    assert vote.no is None


def test_abort_heard_while_staging_leaves_nobody_to_vote_to() -> None:
    bench = Bench()
    bench.hear(prepare(7, GREEN, HEAD6))
    bench.hear(sync(ABORT7))
    assert bench.staged() == ()
    assert bench.voting() is Voting.IDLE


def test_result_that_matches_no_operation_is_ignored() -> None:
    bench = Bench()
    bench.hear(prepare(7, GREEN, HEAD6))
    before = bench.state
    assert bench.give(Staged(epoch=Epoch(7), digest=OTHER.digest)) == ()
    assert bench.give(Staged(epoch=Epoch(6), digest=GREEN.digest)) == ()
    assert bench.state == before
    bench.staged()
    before = bench.state
    assert bench.give(Staged(epoch=Epoch(7), digest=GREEN.digest)) == ()
    assert bench.state == before


def test_agent_in_doubt_waits_without_end() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    bench.give(LinkDown())
    assert bench.wait(3_600_000 * MS) == ()
    assert bench.voting() is Voting.PREPARED


def test_prepared_table_is_staged_again_after_a_restart_and_the_yes_repeated_h23() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    assert operation(bench.reboot()) == Stage(
        epoch=Epoch(7), digest=GREEN.digest, check=False, against=BLUE.digest
    )
    bench.give(LinkDown())
    bench.staged()
    assert bench.voting() is Voting.PREPARED


def test_prepared_table_lost_with_the_proxy_is_reported_and_the_yes_stands_h23() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    bench.give(ProxyRestarted(serving=bench.state.serving))
    (report,) = reports(bench.staged(refusal()))
    assert report.staged_lost == refusal().reason
    assert report.prepared is not None
    assert bench.voting() is Voting.LOST
    # A continuing leader asks again: it is tried again, and the yes follows.
    assert kinds(bench.hear(prepare(7, GREEN, HEAD6, term=11))) == ["Persist", "Stage"]
    (vote,) = votes(bench.staged())
    assert (vote.no, vote.term) == (None, 11)


def test_proxy_back_again_gets_the_lost_table_h23() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    bench.give(ProxyRestarted(serving=bench.state.serving))
    bench.staged(refusal())
    assert operation(bench.give(ProxyRestarted(serving=bench.state.serving))) is not None
    assert kinds(bench.staged()) == ["Vote"]


def test_lost_promise_is_ended_by_either_decision() -> None:
    for head in (ABORT7, HEAD7):
        bench = Bench()
        bench.prepared(prepare(7, GREEN, HEAD6))
        bench.give(ProxyRestarted(serving=bench.state.serving))
        bench.staged(refusal())
        bench.hear(sync(head))
        assert bench.voting() is Voting.IDLE
        assert bench.state.staged_lost == ""


def test_staged_again_after_a_restart_no_yes_is_said_in_a_term_that_is_over_s4() -> None:
    """1. Yes in one term. 2. No to another table in the next: the promise stays, and the term is over.
    3. The proxy restarts, and what was promised is staged again. 4. Who asks in the new term, is told.
    """
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    (refused,) = votes(bench.hear(prepare(7, OTHER, HEAD6, term=11)))
    assert (refused.no, refused.term) == (No.CONFLICT, 11)
    bench.give(ProxyRestarted(serving=bench.state.serving))
    assert votes(bench.staged()) == ()
    (vote,) = votes(bench.hear(prepare(7, GREEN, HEAD6, term=11)))
    assert (vote.no, vote.term) == (None, 11)
