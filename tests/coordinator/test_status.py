from __future__ import annotations

from typing import Any

import httpx
from attrs import evolve
from prometheus_client.parser import text_string_to_metric_families

from tests.coordinator.conftest import Begin
from tests.coordinator.world import World, until
from turnout.protocol import keys
from turnout.protocol.codec import canonical_bytes, decode
from turnout.protocol.coordinator_state import Role
from turnout.protocol.identifiers import Epoch
from turnout.protocol.records import Head
from turnout.protocol.signing import signed
from turnout.protocol.transactions import Put, Range, Transaction
from turnout.runtime.domain_setup import init_domain
from turnout.runtime.key_file import load_signer, make_key


async def ask(url: str, path: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(url + path)


async def test_status_tells_leader_head_fleet_and_what_runs(begin: Begin) -> None:
    world = await begin(coordinators=2)
    leader = await world.leader()
    status = await world.get("/v1/status")
    assert status["role"] == "leading"
    assert status["leader"]["url"] == leader.url
    assert status["term"] == leader.state.term
    assert status["incarnation"]["number"] == 1
    assert (status["head"]["decided"], status["head"]["committed"]) == (1, 1)
    assert status["fleet"]["good"] == status["fleet"]["connected"] == 2
    assert (status["in_progress"], status["troubles"]) == (None, [])
    world.agents["a"].silent = True
    epoch = (await world.switch("green")).json()["epoch"]
    status = await world.get("/v1/status")
    assert status["in_progress"] == {
        "epoch": epoch,
        "kind": "switch",
        "service": "checkout",
        "phase": "preparing",
    }


async def test_replica_without_a_domain_says_so_and_leads_once_it_is_begun(
    empty_world: World,
) -> None:
    world = empty_world
    world.domain_key = make_key(world.folder / "domain.key").public_key
    coordinator = await world.start_coordinator()
    await until(lambda: coordinator.state.role is Role.HALTED)
    ready = await ask(coordinator.url, "/readyz")
    assert ready.status_code == 503
    assert "turnout domain init" in ready.json()["detail"]
    status = (await ask(coordinator.url, "/v1/status")).json()
    assert status["role"] == "halted"
    assert "turnout domain init" in status["troubles"][0]
    async with world.store() as store:
        await init_domain(store, load_signer(world.folder / "domain.key"))
    await until(lambda: coordinator.state.role is Role.LEADING)
    assert (await ask(coordinator.url, "/readyz")).status_code == 200


async def test_replica_with_another_domains_key_decides_nothing(begin: Begin) -> None:
    world = await begin(agents=())
    make_key(world.folder / "other.key")
    await (await world.leader()).stop()
    coordinator = await world.start_coordinator(domain_key=world.folder / "other.key")
    candidate = coordinator.running.replica.candidate
    await until(lambda: bool(candidate.unfit) and coordinator.state.role is Role.FOLLOWER)
    answer = await ask(coordinator.url, "/v1/services")
    assert answer.status_code == 503
    assert "another key" in answer.json()["detail"]


async def test_store_that_went_back_halts_the_leader_when_an_agent_proves_it(
    begin: Begin,
) -> None:
    world = await begin()
    await world.finished((await world.switch("green")).json()["epoch"])
    await world.all_good()
    await _forget_the_last_switch(world)
    await (await world.leader()).stop()
    coordinator = await world.start_coordinator()
    for agent in world.agents.values():
        agent.urls[:] = world.urls
    world.kill_agent("a")
    world.start_agent("a")
    await until(lambda: coordinator.state.role is Role.HALTED)
    status = (await ask(coordinator.url, "/v1/status")).json()
    assert "went back" in status["troubles"][0]
    ready = await ask(coordinator.url, "/readyz")
    assert ready.json()["type"] == "urn:turnout:problem:store-went-back"


async def _forget_the_last_switch(world: World) -> None:
    """As a restore of an older backup would."""
    async with world.store() as store:
        stored = (await store.read(Range(keys.HEAD))).get(keys.HEAD)
        assert stored is not None
        head = decode(stored.value, Head, limit=10_000)
        signer = load_signer(world.folder / "domain.key")
        older = evolve(
            head,
            decided=Epoch(1),
            committed=Epoch(1),
            digest=head.base,
            base="",  # type: ignore[arg-type]
            base_epoch=Epoch(0),
            signature="",
        )
        write = Put(keys.HEAD, canonical_bytes(signed(older, signer)))
        await store.transact(Transaction(name="restore", guards=(), writes=(write,)))


async def test_metrics_tell_what_happened(begin: Begin) -> None:
    world = await begin()
    await world.finished((await world.switch("green")).json()["epoch"])
    world.agents["a"].refuse = "no"
    await world.all_good()
    await world.finished((await world.switch("blue")).json()["epoch"])
    leader = await world.leader()
    text = (await ask(leader.url, "/metrics")).text
    samples: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = (value for _, value in sorted(sample.labels.items()))
            samples[(sample.name, *labels)] = sample.value
    assert samples["turnout_role", "leading"] == 1
    assert samples["turnout_committed_epoch",] == 2
    assert samples["turnout_decided_epoch",] == 3
    assert samples["turnout_agents", "good"] == 2
    assert samples["turnout_streams",] == 2
    assert samples["turnout_switches_total", "switch", "live"] == 1
    assert samples["turnout_switches_total", "switch", "aborted"] == 1
    assert samples["turnout_switch_seconds_count", "switch", "live"] == 1
    assert samples["turnout_votes_total", "refused", "no"] == 1
    assert samples["turnout_votes_total", "", "yes"] >= 4
    assert samples["turnout_propagation_seconds_count",] == 4
    assert samples["turnout_leader_changes_total", "elected"] == 1
    assert samples["turnout_store_seconds_count", "accept", "won"] == 3


async def test_openapi_describes_every_address(begin: Begin) -> None:
    world = await begin(agents=())
    document: Any = await world.get("/openapi.json")
    assert document["openapi"].startswith("3.1")
    post = document["paths"]["/v1/switches"]["post"]
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["service", "to"]
    assert schema["additionalProperties"] is False
    assert "get" in document["paths"]["/v1/switches/{epoch}/events"]
    summaries = [op["summary"] for path in document["paths"].values() for op in path.values()]
    assert all(summaries)


async def test_table_in_force_is_told_as_it_can_be_asked_for(begin: Begin) -> None:
    world = await begin()
    told = await world.get("/v1/table")
    assert told["digest"] == world.table().digest
    again = await world.post("/v1/tables", {"table": told["table"]})
    assert (again.status_code, again.json()["noop"]) == (200, True)


async def test_services_of_an_empty_domain_are_none(begin: Begin) -> None:
    world = await begin(agents=())
    assert await world.get("/v1/services") == {"epoch": 0, "services": []}
    assert await world.get("/v1/table") == {"epoch": 0, "digest": None, "table": None}
    assert await world.get("/v1/switches") == {"switches": []}
    assert (await world.get("/v1/history"))["entries"] == []
