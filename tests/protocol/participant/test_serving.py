from __future__ import annotations

from tests.protocol.participant.bench import (
    BLUE,
    GREEN,
    HEAD6,
    HEAD7,
    OTHER,
    Bench,
    head_at,
    kinds,
    of,
    operation,
    prepare,
    proof,
    refusal,
    reports,
    scheduled,
    sync,
)
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.effects import Activate, ForgetTables, Prove, Stage
from turnout.protocol.events import Activated, LinkDown, Proven
from turnout.protocol.identifiers import Epoch
from turnout.protocol.messages import Progress


def committed() -> Bench:
    """An agent that voted yes for 7, heard its commit, and was told to flip."""
    bench = Bench()
    bench.proven()
    bench.prepared(prepare(7, GREEN, HEAD6))
    bench.hear(sync(HEAD7))
    return bench


def test_undisturbed_switch_takes_two_messages_up() -> None:
    bench = Bench()
    bench.proven()
    seen = bench.hear(prepare(7, GREEN, HEAD6))
    seen += bench.staged()
    seen += bench.hear(sync(HEAD7))
    seen += bench.activated()
    seen += bench.proven()
    assert kinds(seen) == [
        "SaveTable", "Persist", "Stage",
        "Persist", "Vote",
        "Persist", "Activate",
        "WatchDrain", "Persist", "Prove",
        "Report",
    ]  # fmt: skip


def test_flip_is_journalled_and_then_proven() -> None:
    bench = committed()
    effects = bench.activated()
    assert bench.state.record.active == bench.state.newest
    assert proof(effects) == Prove(epoch=Epoch(7), digest=GREEN.digest, against=BLUE.digest)
    assert bench.progress() is Progress.PROVING
    bench.now_ns += 5 * MS
    (report,) = reports(bench.proven())
    assert report.progress is Progress.LIVE
    assert report.flipped_at_ns == bench.now_ns - 5 * MS
    assert report.live_at_ns == bench.now_ns
    assert not report.late


def test_failed_probes_are_repeated_until_they_pass() -> None:
    bench = committed()
    bench.activated()
    assert bench.proven("503 from the proxy") == ()
    assert (bench.progress(), bench.state.trouble) == (Progress.PROVING, "503 from the proxy")
    assert proof(bench.wait(SECOND)) is not None
    (report,) = reports(bench.proven())
    assert (report.progress, report.reason) == (Progress.LIVE, "")


def test_refused_flip_is_reported_at_once_and_tried_again_later() -> None:
    bench = committed()
    effects = bench.activated(refusal())
    (report,) = reports(effects)
    assert (report.progress, report.reason) == (Progress.DIVERGED, refusal().reason)
    assert report.active.epoch == 6
    assert operation(effects) is None
    bench.give(LinkDown())
    assert operation(bench.wait(5 * SECOND - 1)) is None
    assert isinstance(operation(bench.wait(1)), Stage)
    bench.staged()
    assert bench.progress() is Progress.DIVERGED
    bench.activated()
    assert bench.progress() is Progress.PROVING


def test_diverged_agent_goes_straight_to_a_newer_commit() -> None:
    bench = committed()
    bench.activated(refusal())
    effects = bench.hear(sync(head_at(8, 8, OTHER, base=GREEN), table=OTHER))
    assert operation(effects) == Stage(
        epoch=Epoch(8), digest=OTHER.digest, check=True, against=BLUE.digest
    )
    assert (bench.progress(), bench.state.trouble) == (Progress.STAGING, "")


def test_refused_staging_of_a_commit_stays_on_last_good_and_says_diverged_h12() -> None:
    bench = Bench()
    bench.hear(sync(HEAD7, table=GREEN))
    (report,) = reports(bench.staged(refusal()))
    assert (report.progress, report.active.epoch) == (Progress.DIVERGED, 6)
    assert bench.state.serving.epoch == 6


def test_flip_that_ends_after_a_newer_commit_is_journalled_and_the_newer_follows_s5() -> None:
    bench = committed()
    bench.hear(sync(head_at(8, 8, OTHER, base=GREEN), table=OTHER))
    effects = bench.activated()
    assert bench.state.record.active.epoch == 7
    assert proof(effects) is None
    assert operation(effects) == Stage(
        epoch=Epoch(8), digest=OTHER.digest, check=True, against=GREEN.digest
    )
    bench.live()
    assert bench.state.record.active.epoch == 8


def test_refusal_of_a_flip_that_a_newer_commit_overtook_is_no_divergence() -> None:
    bench = committed()
    bench.hear(sync(head_at(8, 8, OTHER, base=GREEN), table=OTHER))
    effects = bench.activated(refusal())
    assert bench.progress() is Progress.STAGING
    stage = operation(effects)
    assert stage is not None
    assert stage.epoch == 8


def test_rollback_to_the_same_digest_is_staged_and_flipped_under_its_own_epoch() -> None:
    bench = committed()
    bench.live()
    bench.prepared(prepare(8, BLUE, HEAD7))
    effects = bench.hear(sync(head_at(8, 8, BLUE, base=GREEN)))
    assert operation(effects) == Activate(incarnation=1, epoch=Epoch(8), digest=BLUE.digest)
    bench.live()
    assert bench.state.serving.epoch == 8


def test_scheduled_commit_displaced_by_a_refused_prepare_is_staged_again_before_it_is_due() -> None:
    bench = Bench()
    bench.receipt(round_trip_ns=2 * MS)
    bench.prepared(prepare(7, GREEN, HEAD6))
    head = head_at(7, 7, GREEN, base=BLUE, activation=scheduled(SECOND))
    bench.hear(sync(head))
    bench.hear(prepare(8, BLUE, head))
    stage = operation(bench.staged(refusal()))
    assert stage == Stage(epoch=Epoch(7), digest=GREEN.digest, check=False, against=BLUE.digest)
    bench.staged()
    assert bench.progress() is Progress.WAITING
    bench.wait(SECOND)
    assert bench.progress() is Progress.FLIPPING


def test_refused_staging_before_the_time_is_told_before_the_time() -> None:
    bench = Bench()
    bench.receipt(round_trip_ns=2 * MS)
    bench.prepared(prepare(7, GREEN, HEAD6))
    bench.hear(sync(head_at(7, 7, GREEN, base=BLUE, activation=scheduled(SECOND))))
    bench.reboot()
    bench.give(LinkDown())
    bench.staged(refusal())
    assert bench.progress() is Progress.DIVERGED


def test_proof_of_an_older_epoch_counts_for_nothing() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    bench.hear(sync(HEAD7))
    bench.activated()
    # 6's proof was not answered yet: only one is under way at a time.
    assert bench.state.proof is not None
    assert bench.state.proof.epoch == 6
    effects = bench.proven()
    assert reports(effects) == ()
    next_proof = proof(effects)
    assert next_proof is not None
    assert next_proof.epoch == 7


def test_results_that_match_nothing_under_way_are_ignored() -> None:
    bench = committed()
    before = bench.state
    bench.give(Activated(epoch=Epoch(8), digest=GREEN.digest))
    bench.give(Activated(epoch=Epoch(7), digest=BLUE.digest))
    bench.give(Proven(epoch=Epoch(9)))
    assert bench.state == before
    bench.live()
    before = bench.state
    bench.give(Activated(epoch=Epoch(7), digest=GREEN.digest))
    bench.give(Proven(epoch=Epoch(7)))
    assert bench.state == before


def test_tables_are_forgotten_once_live_but_for_active_prepared_and_the_one_before_h22() -> None:
    bench = committed()
    bench.live()
    bench.prepared(prepare(8, OTHER, HEAD7))
    bench.hear(sync(head_at(8, 8, OTHER, base=GREEN)))
    bench.activated()
    bench.hear(prepare(9, BLUE, head_at(8, 8, OTHER, base=GREEN)))
    bench.staged(refusal())
    assert of(bench.proven(), ForgetTables) == ()
    bench.hear(sync(head_at(9, 8, OTHER, base=GREEN)))
    bench.prepared(prepare(10, GREEN, head_at(9, 8, OTHER, base=GREEN)))
    bench.reboot()
    (forget,) = of(bench.proven(), ForgetTables)
    assert forget.keep == tuple(sorted((OTHER.digest, GREEN.digest)))
    assert set(bench.state.tables) == {OTHER.digest, GREEN.digest}
