"""What is expected of a region's answers while a switch goes by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from turnout.dev.observations import EITHER, NOBODY, Observation, judged
from turnout.dev.plan import make_plan
from turnout.dev.traffic import Traffic

SECOND = 1_000_000_000


def traffic_in(folder: Path) -> Traffic:
    return Traffic(make_plan(folder, ("eu", "us"), coordinators=1, etcd_members=1))


def switch(**live_at: str | None) -> dict[str, Any]:
    """Accepted at one second past 1970; who is live when."""
    agents = [
        {"agent": f"{region}-a", "region": region, "live_at": moment, "bound_ms": 500.0}
        for region, moment in live_at.items()
    ]
    return {"accepted_at": "1970-01-01T00:00:01+00:00", "agents": agents}


def right_at(traffic: Traffic, region: str, at_s: float) -> set[str]:
    """Who may answer a request that is sent then."""
    rules = traffic._regions[region].rules
    sent_ns = round(at_s * SECOND)
    found = set()
    for colour in (NOBODY, "blue", "green"):
        requests = judged([Observation(sent_ns=sent_ns, done_ns=sent_ns, colour=colour)], rules)
        if not requests.failed and not requests.misrouted:
            found.add(colour)
    return found


def test_first_table_is_expected_once_live_and_nothing_before_it_is_accepted(
    tmp_path: Path,
) -> None:
    traffic = traffic_in(tmp_path)
    traffic.expect_no_route()
    traffic.expect_switch(switch(eu="1970-01-01T00:00:02+00:00"), "blue")
    assert right_at(traffic, "eu", 0.5) == {NOBODY}
    assert right_at(traffic, "eu", 1.5) == {NOBODY, "blue"}
    assert right_at(traffic, "eu", 2.4) == {NOBODY, "blue"}, "within the clock's bound"
    assert right_at(traffic, "eu", 2.6) == {"blue"}


def test_region_that_is_not_live_is_held_to_what_it_served_before(tmp_path: Path) -> None:
    traffic = traffic_in(tmp_path)
    for region in ("eu", "us"):
        traffic.expect(region, frozenset({"blue"}), 0)
    traffic.expect_switch(switch(eu="1970-01-01T00:00:02+00:00", us=None), "green")
    assert right_at(traffic, "eu", 1.5) == set(EITHER)
    assert right_at(traffic, "eu", 3) == {"green"}
    assert right_at(traffic, "us", 3) == {"blue"}
