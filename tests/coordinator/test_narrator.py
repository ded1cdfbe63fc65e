"""What a leader's log tells: each fact once, when it is in the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from coordinator.narrator import Narrator
from tests.protocol.coordinator.bench import (
    Bench,
    next_leader,
    reconnect,
    rollback,
    settled,
    switch,
    switched,
)
from turnout.protocol.clock import SECOND
from turnout.protocol.events import ExcludeRequested
from turnout.protocol.identifiers import Region
from turnout.protocol.messages import No


def lines(bench: Bench, story: Callable[[], object]) -> list[dict[str, Any]]:
    """What is logged while a story goes on."""
    narrator, step = Narrator(), bench.host.step

    def narrated(state: Any, event: Any, now: Any) -> Any:
        after, effects = step(state, event, now)
        narrator.stepped(state, after)
        return after, effects

    bench.host.step = narrated  # type: ignore[method-assign, assignment]
    with structlog.testing.capture_logs() as logs:
        story()
    return [dict(one) for one in logs]


def events(logs: list[dict[str, Any]]) -> list[str]:
    return [one["event"] for one in logs]


def test_switch_is_accepted_committed_and_live() -> None:
    bench = settled()

    def story() -> None:
        bench.ask(switch(actor="ada", reason="release 7"))
        bench.all_say_yes()
        bench.all_live(2)

    accepted, committed, live = lines(bench, story)
    assert (accepted["event"], accepted["epoch"], accepted["asked"]) == ("accepted", 2, 3)
    assert (accepted["actor"], accepted["reason"], accepted["to"]) == ("ada", "release 7", "green")
    assert (committed["event"], committed["epoch"]) == ("committed", 2)
    assert (live["event"], live["epoch"], live["elapsed_s"]) == ("live", 2, 0)


def test_abort_says_why() -> None:
    bench = settled()

    def story() -> None:
        bench.ask(switch())
        bench.vote("a0", No.UNHEALTHY)

    (_, aborted) = lines(bench, story)
    assert (aborted["event"], aborted["log_level"]) == ("aborted", "warning")
    assert "a0: unhealthy" in aborted["reason"]


def test_laggard_of_a_partial_switch_is_named_and_stale_and_good_again_later() -> None:
    bench = settled()

    def story() -> None:
        bench.ask(switch())
        bench.all_say_yes()
        bench.hear("a0", 2)
        bench.hear("a1", 2)
        bench.wait(10 * SECOND)
        bench.hear("a2", 2)

    told = lines(bench, story)
    assert events(told) == ["accepted", "committed", "partial", "stale", "good"]
    assert told[2]["laggards"] == ["a2: unconfirmed: not heard in time"]
    assert told[3]["agents"] == ["a2: behind after epoch 2"]
    assert told[4]["agents"] == ["a2"]


def test_undone_switch_and_the_absent_of_its_rollback_are_told() -> None:
    bench = settled()

    def story() -> None:
        bench.ask(switch())
        bench.all_say_yes()
        bench.ask(rollback())
        bench.vote("a0")
        bench.vote("a1")
        bench.wait(3 * SECOND)

    told = lines(bench, story)
    assert "rolled_back" in events(told)
    assert [one["absent"] for one in told if "absent" in one] == [["a2"]]


def test_exclusion_is_told_with_its_reason() -> None:
    bench = switched()
    event = ExcludeRequested(ticket=0, region=Region("us"), actor="op", reason="works")
    (excluded,) = lines(bench, lambda: bench.give(event))
    assert (excluded["event"], excluded["agents"]) == ("excluded", ["a2: works"])


def test_new_leader_says_where_it_begins_and_tells_nothing_old() -> None:
    bench = next_leader(switched())

    def story() -> None:
        bench.elect()
        reconnect(bench, 2)

    leading, burnt = lines(bench, story)
    assert (leading["event"], leading["committed"], leading["agents"]) == ("leading", 2, 3)
    assert (burnt["event"], burnt["epoch"]) == ("aborted", 3)
