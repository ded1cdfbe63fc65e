"""Agents at the door: who is let in, who is told what is wrong, who is cut off."""

from __future__ import annotations

import secrets

import httpx
import pytest
import trio
from attrs import evolve

from tests.coordinator.conftest import Begin
from tests.coordinator.test_arrivals import opening
from tests.coordinator.test_refusals import refused
from tests.coordinator.world import World, until
from turnout.protocol.identifiers import AgentId, Epoch, Term
from turnout.protocol.messages import Receipt, Report, Up, Vote
from turnout.protocol.signing import Ed25519Signer, signed
from turnout.protocol.wire import decode_down, decode_up, encode


async def say(world: World, message: Up, path: str = "/v1/agent/reports") -> httpx.Response:
    return await world.request("POST", path, content=encode(message) + b"\n")


async def ongoing(world: World) -> Vote:
    """A valid vote of agent a, which has not been given yet."""
    agent = world.agents["a"]
    agent.silent = True
    await world.switch("green")
    leader = await world.leader()
    attempt = leader.state.attempt
    incarnation = leader.state.known_incarnation
    assert attempt is not None
    assert incarnation is not None
    return Vote(
        agent=agent.agent,
        incarnation=incarnation,
        term=leader.state.term,
        epoch=attempt.epoch,
        digest=attempt.intent.digest,
        journal_id=agent.record.journal_id,
    )


async def test_vote_that_is_right_is_counted_and_receipted(begin: Begin) -> None:
    world = await begin()
    vote = await ongoing(world)
    answer = await say(world, signed(vote, world.agents["a"].signer))
    assert answer.status_code == 200
    receipt = decode_down(answer.content.removesuffix(b"\n"))
    assert isinstance(receipt, Receipt)
    assert receipt.echo_ns == 0
    assert (await world.finished(vote.epoch))["outcome"] in ("live", "partial")


async def test_vote_with_another_key_or_a_bad_signature_is_refused(begin: Begin) -> None:
    world = await begin()
    vote = await ongoing(world)
    wrong = signed(vote, Ed25519Signer.from_seed(secrets.token_bytes(32)))
    refused(await say(world, wrong), 403, "bad-signature", "'a'", "key")
    forged = evolve(signed(vote, world.agents["a"].signer), staging_ns=7)
    refused(await say(world, forged), 403, "bad-signature")
    refused(await say(world, evolve(vote, signature="zz")), 403, "bad-signature")
    assert (await world.finished(vote.epoch))["outcome"] == "aborted"


async def test_vote_of_a_stranger_is_refused(begin: Begin) -> None:
    world = await begin()
    vote = await ongoing(world)
    stranger = evolve(vote, agent=AgentId("mallory"))
    answer = await say(world, signed(stranger, world.agents["a"].signer))
    refused(answer, 404, "unknown-agent", "mallory", "turnout agents add")


async def test_vote_of_another_term_epoch_or_journal_is_refused(begin: Begin) -> None:
    world = await begin()
    vote, signer = await ongoing(world), world.agents["a"].signer
    stale = evolve(vote, term=Term(vote.term - 1))
    refused(await say(world, signed(stale, signer)), 409, "stale-term", str(vote.term))
    other = evolve(vote, epoch=Epoch(vote.epoch + 1))
    refused(await say(world, signed(other, signer)), 409, "not-asked")
    lost = evolve(vote, journal_id="another")
    refused(await say(world, signed(lost, signer)), 409, "not-asked", "journal")
    elsewhere = evolve(vote, incarnation=evolve(vote.incarnation, number=2))
    refused(await say(world, signed(elsewhere, signer)), 409, "stale-term", "incarnation")
    assert (await world.finished(vote.epoch))["outcome"] == "aborted"


async def test_message_that_comes_again_is_refused_and_changes_nothing(begin: Begin) -> None:
    world = await begin()
    agent = world.agents["a"]
    leader = await world.leader()
    reports = [body for path, body, status in agent.sent if path.endswith("reports")]
    report = next(body for body in reports if isinstance(decode_up(body), Report))
    before = leader.state.reports[agent.agent]
    answer = await world.request("POST", "/v1/agent/reports", content=report)
    refused(answer, 409, "replayed", "'a'")
    first = next(body for path, body, _ in agent.sent if path.endswith("stream"))
    answer = await world.request("POST", "/v1/agent/stream", content=first)
    refused(answer, 409, "replayed")
    assert leader.state.reports[agent.agent].sent_ns >= before.sent_ns
    assert agent.agent in leader.state.connected


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"not json", b'{"v":1,"type":"Sync","body":{}}', b'{"v":2}']
)
async def test_message_that_does_not_decode_is_refused(begin: Begin, content: bytes) -> None:
    world = await begin(agents=())
    for path in ("/v1/agent/reports", "/v1/agent/stream"):
        answer = await world.request("POST", path, content=content)
        refused(answer, 422, "invalid-field")


async def test_message_over_its_limit_is_refused(begin: Begin) -> None:
    world = await begin(agents=())
    answer = await world.request("POST", "/v1/agent/reports", content=b"x" * 300_000)
    refused(answer, 413, "too-large", "262144")


async def test_stream_opened_with_a_vote_is_refused(begin: Begin) -> None:
    world = await begin()
    vote = signed(await ongoing(world), world.agents["a"].signer)
    answer = await say(world, vote, "/v1/agent/stream")
    refused(answer, 422, "invalid-field", "report")


async def test_agent_that_opens_another_stream_gives_up_the_first(begin: Begin) -> None:
    world = await begin(agents=("a",))
    leader = await world.leader()
    agent = world.agents["a"]
    twin = world.make_agent("a")
    twin.signer, twin.record, twin.tables = agent.signer, agent.record, agent.tables
    twin.serving = agent.serving
    first = leader.running.replica.registry.get(agent.agent)
    assert first is not None
    world.start_agent("a")
    await until(lambda: first.end_reason is not None)
    assert first.end_reason == "the agent opened another stream"
    assert agent.agent in leader.state.connected


async def test_agent_that_does_not_read_is_cut_off_and_slows_nobody(begin: Begin) -> None:
    world = await begin(agents=("a", "b"))
    leader = await world.leader()
    world.kill_agent("a")
    await until(lambda: len(leader.state.connected) == 1)
    agent = world.agents["a"]
    port = int(leader.url.rpartition(":")[2])
    body = await opening(world, leader.state.reports[agent.agent], agent.signer)
    deaf = await trio.open_tcp_stream("127.0.0.1", port)
    head = f"POST /v1/agent/stream HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    await deaf.send_all(head.encode() + body)
    await until(lambda: len(leader.state.connected) == 2)
    stream = leader.running.replica.registry.get(agent.agent)
    assert stream is not None
    with trio.CancelScope() as flood:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_flood, stream)
            await until(lambda: stream.end_reason is not None)
            flood.cancel()
    await until(lambda: len(leader.state.connected) == 1)
    assert stream.evicted
    await deaf.aclose()
    answer = await world.switch("green")
    document = await world.finished(answer.json()["epoch"])
    votes = {one["agent"]: one["vote"] for one in document["agents"]}
    assert votes == {"a": None, "b": "yes"}


async def _flood(stream: object) -> None:
    """More than sockets and queue hold."""
    frame = b"x" * 65_536 + b"\n"
    while stream.end_reason is None:  # type: ignore[attr-defined]
        try:
            stream.send_nowait(frame)  # type: ignore[attr-defined]
        except Exception:  # noqa: BLE001 - evicted, which is what is waited for
            return
        await trio.lowlevel.checkpoint()


async def test_agent_is_enrolled_once_and_removed(begin: Begin) -> None:
    world = await begin(agents=("a", "b"))
    key = "ab" * 32
    body = {"agent": "c", "region": "region-a", "public_key": key}
    answer = await world.post("/v1/agents", body)
    assert answer.status_code == 201
    assert (answer.json()["standing"], answer.json()["connected"]) == ("stale", False)
    assert (await world.post("/v1/agents", body)).status_code == 201
    other = {**body, "public_key": "cd" * 32}
    refused(await world.post("/v1/agents", other), 409, "agent-exists", "remove it first")
    refused(await world.post("/v1/agents", {**body, "agent": "C!"}), 422, "invalid-field", "'C!'")
    short = {**body, "agent": "d", "public_key": "abc"}
    refused(await world.post("/v1/agents", short), 422, "invalid-field", "hex digits")
    assert (await world.request("DELETE", "/v1/agents/c?reason=gone")).status_code == 200
    refused(await world.request("DELETE", "/v1/agents/c"), 404, "unknown-agent", "'c'")
    listed = await world.get("/v1/agents")
    assert [one["agent"] for one in listed["agents"]] == ["a", "b"]
    assert listed["counts"]["good"] == 2


async def test_removed_agent_loses_its_stream_and_is_a_stranger(begin: Begin) -> None:
    world = await begin(agents=("a", "b"))
    leader = await world.leader()
    assert (await world.request("DELETE", "/v1/agents/b")).status_code == 200
    await until(lambda: leader.running.replica.registry.get(AgentId("b")) is None)
    world.agents["b"].sent.clear()
    await until(lambda: any(b"no agent" in b.lower() for _, b, _ in world.agents["b"].sent))
