"""A service goes back and forth in every region under load, and users notice nothing."""

from __future__ import annotations

import pytest
import trio

from tests.e2e.site import Site
from turnout.cli.switch_view import view_of
from turnout.dev.observations import total_of
from turnout.dev.plan import SERVICE
from turnout.dev.traffic import Traffic

pytestmark = pytest.mark.slow

SWITCHES = 20
LAST_SLOW_S = 5.5


async def test_service_switched_back_and_forth_under_load_loses_no_request(site: Site) -> None:
    traffic = Traffic(site.plan)
    elapsed_s = []
    try:
        traffic.start()
        for number in range(SWITCHES):
            colour = "blue" if number % 2 else "green"
            document = await site.switch(colour, until="outcome")
            assert document["outcome"] == "live", document
            traffic.expect_switch(view_of(document), colour)
            elapsed_s.append(document["elapsed_s"])
        ended = await site.turnout("switch", SERVICE, "--to", "green", "--wait")
        assert (ended.code, ended.document["outcome"]) == (0, "live"), ended.said
        traffic.expect_switch(view_of(ended.document), "green")
        await trio.sleep(LAST_SLOW_S)  # every request under way has its answer by then
        requests, _ = traffic.judge()
    finally:
        traffic.kill()
    total = total_of(requests)
    assert (total.failed, total.misrouted) == (0, 0), requests
    assert total.sent > 1000
    assert total.slow > SWITCHES, "slow requests were under way at the switches"
    assert all(agent["drained"] for agent in ended.document["agents"])
    assert all(seconds < 30 for seconds in elapsed_s)
