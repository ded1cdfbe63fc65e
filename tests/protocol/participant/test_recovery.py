from __future__ import annotations

from itertools import product

from attrs import evolve

from tests.protocol.participant.bench import (
    BLUE,
    GREEN,
    HEAD6,
    HEAD7,
    OTHER,
    WALL_NS,
    Bench,
    active,
    fresh_record,
    head_at,
    kinds,
    operation,
    prepare,
    proof,
    refusal,
    scheduled,
    settled_record,
    sync,
)
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.effects import Activate, Stage
from turnout.protocol.events import Booted, ProxyRestarted
from turnout.protocol.identifiers import Digest, Epoch
from turnout.protocol.messages import Progress
from turnout.protocol.participant_state import DUE
from turnout.protocol.records import Active, AgentRecord, Commitment
from turnout.protocol.recovery import CASES, Action, Situation, case_of

NOTHING = Active()


def journal_of(committed: object = HEAD7, serves: Active = NOTHING) -> AgentRecord:
    commitment = Commitment(head=committed, due_wall_ns=WALL_NS)  # type: ignore[arg-type]
    return evolve(fresh_record(), committed=commitment, active=serves)


def test_exactly_one_case_fits_every_situation_and_every_case_fits_some() -> None:
    known = [NOTHING] + [
        Active(incarnation=incarnation, epoch=Epoch(epoch), digest=Digest(digest))
        for incarnation, epoch, digest in product((1, 2), (1, 2, 3), "ab")
    ]
    reached = set()
    for active_, committed, serving in product(known, repeat=3):
        situation = Situation(active=active_, committed=committed, serving=serving)
        fitting = [case.label for case in CASES if case.fits(situation)]
        assert len(fitting) == 1, (situation, fitting)
        reached.add(case_of(situation).label)
    assert reached == {case.label for case in CASES}


def test_fresh_agent_beside_a_fresh_proxy_waits() -> None:
    bench = Bench(fresh_record(), OTHER)
    assert (bench.state.operation, bench.state.proof) == (None, None)
    assert bench.progress() is Progress.NOTHING


def test_restart_with_the_proxy_as_journalled_proves_it_again() -> None:
    bench = Bench()
    bench.proven()
    effects = bench.reboot()
    assert operation(effects) is None
    assert proof(effects) is not None


def test_flip_that_was_not_journalled_is_adopted_and_never_undone_h1() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    bench.hear(sync(HEAD7))
    effects = bench.reboot(serving=active(7, GREEN))
    assert kinds(effects) == ["WatchDrain", "Persist", "Prove"]
    assert bench.state.record.active == active(7, GREEN)
    assert bench.progress() is Progress.PROVING


def test_flip_to_an_older_commit_that_was_not_journalled_is_adopted_s5() -> None:
    record = journal_of(head_at(8, 8, OTHER, base=GREEN), active(6, BLUE))
    bench = Bench(fresh_record(), OTHER)
    effects = bench.give(
        Booted(record=record, tables=(BLUE, GREEN, OTHER), serving=active(7, GREEN))
    )
    assert kinds(effects) == ["WatchDrain", "Persist", "Stage"]
    assert bench.state.record.active == active(7, GREEN)
    bench.live()
    assert bench.state.serving == active(8, OTHER)


def test_proxy_that_lost_everything_gets_the_active_table_back_s6() -> None:
    bench = Bench()
    effects = bench.reboot(serving=NOTHING)
    assert operation(effects) == Stage(
        epoch=Epoch(6), digest=BLUE.digest, check=False, against=BLUE.digest
    )
    assert bench.staged()[0] == Activate(incarnation=1, epoch=Epoch(6), digest=BLUE.digest)
    bench.activated()
    assert bench.state.serving == active(6, BLUE)


def test_proxy_back_with_an_older_table_goes_to_the_newest_due_commit_s5() -> None:
    bench = Bench(settled_record(HEAD7), BLUE, GREEN)
    bench.give(ProxyRestarted(serving=active(6, BLUE)))
    bench.staged()
    assert bench.progress() is Progress.FLIPPING
    bench.activated()
    assert bench.state.serving == active(7, GREEN)


def test_proxy_with_a_foreign_table_of_our_number_is_put_right() -> None:
    for record in (settled_record(HEAD7), journal_of(HEAD7, active(6, BLUE))):
        bench = Bench(fresh_record(), OTHER)
        bench.give(Booted(record=record, tables=(BLUE, GREEN), serving=active(7, OTHER)))
        bench.staged()
        bench.activated()
        assert bench.state.serving == active(7, GREEN)


def test_proxy_ahead_of_a_lost_journal_is_left_alone_until_the_head_names_it_h13() -> None:
    bench = Bench(fresh_record(), OTHER)
    effects = bench.give(Booted(record=fresh_record(), tables=(), serving=active(7, GREEN)))
    assert effects == ()
    effects = bench.hear(sync(HEAD7, table=GREEN))
    assert kinds(effects) == ["SaveTable", "Persist", "WatchDrain", "Persist", "Prove"]
    assert bench.state.record.active == active(7, GREEN)


def test_restored_journal_behind_the_proxy_never_takes_it_back_s5() -> None:
    bench = Bench()
    effects = bench.reboot(serving=active(9, GREEN))
    assert effects == ()
    bench.hear(sync(HEAD7, table=GREEN))
    assert bench.state.operation is None
    assert bench.progress() is Progress.STAGING


def test_restart_before_the_activation_time_waits_for_what_is_left_of_it_h1() -> None:
    bench = Bench()
    bench.receipt(round_trip_ns=2 * MS)
    bench.prepared(prepare(7, GREEN, HEAD6))
    bench.hear(sync(head_at(7, 7, GREEN, base=BLUE, activation=scheduled(SECOND))))
    bench.now_ns += SECOND // 2
    effects = bench.reboot()
    assert dict(bench.state.timers.due)[DUE] == bench.now_ns + SECOND // 2 - 2 * MS
    assert isinstance(operation(effects), Stage)
    bench.staged()
    bench.wait(SECOND // 2)
    assert isinstance(bench.state.operation, Activate)


def test_restart_with_a_wall_clock_an_hour_behind_waits_g_at_most_h15() -> None:
    head = head_at(7, 7, GREEN, base=BLUE, activation=scheduled(SECOND))
    commitment = Commitment(head=head, due_wall_ns=WALL_NS + 3600 * SECOND)
    record = evolve(settled_record(), committed=commitment)
    bench = Bench(fresh_record(), OTHER)
    bench.give(Booted(record=record, tables=(BLUE, GREEN), serving=active(6, BLUE)))
    assert dict(bench.state.timers.due)[DUE] == bench.now_ns + 2 * SECOND


def test_restart_with_a_wall_clock_an_hour_behind_waits_not_again_for_what_was_active_s6() -> None:
    """The proxy has forgotten everything: by the date the commit it served is still to come."""
    head = head_at(7, 7, GREEN, base=BLUE, activation=scheduled(SECOND))
    commitment = Commitment(head=head, due_wall_ns=WALL_NS + 3600 * SECOND)
    record = evolve(settled_record(), committed=commitment, active=active(7, GREEN))
    bench = Bench(fresh_record(), OTHER)
    bench.give(Booted(record=record, tables=(BLUE, GREEN), serving=NOTHING))
    assert not bench.state.timers.armed(DUE)
    assert isinstance(bench.state.operation, Stage)
    bench.staged()
    assert isinstance(bench.state.operation, Activate)
    assert bench.progress() is Progress.FLIPPING


def test_restart_after_the_activation_time_flips_at_once_h1() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    bench.hear(sync(HEAD7))
    bench.now_ns += SECOND
    bench.reboot()
    bench.staged()
    assert isinstance(bench.state.operation, Activate)


def test_empty_proxy_is_served_again_before_a_promise_is_kept_s6_h23() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6))
    stage = operation(bench.reboot(serving=NOTHING))
    assert stage is not None
    assert stage.epoch == 6
    bench.staged()
    stage = operation(bench.activated())
    assert stage is not None
    assert stage.epoch == 7


def test_active_table_is_restored_while_a_newer_commit_waits_for_its_time_s6() -> None:
    bench = Bench()
    bench.receipt(round_trip_ns=2 * MS)
    bench.prepared(prepare(7, GREEN, HEAD6))
    bench.hear(sync(head_at(7, 7, GREEN, base=BLUE, activation=scheduled(SECOND))))
    stage = operation(bench.give(ProxyRestarted(serving=NOTHING)))
    assert stage is not None
    assert stage.epoch == 6
    bench.staged(refusal())
    assert bench.progress() is Progress.DIVERGED
    bench.give(ProxyRestarted(serving=NOTHING))
    bench.staged()
    bench.activated()
    assert bench.progress() is Progress.WAITING
    assert isinstance(bench.state.operation, Stage)
    assert bench.state.operation.epoch == 7


def test_every_action_is_of_some_case() -> None:
    assert {case.action for case in CASES} == set(Action)
