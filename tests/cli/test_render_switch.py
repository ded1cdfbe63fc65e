"""What people see while a switch goes on."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from tests.cli.fake_coordinator import agent, live, switch
from turnout.cli.render_lines import LineDisplay
from turnout.cli.render_switch import LiveDisplay, display_on, drawing
from turnout.cli.switch_view import view_of


def drawn(document: dict[str, Any], waited_s: float = 1.0) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=False, highlight=False)
    console.print(drawing(view_of(document), waited_s=waited_s, busy="*"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_votes_arrive_region_by_region() -> None:
    text = drawn(switch(agents=[agent("eu-a", "eu", vote="yes"), agent("us-a", "us")]), 1.25)
    assert "preparing, 1.2 s of 30 s" in text
    assert "├─ eu votes yes staged" in text
    assert "└─ us asked     staging" in text


def test_no_is_shown_with_its_reason() -> None:
    refused = agent("us-a", "us", vote="no", reason="unhealthy: 1 of 2 backends")
    text = drawn(switch(agents=[agent("eu-a", "eu", vote="yes"), refused]))
    assert "votes no" in text
    assert "unhealthy: 1 of 2 backends" in text


def test_drain_counts_down() -> None:
    agents = [dict(one) for one in live()["agents"]]
    agents[0]["in_flight"] = 3
    agents[1]["drained"] = True
    text = drawn(live(phase="draining", agents=agents))
    assert "draining: 3 in flight" in text
    assert "drain: 3 in flight" in text
    assert "drain: empty" in text


def test_scheduled_flip_says_when() -> None:
    activation = {"mode": "scheduled", "reason": None, "time": "2026-01-31T09:05:09.5Z"}
    text = drawn(switch(phase="committed", activation=activation))
    assert "activation scheduled for" in text
    assert ":09.500" in text


def test_aborted_switch_leaves_every_region_unchanged() -> None:
    text = drawn(switch(phase="aborted", outcome="aborted", reason="eu-a said no"))
    assert "aborted, nothing has changed: eu-a said no" in text
    assert text.count("unchanged") == 2


def test_region_with_several_agents_is_summed_up_and_unfolded() -> None:
    text = drawn(switch(agents=[agent("eu-a", "eu", vote="yes"), agent("eu-b", "eu")]))
    assert "1/2 yes" in text
    assert "├─ eu-a" in text
    assert "└─ eu-b" in text


def test_partial_switch_names_who_is_behind() -> None:
    agents = [live()["agents"][0], agent("us-a", "us", vote="yes", reason="unconfirmed")]
    text = drawn(live(outcome="partial", phase="draining", agents=agents))
    assert "partial after 310 ms: committed, not live everywhere" in text
    assert "not live" in text
    assert "unconfirmed" in text


def test_agent_that_is_not_asked_is_not_said_to_be_staging() -> None:
    text = drawn(switch(agents=[agent("eu-a", "eu"), agent("us-a", "us", asked=False)]))
    assert "└─ us -     not asked" in text


def test_tree_of_a_narrow_terminal_loses_nothing() -> None:
    console = Console(file=io.StringIO(), width=40, highlight=False)
    agents = [agent("eu-a", "ap-south-1", vote="no", reason="unhealthy: 1 of 2 backends of green")]
    console.print(drawing(view_of(switch(agents=agents)), waited_s=1, busy="*"))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "…" not in text
    assert "└─ ap-south-1 votes no staging" in text


def test_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(display_on(Console(force_terminal=True)), LineDisplay)


def test_terminal_gets_a_tree_that_is_drawn_by_a_thread_without_trio() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, highlight=False)
    display = display_on(console)
    assert isinstance(display, LiveDisplay)
    with display:
        display.update(view_of(switch()))
    assert isinstance(console.file, io.StringIO)
    assert "checkout from blue to green" in console.file.getvalue()


def test_live_says_which_regions_were_left_out() -> None:
    """A region that an operator excluded is not part of "everywhere"."""
    document = live()
    document["agents"].append(agent("ap-a", "ap", standing="excluded", asked=False))
    assert "live everywhere but ap (excluded) in 300 ms" in drawn(document)
    assert "live everywhere in 300 ms" in drawn(live())
