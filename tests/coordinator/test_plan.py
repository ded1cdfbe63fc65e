from __future__ import annotations

from tests.coordinator.conftest import Begin
from tests.coordinator.world import World, service, until
from turnout.protocol.routing import RoutingTable


async def head(world: World) -> int:
    return int((await world.get("/v1/status"))["head"]["decided"])


async def test_dry_run_tells_per_region_what_would_change_and_changes_nothing(
    begin: Begin,
) -> None:
    world = await begin()
    answer = await world.switch("green", dry_run=True)
    assert answer.status_code == 200
    plan = answer.json()
    assert plan["asked"] == ["a", "b"]
    assert plan["epoch"] == 2
    assert [region["region"] for region in plan["regions"]] == ["region-a", "region-b"]
    for region in plan["regions"]:
        (change,) = region["changes"]
        assert change["service"] == "checkout"
        assert (change["before"]["active"], change["after"]["active"]) == ("blue", "green")
    assert await head(world) == 1


async def test_dry_run_of_an_exclusion_excludes_nobody(begin: Begin) -> None:
    world = await begin()
    plan = (await world.switch("green", dry_run=True, exclude=["region-b"])).json()
    assert plan["asked"] == ["a"]
    assert plan["excluded_regions"] == ["region-b"]
    assert (await world.get("/v1/exclusions"))["exclusions"] == []


async def test_dry_run_of_what_is_in_force_says_so(begin: Begin) -> None:
    world = await begin()
    plan = (await world.switch("blue", dry_run=True)).json()
    assert plan["noop"] is True
    assert all(region["changes"] == [] for region in plan["regions"])


async def test_dry_run_of_a_rollback_reads_what_it_needs_from_the_store(begin: Begin) -> None:
    world = await begin(coordinators=2)
    await world.finished((await world.switch("green", service="search")).json()["epoch"])
    await world.all_good()
    for colour in ("green", "blue", "green"):
        await world.finished((await world.switch(colour)).json()["epoch"])
        await world.all_good()
    await (await world.leader()).stop()
    successor = await world.leader()
    await until(lambda: len(successor.state.connected) == 2)
    assert successor.state.head is not None
    assert successor.state.head.base_epoch == 4
    answer = await world.post("/v1/rollbacks", {"service": "search", "undo": 2, "dry_run": True})
    assert answer.status_code == 200, answer.text
    change = answer.json()["regions"][0]["changes"][0]
    assert (change["before"]["active"], change["after"]["active"]) == ("green", "blue")
    answer = await world.post("/v1/rollbacks", {"service": "search", "undo": 2})
    assert (await world.finished(answer.json()["epoch"]))["outcome"] in ("live", "partial")


async def test_dry_run_of_a_table_tells_what_is_new_and_what_goes(begin: Begin) -> None:
    world = await begin()
    checkout = world.table().services[0]
    table = RoutingTable(services=(service("billing", "region-a", "region-b"), checkout))
    refusal = (await world.apply(table, dry_run=True)).json()
    assert (refusal["type"], "search" in refusal["detail"]) == (
        "urn:turnout:problem:service-removed",
        True,
    )
    plan = (await world.apply(table, dry_run=True, override=["service-removed"])).json()
    assert plan["removed_services"] == ["search"]
    (change,) = plan["regions"][0]["changes"]
    assert (change["service"], change["before"]) == ("billing", None)
    assert await head(world) == 1


async def test_dry_run_while_a_switch_runs_is_refused(begin: Begin) -> None:
    world = await begin()
    world.agents["a"].silent = True
    await world.switch("green")
    answer = await world.switch("green", service="search", dry_run=True)
    assert answer.json()["type"] == "urn:turnout:problem:switch-in-progress"


async def test_exclude_in_a_switch_is_done_first_and_lasts_until_include(begin: Begin) -> None:
    world = await begin()
    document = await world.finished(
        (await world.switch("green", exclude=["region-b"], key="k")).json()["epoch"]
    )
    assert document["outcome"] == "live"
    standings = {agent["agent"]: agent["standing"] for agent in document["agents"]}
    assert standings == {"a": "good", "b": "excluded"}
    assert world.agents["b"].serving.epoch == 1
    exclusions = (await world.get("/v1/exclusions"))["exclusions"]
    assert [one["region"] for one in exclusions] == ["region-b"]
    answer = await world.request("DELETE", "/v1/exclusions/region-b?reason=back")
    assert answer.status_code == 200
    await world.all_good()
    assert world.agents["b"].serving.epoch == document["epoch"]
    again = await world.switch("green", exclude=["region-b"], key="k")
    assert again.json()["epoch"] == document["epoch"]
    assert (await world.get("/v1/exclusions"))["exclusions"] == []


async def test_exclude_of_a_switch_that_is_refused_is_not_done(begin: Begin) -> None:
    world = await begin()
    answer = await world.switch("green", service="nope", exclude=["region-b"])
    assert answer.status_code == 404
    assert (await world.get("/v1/exclusions"))["exclusions"] == []
