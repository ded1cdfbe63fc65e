"""A leader's door knows what was recorded from what is said now (S10)."""

from __future__ import annotations

from attrs import evolve

from tests.coordinator.conftest import Begin
from tests.coordinator.test_refusals import refused
from tests.coordinator.world import until
from turnout.protocol.clock import SECOND, MonotonicNs
from turnout.protocol.identifiers import AgentId
from turnout.protocol.messages import Report
from turnout.protocol.signing import signed
from turnout.protocol.wire import decode_up, encode

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


async def test_s10_report_that_a_stream_has_not_carried_counts_no_more_when_it_has_ended(
    begin: Begin,
) -> None:
    """It was kept on its way: nothing newer was ever heard on that stream."""
    world = await begin()
    leader, agent = await world.leader(), world.agents["a"]
    opening = decode_up(next(b for path, b, _ in agent.sent if path.endswith("stream")).rstrip())
    assert isinstance(opening, Report)
    kept = evolve(opening, sent_ns=MonotonicNs(opening.sent_ns + 3600 * SECOND))
    world.kill_agent("a")
    await until(lambda: A not in leader.state.connected)
    heard = leader.state.reports[A]
    body = encode(signed(kept, agent.signer))
    answer = await world.request("POST", "/v1/agent/reports", content=body)
    refused(answer, 409, "replayed", "'a'", "another stream")
    assert leader.state.reports[A] is heard
