"""Who is in the fleet, and in which standing; changes one at a time, and none while an intent is open."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simulator.explore.nodes import agent_key
from tests.protocol.coordinator.bench import (
    Bench,
    enrolled,
    next_leader,
    of,
    reconnect,
    settled,
    stepped_down,
    switch,
    switched,
    told,
)
from turnout.protocol import keys
from turnout.protocol.clock import SECOND
from turnout.protocol.effects import Done, Refused, Reply
from turnout.protocol.events import (
    CoordinatorEvent,
    EnrolRequested,
    ExcludeRequested,
    IncludeRequested,
    RemoveRequested,
    Transacted,
    WaiveRequested,
)
from turnout.protocol.identifiers import AgentId, Epoch, Region
from turnout.protocol.limits import MAX_TEXT
from turnout.protocol.messages import Sync
from turnout.protocol.records import Status
from turnout.protocol.routing import Colour
from turnout.protocol.transactions import Unknown

ANOTHER = agent_key(AgentId("another")).public_key
KEY = agent_key(AgentId("a3")).public_key


def enrol(bench: Bench, agent: str = "a3", region: str = "us", key: str = KEY) -> EnrolRequested:
    return EnrolRequested(
        ticket=bench.ticket(), agent=AgentId(agent), region=Region(region), public_key=key, actor=""
    )


def exclude(bench: Bench, region: str = "us", reason: str = "works") -> ExcludeRequested:
    return ExcludeRequested(ticket=bench.ticket(), region=Region(region), actor="", reason=reason)


def include(bench: Bench, region: str = "us") -> IncludeRequested:
    return IncludeRequested(ticket=bench.ticket(), region=Region(region), actor="op")


def remove(bench: Bench, agent: str) -> RemoveRequested:
    return RemoveRequested(ticket=bench.ticket(), agent=AgentId(agent), actor="op")


def waive(bench: Bench, agent: str = "a2", epoch: int = 2, reason: str = "lost") -> WaiveRequested:
    return WaiveRequested(
        ticket=bench.ticket(), epoch=Epoch(epoch), agent=AgentId(agent), actor="op", reason=reason
    )


def status(bench: Bench, agent: str) -> Status:
    return bench.state.fleet.status(AgentId(agent))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda b: enrol(b, agent="A 3"), "malformed-request"),
        (lambda b: enrol(b, region=""), "malformed-request"),
        (lambda b: enrol(b, key="no hex"), "malformed-request"),
        (lambda b: enrol(b, key="ab"), "malformed-request"),
        (lambda b: enrol(b, agent="a0"), "agent-exists"),
        (lambda b: remove(b, "a9"), "unknown-agent"),
        (lambda b: exclude(b, region="mars"), "unknown-region"),
        (lambda b: exclude(b, reason=" "), "reason-required"),
        (lambda b: exclude(b, reason="x" * (MAX_TEXT + 1)), "malformed-request"),
        (lambda b: include(b, region="mars"), "unknown-region"),
        (lambda b: waive(b, epoch=9), "unknown-agent"),
        (lambda b: waive(b, agent="a9"), "unknown-agent"),
        (lambda b: waive(b, reason=""), "reason-required"),
    ],
)
def test_change_that_makes_no_sense_is_refused(
    make: Callable[[Bench], CoordinatorEvent], expected: str
) -> None:
    bench = switched()
    answer = bench.administer(make(bench))
    assert isinstance(answer, Refused)
    assert answer.code == expected


def test_enrolling_twice_is_done_already() -> None:
    bench = settled()
    assert isinstance(bench.administer(enrol(bench)), Done)
    assert bench.administer(enrol(bench)) == Done(text="a3 is enrolled")


def test_new_agent_is_stale_until_it_reports_head_and_excluded_where_its_region_is() -> None:
    bench = switched()
    bench.administer(enrol(bench))
    assert status(bench, "a3") is Status.STALE
    bench.hear("a3", 1, opened=True)
    assert status(bench, "a3") is Status.STALE
    bench.hear("a3", 2)
    assert status(bench, "a3") is Status.GOOD
    bench.administer(exclude(bench))
    key = agent_key(AgentId("a4")).public_key
    bench.administer(enrol(bench, "a4", "us", key))
    assert status(bench, "a4") is Status.EXCLUDED


def test_agent_of_an_empty_domain_is_good_when_it_has_recorded_that() -> None:
    bench = enrolled()
    assert bench.state.fleet.good == ("a0", "a1", "a2")
    assert bench.state.fleet.agents[AgentId("a0")].journal_id == "journal of a0"


def test_included_agent_is_stale_and_good_by_its_own_report() -> None:
    bench = settled()
    bench.administer(exclude(bench))
    bench.ask(switch())
    bench.all_say_yes()
    bench.hear("a0", 2)
    bench.hear("a1", 2)
    assert bench.administer(include(bench, "eu")) == Done(text="eu is not excluded")
    assert bench.administer(include(bench)) == Done(text="included us")
    assert status(bench, "a2") is Status.STALE
    bench.hear("a2", 2)
    assert status(bench, "a2") is Status.GOOD


def test_report_from_another_incarnation_makes_nobody_good() -> None:
    bench = switched()
    bench.administer(enrol(bench))
    report = bench.report("a3", 2)
    old = report.active.__class__(incarnation=7, epoch=Epoch(2), digest=report.active.digest)
    bench.hear("a3", 2, opened=True, active=old)
    assert status(bench, "a3") is Status.STALE


def test_good_agent_that_lost_its_journal_is_stale_until_it_has_caught_up() -> None:
    bench = switched()
    bench.hear("a2", 0, opened=True, journal_id="another")
    assert status(bench, "a2") is Status.STALE
    bench.hear("a2", 2, journal_id="another")
    assert status(bench, "a2") is Status.GOOD
    assert bench.state.fleet.agents[AgentId("a2")].journal_id == "another"


def test_good_agent_whose_disk_went_back_is_stale() -> None:
    bench = switched()
    bench.hear("a2", 1, opened=True)
    assert bench.state.fleet.standing[AgentId("a2")].reason == "its journal ends at epoch 1"


def test_fallen_agent_is_marked_when_the_intent_is_decided_and_not_before() -> None:
    bench = settled()
    bench.ask(switch())
    bench.hear("a2", 1, opened=True, journal_id="another")
    assert bench.decision(2).verdict == "abort"
    assert status(bench, "a2") is Status.GOOD
    bench.hear("a2", 1, journal_id="another", live_at_ns=None)
    assert status(bench, "a2") is Status.STALE


def test_change_waits_for_the_intent_and_then_for_the_change_before_it() -> None:
    bench = settled()
    bench.ask(switch())
    first, second = enrol(bench), remove(bench, "a0")
    bench.give(first)
    bench.give(second)
    assert not of(bench.effects, Reply)
    assert "a3" not in bench.state.fleet.agents
    bench.all_say_yes()
    assert set(bench.state.fleet.agents) == {"a1", "a2", "a3"}


def test_change_whose_reply_is_lost_is_resolved_and_told_once() -> None:
    bench = settled()
    bench.hold = ("remove",)
    event = remove(bench, "a0")
    bench.give(event)
    bench.hold = ()
    bench.lose_reply()
    assert bench.reply(event.ticket) is None
    assert bench.reply(event.ticket, bench.wait(2 * SECOND)) == Done(text="removed a0")
    assert "a0" not in bench.state.fleet.agents


def test_deposed_leader_never_takes_an_equal_standing_for_its_own_write() -> None:
    """1. To remove a good agent leaves ``standing`` as it is. 2. The removal is refused, since
    another leads. 3. That ``standing`` has the very value that it would have written proves nothing.
    """
    bench = settled()
    bench.hold = ("remove",)
    event = remove(bench, "a0")
    bench.give(event)
    bench.store, _ = bench.store.elect(bench.host.replica)
    effects = bench.release()
    assert stepped_down(effects)
    assert bench.reply(event.ticket, effects) is None
    assert keys.agent(AgentId("a0")) in bench.store.items


def test_excluded_agent_hears_no_head_but_of_what_it_voted_for() -> None:
    bench = switched()
    bench.administer(exclude(bench))
    bench.wait(SECOND)
    (message,) = [m for m in told(bench.effects, "a2") if isinstance(m, Sync)]
    assert message.head is None


# --- waivers ------------------------------------------------------------------------------------


def test_waivers_are_written_one_after_another_and_told_when_they_are() -> None:
    bench = switched()
    bench.hold = ("note",)
    first, second, again = waive(bench, "a2"), waive(bench, "a1"), waive(bench, "a2")
    for event in (first, second, again):
        bench.give(event)
        assert not of(bench.effects, Reply)
    assert len(bench.held) == 1
    effects = bench.release()
    assert [r.ticket for r in of(effects, Reply)] == [first.ticket, second.ticket, again.ticket]
    assert bench.state.following[Epoch(2)].waived == ("a2", "a1")


def test_waiver_outlives_its_leader() -> None:
    bench = switched()
    bench.administer(waive(bench))
    after = next_leader(bench)
    after.elect()
    reconnect(after, 2)
    assert after.state.following[Epoch(2)].waived == ("a2",)
    assert after.administer(waive(after)) == Done(text="waived a2 for epoch 2")


def test_waiver_of_an_epoch_released_meanwhile_is_done() -> None:
    bench = switched()
    bench.hold = ("note",)
    first, second = waive(bench, "a2"), waive(bench, "a1")
    bench.give(first)
    bench.give(second)
    held, bench.held = bench.held, []
    bench.hold = ()
    bench.wait(3601 * SECOND)
    assert Epoch(2) not in bench.state.following
    bench.held = held
    assert {r.ticket for r in of(bench.release(), Reply)} == {first.ticket, second.ticket}


def test_answer_to_a_change_of_an_earlier_reign_is_nobodys() -> None:
    bench = settled()
    bench.hold = ("remove",)
    bench.give(remove(bench, "a0"))
    effect = bench.held[0]
    bench.elect()
    assert bench.give(Transacted(operation=effect.operation, result=Unknown(reason=""))) == []


def test_agent_enrolled_under_the_name_of_a_removed_one_is_good_by_its_own_report_only() -> None:
    bench = switched()
    bench.administer(remove(bench, "a2"))
    bench.administer(enrol(bench, "a2", key=ANOTHER))
    assert bench.state.fleet.status(AgentId("a2")) is Status.STALE
    assert bench.state.fleet.agents[AgentId("a2")].journal_id == ""


def test_removed_agent_is_told_nothing_any_more() -> None:
    bench = switched()
    bench.administer(remove(bench, "a2"))
    bench.ask(switch("back", Colour.BLUE))
    effects = [*bench.vote("a0"), *bench.vote("a1"), *bench.wait(2 * SECOND)]
    assert told(effects, "a0")
    assert not told(effects, "a2")
