from __future__ import annotations

import httpx
import trio

from tests.coordinator.conftest import Begin
from tests.coordinator.world import until
from turnout.protocol.coordinator_state import Role


async def test_leader_that_is_stopped_hands_over_at_once(begin: Begin) -> None:
    world = await begin(coordinators=2)
    leader = await world.leader()
    term = leader.state.term
    began = trio.current_time()
    await leader.stop()
    successor = await world.leader()
    took_s = trio.current_time() - began
    assert successor is not leader
    assert successor.state.term > term
    assert took_s < world.timing.lease_ttl_s, "the next leader waited for the lease to expire"
    await until(lambda: len(successor.state.connected) == len(world.agents))


async def test_number_that_a_new_leader_used_up_is_shown_as_aborted(begin: Begin) -> None:
    """Whoever watches it would else wait for an outcome that nobody writes."""
    world = await begin(coordinators=2)
    await (await world.leader()).stop()
    successor = await world.leader()
    await until(lambda: successor.state.head is not None and successor.state.head.decided == 2)
    document = await world.finished(2)
    assert (document["phase"], document["outcome"]) == ("aborted", "aborted")
    assert "no intent at takeover" in document["reason"]


async def test_leader_killed_before_the_decision_leaves_its_switch_to_the_next(
    begin: Begin,
) -> None:
    world = await begin(coordinators=2)
    world.agents["b"].silent = True
    epoch = (await world.switch("green", key="k")).json()["epoch"]
    await (await world.leader()).kill()
    world.agents["b"].silent = False
    document = await world.finished(epoch)
    assert document["outcome"] == "live"
    again = await world.switch("green", key="k")
    assert again.json()["epoch"] == epoch


async def test_leader_killed_during_drain_leaves_the_drain_to_the_next(begin: Begin) -> None:
    world = await begin(coordinators=2)
    world.agents["a"].in_flight = 2
    epoch = (await world.switch("green")).json()["epoch"]
    await world.finished(epoch)
    await (await world.leader()).kill()
    document = await world.finished(epoch, "draining")
    assert document["outcome"] == "live"
    assert {agent["vote"] for agent in document["agents"]} == {"yes"}
    answer = await world.post(
        f"/v1/switches/{epoch}/waive", {"agent": "a", "reason": "long polls, harmless"}
    )
    assert answer.status_code == 200
    document = await world.finished(epoch, "retained")
    assert {a["agent"]: a["reason"] for a in document["agents"]}["a"] == "waived"


async def test_accepted_switch_outlives_every_coordinator(begin: Begin) -> None:
    world = await begin(coordinators=1)
    epoch = (await world.switch("green")).json()["epoch"]
    await (await world.leader()).kill()
    await world.start_coordinator()
    for agent in world.agents.values():
        agent.urls[:] = world.urls
    world.kill_agent("a")
    world.start_agent("a")
    world.kill_agent("b")
    world.start_agent("b")
    document = await world.finished(epoch)
    assert document["outcome"] in ("live", "aborted", "partial")
    listed = await world.get("/v1/switches")
    assert [one["epoch"] for one in listed["switches"]][-1] == 1


async def test_agents_of_a_killed_leader_find_the_next_and_stay_good(begin: Begin) -> None:
    world = await begin(coordinators=2, agents=("a", "b", "c"))
    await (await world.leader()).kill()
    successor = await world.leader()
    await until(lambda: len(successor.state.connected) == 3)
    assert len(successor.state.fleet.good) == 3
    document = await world.finished((await world.switch("green")).json()["epoch"])
    assert document["outcome"] == "live"


async def test_agent_killed_after_its_vote_catches_up_when_it_is_back(begin: Begin) -> None:
    world = await begin()
    world.agents["b"].silent = True
    epoch = (await world.switch("green")).json()["epoch"]
    leader = await world.leader()
    await until(lambda: bool(leader.state.attempt and leader.state.attempt.yes))
    world.kill_agent("a")
    await until(lambda: len(leader.state.connected) == 1)
    world.kill_agent("b")
    world.agents["b"].silent = False
    world.start_agent("b")
    world.start_agent("a")
    document = await world.finished(epoch)
    assert document["outcome"] == "live", document
    assert world.agents["a"].serving.epoch == epoch


async def test_leader_is_found_however_often_a_service_went_to_and_fro(begin: Begin) -> None:
    world = await begin(coordinators=2)
    for number in range(40):  # each is taken back by the next, and never released
        colour = "blue" if number % 2 else "green"
        await world.finished((await world.switch(colour)).json()["epoch"])
        await world.all_good()
    await (await world.leader()).stop()
    successor = await world.leader()
    assert successor.state.head is not None
    assert successor.state.head.committed == 41


async def test_follower_redirects_to_the_leader_and_is_ready(begin: Begin) -> None:
    world = await begin(coordinators=2)
    leader = await world.leader()
    follower = next(c for c in world.alive() if c is not leader)
    await until(lambda: follower.running.replica.candidate.leader is not None)
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{follower.url}/v1/switches?limit=3")
        assert answer.status_code == 307
        assert answer.headers["location"] == f"{leader.url}/v1/switches?limit=3"
        answer = await client.post(f"{follower.url}/v1/agent/stream", content=b"{}")
        assert answer.status_code == 307
        ready = await client.get(f"{follower.url}/readyz")
        assert ready.json() == {"ready": True, "role": "follower"}
        assert (await client.get(f"{follower.url}/healthz")).json() == {"ok": True}
    assert follower.state.role is Role.FOLLOWER
