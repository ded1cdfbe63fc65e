from __future__ import annotations

from tests.protocol.participant.bench import (
    BLUE,
    CONFIG,
    GREEN,
    HEAD6,
    HEAD7,
    WALL_NS,
    Bench,
    kinds,
    prepare,
    reports,
    sync,
    votes,
)
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.effects import AgentEffect
from turnout.protocol.events import LinkDown, LinkUp
from turnout.protocol.messages import Progress
from turnout.protocol.reporting import report_of


def test_agent_tells_all_at_each_connect() -> None:
    bench = Bench()
    (report,) = reports(bench.effects)
    assert (report.agent, report.region, report.journal_id) == ("a1", "eu", "j1")
    assert report.committed == HEAD6
    assert report.active.digest == BLUE.digest
    assert report.progress is Progress.PROVING
    assert report.tables == (BLUE.digest,)
    assert report.sent_ns == bench.now_ns
    assert (report.bound_ns, report.live_at_ns) == (None, None)


def test_report_of_a_state_is_what_the_machine_would_send() -> None:
    bench = Bench()
    (report,) = reports(bench.give(LinkUp()))
    assert report_of(CONFIG, bench.state, bench.now) == report


def test_reports_come_quickly_until_four_exchanges_and_then_every_five_seconds() -> None:
    bench = Bench()
    bench.proven()
    for _ in range(4):
        assert kinds(bench.wait(250 * MS)) == ["Report"]
        bench.receipt(round_trip_ns=0)
    assert kinds(bench.wait(250 * MS)) == ["Report"]
    assert kinds(bench.wait(5 * SECOND - 1)) == []
    assert kinds(bench.wait(1)) == ["Report"]


def test_report_of_a_change_puts_off_the_next_one_that_no_change_asks_for() -> None:
    bench = Bench()
    for _ in range(4):
        bench.wait(250 * MS)
        bench.receipt(round_trip_ns=0)
    bench.wait(200 * MS)
    assert kinds(bench.proven()) == ["Report"]
    assert kinds(bench.wait(5 * SECOND - 1)) == []
    assert kinds(bench.wait(1)) == ["Report"]


def test_nothing_is_sent_without_a_link() -> None:
    bench = Bench()
    bench.give(LinkDown())
    seen: tuple[AgentEffect, ...] = bench.hear(prepare(7, GREEN, HEAD6))
    seen += bench.staged() + bench.wait(60 * SECOND)
    assert kinds(seen) == ["SaveTable", "Persist", "Stage", "Persist"]
    assert bench.machine.next_deadline(bench.state) is None
    (report,) = reports(bench.give(LinkUp()))
    assert report.prepared is not None


def test_receipts_give_a_bound_which_votes_and_reports_state() -> None:
    bench = Bench()
    bench.receipt(round_trip_ns=10 * MS)
    bench.hear(prepare(7, GREEN, HEAD6))
    (vote,) = votes(bench.staged())
    assert vote.round_trip_ns == 10 * MS
    assert vote.bound_ns is not None
    assert 5 * MS <= vote.bound_ns < 6 * MS


def test_moments_are_told_on_the_leaders_clock() -> None:
    bench = Bench()
    bench.receipt(round_trip_ns=10 * MS)
    bench.prepared(prepare(7, GREEN, HEAD6))
    bench.hear(sync(HEAD7))
    bench.proven()
    bench.activated()
    (report,) = reports(bench.proven())
    assert report.bound_ns is not None
    assert report.live_at_ns is not None
    assert abs(report.live_at_ns - bench.now_ns) <= report.bound_ns


def test_new_leader_begins_a_fresh_estimate_and_the_old_ones_receipts_are_void() -> None:
    bench = Bench()
    bench.receipt()
    bench.hear(sync(HEAD6, term=11, replica="r2"))
    assert bench.state.estimate.exchanges == ()
    bench.receipt(term=10)
    assert bench.state.estimate.exchanges == ()
    bench.receipt(term=11, replica="r2")
    assert len(bench.state.estimate.exchanges) == 1


def test_receipt_below_the_promised_term_is_void_s4() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6, term=11))
    before = bench.state
    bench.receipt(term=10)
    assert bench.state == before


def test_late_flip_is_reported_late() -> None:
    bench = Bench()
    bench.proven()
    bench.hear(sync(HEAD7, table=GREEN))
    bench.staged()
    bench.activated()
    (report,) = reports(bench.proven())
    assert report.late
    assert bench.state.record.committed is not None
    assert bench.state.record.committed.due_wall_ns == WALL_NS
