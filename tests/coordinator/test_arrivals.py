"""What an operator sees of agents that are not as they should be, and what these are told."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import trio
from attrs import evolve

from coordinator.twins import TAKEN_OVER
from tests.coordinator.conftest import Begin
from tests.coordinator.world import PATIENCE_S, World, until
from turnout.protocol.clock import MonotonicNs
from turnout.protocol.coordinator_state import Role
from turnout.protocol.events import RemoveRequested
from turnout.protocol.identifiers import AgentId, Region
from turnout.protocol.messages import Report
from turnout.protocol.records import Incarnation
from turnout.protocol.signing import Ed25519Signer, Signer, signed
from turnout.protocol.wire import encode
from turnout.runtime.problems import parse_problem

A = AgentId("a")


async def opening(world: World, report: Report, signer: Signer) -> bytes:
    """The report in answer to a challenge of the leader's."""
    challenge = (await world.get("/v1/agent/challenge"))["challenge"]
    return encode(signed(evolve(report, challenge=challenge, signature=""), signer))


async def open_stream(world: World, report: Report, signer: Signer) -> httpx.Response:
    body = await opening(world, report, signer)
    return await world.request("POST", "/v1/agent/stream", content=body)


async def report_of(world: World, agent: AgentId = A) -> Report:
    """What the agent would report next."""
    report = (await world.leader()).state.reports[agent]
    return evolve(report, sent_ns=MonotonicNs(report.sent_ns + 1))


async def suspicions(world: World) -> dict[str, dict[str, Any]]:
    """By reason; each is shown among the troubles, too."""
    status = await world.get("/v1/status")
    found = {one["reason"]: one for one in status["suspicions"]}
    assert {one["text"] for one in found.values()} <= set(status["troubles"])
    return found


def is_twin(entry: dict[str, Any]) -> bool:
    """Whether a history entry tells of a second agent under a's identity."""
    return (entry["reason"], entry["actor"]) == ("identity-in-use", "a")


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    with trio.fail_after(PATIENCE_S):
        while True:
            if await condition():
                return
            await trio.sleep(0.02)


async def metric(world: World, sample: str) -> float:
    text = (await world.request("GET", "/metrics")).text
    return next((float(row.split()[-1]) for row in text.splitlines() if row.startswith(sample)), 0)


async def test_agent_that_is_not_enrolled_is_named_until_it_stops(begin: Begin) -> None:
    world = await begin()
    signer = Ed25519Signer.from_seed(secrets.token_bytes(32))
    report = evolve(await report_of(world), agent=AgentId("mallory"))
    for _ in range(2):
        assert (await open_stream(world, report, signer)).status_code == 404
    found = (await suspicions(world))["unknown-agent"]
    assert (found["agent"], found["times"], found["address"]) == ("mallory", 2, "127.0.0.1")
    assert "turnout agents add" in found["text"]
    assert await metric(world, 'turnout_agent_messages_refused_total{reason="stranger"}') == 2


async def test_agent_with_a_wrong_key_is_named_with_the_agents_it_speaks_for(begin: Begin) -> None:
    world = await begin()
    signer = Ed25519Signer.from_seed(secrets.token_bytes(32))
    answer = await open_stream(world, await report_of(world), signer)
    assert answer.status_code == 403
    assert "check its key file" in (await suspicions(world))["bad-signature"]["text"]
    shown = {one["agent"]: one["trouble"] for one in (await world.get("/v1/agents"))["agents"]}
    assert "check its key file" in shown["a"]
    assert shown["b"] is None


async def test_agent_of_another_region_or_history_is_let_in_and_named(begin: Begin) -> None:
    world = await begin()
    world.kill_agent("a")
    leader = await world.leader()
    await until(lambda: A not in leader.state.connected)
    odd = evolve(
        await report_of(world),
        region=Region("elsewhere"),
        incarnation=Incarnation(number=1, id="another"),
        committed=None,
    )
    body = await opening(world, odd, world.agents["a"].signer)
    async with httpx.AsyncClient(trust_env=False) as client:
        async with client.stream("POST", f"{leader.url}/v1/agent/stream", content=body) as answer:
            assert answer.status_code == 200
        found = await suspicions(world)
    assert "elsewhere" in found["region"]["text"]
    assert "incarnation 1 (another)" in found["incarnation"]["text"]


async def test_h13_second_agent_with_another_journal_is_turned_away_and_standing_stays(
    begin: Begin,
) -> None:
    world = await begin()
    leader = await world.leader()
    fleet = leader.state.fleet
    twin = evolve(await report_of(world), journal_id="another")
    answer = await open_stream(world, twin, world.agents["a"].signer)
    assert answer.status_code == 409
    problem = parse_problem(answer.status_code, answer.content)
    assert problem.type.name == "identity-in-use"
    assert world.agents["a"].record.journal_id in problem.detail
    assert (await suspicions(world))["identity-in-use"]["agent"] == "a"
    assert A in leader.state.connected
    assert (leader.state.fleet, leader.state.fleet.good) == (fleet, ("a", "b"))
    following = evolve(await report_of(world), signature="")
    body = encode(signed(following, world.agents["a"].signer))
    assert (await world.request("POST", "/v1/agent/reports", content=body)).status_code == 200

    async def is_written() -> bool:
        return any(map(is_twin, (await world.get("/v1/history"))["entries"]))

    await eventually(is_written)


async def test_h13_agent_that_comes_back_with_another_journal_is_good_again_and_in_the_history(
    begin: Begin,
) -> None:
    world = await begin()
    agent = world.agents["a"]
    world.kill_agent("a")
    before = agent.record.journal_id
    agent.record = evolve(agent.record, journal_id="fresh")
    world.start_agent("a")
    leader = await world.leader()
    await until(lambda: leader.state.fleet.agents[A].journal_id == "fresh")
    await world.all_good()
    told = [entry["text"] for entry in (await world.get("/v1/history"))["entries"]]
    assert any("stale: a: its journal is another one, fresh" in text for text in told)
    assert f"good: a; a has journal fresh in place of {before}" in told


async def test_agent_run_twice_with_one_disk_is_named_and_its_takeovers_counted(
    begin: Begin,
) -> None:
    world = await begin(agents=("a",))
    for _ in range(3):  # each takes the stream over, and is taken over by the first one again
        world.start_agent("a")
    with_takeovers: list[dict[str, Any]] = []

    async def look() -> bool:
        with_takeovers[:] = [one for r, one in (await suspicions(world)).items() if r == TAKEN_OVER]
        return bool(with_takeovers)

    await eventually(look)
    assert with_takeovers[0]["agent"] == "a"
    assert "one identity" in with_takeovers[0]["text"]
    assert await metric(world, 'turnout_stream_takeovers_total{agent="a"}') >= 3


async def test_removed_agent_leaves_nothing_behind_though_nobody_waits_for_the_answer(
    begin: Begin,
) -> None:
    world = await begin()
    leader = await world.leader()
    twin = evolve(await report_of(world), journal_id="another")
    await open_stream(world, twin, world.agents["a"].signer)
    world.start_agent("a")
    takeovers = 'turnout_stream_takeovers_total{agent="a"}'
    await eventually(lambda: counted(world, takeovers))
    assert "identity-in-use" in await suspicions(world)
    stream = leader.running.replica.registry.get(A)
    assert stream is not None
    removal = RemoveRequested(ticket=1_000_000, agent=A, actor="ada", reason="replaced")
    await leader.running.replica.host.tell(removal)
    await until(lambda: A not in leader.state.fleet.agents)
    await until(lambda: leader.running.replica.registry.get(A) is None)
    assert stream.end_reason == "the agent was removed from the fleet"
    assert "identity-in-use" not in await suspicions(world)
    assert takeovers not in (await world.request("GET", "/metrics")).text


async def counted(world: World, sample: str) -> bool:
    return await metric(world, sample) > 0


async def test_follower_redirects_with_a_document_that_names_the_leader(begin: Begin) -> None:
    world = await begin(coordinators=2)
    leader = await world.leader()
    follower = next(one for one in world.alive() if one.state.role is Role.FOLLOWER)
    url = follower.url
    await until(lambda: follower.running.replica.candidate.leader is not None)
    async with httpx.AsyncClient(trust_env=False, follow_redirects=False) as client:
        for method, path in (("GET", "/v1/services"), ("POST", "/v1/agent/stream")):
            answer = await client.request(method, url + path)
            assert answer.status_code == 307
            assert answer.headers["location"] == leader.url + path
            assert answer.headers["content-type"] == "application/problem+json"
            problem = parse_problem(answer.status_code, answer.content)
            assert (problem.type.name, problem.extensions) == (
                "not-leading",
                {"leader": leader.url},
            )
            assert leader.url in problem.detail
