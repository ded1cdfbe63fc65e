from __future__ import annotations

from tests.protocol.participant.bench import (
    ABORT7,
    BLUE,
    GREEN,
    HEAD6,
    HEAD7,
    OTHER,
    WALL_NS,
    Bench,
    head_at,
    kinds,
    operation,
    prepare,
    refusal,
    reports,
    scheduled,
    sync,
)
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.effects import Activate, Stage
from turnout.protocol.events import LinkDown
from turnout.protocol.identifiers import Epoch
from turnout.protocol.messages import Progress, Sync
from turnout.protocol.participant_state import DUE
from turnout.protocol.records import Commitment
from turnout.protocol.transitions import Voting


def voted(activation_in_ns: int | None = None, *, measured: bool = True) -> tuple[Bench, Sync]:
    """A bench that voted yes for 7, and the sync of its commit."""
    bench = Bench()
    if measured:
        bench.receipt(round_trip_ns=2 * MS)
    bench.prepared(prepare(7, GREEN, HEAD6))
    if activation_in_ns is None:
        return bench, sync(HEAD7)
    return bench, sync(head_at(7, 7, GREEN, base=BLUE, activation=scheduled(activation_in_ns)))


def test_commit_is_journalled_before_the_flip_h1() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    effects = bench.hear(sync(HEAD7))
    assert kinds(effects) == ["Persist", "Activate"]
    assert bench.state.record.committed == Commitment(head=HEAD7, due_wall_ns=WALL_NS)
    assert bench.state.record.prepared is None
    assert bench.hear(sync(HEAD7)) == ()


def test_commit_of_an_unknown_table_is_saved_journalled_and_checked_first_h12() -> None:
    bench = Bench()
    effects = bench.hear(sync(HEAD7, table=GREEN))
    assert kinds(effects) == ["SaveTable", "Persist", "Stage"]
    assert operation(effects) == Stage(
        epoch=Epoch(7), digest=GREEN.digest, check=True, against=BLUE.digest
    )
    assert bench.state.record.committed == Commitment(head=HEAD7, due_wall_ns=WALL_NS, late=True)


def test_commit_without_its_table_is_not_journalled_but_asked_for() -> None:
    bench = Bench()
    effects = bench.hear(sync(HEAD7))
    assert kinds(effects) == ["Report"]
    (report,) = reports(effects)
    assert report.committed_epoch == 6
    assert kinds(bench.hear(sync(HEAD7, table=GREEN)))[:2] == ["SaveTable", "Persist"]


def test_commit_comes_with_the_prepare_of_the_next_epoch_h2() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    effects = bench.hear(prepare(8, BLUE, HEAD7))
    assert bench.state.record.committed_epoch == 7
    assert kinds(effects) == ["Persist", "Activate"]
    bench.activated()
    assert isinstance(bench.state.operation, Stage)


def test_abort_clears_the_prepared_only_h19() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    assert kinds(bench.hear(sync(ABORT7))) == ["Persist"]
    assert bench.voting() is Voting.IDLE
    assert bench.hear(sync(ABORT7)) == ()


def test_late_commit_after_a_newer_abort_still_counts_h19() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    # Only the head that aborts 8 is heard, and it tells of 7's commit too.
    bench.hear(sync(head_at(8, 7, GREEN, base=BLUE)))
    assert bench.state.record.committed_epoch == 7
    assert bench.state.record.prepared is None


def test_prepared_epoch_below_an_unjournalled_commit_stays_in_doubt_h5() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    assert kinds(bench.hear(sync(head_at(8, 8, OTHER)))) == ["Report"]
    assert bench.voting() is Voting.PREPARED
    bench.hear(sync(head_at(8, 8, OTHER), table=OTHER))
    assert bench.voting() is Voting.IDLE
    assert bench.state.record.committed_epoch == 8


def test_refusal_of_the_next_epoch_outlives_the_doubt_about_this_one() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    commit8 = head_at(8, 8, OTHER)
    bench.hear(prepare(9, BLUE, commit8))
    assert bench.voting() is Voting.PREPARED
    bench.hear(sync(commit8, table=OTHER))
    assert bench.voting() is Voting.REFUSED


def test_scheduled_commit_flips_at_its_time_on_the_leaders_clock_s8() -> None:
    bench, commit = voted(SECOND)
    bench.hear(commit)
    assert bench.progress() is Progress.WAITING
    assert bench.state.operation is None
    bench.wait(SECOND - 3 * MS)
    assert bench.progress() is Progress.WAITING
    bench.wait(3 * MS)
    assert isinstance(bench.state.operation, Activate)


def test_scheduled_commit_without_a_clock_waits_g_from_receipt_h16() -> None:
    bench, commit = voted(60 * SECOND, measured=False)
    bench.hear(commit)
    bench.give(LinkDown())
    assert bench.machine.next_deadline(bench.state) == bench.now_ns + 2 * SECOND


def test_activation_time_beyond_g_proves_a_clock_wrong_and_flips_at_once_h15() -> None:
    bench, commit = voted(3600 * SECOND)
    effects = bench.hear(commit)
    assert isinstance(operation(effects), Activate)
    assert bench.state.estimate.fault
    assert bench.state.estimate.bound_ns(bench.now_ns) is None


def test_commit_learnt_from_another_leader_is_late_and_flips_on_receipt_p7() -> None:
    bench, _ = voted()
    head = head_at(7, 7, GREEN, base=BLUE, activation=scheduled(SECOND))
    effects = bench.hear(sync(head, term=11, replica="r2"))
    assert isinstance(operation(effects), Activate)
    assert bench.state.record.committed is not None
    assert bench.state.record.committed.late


def test_commit_not_voted_for_is_late_though_its_decider_tells() -> None:
    bench = Bench()
    head = head_at(7, 7, GREEN, base=BLUE, activation=scheduled(SECOND))
    bench.hear(sync(head, table=GREEN))
    assert not bench.state.timers.armed(DUE)
    assert bench.state.record.committed is not None
    assert bench.state.record.committed.late


def test_voter_of_no_stages_and_checks_a_commit_again_h8() -> None:
    bench = Bench()
    bench.hear(prepare(7, GREEN, HEAD6))
    bench.staged(refusal())
    effects = bench.hear(sync(HEAD7))
    stage = operation(effects)
    assert isinstance(stage, Stage)
    assert stage.check


def test_newer_commit_cancels_the_timer_of_an_older_one_h19() -> None:
    bench, commit = voted(SECOND)
    bench.hear(commit)
    assert bench.state.timers.armed(DUE)
    bench.hear(sync(head_at(8, 8, OTHER, base=GREEN), table=OTHER))
    assert not bench.state.timers.armed(DUE)
    bench.live()
    assert bench.state.record.active.epoch == 8
    bench.wait(10 * SECOND)
    assert bench.state.record.active.epoch == 8


def test_table_file_that_was_lost_is_taken_again_from_the_leader() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    bench.hear(sync(HEAD7))
    bench.reboot_without(GREEN)
    bench.staged(refusal(reason="no such table on disk"))
    assert bench.progress() is Progress.DIVERGED
    assert bench.hear(sync(HEAD7, table=OTHER)) == ()
    assert kinds(bench.hear(sync(HEAD7, table=GREEN))) == ["SaveTable", "Stage"]
    assert bench.hear(sync(HEAD7, table=GREEN)) == ()
