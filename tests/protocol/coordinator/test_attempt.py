"""What is asked of an attempt at every message, compared with the slow way to say the same."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.coordinator.bench import settled, switch
from turnout.protocol.coordinator_state import Attempt
from turnout.protocol.frozenmap import FrozenMap
from turnout.protocol.identifiers import AgentId
from turnout.protocol.messages import Vote

agents = st.sets(st.text("abc", max_size=3).map(AgentId))


def begun() -> tuple[Attempt, Vote]:
    """An attempt, and a vote on it."""
    bench = settled()
    bench.ask(switch())
    bench.vote("a0")
    assert bench.state.attempt is not None
    return bench.state.attempt, bench.state.attempt.yes[AgentId("a0")]


BEGUN, VOTE = begun()


@given(agents, agents)
def test_attempt_asks_exactly_the_required_agents(
    required: set[AgentId], others: set[AgentId]
) -> None:
    attempt = evolve(BEGUN, required=tuple(sorted(required)))
    for agent in required | others:
        assert attempt.asks(agent) == (agent in required)


@given(agents, st.data())
def test_attempt_is_answered_when_nobody_is_silent(
    required: set[AgentId], data: st.DataObject
) -> None:
    answers = {a: data.draw(st.sampled_from(["yes", "no", "silent"])) for a in sorted(required)}
    attempt = evolve(
        BEGUN,
        required=tuple(sorted(required)),
        yes=FrozenMap({a: VOTE for a, answer in answers.items() if answer == "yes"}),
        no=FrozenMap({a: VOTE for a, answer in answers.items() if answer == "no"}),
    )
    assert attempt.is_answered == (attempt.silent == ())
