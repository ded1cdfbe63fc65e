from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import pytest
import trio
from attrs import evolve

from tests.coordinator.conftest import Begin
from tests.coordinator.world import World
from turnout.protocol.routing import RoutingTable
from turnout.runtime.http.client import Coordinators
from turnout.runtime.http.client_errors import RefusedStreamError, StreamBrokenError
from turnout.runtime.http.events import follow_events
from turnout.runtime.http.sse import ServerEvent


async def follow(world: World, path: str, last_event_id: str | None = None) -> list[ServerEvent]:
    """All events until the coordinator ends the stream."""
    events: list[ServerEvent] = []
    with trio.fail_after(10):
        async with Coordinators(world.urls) as client:
            with pytest.raises(StreamBrokenError, match="ended the stream"):  # noqa: PT012
                async with client.open_events(path, last_event_id=last_event_id) as stream:
                    async for event in stream:
                        events += [event]
    return events


def documents(events: list[ServerEvent]) -> list[dict[str, Any]]:
    assert {event.event for event in events} == {"switch"}
    return [json.loads(event.data) for event in events]


async def test_watcher_of_a_switch_is_told_each_change_until_the_outcome(begin: Begin) -> None:
    world = await begin()
    world.agents["b"].silent = True
    epoch = (await world.switch("green")).json()["epoch"]
    told = await follow(world, f"/v1/switches/{epoch}/events?until=outcome")
    seen = documents(told)
    assert seen[0]["phase"] == "preparing"
    assert seen[-1]["outcome"] == "aborted"
    numbers = [int(event.id or 0) for event in told]
    assert numbers == sorted(set(numbers))


async def test_watcher_of_a_switch_sees_it_drained(begin: Begin) -> None:
    world = await begin()
    epoch = (await world.switch("green")).json()["epoch"]
    seen = documents(await follow(world, f"/v1/switches/{epoch}/events?until=drained"))
    assert seen[-1]["phase"] == "retained"
    assert seen[-1]["outcome"] == "live"


async def test_watcher_of_a_switch_long_over_is_told_once(begin: Begin) -> None:
    world = await begin()
    world.agents["b"].refuse = "no"
    epoch = (await world.switch("green")).json()["epoch"]
    await world.finished(epoch)
    leader = await world.leader()
    leader.running.replica.context.recent._stories.clear()
    seen = documents(await follow(world, f"/v1/switches/{epoch}/events"))
    assert [one["outcome"] for one in seen] == ["aborted"]
    assert [moment["event"] for moment in seen[0]["timeline"]] == ["accepted", "decided"]


async def test_watcher_of_a_switch_whose_source_is_anothers_by_now_hears_of_no_release(
    begin: Begin,
) -> None:
    """Who scales down what is *released* would take away the colour that serves."""
    world = await begin()
    epoch = (await world.switch("green")).json()["epoch"]
    await world.finished(epoch)
    back = await world.post("/v1/rollbacks", {"service": "checkout"})
    await world.finished(back.json()["epoch"], "retained")
    leader = await world.leader()
    for _ in ("from memory", "from the store"):
        seen = documents(await follow(world, f"/v1/switches/{epoch}/events?until=released"))
        assert [(one["phase"], one["outcome"]) for one in seen] == [("retained", "live")]
        leader.running.replica.context.recent._stories.clear()


async def test_watcher_of_a_switch_whose_source_may_be_scaled_down_sees_it_released(
    begin: Begin,
) -> None:
    world = await begin()
    services = tuple(evolve(s, retain_ms=0) for s in world.table().services)
    await world.finished((await world.apply(RoutingTable(services=services))).json()["epoch"])
    epoch = (await world.switch("green")).json()["epoch"]
    leader = await world.leader()
    for _ in ("from memory", "from the store"):
        seen = documents(await follow(world, f"/v1/switches/{epoch}/events"))
        assert seen[-1]["phase"] == "released"
        leader.running.replica.context.recent._stories.clear()


async def test_watcher_that_comes_back_is_numbered_on(begin: Begin) -> None:
    world = await begin()
    epoch = (await world.switch("green")).json()["epoch"]
    await world.finished(epoch)
    events = await follow(world, f"/v1/switches/{epoch}/events?until=outcome", last_event_id="41")
    assert [event.id for event in events] == ["42"]


async def test_watcher_follows_over_to_the_next_leader(begin: Begin) -> None:
    world = await begin(coordinators=2)
    world.agents["b"].silent = True
    epoch = (await world.switch("green")).json()["epoch"]
    leader = await world.leader()
    seen: list[dict[str, Any]] = []
    async with Coordinators(world.urls) as client:
        path = f"/v1/switches/{epoch}/events?until=outcome"
        with trio.fail_after(15):
            async with aclosing(follow_events(client, path, pause_s=0.1)) as events:
                async for event in events:
                    seen.append(json.loads(event.data))
                    if len(seen) == 1:
                        await leader.kill()
                        world.agents["b"].silent = False
                    if seen[-1]["outcome"]:
                        break
    assert seen[-1]["outcome"] == "live"


async def test_watcher_of_nothing_is_told_so(begin: Begin) -> None:
    world = await begin()
    async with Coordinators(world.urls) as client:
        with pytest.raises(RefusedStreamError, match="no epoch 99"):
            async with client.open_events("/v1/switches/99/events"):
                pass
        with pytest.raises(RefusedStreamError, match="until must be one of"):
            async with client.open_events("/v1/switches/1/events?until=later"):
                pass
