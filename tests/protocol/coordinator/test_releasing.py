"""Drain, retain, release; which commits are over, and with what."""

from __future__ import annotations

from attrs import evolve

from simulator.explore.nodes import agent_key
from tests.protocol.coordinator.bench import (
    FIRST,
    Bench,
    apply,
    enrolled,
    next_leader,
    of,
    reconnect,
    rollback,
    settled,
    stepped_down,
    switch,
    switched,
    told,
)
from tests.protocol.coordinator.test_landing import A2, committed, diverge, kind
from turnout.protocol import keys
from turnout.protocol.clock import SECOND
from turnout.protocol.effects import Accepted, Done, Transact
from turnout.protocol.events import (
    AgentGone,
    EnrolRequested,
    ExcludeRequested,
    RemoveRequested,
    WaiveRequested,
)
from turnout.protocol.identifiers import AgentId, Epoch, Region, ServiceName
from turnout.protocol.messages import DrainStatus, No, Sync
from turnout.protocol.records import Kind, OutcomeKind, Prepared, Status
from turnout.protocol.routing import Colour, RoutingTable
from turnout.protocol.transactions import Lost
from turnout.protocol.transitions import SwitchPhase

BLUE_DRAINS = DrainStatus(
    epoch=Epoch(2), service=FIRST.services[0].name, colour=Colour.BLUE, in_flight=3
)


def test_source_is_released_after_everybody_drained_and_retain() -> None:
    bench = committed()
    bench.hear("a0", 2, drains=(BLUE_DRAINS,))
    bench.hear("a1", 2)
    bench.hear("a2", 2)
    assert bench.state.following[Epoch(2)].phase is SwitchPhase.DRAINING
    bench.hear("a0", 2, drains=(evolve(BLUE_DRAINS, ended="empty"),))
    assert bench.state.following[Epoch(2)].phase is SwitchPhase.RETAINED
    bench.wait(3599 * SECOND)
    assert keys.released(Epoch(2)) not in bench.store.items
    bench.wait(SECOND)
    assert keys.released(Epoch(2)) in bench.store.items
    assert Epoch(2) not in bench.state.following


def test_s9_source_that_a_late_agent_leaves_with_a_later_epoch_is_not_released_before_its_drain_ends() -> (
    None
):
    """It flipped from epoch 1 straight to 3, and drains blue, which epoch 2 had left, under that."""
    bench = committed()
    bench.hear("a0", 2)
    bench.hear("a1", 2)
    late = evolve(BLUE_DRAINS, epoch=Epoch(3))
    bench.hear("a2", 2, drains=(late,))
    bench.wait(3700 * SECOND)
    assert keys.released(Epoch(2)) not in bench.store.items
    bench.hear("a2", 2, drains=(evolve(late, ended="empty"),))
    assert keys.released(Epoch(2)) in bench.store.items


def test_release_under_way_is_not_sent_twice() -> None:
    bench = switched()
    bench.hold = ("release",)
    bench.wait(3601 * SECOND)
    bench.hear("a0", 2)
    assert len([h for h in bench.held if h.operation.epoch == 2]) == 1
    bench.release()
    assert keys.released(Epoch(2)) in bench.store.items


def following_in(bench: Bench) -> list[str]:
    """The epochs that the store names as not over."""
    return [key for key in bench.store.items if key.startswith(keys.FOLLOWING)]


def retained_with_its_release_under_way() -> Bench:
    bench = switched()
    bench.hold = ("release",)
    bench.wait(3601 * SECOND)
    bench.held = [held for held in bench.held if held.operation.epoch == 2]
    assert bench.held
    return bench


def test_release_that_a_switch_back_overtook_is_refused_and_ends_no_reign() -> None:
    """S9: 1. Blue's release is on its way. 2. A switch makes blue serve. 3. The release arrives."""
    bench = retained_with_its_release_under_way()
    late = bench.held.pop()
    bench.hold = ()
    bench.ask(switch("back", Colour.BLUE))
    bench.all_say_yes()
    _, result = bench.store.apply(late.transaction, late.operation.term)
    assert isinstance(result, Lost)
    assert not stepped_down(bench.answer(late, result))
    bench.all_live(3)
    bench.wait(4000 * SECOND)
    assert keys.released(Epoch(2)) not in bench.store.items
    assert keys.released(Epoch(3)) in bench.store.items


def test_release_is_refused_while_an_intent_is_open_and_sent_again_after_its_abort() -> None:
    bench = retained_with_its_release_under_way()
    late = bench.held.pop()
    bench.hold = ()
    bench.ask(switch("back", Colour.BLUE))
    _, result = bench.store.apply(late.transaction, late.operation.term)
    assert isinstance(result, Lost)
    bench.answer(late, result)
    bench.wait(2 * SECOND)
    assert keys.released(Epoch(2)) not in bench.store.items
    bench.vote("a0", No.UNHEALTHY)
    assert keys.released(Epoch(2)) in bench.store.items


def test_release_is_refused_after_a_change_of_the_fleet_and_sent_again() -> None:
    """S9: an agent that still sends to the source may have been enrolled meanwhile."""
    bench = retained_with_its_release_under_way()
    late = bench.held.pop()
    bench.give(RemoveRequested(ticket=0, agent=AgentId("a2"), actor=""))
    _, result = bench.store.apply(late.transaction, late.operation.term)
    assert isinstance(result, Lost)
    bench.hold = ()
    assert not stepped_down(bench.answer(late, result))
    bench.wait(2 * SECOND)
    assert keys.released(Epoch(2)) in bench.store.items


def test_release_that_had_won_is_known_after_a_later_epoch_ended_the_switch() -> None:
    bench = retained_with_its_release_under_way()
    late = bench.held[0]
    bench.lose_reply()
    bench.hold = ("release",)
    bench.ask(switch("back", Colour.BLUE))
    bench.all_say_yes()
    bench.all_live(3)
    assert Epoch(2) not in bench.state.following
    _, result = bench.store.apply(late.transaction, late.operation.term)
    assert not stepped_down(bench.answer(late, result))
    assert late.operation not in bench.state.pending


def test_retained_source_is_not_released_while_an_agent_enrolled_since_sends_to_it() -> None:
    """S9: everybody had drained blue; then an agent comes back that still serves it."""
    bench = switched()
    newcomer = AgentId("a9")
    bench.administer(
        EnrolRequested(
            ticket=bench.ticket(),
            agent=newcomer,
            region=Region("us"),
            public_key=agent_key(newcomer).public_key,
            actor="op",
        )
    )
    bench.hear("a9", 1, opened=True)
    bench.wait(4000 * SECOND)
    assert bench.state.following[Epoch(2)].phase is SwitchPhase.RETAINED
    assert keys.released(Epoch(2)) not in bench.store.items
    bench.hear("a9", 2)
    assert keys.released(Epoch(2)) in bench.store.items


def test_what_a_removed_agent_drained_says_nothing_of_who_has_its_name_next() -> None:
    bench = switched()
    a2, key = AgentId("a2"), agent_key(AgentId("another")).public_key
    bench.administer(RemoveRequested(ticket=bench.ticket(), agent=a2, actor="op"))
    bench.administer(
        EnrolRequested(
            ticket=bench.ticket(), agent=a2, region=Region("us"), public_key=key, actor="op"
        )
    )
    bench.wait(4000 * SECOND)
    assert keys.released(Epoch(2)) not in bench.store.items


def test_outcome_whose_reply_comes_late_marks_whom_it_marked_and_nobody_else() -> None:
    """1. A rollback goes over a2's head; its outcome names it. 2. The reply is lost. 3. a2 is live
    and made good. 4. The reply comes: a2 stays good, and the leader knows the standing's revision.
    """
    bench = switched()
    bench.ask(rollback())
    bench.vote("a0")
    bench.vote("a1")
    bench.wait(3 * SECOND)
    bench.hold = ("outcome",)
    bench.hear("a0", 3)
    bench.hear("a1", 3)
    bench.hold = ()
    bench.lose_reply()
    bench.hear("a2", 3)
    bench.wait(2 * SECOND)
    assert kind(bench, 3) is OutcomeKind.PARTIAL
    assert bench.state.fleet.status(AgentId("a2")) is Status.GOOD
    assert bench.state.fleet.revision == bench.store.items[keys.STANDING].mod_revision
    assert bench.ask(switch("again")) == Accepted(epoch=Epoch(4))


def two_services() -> Bench:
    """A leader whose first table has another service, with a retention of its own."""
    bench = enrolled()
    (service,) = FIRST.services
    cart = evolve(service, name=ServiceName("cart"), hosts=("cart.example",), retain_ms=7000)
    bench.ask(apply("first", FIRST.with_service(cart)))
    bench.all_say_yes()
    bench.all_live(1)
    bench.ask(apply("without", FIRST, override=("service-removed",)))
    bench.all_say_yes()
    return bench


def test_service_that_was_taken_away_is_retained_as_it_asked() -> None:
    bench = two_services()
    bench.all_live(2)
    bench.wait(6 * SECOND)
    assert keys.released(Epoch(2)) not in bench.store.items
    bench.wait(2 * SECOND)
    assert keys.released(Epoch(2)) in bench.store.items


def test_refused_flip_to_a_table_without_a_service_rolls_back() -> None:
    bench = two_services()
    diverge(bench, "a0", 2)
    attempt = bench.state.attempt
    assert attempt is not None
    assert attempt.intent.request.kind is Kind.ROLLBACK


def test_takeover_after_many_switches_back_and_forth_takes_up_the_newest_only() -> None:
    """What a new leader reads must not grow with the past: it would use the failover's time up."""
    bench = switched()
    for number in range(3, 12):
        bench.ask(switch(f"k{number}", Colour.GREEN if number % 2 == 0 else Colour.BLUE))
        bench.all_say_yes()
        bench.all_live(number)
    assert following_in(bench) == [keys.following(Epoch(11))]
    after = next_leader(bench)
    after.elect()
    assert list(after.state.following) == [Epoch(11)]


def test_commit_that_left_no_source_is_over_with_the_next_outcome_whoever_is_silent() -> None:
    bench = settled()
    (service,) = FIRST.services
    for number in (2, 3, 4):
        changed = evolve(service, drain_timeout_ms=number)
        bench.ask(
            apply(f"k{number}", RoutingTable(services=(changed,)), allow_stale=(AgentId("a1"),))
        )
        attempt = bench.state.attempt
        assert attempt is not None
        for agent in attempt.required:
            bench.vote(agent)
        bench.hear("a0", number)
        bench.hear("a2", number)
        bench.wait(10 * SECOND)
    assert following_in(bench) == [keys.following(Epoch(4))]


def test_what_a_removed_agent_said_does_not_make_a_switch_live_h7() -> None:
    bench = committed()
    bench.hear("a2", 2)
    bench.administer(RemoveRequested(ticket=bench.ticket(), agent=A2, actor="op"))
    bench.administer(
        EnrolRequested(
            ticket=bench.ticket(),
            agent=A2,
            region=Region("us"),
            public_key=agent_key(AgentId("another")).public_key,
            actor="op",
        )
    )
    bench.hear("a0", 2)
    bench.hear("a1", 2)
    bench.wait(10 * SECOND)
    outcome = bench.outcome(2)
    assert outcome is not None
    assert outcome.outcome is OutcomeKind.PARTIAL
    assert [laggard.agent for laggard in outcome.laggards] == ["a2"]


def test_agent_that_was_named_as_stale_and_was_asked_all_the_same_is_a_laggard() -> None:
    """A name in --allow-stale passes over who is stale; who is good and misses the flip is behind."""
    bench = committed(allow_stale=(A2,))
    bench.hear("a0", 2)
    bench.hear("a1", 2)
    bench.wait(10 * SECOND)
    outcome = bench.outcome(2)
    assert outcome is not None
    assert outcome.outcome is OutcomeKind.PARTIAL
    assert [laggard.agent for laggard in outcome.laggards] == ["a2"]
    assert bench.state.fleet.status(A2) is Status.STALE


def test_switch_that_was_undone_before_it_was_live_is_over_with_its_outcome() -> None:
    bench = committed()
    bench.ask(rollback())
    bench.all_say_yes()
    bench.all_live(3)
    assert kind(bench, 2) is OutcomeKind.ROLLED_BACK
    assert keys.following(Epoch(2)) not in bench.store.items


def test_source_is_not_released_while_an_excluded_agent_has_not_confirmed() -> None:
    bench = settled()
    bench.give(ExcludeRequested(ticket=0, region=Region("us"), actor="", reason="works"))
    bench.ask(switch())
    bench.all_say_yes()
    bench.hear("a0", 2)
    bench.hear("a1", 2)
    bench.wait(7200 * SECOND)
    assert keys.released(Epoch(2)) not in bench.store.items
    event = WaiveRequested(
        ticket=bench.ticket(), epoch=Epoch(2), agent=AgentId("a2"), actor="op", reason="burnt"
    )
    assert bench.administer(event) == Done(text="waived a2 for epoch 2")
    assert keys.released(Epoch(2)) in bench.store.items


def test_source_that_serves_again_is_never_released() -> None:
    bench = switched()
    bench.ask(rollback())
    bench.all_say_yes()
    bench.all_live(3)
    bench.wait(4000 * SECOND)
    assert keys.released(Epoch(2)) not in bench.store.items
    assert keys.released(Epoch(3)) in bench.store.items
    after = next_leader(bench)
    after.elect()
    reconnect(after, 3)
    after.wait(4000 * SECOND)
    assert keys.released(Epoch(2)) not in after.store.items


def test_source_is_retained_across_a_takeover() -> None:
    """A new leader that holds none of an older switch's tables must not take retain for 0."""
    bench = switched()
    (service,) = bench.state.tables[bench.state.head.digest].table.services  # type: ignore[union-attr]
    for number in (3, 4):
        changed = evolve(service, drain_timeout_ms=number)
        bench.ask(apply(f"k{number}", RoutingTable(services=(changed,))))
        bench.all_say_yes()
        bench.all_live(number)
    after = next_leader(bench)
    after.elect()
    reconnect(after, 4)
    assert after.state.following[Epoch(2)].phase is SwitchPhase.RETAINED
    assert keys.released(Epoch(2)) not in after.store.items
    after.wait(3601 * SECOND)
    assert keys.released(Epoch(2)) in after.store.items


def test_the_earliest_of_two_retentions_ends_first() -> None:
    bench = switched()
    bench.now_ns += 1000 * SECOND
    (service,) = bench.state.tables[bench.state.head.digest].table.services  # type: ignore[union-attr]
    bench.ask(apply("k3", RoutingTable(services=(evolve(service, retain_ms=10**9),))))
    bench.all_say_yes()
    bench.all_live(3)
    bench.wait(2601 * SECOND)
    assert keys.released(Epoch(2)) in bench.store.items
    assert keys.released(Epoch(3)) not in bench.store.items


def test_agent_gone_is_told_nothing() -> None:
    bench = switched()
    bench.give(AgentGone(agent=AgentId("a2")))
    behind = Prepared(epoch=Epoch(2), digest=FIRST.digest, term=bench.state.term)
    assert not bench.hear("a2", 2, prepared=behind)
    bench.wait(SECOND)
    assert not told(bench.effects, "a2")
    assert [m for m in told(bench.effects, "a0") if isinstance(m, Sync)]
    assert not of(bench.effects, Transact)
