from __future__ import annotations

from tests.protocol.participant.bench import (
    ABORT7,
    BLUE,
    GREEN,
    HEAD6,
    HEAD7,
    Bench,
    fresh_record,
    head_at,
    kinds,
    operation,
    prepare,
    proof,
    reports,
    scheduled,
    sync,
    votes,
)
from tests.protocol.participant.test_fencing import SECOND_INCARNATION, rebase_to
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.effects import SaveTable, Stage
from turnout.protocol.limits import Timing
from turnout.protocol.messages import No, Progress
from turnout.protocol.participant_state import DUE
from turnout.protocol.transitions import Voting

RETRY_NS = Timing().retry_ns


def test_yes_that_was_not_journalled_becomes_a_no_once() -> None:
    bench = Bench()
    bench.hear(prepare(7, GREEN, HEAD6))
    held = bench.state.record
    bench.staged()
    effects = bench.fail_disk(held)
    (vote,) = votes(effects)
    assert vote.no is No.JOURNAL
    assert "no space left" in vote.reason
    assert bench.voting() is Voting.REFUSED
    assert len(reports(effects)) == 1
    bench.wait(RETRY_NS)
    assert votes(bench.hear(prepare(7, GREEN, HEAD6))) == (vote,)


def test_yes_found_in_the_journal_holds_after_all_s3() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    (vote,) = votes(bench.fail_disk(bench.state.record))
    assert vote.no is None
    assert bench.voting() is Voting.PREPARED


def test_yes_held_for_an_older_term_is_not_said_in_one_that_was_not_journalled_s3() -> None:
    """1. The agent's yes is on disk. 2. A new leader asks again, and the disk is full: a yes in its
    term is none that a restart would find. 3. The agent is asked again once it can write.
    """
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    held = bench.state.record
    bench.hear(prepare(7, GREEN, HEAD6, term=11))
    assert votes(bench.fail_disk(held)) == ()
    assert bench.voting() is Voting.PREPARED
    assert bench.state.record.promised == held.promised
    bench.wait(RETRY_NS)
    (vote,) = votes(bench.hear(prepare(7, GREEN, HEAD6, term=11)))
    assert (vote.no, vote.term) == (None, 11)


def test_promise_that_was_not_journalled_is_a_no_and_nothing_is_staged() -> None:
    bench = Bench()
    held = bench.state.record
    bench.hear(prepare(7, GREEN, HEAD6))
    effects = bench.fail_disk(held)
    (vote,) = votes(effects)
    assert vote.no is No.JOURNAL
    assert bench.state.record.promised == 0
    assert bench.state.operation is None


def test_table_that_was_not_saved_is_a_no() -> None:
    bench = Bench()
    held = bench.state.record
    bench.hear(prepare(7, GREEN, HEAD6))
    (vote,) = votes(bench.fail_disk(held, at=SaveTable))
    assert vote.no is No.JOURNAL
    assert GREEN.digest not in bench.state.tables


def test_no_whose_promise_was_not_journalled_is_said_all_the_same() -> None:
    bench = Bench(fresh_record(), GREEN)
    held = bench.state.record
    bench.hear(prepare(7, GREEN, HEAD6))
    (vote,) = votes(bench.fail_disk(held))
    assert vote.no is No.BASE


def test_commit_that_was_not_journalled_is_not_flipped_to_and_written_with_the_next_head() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    held = bench.state.record
    bench.hear(sync(HEAD7))
    effects = bench.fail_disk(held)
    assert operation(effects) is None
    assert bench.state.operation is None
    assert bench.voting() is Voting.PREPARED
    assert len(reports(effects)) == 1
    bench.wait(RETRY_NS)
    assert kinds(bench.hear(sync(HEAD7))) == ["Persist", "Activate"]


def test_agent_whose_disk_failed_takes_up_nothing_until_a_while_is_over_and_then_asks_again() -> (
    None
):
    """1. The commit cannot be written, which is reported. 2. The leader tells it again. 3. And so on,
    as fast as messages go.
    """
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    held = bench.state.record
    bench.hear(sync(HEAD7))
    bench.fail_disk(held)
    assert bench.hear(sync(HEAD7)) == ()
    assert "Persist" not in kinds(bench.wait(RETRY_NS - 1))
    assert bench.hear(sync(HEAD7)) == ()
    (report,) = reports(bench.wait(1))
    assert report.committed_epoch == 6
    assert kinds(bench.hear(sync(HEAD7))) == ["Persist", "Activate"]


def test_rebase_that_was_not_journalled_is_not_taken_up_until_a_while_is_over() -> None:
    bench = Bench()
    held, rebase = bench.state.record, rebase_to(SECOND_INCARNATION)
    bench.hear(rebase)
    bench.fail_disk(held)
    assert bench.hear(rebase) == ()
    bench.wait(RETRY_NS)
    assert "Persist" in kinds(bench.hear(rebase))


def test_scheduled_commit_that_was_not_journalled_has_no_timer() -> None:
    bench = Bench()
    bench.receipt(round_trip_ns=2 * MS)
    bench.prepared(prepare(7, GREEN, HEAD6))
    held = bench.state.record
    bench.hear(sync(head_at(7, 7, GREEN, base=BLUE, activation=scheduled(SECOND))))
    bench.fail_disk(held)
    assert not bench.state.timers.armed(DUE)


def test_abort_that_was_not_journalled_leaves_the_doubt() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    held = bench.state.record
    bench.hear(sync(ABORT7))
    bench.fail_disk(held)
    assert bench.voting() is Voting.PREPARED
    bench.wait(RETRY_NS)
    bench.hear(sync(ABORT7))
    assert bench.voting() is Voting.IDLE


def test_refused_next_epoch_is_remembered_when_the_abort_of_this_one_is_written_late() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    held = bench.state.record
    bench.hear(prepare(8, GREEN, ABORT7))
    bench.fail_disk(held)
    assert bench.voting() is Voting.PREPARED
    bench.wait(RETRY_NS)
    bench.hear(sync(ABORT7))
    assert bench.voting() is Voting.REFUSED


def test_flip_that_was_not_journalled_is_written_again_and_only_then_proven() -> None:
    bench = Bench()
    bench.proven()
    bench.prepared(prepare(7, GREEN, HEAD6))
    bench.hear(sync(HEAD7))
    held = bench.state.record
    bench.activated()
    effects = bench.fail_disk(held)
    assert proof(effects) is None
    assert bench.progress() is Progress.PROVING
    assert bench.state.record.active.epoch == 6
    again = [kind for kind in kinds(bench.wait(SECOND)) if kind != "Report"]
    assert again == ["WatchDrain", "Persist", "Prove"]
    assert bench.state.record.active.epoch == 7


def test_operation_started_before_the_failing_step_goes_on() -> None:
    bench = Bench()
    bench.hear(prepare(7, GREEN, HEAD6))
    held = bench.state.record
    bench.hear(prepare(7, GREEN, HEAD6, term=11))
    (vote,) = votes(bench.fail_disk(held))
    assert (vote.no, vote.term) == (No.JOURNAL, 11)
    assert isinstance(bench.state.operation, Stage)
    assert votes(bench.staged()) == ()
