"""A leader that no agent reaches lets another one lead, if somebody waits for what it would tell."""

from __future__ import annotations

from tests.protocol.coordinator.bench import (
    AGENTS,
    Bench,
    next_leader,
    settled,
    stepped_down,
    switch,
)
from turnout.protocol.clock import SECOND
from turnout.protocol.coordinator_state import Role
from turnout.protocol.effects import CoordinatorEffect
from turnout.protocol.events import AgentGone, Elected
from turnout.protocol.identifiers import AgentId, Term
from turnout.protocol.messages import No
from turnout.protocol.records import OutcomeKind


def all_go(bench: Bench) -> list[CoordinatorEffect]:
    """Every stream breaks; returns what the last one's end leads to."""
    effects: list[CoordinatorEffect] = []
    for agent in AGENTS:
        effects = bench.give(AgentGone(agent=AgentId(agent)))
    return effects


def committed_and_cut_off() -> Bench:
    """Nobody has heard of the commit when the last stream breaks."""
    bench = settled()
    bench.ask(switch())
    bench.all_say_yes()
    assert not stepped_down(all_go(bench))
    return bench


def test_l3_leader_cut_off_after_its_decision_hands_over_once_the_outcome_is_written() -> None:
    bench = committed_and_cut_off()
    assert stepped_down(bench.wait(6 * SECOND))
    outcome = bench.outcome(2)
    assert outcome is not None
    assert outcome.outcome is OutcomeKind.PARTIAL
    assert bench.state.role is Role.FOLLOWER
    assert "no agent reaches this replica" in bench.state.trouble


def test_l2_leader_that_nobody_answered_hands_over_after_the_abort() -> None:
    bench = settled()
    all_go(bench)
    bench.ask(switch())
    assert stepped_down(bench.wait(6 * SECOND))


def test_leader_whose_last_stream_breaks_while_agents_are_stale_hands_over() -> None:
    bench = settled()
    bench.ask(switch())
    bench.all_say_yes()
    assert not stepped_down(bench.wait(6 * SECOND))
    assert stepped_down(all_go(bench))


def test_leader_that_somebody_told_of_the_newest_commit_stays_when_all_streams_break() -> None:
    bench = settled()
    bench.ask(switch())
    bench.all_say_yes()
    bench.hear("a0", 2)
    bench.wait(6 * SECOND)
    assert not stepped_down(all_go(bench))


def test_replica_that_takes_over_hands_nothing_over_when_an_old_stream_ends() -> None:
    bench = committed_and_cut_off()
    bench.wait(6 * SECOND)
    bench.hold = ("read",)
    bench.give(Elected(term=Term(bench.state.term + 5000)))
    assert not stepped_down(bench.give(AgentGone(agent=AgentId("a0"))))


def test_leader_that_is_alone_stays_while_nobody_waits_for_it() -> None:
    bench = settled()
    assert not stepped_down(all_go(bench))
    assert not stepped_down(bench.wait(600 * SECOND))


def test_leader_that_never_had_a_stream_stays_though_agents_are_stale() -> None:
    bench = committed_and_cut_off()
    bench.wait(6 * SECOND)
    another = next_leader(bench)
    assert another.state.fleet.good == ()
    assert not stepped_down(another.wait(600 * SECOND))


def test_leader_that_somebody_refused_stays() -> None:
    bench = settled()
    bench.ask(switch())
    bench.vote("a0", No.UNHEALTHY)
    assert bench.state.role is Role.LEADING
    all_go(bench)
    assert bench.state.role is Role.LEADING
