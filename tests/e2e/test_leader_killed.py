"""The leader is killed at the worst moments; the operator's command follows over to the next one."""

from __future__ import annotations

import pytest

from tests.e2e.site import Site, is_within_promise, pause, resume
from turnout.dev.plan import SERVICE
from turnout.dev.traffic import Traffic
from turnout.protocol import keys

pytestmark = pytest.mark.slow

SWITCH = ("switch", SERVICE, "--to", "green")


async def test_leader_killed_before_the_decision_is_followed_by_one_that_prepares_again(
    site: Site,
) -> None:
    epoch, leader = await site.next_epoch(), await site.leader()
    first, *_, silent = site.regions
    pause(site.agent(silent).pid)  # its vote is missing, so that nothing can be decided
    command = site.begin(*SWITCH, "--wait")
    await site.appears(keys.intent(epoch))
    await site.has_promised(first, epoch)
    leader.kill()
    assert not await site.has(keys.decision(epoch))
    resume(site.agent(silent).pid)
    ended = await command.ended()
    assert (ended.code, ended.document["outcome"]) == (0, "live"), ended.said
    assert ended.document["epoch"] == epoch
    assert is_within_promise(ended.document)
    assert {(a.epoch, a.colour) for a in await site.answers()} == {(epoch, "green")}


async def test_leader_killed_between_decision_and_announcement_is_followed_by_one_that_announces(
    site: Site,
) -> None:
    epoch, leader = await site.next_epoch(), await site.leader()
    for link in site.fleet.links.values():
        link.cut_after(b'"type":"Vote"')  # every yes comes through, and no decision comes back
    command = site.begin(*SWITCH, "--wait")
    await site.appears(keys.decision(epoch))
    leader.kill()
    # Nobody flips on a vote alone.
    assert {(a.epoch, a.colour) for a in await site.answers()} == {(epoch - 1, "blue")}
    for link in site.fleet.links.values():
        link.heal()
    ended = await command.ended()
    assert (ended.code, ended.document["outcome"]) == (0, "live"), ended.said
    assert ended.document["epoch"] == epoch
    assert is_within_promise(ended.document)
    assert {(a.epoch, a.colour) for a in await site.answers()} == {(epoch, "green")}


async def test_leader_killed_during_drain_is_followed_by_one_that_sees_it_drained(
    site: Site,
) -> None:
    traffic = Traffic(site.plan)
    try:
        await traffic.start()
        await traffic.slow_answers()
        leader = await site.leader()
        command = site.begin(*SWITCH, "--wait")
        await site.until(lambda: _is_draining(site), "a drain with requests in flight")
        leader.kill()
        ended = await command.ended()
        assert (ended.code, ended.document["outcome"]) == (0, "live"), ended.said
        assert ended.document["phase"] == "retained"
        assert all(agent["drained"] for agent in ended.document["agents"])
        requests, _ = traffic.judge()
    finally:
        traffic.kill()
    assert sum(one.failed for one in requests.values()) == 0
    assert all(one.slow for one in requests.values())


async def _is_draining(site: Site) -> bool:
    status = [await site.fleet.agent_status(region) for region in site.regions]
    return all(
        one and any(drain["in_flight"] and not drain["ended"] for drain in one["drains"])
        for one in status
    )
