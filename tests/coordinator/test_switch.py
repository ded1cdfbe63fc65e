from __future__ import annotations

from attrs import evolve

from tests.coordinator.conftest import Begin
from tests.coordinator.world import World, until
from turnout.protocol.clock import ClockNs
from turnout.protocol.identifiers import AgentId, Epoch
from turnout.protocol.routing import OnFailure, RoutingTable
from turnout.runtime.domain_setup import rebase_domain
from turnout.runtime.key_file import load_signer


async def test_switch_of_a_healthy_fleet_goes_live_everywhere(begin: Begin) -> None:
    world = await begin(coordinators=2, agents=("a", "b", "c"))
    answer = await world.switch("green", reason="release 7", key="first")
    assert answer.status_code == 202
    document = answer.json()
    assert answer.headers["location"] == f"/v1/switches/{document['epoch']}"
    assert answer.headers["idempotency-key"] == "first"
    document = await world.finished(document["epoch"])
    assert (document["kind"], document["service"]) == ("switch", "checkout")
    assert (document["from"], document["to"]) == ("blue", "green")
    assert document["outcome"] == "live"
    assert document["sla"] == {"budget_s": 30, "met": True}
    assert [agent["vote"] for agent in document["agents"]] == ["yes"] * 3
    assert all(agent["live_at"] for agent in document["agents"])
    assert document["laggards"] == []
    services = await world.get("/v1/services")
    assert {s["service"]: s["active"] for s in services["services"]} == {
        "checkout": "green",
        "search": "blue",
    }


async def test_switch_to_the_colour_in_force_is_nothing_to_do(begin: Begin) -> None:
    world = await begin()
    answer = await world.switch("blue")
    assert answer.status_code == 200
    document = answer.json()
    assert document["noop"] is True
    assert document["kind"] == "apply"


async def test_switch_that_a_proxy_refuses_is_aborted_with_its_words(begin: Begin) -> None:
    world = await begin()
    world.agents["a"].refuse = "cluster green: no healthy host"
    document = await world.finished((await world.switch("green")).json()["epoch"])
    assert (document["phase"], document["outcome"]) == ("aborted", "aborted")
    assert "cluster green: no healthy host" in document["reason"]
    votes = {agent["agent"]: agent["vote"] for agent in document["agents"]}
    assert votes["a"] == "no"
    table = await world.get("/v1/table")
    assert table["epoch"] == 1


async def test_switch_that_an_agent_does_not_vote_on_is_aborted_in_time(begin: Begin) -> None:
    world = await begin()
    world.agents["b"].silent = True
    document = await world.finished((await world.switch("green")).json()["epoch"])
    assert document["outcome"] == "aborted"
    assert "no vote in time from b" in document["reason"]


async def test_switch_is_aborted_on_an_operators_word(begin: Begin) -> None:
    world = await begin()
    world.agents["b"].silent = True
    epoch = (await world.switch("green")).json()["epoch"]
    answer = await world.post(f"/v1/switches/{epoch}/abort", {"reason": "wrong service"})
    assert answer.status_code == 202
    document = await world.finished(epoch)
    assert document["outcome"] == "aborted"
    assert document["reason"] == "aborted by ada: wrong service"
    assert document["elapsed_s"] < 2


async def test_abort_of_a_committed_switch_says_how_to_go_back(begin: Begin) -> None:
    world = await begin()
    epoch = (await world.switch("green")).json()["epoch"]
    await world.finished(epoch)
    answer = await world.post(f"/v1/switches/{epoch}/abort", {})
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:turnout:problem:already-decided"
    assert "turnout rollback" in answer.json()["detail"]


async def test_rollback_brings_the_service_back_and_is_not_done_twice(begin: Begin) -> None:
    world = await begin()
    await world.finished((await world.switch("green")).json()["epoch"])
    answer = await world.post("/v1/rollbacks", {"service": "checkout", "reason": "errors"})
    assert answer.status_code == 202, answer.text
    document = await world.finished(answer.json()["epoch"])
    assert (document["kind"], document["from"], document["to"]) == ("rollback", "green", "blue")
    assert document["outcome"] == "live"
    again = await world.post("/v1/rollbacks", {"service": "checkout"})
    assert again.status_code == 409
    assert again.json()["type"] == "urn:turnout:problem:already-undone"


async def test_rollback_pressed_while_nobody_has_decided_aborts(begin: Begin) -> None:
    world = await begin()
    world.agents["a"].silent = True
    epoch = (await world.switch("green")).json()["epoch"]
    answer = await world.post("/v1/rollbacks", {"service": "checkout"})
    assert answer.status_code == 202
    assert answer.json()["epoch"] == epoch
    document = await world.finished(epoch)
    assert document["outcome"] == "aborted"
    assert "rollback requested by ada" in document["reason"]


async def test_switch_whose_proxy_refuses_at_the_flip_is_rolled_back_by_itself(
    begin: Begin,
) -> None:
    world = await begin()
    world.agents["a"].diverge = "flip refused"
    epoch = (await world.switch("green")).json()["epoch"]
    document = await world.finished(epoch)
    assert document["outcome"] == "rolled_back"
    back = await world.finished(epoch + 1)
    assert back["kind"] == "rollback"
    assert "flip refused" in back["requested"]["reason"]
    services = await world.get("/v1/services")
    assert services["services"][0]["active"] == "blue"


async def test_switch_on_hold_whose_proxy_refuses_is_partial_and_converges_later(
    begin: Begin,
) -> None:
    world = await begin()
    held = [evolve(s, on_failure=OnFailure.HOLD) for s in world.table().services]
    document = await world.finished(
        (await world.apply(RoutingTable(services=tuple(held)))).json()["epoch"]
    )
    assert document["outcome"] == "live"
    await world.all_good()
    world.agents["b"].diverge = "disk full"
    document = await world.finished((await world.switch("green")).json()["epoch"])
    assert document["outcome"] == "partial"
    assert [lag["agent"] for lag in document["laggards"]] == ["b"]
    assert "disk full" in document["laggards"][0]["reason"]
    assert document["phase"] != "live"
    world.agents["b"].diverge = ""
    await world.all_good()
    assert world.agents["b"].serving.epoch == document["epoch"]


async def test_switch_shows_what_is_still_in_flight(begin: Begin) -> None:
    world = await begin()
    world.agents["a"].in_flight = 3
    epoch = (await world.switch("green")).json()["epoch"]
    await world.finished(epoch)
    leader = await world.leader()
    await until(lambda: sum(d.in_flight for d in leader.state.reports[AgentId("a")].drains) == 3)
    document = await world.get(f"/v1/switches/{epoch}")
    assert document["phase"] == "draining"
    assert {agent["agent"]: agent["in_flight"] for agent in document["agents"]}["a"] == 3


async def test_switch_drained_everywhere_is_retained(begin: Begin) -> None:
    world = await begin()
    epoch = (await world.switch("green")).json()["epoch"]
    document = await world.finished(epoch, "retained")
    assert all(agent["drained"] for agent in document["agents"])
    services = await world.get("/v1/services")
    assert services["services"][0]["rollback_until"] is not None
    assert services["services"][0]["changed_in"] == epoch


async def test_scheduled_switch_tells_its_instant_and_bound(begin: Begin) -> None:
    world = await begin()
    await _know_the_clock(world)
    document = await world.finished(
        (await world.switch("green", activation="scheduled")).json()["epoch"]
    )
    activation = document["activation"]
    assert activation["mode"] == "scheduled", activation
    assert activation["time"] > document["accepted_at"]
    assert activation["bound_ms"] is not None
    assert activation["skew_ms"] is not None


async def _know_the_clock(world: World) -> None:
    """Agents have exchanged clocks with this leader a few times."""
    for agent in world.agents.values():
        await until(lambda a=agent: len(a.state.estimate.exchanges) > 1)  # type: ignore[misc]


async def test_switch_waits_in_line_for_nobody_while_another_runs(begin: Begin) -> None:
    world = await begin()
    world.agents["a"].silent = True
    epoch = (await world.switch("green")).json()["epoch"]
    answer = await world.switch("green", service="search")
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:turnout:problem:switch-in-progress"
    assert f"turnout abort {epoch}" in answer.json()["detail"]


async def test_switches_are_listed_newest_first_with_old_ones_from_the_store(
    begin: Begin,
) -> None:
    world = await begin()
    for colour in ("green", "blue", "green"):
        await world.finished((await world.switch(colour)).json()["epoch"])
        await world.all_good()
    listed = await world.get("/v1/switches?limit=3")
    assert [one["epoch"] for one in listed["switches"]] == [4, 3, 2]
    everything = await world.get("/v1/switches")
    assert [one["kind"] for one in everything["switches"]][-1] == "apply"


async def test_history_tells_who_did_what_and_why(begin: Begin) -> None:
    world = await begin()
    epoch = (await world.switch("green", reason="release 7", comment="ticket 12")).json()["epoch"]
    await world.finished(epoch)
    history = await world.get("/v1/history?limit=10")
    accepted = next(e for e in history["entries"] if (e["epoch"], e["kind"]) == (epoch, "accepted"))
    assert (accepted["actor"], accepted["reason"]) == ("ada", "release 7")
    assert accepted["comment"] == "ticket 12"
    decided = {e["epoch"]: e for e in history["entries"] if e["kind"] == "decided"}
    assert decided[epoch]["previous"] == decided[epoch - 1]["digest"]
    older = await world.get(f"/v1/history?before={epoch}")
    assert {e["epoch"] for e in older["entries"]} == set(range(epoch))
    assert older["before"] is None


async def test_past_is_shown_though_a_rebase_left_a_million_numbers_out(begin: Begin) -> None:
    world = await begin()
    await (await world.leader()).stop()
    async with world.store() as store:
        signer = load_signer(world.folder / "domain.key")
        above, at_ns = Epoch(1_000_000), ClockNs(0)
        await rebase_domain(store, signer, above=above, at_ns=at_ns, actor="ada", reason="x")
    await world.start_coordinator()
    await world.leader()
    history = await world.get("/v1/history?limit=1000")
    assert {0, 1, 1_000_001} <= {entry["epoch"] for entry in history["entries"]}
    assert history["before"] is None
    listed = await world.get("/v1/switches?limit=3")
    assert [one["epoch"] for one in listed["switches"]][-1] == 1
