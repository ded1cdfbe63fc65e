"""The lines that logs and pipes get: each fact once, in the order of things."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from tests.cli.fake_coordinator import agent, live, switch
from turnout.cli.render_lines import LineDisplay
from turnout.cli.switch_view import view_of

YES = {"vote": "yes"}


def told(*documents: dict[str, Any]) -> list[str]:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    with LineDisplay(console) as display:
        for document in documents:
            display.update(view_of(document))
    assert isinstance(console.file, io.StringIO)
    return [line.removeprefix("epoch 7: ") for line in console.file.getvalue().splitlines()]


ALL = [
    "checkout from blue to green",
    "eu eu-a votes yes",
    "us us-a votes yes",
    "committed",
    "eu eu-a live +300 ms",
    "us us-a live +300 ms",
    "live everywhere in 300 ms of 30 s",
    "drained",
]


def test_switch_heard_of_at_its_end_is_told_from_its_beginning() -> None:
    assert told(live()) == ALL


def test_view_that_comes_again_or_jumps_tells_every_fact_once() -> None:
    one_vote = switch(agents=[agent("eu-a", "eu", **YES), agent("us-a", "us")])
    assert told(switch(), switch(), one_vote, live(), live()) == ALL


def test_new_leader_that_knows_less_takes_nothing_back() -> None:
    begun_again = switch(phase="committed", agents=[agent("eu-a", "eu"), agent("us-a", "us")])
    draining = live(phase="draining")
    assert told(live(phase="draining"), begun_again, draining, live()) == [
        *ALL[:-1],
        "draining",
        "drained",
    ]


def test_what_an_agent_did_before_the_outcome_is_not_told_after_it() -> None:
    without_agents = live(phase="draining", agents=[agent("eu-a", "eu"), agent("us-a", "us")])
    assert told(without_agents, live()) == [
        "checkout from blue to green",
        "committed",
        "live everywhere in 300 ms of 30 s",
        "draining",
        "drained",
    ]


def test_laggard_that_catches_up_is_told_when_it_does() -> None:
    behind = {"outcome": "partial", "laggards": [{"agent": "us-a", "reason": "unconfirmed"}]}
    first = live(**behind, phase="draining", agents=[live()["agents"][0], agent("us-a", "us")])
    lines = told(first, live(**behind))
    assert lines[-4:] == [
        "partial after 310 ms: committed, not live everywhere",
        "draining",
        "us us-a live +300 ms",
        "drained",
    ]


def test_live_agents_are_told_by_their_own_moments() -> None:
    eu, us = live()["agents"]
    late = eu | {"live_at": "2026-01-31T09:05:08.000000Z"}
    lines = told(live(agents=[late, us]))
    assert lines.index("us us-a live +300 ms") < lines.index("eu eu-a live +1.00 s")


def test_no_is_told_with_its_reason_and_then_the_abort() -> None:
    refused = agent("us-a", "us", vote="no", reason="unhealthy")
    aborted = switch(
        phase="aborted", outcome="aborted", reason="us-a: no", known_s=0.1, agents=[refused]
    )
    assert told(switch(), aborted) == [
        "checkout from blue to green",
        "us us-a votes no: unhealthy",
        "aborted after 100 ms, nothing has changed: us-a: no",
    ]


def test_region_that_was_not_asked_does_not_hold_up_the_end_of_the_drain() -> None:
    moved = live()["agents"][0] | {"drained": True}
    document = live(phase="draining", agents=[moved, agent("us-a", "us", asked=False)])
    assert told(document)[-1] == "drained wherever it is live"
    assert view_of(document).is_drained
    assert not view_of(live(phase="draining")).is_drained


def test_scheduled_flip_is_announced() -> None:
    activation = {"mode": "scheduled", "time": "2026-01-31T09:05:09.5Z"}
    assert told(switch(phase="committed", activation=activation))[-1].startswith(
        "committed, flips at "
    )
