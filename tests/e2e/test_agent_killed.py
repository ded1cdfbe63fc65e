"""An agent is killed at the worst moments; what it promised and what its proxy serves stands."""

from __future__ import annotations

import pytest
import trio

from edge_agent.drivers.envoy.files import Files
from edge_agent.drivers.envoy.resources import Loaded
from tests.e2e.site import Answer, Site, is_within_promise, pause, resume
from turnout.dev.commands import Command
from turnout.dev.plan import SERVICE, RegionPlan
from turnout.protocol.identifiers import Epoch
from turnout.runtime.problems import ExitCode

pytestmark = pytest.mark.slow


async def test_agent_killed_after_its_vote_keeps_its_promise_and_the_switch_is_live(
    patient_site: Site,
) -> None:
    site = patient_site
    epoch = await site.next_epoch()
    first, *_, silent = site.regions
    pause(site.agent(silent).pid)
    command = site.begin("switch", SERVICE, "--to", "green", "--wait-for", "live")
    await site.has_promised(first, epoch)
    site.agent(first).kill()
    assert await site.ask(first) == Answer(epoch - 1, "blue")
    site.agent(first).start()
    resume(site.agent(silent).pid)
    await is_live_everywhere(site, command, epoch)


async def test_agent_killed_between_flip_and_journal_finds_its_proxy_ahead_and_the_switch_is_live(
    patient_site: Site,
) -> None:
    site = patient_site
    epoch = await site.next_epoch()
    first, *_, silent = site.regions
    envoy = site.proxy_pid(first)
    pause(site.agent(silent).pid)  # holds the decision back until the proxy is paused
    command = site.begin("switch", SERVICE, "--to", "green", "--wait-for", "live")
    await site.has_promised(first, epoch)
    pause(envoy)
    try:
        resume(site.agent(silent).pid)
        await site.until(lambda: _is_told(site, first, epoch), "the proxy is told to flip")
        site.agent(first).kill()
    finally:
        resume(envoy)
    # The proxy flips, and nobody is there to write it down.
    await site.until(lambda: _serves(site, first, epoch), "the proxy flips by itself")
    assert site.proxy_pid(first) == envoy
    site.agent(first).start()
    await is_live_everywhere(site, command, epoch)
    assert site.proxy_pid(first) == envoy


async def is_live_everywhere(site: Site, command: Command, epoch: Epoch) -> None:
    """Everybody voted yes before the kill and the agent is back inside T_live: committed, and live."""
    ended = await command.ended()
    assert (ended.code, ended.document["outcome"]) == (ExitCode.DONE, "live"), ended.said
    assert ended.document["epoch"] == epoch
    assert is_within_promise(ended.document)
    await site.all_good()
    assert {(a.epoch, a.colour) for a in await site.answers()} == {(epoch, "green")}


async def _is_told(site: Site, region: RegionPlan, epoch: Epoch) -> bool:
    """Whether the routes that the live listener reads are those of an epoch."""
    await trio.lowlevel.checkpoint()
    routes = Files(site.plan.proxy_folder(region)).live.read_bytes()
    return Loaded.read(routes).version.serving.epoch == epoch


async def _serves(site: Site, region: RegionPlan, epoch: Epoch) -> bool:
    return await site.ask(region) == Answer(epoch, "green")
