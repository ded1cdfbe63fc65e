"""No coordinator and no etcd: every edge serves its last good table, restarts included."""

from __future__ import annotations

import os
import signal

import pytest
import trio

from tests.e2e.site import Answer, Site
from turnout.dev.observations import total_of
from turnout.dev.plan import SERVICE
from turnout.dev.traffic import Traffic

pytestmark = pytest.mark.slow

LAST_SLOW_S = 5.5


async def test_agent_and_proxy_restarted_without_a_control_plane_serve_what_they_served(
    site: Site,
) -> None:
    ended = await site.turnout("switch", SERVICE, "--to", "green", "--wait-for", "live")
    assert ended.code == 0, ended.said
    epoch = ended.document["epoch"]
    before = [Answer(epoch, "green")] * len(site.regions)
    assert await site.answers() == before
    first, *_ = site.regions
    traffic = Traffic(site.plan)
    try:
        await traffic.start()
        for coordinator in site.fleet.coordinators:
            coordinator.kill()
        site.fleet.etcd.kill()

        site.agent(first).kill()
        assert await site.ask(first) == Answer(epoch, "green")
        site.agent(first).start()
        await site.serves(first, epoch)

        # Requests under way at a proxy die with it: its users are moved away first.
        traffic.share(without=first.name)
        await trio.sleep(LAST_SLOW_S)
        site.agent(first).kill()
        old = site.proxy_pid(first)
        os.kill(old, signal.SIGKILL)
        site.agent(first).start()
        await site.serves(first, epoch)
        assert site.proxy_pid(first) != old
        traffic.share()
        assert await site.answers() == before
        requests, _ = traffic.judge()
    finally:
        traffic.kill()
    assert total_of(requests).failed == 0
    assert all(one.sent for one in requests.values())
    assert (await site.turnout("status")).code == 8
