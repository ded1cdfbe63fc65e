"""Which of an agent's reports count: those said now, on the stream that it holds (S10)."""

from __future__ import annotations

import pytest
from attrs import evolve

from turnout.protocol.clock import SECOND, MonotonicNs
from turnout.protocol.identifiers import NO_TERM, AgentId, Region
from turnout.protocol.messages import Report
from turnout.protocol.openings import LIFETIME_NS, Openings

A, B = AgentId("a"), AgentId("b")
DAY_NS = 86_400 * SECOND


class Leader:
    """Openings at a made-up time, and reports of agents whose hosts were started at that time."""

    def __init__(self, key: bytes = b"chance") -> None:
        self.now_ns = MonotonicNs(DAY_NS)
        self.openings = Openings(key)

    def challenge(self) -> str:
        return self.openings.challenge(self.now_ns)

    def is_fresh(self, opening: Report) -> bool:
        return self.openings.is_fresh(opening, self.now_ns)

    def report(self, challenge: str, agent: AgentId = A, sent_ns: int | None = None) -> Report:
        self.now_ns = MonotonicNs(self.now_ns + 1)
        return Report(
            agent=agent,
            region=Region("eu"),
            incarnation=None,
            journal_id="j1",
            promised=NO_TERM,
            sent_ns=self.now_ns if sent_ns is None else MonotonicNs(sent_ns),
            challenge=challenge,
        )

    def opened(self, agent: AgentId = A, sent_ns: int | None = None) -> Report:
        """What an agent that is let in has opened its stream with."""
        opening = self.report(self.challenge(), agent, sent_ns)
        assert self.is_fresh(opening)
        self.openings.opened(opening)
        return opening


@pytest.fixture
def leader() -> Leader:
    return Leader()


def test_s10_opening_counts_once_however_many_came_after_it(leader: Leader) -> None:
    recorded = [leader.opened() for _ in range(100)]
    assert not any(leader.is_fresh(opening) for opening in recorded)
    leader.now_ns = MonotonicNs(leader.now_ns + LIFETIME_NS)
    assert not any(leader.is_fresh(opening) for opening in recorded)


def test_s10_nothing_that_was_said_to_another_process_counts(leader: Leader) -> None:
    before = Leader(b"another chance")
    opening = before.opened()
    report = before.report(opening.challenge)
    assert not leader.is_fresh(opening)
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


def test_s10_report_does_not_count_once_its_stream_has_ended(leader: Leader) -> None:
    """It was turned away by a replica that did not lead just then, and is said again when it does."""
    opening = leader.opened()
    turned_away = leader.report(opening.challenge)
    leader.openings.closed(opening)
    assert not leader.openings.follows(turned_away)
    leader.opened()
    assert not leader.openings.follows(turned_away)


def test_end_of_a_stream_that_another_has_replaced_takes_nothing_from_that(leader: Leader) -> None:
    before, now = leader.opened(), leader.opened()
    leader.openings.closed(before)
    assert leader.openings.follows(leader.report(now.challenge))
    leader.openings.closed(now)
    leader.openings.closed(now)


def test_opening_that_a_newer_one_overtook_is_refused(leader: Leader) -> None:
    slow = leader.report(leader.challenge())
    leader.opened()
    assert not leader.is_fresh(slow)


def test_s10_opening_that_was_turned_away_takes_nothing_from_the_open_stream_and_counts_once(
    leader: Leader,
) -> None:
    first = leader.opened()
    turned_away = leader.report(leader.challenge())
    assert leader.is_fresh(turned_away)
    assert leader.openings.follows(leader.report(first.challenge))
    assert not leader.is_fresh(turned_away)


def test_challenges_given_at_one_moment_differ_and_each_is_good_for_any_agent(
    leader: Leader,
) -> None:
    first, second = leader.challenge(), leader.challenge()
    assert first != second
    assert leader.is_fresh(leader.report(second, A))
    assert leader.is_fresh(leader.report(first, B))


def test_challenge_is_to_be_answered_in_time(leader: Leader) -> None:
    late = leader.report(leader.challenge())
    leader.now_ns = MonotonicNs(leader.now_ns + LIFETIME_NS)
    assert not leader.is_fresh(late)


@pytest.mark.parametrize("nonsense", ["", ".", "1", "x.y", "²", "9" * 5000, "{}.{}", "\ud800"])
def test_challenge_that_was_never_given_is_refused(leader: Leader, nonsense: str) -> None:
    given = leader.challenge()
    at, _, mac = given.partition(".")
    for challenge in (nonsense, f"{int(at) + 1}.{mac}", f"{at}.{mac[:-1]}", f"0{given}", f"{at}."):
        assert not leader.is_fresh(leader.report(challenge))
    assert leader.is_fresh(leader.report(given))


def test_s10_agent_that_is_enrolled_again_with_its_key_begins_anew(leader: Leader) -> None:
    recorded = leader.opened()
    leader.openings.forget(A)
    assert not leader.is_fresh(recorded)
    assert not leader.openings.follows(evolve(recorded, sent_ns=MonotonicNs(2 * DAY_NS)))
    leader.opened()
