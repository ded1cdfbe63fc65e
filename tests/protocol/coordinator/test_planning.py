"""Which request may become a switch: every refusal by its code, and whom a plan asks."""

from __future__ import annotations

import random

import pytest
from attrs import evolve

from simulator.explore.bootstrap import CHECKOUT, table
from tests.protocol.coordinator.bench import (
    AGENTS,
    FIRST,
    GREEN,
    Bench,
    apply,
    enrolled,
    rollback,
    settled,
    switch,
    switched,
)
from turnout.protocol.coordinator_state import CoordinatorState
from turnout.protocol.effects import Accepted, Refused
from turnout.protocol.events import AgentGone, ExcludeRequested
from turnout.protocol.identifiers import AgentId, Epoch, Region, ServiceName
from turnout.protocol.limits import MAX_KEY, MAX_TEXT
from turnout.protocol.planning import Need, Noop, Plan, plan
from turnout.protocol.records import Request, StandingEntry, Status
from turnout.protocol.routing import Backends, Colour, RegionBackends, RoutingTable


def code(bench: Bench, request: Request) -> str:
    answer = plan(bench.state, request)
    assert isinstance(answer, Refused), answer
    assert answer.text
    return answer.code


@pytest.mark.parametrize(
    "request_",
    [
        switch(key="  "),
        switch(key="k" * (MAX_KEY + 1)),
        switch(comment="x" * (MAX_TEXT + 1)),
        switch(drain_timeout_ms=-1),
        switch(allow_stale_count=-1),
    ],
)
def test_request_with_a_value_that_cannot_be_is_refused(request_: Request) -> None:
    assert code(settled(), request_) == "malformed-request"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (switch(service=ServiceName("chekout")), "unknown-service"),
        (switch(to=None), "unknown-colour"),
        (apply(table=None), "invalid-table"),
        (apply(table=RoutingTable()), "invalid-table"),
        (apply(table=table(("eu",))), "no-backends"),
        (rollback(undo=9), "unknown-epoch"),
        (rollback(undo=1), "nothing-to-undo"),
        (rollback(service=ServiceName("search"), undo=2), "unknown-service"),
        (switch(to=Colour.BLUE, allow_stale=(AgentId("a9"),)), "unknown-agent"),
    ],
)
def test_request_that_names_what_is_not_there_is_refused(request_: Request, expected: str) -> None:
    assert code(switched(), request_) == expected


def test_first_switch_before_any_table_is_refused() -> None:
    assert code(enrolled(), switch()) == "unknown-service"


def test_first_rollback_before_any_table_is_refused() -> None:
    assert code(enrolled(), rollback()) == "nothing-to-undo"


def test_apply_of_an_inconsistent_table_names_its_faults() -> None:
    (service,) = FIRST.services
    twice = RoutingTable(services=(service, service))
    assert code(settled(), apply("k", twice)) == "invalid-table"


def test_apply_of_a_table_over_the_limits_is_refused() -> None:
    noise = random.Random(0)
    (service,) = FIRST.services
    many = tuple(f"h{noise.getrandbits(200):x}:{80}" for _ in range(60_000))
    entry = RegionBackends(
        region=Region("eu"), blue=Backends(addresses=many), green=Backends(addresses=many)
    )
    huge = RoutingTable(services=(evolve(service, backends=(entry, service.backends[1])),))
    assert code(settled(), apply("k", huge)) == "table-too-large"


def test_switch_to_a_colour_without_backends_where_agents_serve_is_refused() -> None:
    bench = settled()
    (service,) = FIRST.services
    bare = RegionBackends(region=Region("us"), blue=Backends(cluster="b"), green=Backends())
    held = bench.state.tables[FIRST.digest]
    altered = RoutingTable(services=(evolve(service, backends=(service.backends[0], bare)),))
    tables = bench.state.tables.put(FIRST.digest, evolve(held, table=altered))
    bench.state = evolve(bench.state, tables=tables)
    assert code(bench, switch()) == "no-backends"


def test_switch_without_any_good_agent_is_refused() -> None:
    bench = settled()
    bench.state = with_standing(bench, dict.fromkeys(AGENTS, Status.STALE))
    assert code(bench, switch()) == "no-good-agent"
    assert code(bench, rollback(undo=1)) == "nothing-to-undo"


def with_standing(bench: Bench, statuses: dict[str, Status]) -> CoordinatorState:
    fleet = bench.state.fleet
    standing = fleet.standing
    for agent, status in statuses.items():
        entry = StandingEntry(agent=AgentId(agent), status=status, reason="told so")
        standing = standing.put(AgentId(agent), entry)
    return evolve(bench.state, fleet=evolve(fleet, standing=standing))


def test_switch_while_an_agent_is_stale_is_refused_and_names_it() -> None:
    bench = settled()
    bench.state = with_standing(bench, {"a1": Status.STALE})
    answer = plan(bench.state, switch())
    assert isinstance(answer, Refused)
    assert (answer.code, answer.agents) == ("stale-agents", ("a1",))
    by_name = plan(bench.state, switch(allow_stale=(AgentId("a1"),)))
    by_count = plan(bench.state, switch(allow_stale_count=1))
    assert isinstance(by_name, Plan)
    assert by_name == by_count
    assert (by_name.required, by_name.passed_over) == (("a0", "a2"), ("a1",))


def test_switch_while_a_region_has_no_good_agent_is_refused_unless_it_is_excluded() -> None:
    bench = settled()
    bench.state = with_standing(bench, {"a2": Status.STALE})
    assert code(bench, switch(allow_stale_count=1)) == "no-good-agent"
    bench.state = with_standing(bench, {"a2": Status.EXCLUDED})
    answer = plan(bench.state, switch())
    assert isinstance(answer, Plan)
    assert answer.required == ("a0", "a1")


def test_apply_keeps_the_weights_of_a_known_service() -> None:
    bench = switched()
    (service,) = FIRST.services
    answer = plan(bench.state, apply("k2", RoutingTable(services=(evolve(service, retain_ms=1),))))
    assert isinstance(answer, Plan)
    known = answer.table.service(CHECKOUT)
    assert known is not None
    assert known.active is Colour.GREEN


def test_what_is_in_force_already_is_nothing_to_do() -> None:
    assert plan(settled().state, switch(to=Colour.BLUE)) == Noop()
    assert plan(switched().state, apply("again")) == Noop()


def test_names_are_checked_also_where_there_is_nothing_to_do() -> None:
    nobody = (AgentId("a9"),)
    assert code(settled(), switch(to=Colour.BLUE, allow_stale=nobody)) == "unknown-agent"
    assert code(switched(), evolve(apply("again"), allow_stale=nobody)) == "unknown-agent"


def test_rollback_is_not_held_up_by_a_name() -> None:
    answer = plan(switched().state, rollback(allow_stale=(AgentId("a9"),)))
    assert isinstance(answer, Plan)


def test_tables_not_in_memory_are_needed_first() -> None:
    bench = switched()
    bare = evolve(bench.state, tables=type(bench.state.tables)())
    assert plan(bare, switch(to=Colour.BLUE)) == Need(tables=(GREEN.digest,))
    assert plan(bare, apply("k2")) == Need(tables=(GREEN.digest,))
    wanted = plan(bare, rollback(undo=2))
    assert wanted == Need(tables=tuple(sorted((GREEN.digest, FIRST.digest))))
    without = evolve(bare, library=type(bench.state.library)())
    assert plan(without, rollback(undo=2)) == Need(decisions=(Epoch(2),))
    assert plan(without, rollback()) == Need(decisions=(Epoch(2),))


# --- rollbacks ----------------------------------------------------------------------------------


def two_services() -> Bench:
    """checkout switched in epoch 2, search added in epoch 3."""
    bench = switched()
    (service,) = GREEN.services
    search = evolve(service, name=ServiceName("search"), hosts=("search.example",))
    bench.ask(apply("more", GREEN.with_service(search)))
    bench.all_say_yes()
    bench.all_live(3)
    assert bench.outcome(3) is not None
    return bench


def test_rollback_of_one_service_leaves_the_others() -> None:
    bench = two_services()
    answer = plan(bench.state, rollback())
    assert isinstance(answer, Plan)
    assert answer.source is Colour.GREEN
    assert [s.name for s in answer.table.services] == ["checkout", "search"]
    assert answer.table.services[0].active is Colour.BLUE
    named = plan(bench.state, rollback(undo=2))
    assert named == answer
    assert code(bench, rollback(undo=3)) == "nothing-to-undo"


def test_rollback_of_a_service_that_came_with_the_epoch_takes_it_away() -> None:
    bench = two_services()
    answer = plan(bench.state, rollback(service=ServiceName("search")))
    assert isinstance(answer, Plan)
    assert answer.table == GREEN
    assert answer.source is None


def test_rollback_of_a_service_nobody_ever_changed_is_refused() -> None:
    assert code(two_services(), rollback(service=ServiceName("payments"))) == "unknown-service"


def test_table_without_a_service_in_force_is_refused_unless_that_is_meant() -> None:
    bench = two_services()
    answer = plan(bench.state, apply("less", GREEN))
    assert isinstance(answer, Refused)
    assert answer.code == "service-removed"
    assert "search" in answer.text
    assert "--override service-removed" in answer.text
    assert isinstance(plan(bench.state, apply("less", GREEN, override=("service-removed",))), Plan)


def test_rollback_of_a_service_taken_away_brings_it_back() -> None:
    bench = two_services()
    bench.ask(apply("less", GREEN, override=("service-removed",)))
    bench.all_say_yes()
    bench.all_live(4)
    answer = plan(bench.state, rollback(service=ServiceName("search")))
    assert isinstance(answer, Plan)
    assert [s.name for s in answer.table.services] == ["checkout", "search"]


def test_rollback_of_the_whole_table_goes_one_commit_back_and_no_further() -> None:
    bench = two_services()
    answer = plan(bench.state, rollback(service=None))
    assert isinstance(answer, Plan)
    assert answer.table == GREEN
    assert code(bench, rollback(service=None, undo=2)) == "service-changed-since"


def test_rollback_of_the_whole_table_names_the_one_colour_that_it_leaves() -> None:
    answer = plan(switched().state, rollback(service=None))
    assert isinstance(answer, Plan)
    assert (answer.table, answer.source) == (FIRST, Colour.GREEN)


def test_rollback_after_the_service_changed_again_is_refused() -> None:
    bench = switched()
    for number, colour in ((3, Colour.BLUE), (4, Colour.GREEN)):
        bench.ask(switch(f"k{number}", colour))
        bench.all_say_yes()
        bench.all_live(number)
    assert code(bench, rollback(undo=3)) == "already-undone"
    (service,) = GREEN.services
    bench.ask(apply("k5", RoutingTable(services=(evolve(service, retain_ms=7),))))
    bench.all_say_yes()
    bench.all_live(5)
    assert code(bench, rollback(undo=4)) == "service-changed-since"


def test_rollback_pressed_twice_does_not_roll_forward() -> None:
    bench = switched()
    bench.ask(rollback("b1"))
    bench.all_say_yes()
    bench.all_live(3)
    assert code(bench, rollback("b2", undo=2)) == "already-undone"
    assert code(bench, rollback("b3")) == "already-undone"
    assert isinstance(plan(bench.state, rollback("b4", undo=3)), Plan)


def test_rollback_of_an_aborted_epoch_is_refused() -> None:
    bench = settled()
    bench.ask(switch())
    bench.wait(6 * 10**9)
    assert bench.decision(2).verdict == "abort"
    bench.ask(switch("k3"))
    bench.all_say_yes()
    bench.all_live(3)
    assert code(bench, rollback(undo=2)) == "already-undone"


def test_rollback_of_an_epoch_that_was_aborted_since_the_last_commit_says_so() -> None:
    bench = switched()
    bench.ask(switch("k3", Colour.BLUE))
    bench.wait(6 * 10**9)
    assert bench.decision(3).verdict == "abort"
    answer = plan(bench.state, rollback(undo=3))
    assert isinstance(answer, Refused)
    assert (answer.code, "epoch 3 was aborted" in answer.text) == ("already-undone", True)
    assert code(bench, rollback(undo=4)) == "unknown-epoch"


def test_name_that_overrides_nothing_is_refused_even_where_there_is_nothing_to_do() -> None:
    bench = settled()
    for request in (switch(to=Colour.BLUE), switch(), rollback()):
        answer = plan(bench.state, evolve(request, override=("freeze",)))
        assert isinstance(answer, Refused)
        assert answer.code == "malformed-request"
        assert answer.text == (
            "there is no refusal 'freeze' to override; known: point-of-no-return, service-removed"
        )


def test_rollback_past_a_point_of_no_return_is_refused_unless_overridden_by_name() -> None:
    bench = switched(point_of_no_return="the schema is migrated")
    assert code(bench, rollback()) == "point-of-no-return"
    answer = plan(bench.state, rollback(override=("point-of-no-return",)))
    assert isinstance(answer, Plan)


def test_rollback_asks_the_connected_and_marks_the_others() -> None:
    bench = switched()
    bench.give(AgentGone(agent=AgentId("a2")))
    answer = plan(bench.state, rollback())
    assert isinstance(answer, Plan)
    assert (answer.required, answer.unreachable) == (("a0", "a1"), ("a2",))
    for agent in AGENTS:
        bench.give(AgentGone(agent=AgentId(agent)))
    assert code(bench, rollback()) == "no-good-agent"


def test_region_with_an_excluded_agent_is_not_asked() -> None:
    bench = settled()
    event = ExcludeRequested(ticket=bench.ticket(), region=Region("us"), actor="", reason="works")
    bench.administer(event)
    assert bench.ask(switch()) == Accepted(epoch=Epoch(2))
    assert bench.state.attempt is not None
    assert bench.state.attempt.required == ("a0", "a1")
    assert bench.state.attempt.intent.required.excluded == ("us",)
