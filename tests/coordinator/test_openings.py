"""A leader's door knows what was recorded from what is said now (S10)."""

from __future__ import annotations

from tests.coordinator.conftest import Begin
from tests.coordinator.test_refusals import refused
from tests.coordinator.world import until
from turnout.protocol.identifiers import AgentId

A = AgentId("a")


async def test_s10_recorded_messages_move_nothing_at_a_leader_that_was_just_started(
    begin: Begin,
) -> None:
    world = await begin()
    recorded = [(path, body) for path, body, _ in world.agents["a"].sent if path.startswith("/")]
    await world.finished((await world.switch("green")).json()["epoch"])
    await world.all_good()
    world.kill_agent("a")
    await (await world.leader()).kill()
    leader = await world.start_coordinator()
    world.agents["b"].urls[:] = world.urls
    await world.leader()
    fleet = leader.state.fleet
    for path, body in recorded:
        answer = await world.request("POST", path, content=body)
        assert answer.status_code == 409
        if path.endswith("stream"):
            refused(answer, 409, "replayed", "'a'", "challenge")
    assert A not in leader.state.connected
    assert A not in leader.state.reports
    assert leader.state.fleet.good == fleet.good == ("a", "b")
    world.agents["a"].urls[:] = world.urls
    world.start_agent("a")
    await until(lambda: A in leader.state.connected)
