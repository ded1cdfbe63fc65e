from __future__ import annotations

import pytest
from attrs import evolve

from tests.protocol.participant.bench import (
    BLUE,
    GREEN,
    HEAD6,
    HEAD7,
    OTHER,
    Bench,
    active,
    fresh_record,
    head_at,
    kinds,
    of,
    prepare,
    refusal,
    reports,
    service,
    settled_record,
    sync,
    table_of,
)
from turnout.protocol.clock import SECOND
from turnout.protocol.effects import Activate, AgentEffect, CloseSource, StopDrain, WatchDrain
from turnout.protocol.events import Booted, InFlight, LinkDown, LinkUp
from turnout.protocol.identifiers import Epoch, ServiceName
from turnout.protocol.records import Head, SignedTable
from turnout.protocol.routing import AfterDrain, Colour, RoutingTable

CHECKOUT = ServiceName("checkout")
CLOSING = table_of(service("checkout", Colour.GREEN, AfterDrain.CLOSE))
WATCH_BLUE = WatchDrain(epoch=Epoch(7), service=CHECKOUT, colour=Colour.BLUE)
STOP_BLUE = StopDrain(service=CHECKOUT, colour=Colour.BLUE)
CLOSE_BLUE = CloseSource(service=CHECKOUT, colour=Colour.BLUE)


def flipped(table: SignedTable = GREEN, head: Head = HEAD7) -> tuple[Bench, list[AgentEffect]]:
    """An agent that has just flipped away from blue, and the effects of the flip."""
    bench = Bench()
    bench.proven()
    bench.prepared(prepare(7, table, HEAD6))
    bench.hear(sync(head))
    effects = bench.activated()
    bench.proven()
    return bench, list(effects)


def count(bench: Bench, number: int, colour: Colour = Colour.BLUE) -> tuple[AgentEffect, ...]:
    return bench.give(InFlight(service=CHECKOUT, colour=colour, count=number))


def drains_of(effects: tuple[AgentEffect, ...]) -> list[AgentEffect]:
    return [e for e in effects if isinstance(e, WatchDrain | StopDrain | CloseSource)]


def test_source_that_is_empty_before_the_flip_is_proven_is_told_with_the_proof() -> None:
    bench = Bench()
    bench.proven()
    bench.prepared(prepare(7, GREEN, HEAD6))
    bench.hear(sync(HEAD7))
    bench.activated()
    assert kinds(count(bench, 0)) == ["StopDrain"]
    (report,) = reports(bench.proven())
    assert report.live_at_ns is not None
    assert [drain.ended for drain in report.drains] == ["empty"]


def test_source_is_watched_from_the_flip_on_and_ends_empty() -> None:
    bench, effects = flipped()
    assert effects[0] == WATCH_BLUE
    assert count(bench, 3) == ()
    assert bench.state.drains[0].in_flight == 3
    ended = count(bench, 0)
    assert kinds(ended) == ["StopDrain", "Report"]
    (report,) = reports(ended)
    assert (report.drains[0].ended, report.drains[0].in_flight) == ("empty", 0)
    assert count(bench, 0) == ()
    assert bench.wait(0) == ()


def test_drain_ends_at_the_services_timeout_and_keeps_what_is_left() -> None:
    bench, _ = flipped()
    count(bench, 2)
    bench.give(LinkDown())
    assert drains_of(bench.wait(30 * SECOND - 1)) == []
    assert drains_of(bench.wait(1)) == [STOP_BLUE]
    assert bench.state.drains[0].ended == "timeout"


def test_timeout_of_the_switch_overrides_the_services_and_close_closes() -> None:
    head = head_at(7, 7, CLOSING, base=BLUE, drain_timeout_ms=1_000)
    bench, _ = flipped(CLOSING, head)
    assert drains_of(bench.wait(SECOND)) == [CLOSE_BLUE, STOP_BLUE]
    assert bench.state.drains[0].ended == "closed"


def test_yes_for_a_table_that_sends_to_a_draining_colour_stops_its_drain_first_h21_s9() -> None:
    bench, _ = flipped(CLOSING, head_at(7, 7, CLOSING, base=BLUE))
    bench.wait(10 * SECOND)
    bench.hear(prepare(8, BLUE, head_at(7, 7, CLOSING, base=BLUE)))
    assert kinds(bench.staged()) == ["StopDrain", "Persist", "Vote"]
    bench.give(LinkDown())
    assert bench.wait(60 * SECOND) == ()
    assert count(bench, 0) == ()


def test_abort_lets_the_drain_go_on_with_what_was_left_h21() -> None:
    bench, _ = flipped()
    bench.wait(10 * SECOND)
    bench.prepared(prepare(8, BLUE, HEAD7))
    bench.wait(60 * SECOND)
    assert drains_of(bench.hear(sync(head_at(8, 7, GREEN, base=BLUE)))) == [WATCH_BLUE]
    assert drains_of(bench.wait(20 * SECOND - 1)) == []
    assert drains_of(bench.wait(1)) == [STOP_BLUE]


def test_commit_heard_late_stops_the_drain_too_and_the_flip_drops_it_h21() -> None:
    bench, _ = flipped()
    effects = bench.hear(sync(head_at(8, 8, BLUE, base=GREEN)))
    assert kinds(effects)[:2] == ["StopDrain", "Persist"]
    bench.staged()
    begun = drains_of(bench.activated())
    assert begun == [WatchDrain(epoch=Epoch(8), service=CHECKOUT, colour=Colour.GREEN)]
    assert [drain.colour for drain in bench.state.drains] == [Colour.GREEN]


def test_drain_of_the_journal_is_dropped_when_the_active_table_sends_to_its_colour() -> None:
    bench, _ = flipped()
    draining = bench.state.record.draining
    record = evolve(settled_record(head_at(8, 8, BLUE, base=GREEN)), draining=draining)
    effects = bench.give(Booted(record=record, tables=(BLUE, GREEN), serving=active(8, BLUE)))
    assert draining
    assert not bench.state.drains
    assert of(effects, WatchDrain) == ()


def two_services_left() -> Bench:
    """An agent that left checkout's blue in epoch 7, and search's in epoch 8."""
    both = RoutingTable(services=(service("checkout", Colour.BLUE), service("search", Colour.BLUE)))
    tables = [both, both.switched("checkout", Colour.GREEN)]
    tables.append(tables[1].switched("search", Colour.GREEN))
    first, second, third = (table_of(*table.services) for table in tables)
    head6, head7 = head_at(6, 6, first), head_at(7, 7, second, base=first)
    bench = Bench(settled_record(head6), first)
    for epoch, table, before, after in (
        (7, second, head6, head7),
        (8, third, head7, head_at(8, 8, third, base=second)),
    ):
        bench.prepared(prepare(epoch, table, before))
        bench.hear(sync(after))
        bench.activated()
    return bench


def test_drains_of_different_services_overlap() -> None:
    bench = two_services_left()
    assert [(d.epoch, d.service) for d in bench.state.drains] == [(7, "checkout"), (8, "search")]
    bench.give(InFlight(service=ServiceName("search"), colour=Colour.BLUE, count=0))
    assert [d.ended for d in bench.state.drains] == ["", "empty"]
    bench.wait(30 * SECOND)
    assert [d.ended for d in bench.state.drains] == ["timeout", "empty"]


def test_service_that_was_removed_drains_by_its_own_rules() -> None:
    two = table_of(
        service("checkout", Colour.GREEN), service("search", Colour.BLUE, AfterDrain.CLOSE)
    )
    bench = Bench(settled_record(head_at(6, 6, two)), two)
    bench.prepared(prepare(7, GREEN, head_at(6, 6, two)))
    bench.hear(sync(head_at(7, 7, GREEN, base=two)))
    bench.activated()
    (drain,) = bench.state.drains
    assert (drain.service, drain.colour, drain.close) == ("search", Colour.BLUE, True)


def test_restarted_agent_goes_on_with_its_drain() -> None:
    bench, _ = flipped()
    count(bench, 2)
    assert of(bench.reboot(), WatchDrain) == (WATCH_BLUE,)


def test_restarted_agent_goes_on_with_every_drain_not_only_the_newest_s9() -> None:
    """A drain that a restart forgot would count as ended, and its source would be scaled down."""
    bench = two_services_left()
    before = [(d.epoch, d.service, d.colour, d.close) for d in bench.state.drains]
    assert [watch.service for watch in of(bench.reboot(), WatchDrain)] == ["checkout", "search"]
    assert [(d.epoch, d.service, d.colour, d.close) for d in bench.state.drains] == before


def test_restarted_agent_drains_for_as_long_as_was_left_when_it_last_flipped() -> None:
    bench = two_services_left()
    bench.wait(20 * SECOND)
    bench.reboot()
    bench.give(LinkDown())
    assert drains_of(bench.wait(30 * SECOND - 1)) == []
    assert len(drains_of(bench.wait(1))) == 2


def test_restarted_agent_that_waits_to_flip_goes_on_with_its_drain() -> None:
    bench, _ = flipped()
    bench.hear(sync(head_at(8, 8, OTHER, base=GREEN)))
    assert of(bench.reboot(), WatchDrain) == (WATCH_BLUE,)


def test_restarted_agent_needs_no_table_before_to_go_on_with_its_drain() -> None:
    bench, _ = flipped()
    assert of(bench.reboot_without(BLUE), WatchDrain) == (WATCH_BLUE,)


def test_agent_whose_disk_was_replaced_drains_whatever_its_proxy_may_have_left_s9() -> None:
    """1. The proxy serves green, and has requests on it. 2. The disk is replaced: nobody knows that.
    3. The agent flips to blue: it cannot know that green was left, and drains it all the same.
    """
    bench = Bench()
    bench.give(Booted(record=fresh_record(), tables=(), serving=active(6, GREEN)))
    bench.give(LinkUp())
    bench.hear(sync(head_at(7, 7, BLUE, base=GREEN), table=BLUE))
    bench.staged()
    assert WatchDrain(epoch=Epoch(7), service=CHECKOUT, colour=Colour.GREEN) in bench.activated()
    assert count(bench, 2, Colour.GREEN) == ()
    bench.proven()
    assert [drain.colour for drain in bench.state.record.draining] == [Colour.GREEN]


def test_flip_that_was_given_up_may_have_happened_and_is_drained_with_the_next_s9() -> None:
    """1. The proxy is slow to flip to green, and the agent gives it up. 2. It flips all the same, and
    users go to green. 3. The rollback flips it back to blue: green is left, whatever was seen of it.
    """
    bench = Bench()
    bench.proven()
    bench.prepared(prepare(7, GREEN, HEAD6))
    bench.hear(sync(HEAD7))
    bench.activated(refusal())
    bench.hear(sync(head_at(8, 8, BLUE, base=GREEN), table=BLUE))
    bench.staged()
    assert WatchDrain(epoch=Epoch(8), service=CHECKOUT, colour=Colour.GREEN) in bench.activated()
    bench.proven()
    assert [drain.colour for drain in bench.state.record.draining] == [Colour.GREEN]


@pytest.mark.parametrize(
    ("asked_ms", "drained_ms"), [(None, 30_000), (1_000, 30_000), (60_000, 60_000)]
)
def test_drain_of_what_may_have_been_left_is_no_shorter_for_a_switch_s9(
    asked_ms: int | None, drained_ms: int
) -> None:
    bench = Bench()
    bench.proven()
    bench.prepared(prepare(7, GREEN, HEAD6))
    bench.hear(sync(HEAD7))
    bench.activated(refusal())
    bench.hear(sync(head_at(8, 8, BLUE, base=GREEN, drain_timeout_ms=asked_ms), table=BLUE))
    bench.staged()
    bench.activated()
    assert [drain.left_ms for drain in bench.state.record.draining] == [drained_ms]


def test_flip_that_was_given_up_is_drained_though_the_agent_died_since_s9() -> None:
    bench = Bench()
    bench.proven()
    bench.prepared(prepare(7, GREEN, HEAD6))
    bench.hear(sync(HEAD7))
    bench.activated(refusal())
    bench.reboot()
    bench.give(LinkUp())
    bench.hear(sync(head_at(8, 8, BLUE, base=GREEN), table=BLUE))
    while not isinstance(bench.state.operation, Activate):
        bench.staged()
    assert WatchDrain(epoch=Epoch(8), service=CHECKOUT, colour=Colour.GREEN) in bench.activated()


def test_fresh_agent_beside_a_fresh_proxy_has_nothing_to_drain() -> None:
    bench = Bench(fresh_record(), GREEN)
    bench.hear(sync(head_at(7, 7, GREEN), table=GREEN))
    bench.staged()
    assert drains_of(bench.activated()) == []


def test_drain_that_ended_is_not_written_with_the_next_flip() -> None:
    bench, _ = flipped()
    count(bench, 0)
    bench.prepared(prepare(8, OTHER, HEAD7))
    bench.hear(sync(head_at(8, 8, OTHER, base=GREEN)))
    bench.activated()
    assert all(drain.epoch == 8 for drain in bench.state.record.draining)


def test_source_wanted_again_at_the_very_moment_is_not_closed_h21() -> None:
    head = head_at(7, 7, CLOSING, base=BLUE)
    bench, _ = flipped(CLOSING, head)
    # Even if the review of drains had missed it: the newest commit sends to blue.
    committed = bench.state.record.committed
    assert committed is not None
    later = evolve(committed, head=head_at(8, 8, BLUE, base=CLOSING))
    bench.state = evolve(
        bench.state, live_ns=None, record=evolve(bench.state.record, committed=later)
    )
    assert of(bench.wait(30 * SECOND), CloseSource) == ()
