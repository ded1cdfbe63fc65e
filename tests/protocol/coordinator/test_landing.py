"""Live, outcome, rollback by itself."""

from __future__ import annotations

from attrs import evolve

from tests.protocol.coordinator.bench import (
    AGENTS,
    FIRST,
    Bench,
    apply,
    rollback,
    settled,
    switch,
    switched,
)
from turnout.protocol import keys
from turnout.protocol.clock import SECOND
from turnout.protocol.events import (
    ExcludeRequested,
    RemoveRequested,
)
from turnout.protocol.identifiers import AgentId, Epoch, Region
from turnout.protocol.messages import No, Progress
from turnout.protocol.records import Mode, OutcomeKind, Status
from turnout.protocol.routing import Colour, OnFailure, RoutingTable
from turnout.protocol.transitions import SwitchPhase

A2 = AgentId("a2")


def committed(**changes: object) -> Bench:
    """Epoch 2 is committed, and nobody is live yet."""
    bench = settled()
    bench.ask(switch("k", Colour.GREEN, **changes))
    bench.all_say_yes()
    return bench


def kind(bench: Bench, epoch: int) -> OutcomeKind | None:
    outcome = bench.outcome(epoch)
    return outcome.outcome if outcome else None


def test_outcome_is_live_when_everybody_proved_it_and_is_measured_at_the_agents() -> None:
    bench = committed()
    bench.hear("a0", 2)
    bench.hear("a1", 2)
    assert kind(bench, 2) is None
    bench.now_ns += 2 * SECOND
    bench.hear("a2", 2, bound_ns=7)
    outcome = bench.outcome(2)
    assert outcome is not None
    assert outcome.outcome is OutcomeKind.LIVE
    assert (outcome.elapsed_ns, outcome.skew_ns, outcome.bound_ns) == (2 * SECOND, 2 * SECOND, 7)
    assert outcome.sla_met
    assert evolve(outcome, elapsed_ns=None).sla_met is None, "nobody was live: nothing was measured"


def test_report_that_says_again_what_it_said_changes_nothing() -> None:
    bench = committed()
    bench.hear("a0", 2)
    first = bench.state.following[Epoch(2)].live[AgentId("a0")]
    bench.now_ns += SECOND
    bench.hear("a0", 2)
    assert bench.state.following[Epoch(2)].live[AgentId("a0")] == first


def test_t_live_over_names_the_laggards_and_marks_them_stale() -> None:
    bench = committed()
    bench.hear("a0", 2)
    bench.wait(6 * SECOND)
    outcome = bench.outcome(2)
    assert outcome is not None
    assert outcome.outcome is OutcomeKind.PARTIAL
    assert [(lag.agent, lag.reason) for lag in outcome.laggards] == [
        ("a1", "unconfirmed: not heard in time"),
        ("a2", "unconfirmed: not heard in time"),
    ]
    assert bench.state.fleet.with_status(Status.STALE) == ("a1", "a2")
    assert bench.state.fleet.revision == bench.store.items[keys.STANDING].mod_revision
    bench.hear("a1", 2)
    bench.hear("a2", 2)
    assert bench.state.fleet.good == ("a0", "a1", "a2")


def test_t_live_of_a_scheduled_commit_is_counted_from_its_instant() -> None:
    bench = committed(activation=Mode.SCHEDULED)
    g_ns = bench.decision(2).head.activation.g_ns
    bench.wait(5 * SECOND + g_ns - 1)
    assert kind(bench, 2) is None
    bench.wait(1)
    assert kind(bench, 2) is OutcomeKind.PARTIAL


def test_agent_passed_over_by_name_leaves_the_outcome_live_and_by_count_does_not() -> None:
    for option, expected in (
        ({"allow_stale": (AgentId("a1"),)}, OutcomeKind.LIVE),
        ({"allow_stale_count": 1}, OutcomeKind.PARTIAL),
    ):
        bench = settled()
        bench.hear("a1", 1, opened=True, journal_id="another", live_at_ns=None)
        assert bench.state.fleet.status(AgentId("a1")) is Status.STALE
        bench.ask(switch("k", Colour.GREEN, **option))
        bench.all_say_yes()
        bench.hear("a0", 2)
        bench.hear("a2", 2)
        assert kind(bench, 2) is expected


def test_agent_that_is_removed_or_excluded_is_waited_for_no_longer() -> None:
    for event in (
        RemoveRequested(ticket=0, agent=AgentId("a2"), actor="op"),
        ExcludeRequested(ticket=0, region=Region("us"), actor="op", reason="works"),
    ):
        bench = committed()
        bench.hear("a0", 2)
        bench.hear("a1", 2)
        bench.give(event)
        assert kind(bench, 2) is OutcomeKind.LIVE


def test_outcome_that_marks_agents_waits_for_another_change_of_standing() -> None:
    bench = committed()
    bench.hold = ("remove",)
    bench.give(RemoveRequested(ticket=bench.ticket(), agent=AgentId("a0"), actor="op"))
    bench.wait(6 * SECOND)
    assert kind(bench, 2) is None
    bench.release()
    assert kind(bench, 2) is OutcomeKind.PARTIAL
    assert bench.state.fleet.with_status(Status.STALE) == ("a1", "a2")
    assert "a0" not in bench.state.fleet.agents


def test_outcome_that_marks_agents_waits_for_an_open_rollback_and_is_rolled_back() -> None:
    bench = committed()
    bench.ask(rollback())
    bench.vote("a0")
    bench.wait(SECOND)
    bench.now_ns += 5 * SECOND
    bench.hear("a0", 2)
    bench.wait(0)
    assert kind(bench, 2) is OutcomeKind.ROLLED_BACK
    assert kind(bench, 3) is None
    assert Epoch(2) not in bench.state.following


def test_t_live_of_the_rollback_is_not_taken_for_that_of_the_commit_before() -> None:
    """1. 7 has no outcome. 2. 8 undoes it. 3. The deadline armed by 8 must not be spent on 7."""
    bench = committed()
    bench.hold = ("outcome",)
    bench.ask(rollback())
    bench.all_say_yes()
    bench.hear("a0", 3)
    bench.wait(6 * SECOND)
    bench.release()
    assert kind(bench, 2) is OutcomeKind.ROLLED_BACK
    assert kind(bench, 3) is OutcomeKind.PARTIAL


def test_next_request_waits_until_what_was_undone_has_its_outcome() -> None:
    bench = committed()
    bench.hold = ("outcome",)
    bench.ask(rollback())
    bench.all_say_yes()
    assert bench.ask(rollback("again", undo=3)) is None
    assert bench.state.attempt is None
    bench.release()
    assert bench.state.attempt is not None


# --- a proxy refuses the flip -------------------------------------------------------------------


def diverge(bench: Bench, agent: str, epoch: int) -> None:
    bench.hear(
        agent,
        epoch,
        active=bench.state.reports[AgentId(agent)].active,
        live_at_ns=None,
        progress=Progress.DIVERGED,
        reason="no such cluster",
    )


def test_refusal_at_the_flip_rolls_back_by_itself_once() -> None:
    bench = committed()
    diverge(bench, "a2", 2)
    attempt = bench.state.attempt
    assert attempt is not None
    assert (attempt.intent.request.key, attempt.intent.request.undo) == ("undo/2", 2)
    assert "no such cluster" in attempt.intent.request.reason
    for agent in AGENTS:
        bench.vote(agent, No.REFUSED)
    assert bench.decision(3).verdict == "abort"
    diverge(bench, "a2", 2)
    assert bench.state.attempt is None, "a rollback's own failure is hold"
    bench.wait(6 * SECOND)
    outcome = bench.outcome(2)
    assert outcome is not None
    assert "diverged: no such cluster" in [lag.reason for lag in outcome.laggards]


def test_refusal_waits_once_while_the_fleet_changes() -> None:
    bench = committed()
    bench.hold = ("remove",)
    bench.give(RemoveRequested(ticket=bench.ticket(), agent=AgentId("a0"), actor="op"))
    diverge(bench, "a2", 2)
    diverge(bench, "a1", 2)
    assert len(bench.state.waiting) == 1
    bench.release()
    assert bench.state.attempt is not None


def test_refusal_is_held_where_it_must_be() -> None:
    first = settled()
    (service,) = FIRST.services
    held = RoutingTable(services=(evolve(service, on_failure=OnFailure.HOLD),))
    first.ask(apply("hold", held))
    first.all_say_yes()
    diverge(first, "a2", 2)
    assert first.state.attempt is None
    final = committed(point_of_no_return="data")
    diverge(final, "a2", 2)
    assert final.state.attempt is None
    undone = switched()
    undone.ask(rollback())
    undone.all_say_yes()
    diverge(undone, "a2", 3)
    assert undone.state.attempt is None


def test_refusal_of_the_first_table_is_held() -> None:
    bench = settled()
    following = bench.state.following[Epoch(1)]
    bench.state = evolve(
        bench.state,
        following=bench.state.following.put(
            Epoch(1), evolve(following, outcome=None, phase=SwitchPhase.COMMITTED, live=type(following.live)())
        ),
    )  # fmt: skip
    diverge(bench, "a0", 1)
    assert bench.state.attempt is None


def test_refusal_by_an_agent_that_was_not_asked_moves_nobody_else() -> None:
    bench = settled()
    bench.hear("a1", 1, opened=True, journal_id="another", live_at_ns=None)
    bench.ask(switch(allow_stale_count=1))
    bench.all_say_yes()
    bench.hear(
        "a1", 2, journal_id="another", live_at_ns=None, progress=Progress.DIVERGED, reason="no"
    )
    assert bench.state.attempt is None


def test_agent_that_diverged_and_came_round_is_live() -> None:
    bench = committed(point_of_no_return="data")
    diverge(bench, "a2", 2)
    bench.all_live(2)
    assert kind(bench, 2) is OutcomeKind.LIVE
    assert not bench.state.following[Epoch(2)].diverged
