"""A service goes back and forth in every region under the demo's load, and users notice nothing.

How long a switch takes is not asserted here: ``python -m bench.phases --load`` shows and judges it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest
import trio

from tests.e2e.site import Site, is_within_promise
from turnout.dev.observations import Observation, total_of
from turnout.dev.plan import SERVICE
from turnout.dev.traffic import Traffic

pytestmark = pytest.mark.slow

SWITCHES = 20
LAST_SLOW_S = 5.5


async def test_service_switched_back_and_forth_under_load_loses_no_request(site: Site) -> None:
    traffic = Traffic(site.plan)
    switches = []
    try:
        await traffic.start()
        await traffic.slow_answers()
        for number in range(SWITCHES):
            colour = "blue" if number % 2 else "green"
            switches.append(await site.fleet.switch(colour))
            traffic.expect_switch(switches[-1], colour)
        ended = await site.turnout("switch", SERVICE, "--to", "green", "--wait")
        traffic.expect_switch(ended.document, "green")
        await trio.sleep(LAST_SLOW_S)  # every request under way has its answer by then
        seen = traffic.look()
        under_way = [slow_across_flips(seen, document) for document in (*switches, ended.document)]
        requests, _ = traffic.judge()
    finally:
        traffic.kill()
    assert ended.code == 0, ended.said
    for document in (*switches, ended.document):
        assert document["outcome"] == "live", document
        assert is_within_promise(document), document
    total = total_of(requests)
    assert (total.failed, total.misrouted) == (0, 0), requests
    # Slow requests were under way at every flip, and their old colour answered all of them.
    assert all(under_way)
    assert all(agent["drained"] for agent in ended.document["agents"])


def slow_across_flips(
    seen: Mapping[str, list[Observation]], switch: Mapping[str, Any]
) -> list[Observation]:
    """The slow requests that were sent before their region flipped and answered after."""
    flips = {
        agent["region"]: datetime.fromisoformat(agent["flipped_at"]).timestamp() * 1e9
        for agent in switch["agents"]
    }
    return [
        one
        for region, observations in seen.items()
        for one in observations
        if one.kind == "slow" and one.sent_ns < flips[region] < one.done_ns
    ]
