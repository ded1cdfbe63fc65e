"""Which of an agent's reports count: those said now, on the stream that it holds (S10)."""

from __future__ import annotations

import pytest
from attrs import evolve

from coordinator.openings import LIFETIME_NS, Openings
from tests.coordinator.conftest import Begin
from tests.coordinator.test_refusals import refused
from tests.coordinator.world import until
from turnout.protocol.clock import SECOND, MonotonicNs
from turnout.protocol.identifiers import NO_TERM, AgentId, Region
from turnout.protocol.messages import Report

A, B = AgentId("a"), AgentId("b")
DAY_NS = 86_400 * SECOND


class Leader:
    """Openings at a made-up time, and reports of agents whose hosts were started at that time."""

    def __init__(self) -> None:
        self.now_ns = DAY_NS
        self.openings = Openings(lambda: MonotonicNs(self.now_ns))

    def report(self, challenge: str, agent: AgentId = A, sent_ns: int | None = None) -> Report:
        self.now_ns += 1
        return Report(
            agent=agent,
            region=Region("eu"),
            incarnation=None,
            journal_id="j1",
            promised=NO_TERM,
            sent_ns=MonotonicNs(self.now_ns if sent_ns is None else sent_ns),
            challenge=challenge,
        )

    def opened(self, agent: AgentId = A, sent_ns: int | None = None) -> Report:
        """What an agent that is let in has opened its stream with."""
        opening = self.report(self.openings.challenge(), agent, sent_ns)
        assert self.openings.is_fresh(opening)
        self.openings.opened(opening)
        return opening


@pytest.fixture
def leader() -> Leader:
    return Leader()


def test_s10_opening_counts_once_however_many_came_after_it(leader: Leader) -> None:
    recorded = [leader.opened() for _ in range(100)]
    assert not any(leader.openings.is_fresh(opening) for opening in recorded)
    leader.now_ns += LIFETIME_NS
    assert not any(leader.openings.is_fresh(opening) for opening in recorded)


def test_s10_nothing_that_was_said_to_another_process_counts(leader: Leader) -> None:
    before = Leader()
    opening = before.opened()
    report = before.report(opening.challenge)
    assert not leader.openings.is_fresh(opening)
    assert not leader.openings.follows(report)
    leader.opened()
    assert not leader.openings.follows(report)


def test_s10_report_of_an_earlier_stream_does_not_count_though_its_clock_is_ahead(
    leader: Leader,
) -> None:
    before = leader.opened()
    recorded = leader.report(before.challenge)
    rebooted = leader.opened(sent_ns=1)
    assert not leader.openings.follows(recorded)
    following = leader.report(rebooted.challenge, sent_ns=2)
    assert leader.openings.follows(following)
    assert not leader.openings.follows(following)
    assert not leader.openings.follows(rebooted)


def test_opening_that_a_newer_one_overtook_is_refused(leader: Leader) -> None:
    slow = leader.report(leader.openings.challenge())
    leader.opened()
    assert not leader.openings.is_fresh(slow)


def test_s10_opening_that_was_turned_away_takes_nothing_from_the_open_stream_and_counts_once(
    leader: Leader,
) -> None:
    first = leader.opened()
    turned_away = leader.report(leader.openings.challenge())
    assert leader.openings.is_fresh(turned_away)
    assert leader.openings.follows(leader.report(first.challenge))
    assert not leader.openings.is_fresh(turned_away)


def test_challenges_given_at_one_moment_differ_and_each_is_good_for_any_agent(
    leader: Leader,
) -> None:
    first, second = leader.openings.challenge(), leader.openings.challenge()
    assert first != second
    assert leader.openings.is_fresh(leader.report(second, A))
    assert leader.openings.is_fresh(leader.report(first, B))


def test_challenge_is_to_be_answered_in_time(leader: Leader) -> None:
    late = leader.report(leader.openings.challenge())
    leader.now_ns += LIFETIME_NS
    assert not leader.openings.is_fresh(late)


@pytest.mark.parametrize("nonsense", ["", ".", "1", "x.y", "²", "9" * 5000, "{}.{}", "\ud800"])
def test_challenge_that_was_never_given_is_refused(leader: Leader, nonsense: str) -> None:
    given = leader.openings.challenge()
    at, _, mac = given.partition(".")
    for challenge in (nonsense, f"{int(at) + 1}.{mac}", f"{at}.{mac[:-1]}", f"0{given}", f"{at}."):
        assert not leader.openings.is_fresh(leader.report(challenge))
    assert leader.openings.is_fresh(leader.report(given))


def test_s10_agent_that_is_enrolled_again_with_its_key_begins_anew(leader: Leader) -> None:
    recorded = leader.opened()
    leader.openings.forget(A)
    assert not leader.openings.is_fresh(recorded)
    assert not leader.openings.follows(evolve(recorded, sent_ns=MonotonicNs(2 * DAY_NS)))
    leader.opened()


async def test_s10_recorded_messages_move_nothing_at_a_leader_that_was_just_started(
    begin: Begin,
) -> None:
    world = await begin()
    recorded = [(path, body) for path, body, _ in world.agents["a"].sent if path.startswith("/")]
    await world.finished((await world.switch("green")).json()["epoch"])
    await world.all_good()
    world.kill_agent("a")
    await (await world.leader()).kill()
    leader = await world.start_coordinator()
    world.agents["b"].urls[:] = world.urls
    await world.leader()
    fleet = leader.state.fleet
    for path, body in recorded:
        answer = await world.request("POST", path, content=body)
        assert answer.status_code == 409
        if path.endswith("stream"):
            refused(answer, 409, "replayed", "'a'", "challenge")
    assert A not in leader.state.connected
    assert A not in leader.state.reports
    assert leader.state.fleet.good == fleet.good == ("a", "b")
    world.agents["a"].urls[:] = world.urls
    world.start_agent("a")
    await until(lambda: A in leader.state.connected)
