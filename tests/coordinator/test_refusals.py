"""Every bad input is a clear problem document, and changes nothing."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from attrs import evolve

from tests.coordinator.conftest import Begin
from tests.coordinator.world import World, service
from turnout.protocol.codec import converter
from turnout.protocol.routing import RoutingTable
from turnout.runtime.problems import ExitCode, parse_problem


def refused(answer: httpx.Response, status: int, name: str, *words: str) -> dict[str, Any]:
    """Check a problem document and return it."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document["type"]) == (status, f"urn:turnout:problem:{name}"), (
        document
    )
    for word in words:
        assert word in document["detail"], document["detail"]
    assert document["status"] == status
    assert document["title"]
    return document


async def unchanged(world: World) -> None:
    head = (await world.get("/v1/status"))["head"]
    assert (head["decided"], head["committed"]) == (1, 1)


async def test_unknown_service_is_named_with_those_known(begin: Begin) -> None:
    world = await begin()
    answer = await world.switch("green", service="chekout")
    refused(answer, 404, "unknown-service", "'chekout'", "checkout, search")
    assert parse_problem(answer.status_code, answer.content).type.exit_code is ExitCode.REFUSED
    await unchanged(world)


async def test_unknown_colour_is_named_with_those_there_are(begin: Begin) -> None:
    world = await begin()
    refused(await world.switch("red"), 422, "unknown-colour", '"red"', "blue or green")
    await unchanged(world)


async def test_unknown_region_is_named_and_nothing_is_excluded(begin: Begin) -> None:
    world = await begin()
    answer = await world.switch("green", exclude=["mars"])
    refused(answer, 422, "unknown-region", "'mars'", "region-a, region-b")
    answer = await world.post("/v1/exclusions", {"region": "mars", "reason": "why not"})
    refused(answer, 422, "unknown-region", "'mars'")
    await unchanged(world)


async def test_target_without_backends_in_some_region_is_refused(begin: Begin) -> None:
    world = await begin()
    table = world.table()
    narrow = RoutingTable(services=(*table.services[:1], service("search", "region-a")))
    refused(await world.apply(narrow), 422, "no-backends", "'search'", "region-b")
    await unchanged(world)


async def test_empty_table_is_refused(begin: Begin) -> None:
    world = await begin()
    refused(await world.apply(RoutingTable()), 422, "empty-table", "empty table")
    await unchanged(world)


async def test_inconsistent_table_is_refused_with_every_fault(begin: Begin) -> None:
    world = await begin()
    broken = evolve(world.table().services[0], hosts=("", "b.example"), path_prefix="checkout")
    answer = await world.apply(RoutingTable(services=(broken,)))
    refused(answer, 422, "invalid-table", "host ''", "path_prefix 'checkout'")
    await unchanged(world)


async def test_table_with_an_unknown_key_or_a_wrong_type_is_refused_by_its_path(
    begin: Begin,
) -> None:
    world = await begin()
    plain = converter.unstructure(world.table())
    plain["services"][0]["hosst"] = []
    answer = await world.post("/v1/tables", {"table": plain})
    refused(answer, 422, "invalid-table", "hosst", "services[0]")
    answer = await world.post("/v1/tables", {"table": {"services": "all"}})
    refused(answer, 422, "invalid-table")
    answer = await world.post("/v1/tables", {"dry_run": True})
    refused(answer, 422, "invalid-field", "table is missing")
    await unchanged(world)


async def test_table_over_the_limits_is_refused_with_both_limits(begin: Begin) -> None:
    world = await begin()
    regions = ("region-a", "region-b")
    # Names that do not compress: a digest each.
    hosts = tuple(
        f"{number * 2654435761 % 2**64:x}.{number**7:x}.example" for number in range(60000)
    )
    huge = evolve(service("huge", *regions), hosts=hosts)
    answer = await world.apply(RoutingTable(services=(huge,)))
    refused(answer, 413, "table-too-large", "1048576", "16777216")
    await unchanged(world)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"service": "checkout", "to": "green", "colour": "x"}, ["colour", "not a known key"]),
        ({"service": "checkout"}, ["to", "is missing"]),
        ({"service": " ", "to": "green"}, ["service", "must not be blank"]),
        ({"service": 7, "to": "green"}, ["service", "must be a text"]),
        (
            {"service": "checkout", "to": "green", "activation": "later"},
            ["activation", "scheduled"],
        ),
        ({"service": "checkout", "to": "green", "exclude": "eu"}, ["exclude", "must be a list"]),
        ({"service": "checkout", "to": "green", "allow_stale": "all"}, ["allow_stale", "number"]),
        (
            {"service": "checkout", "to": "green", "allow_stale": -1},
            ["count of stale agents is 0 or more"],
        ),
        ({"service": "checkout", "to": "green", "drain_timeout_s": -5}, ["drain timeout", "-5"]),
        ({"service": "checkout", "to": "green", "reason": "x" * 1001}, ["longer than 1000"]),
        ([], ["the body must be an object"]),
    ],
)
async def test_field_that_cannot_be_is_named_with_what_is_allowed(
    begin: Begin, body: object, words: list[str]
) -> None:
    world = await begin(agents=("a",))
    refused(await world.post("/v1/switches", body), 422, "invalid-field", *words)
    await unchanged(world)


async def test_every_fault_of_a_body_is_told_at_once(begin: Begin) -> None:
    world = await begin(agents=("a",))
    answer = await world.post("/v1/switches", {"to": "", "activation": 1, "extra": None})
    document = refused(answer, 422, "invalid-field")
    assert {fault["path"] for fault in document["faults"]} == {
        "to",
        "activation",
        "extra",
        "service",
    }


@pytest.mark.parametrize(
    "content", [b"{", b"not json", b'{"to": "green", "to": "blue"}', b"\xff\xfe", b"[" * 100_000]
)
async def test_malformed_json_is_refused(begin: Begin, content: bytes) -> None:
    world = await begin(agents=())
    answer = await world.post("/v1/switches", None, content=content)
    assert answer.json()["type"] in (
        "urn:turnout:problem:malformed-json",
        "urn:turnout:problem:too-large",
    )


async def test_body_of_another_media_type_is_refused(begin: Begin) -> None:
    world = await begin(agents=())
    headers = {"content-type": "text/plain", "idempotency-key": "k"}
    answer = await world.request("POST", "/v1/switches", content=b"{}", headers=headers)
    refused(answer, 415, "wrong-media-type", "application/json")


async def test_body_over_its_limit_is_refused(begin: Begin) -> None:
    world = await begin(agents=())
    body = json.dumps({"service": "x" * 70_000}).encode()
    refused(await world.post("/v1/switches", None, content=body), 413, "too-large", "65536")


async def test_address_that_is_none_and_method_that_is_none_are_refused(begin: Begin) -> None:
    world = await begin(agents=())
    refused(await world.request("GET", "/v2/switches"), 404, "no-such-resource")
    refused(await world.request("DELETE", "/v1/table"), 405, "method-not-allowed")
    refused(await world.request("GET", "/v1/switches/0"), 404, "unknown-epoch")
    refused(await world.request("GET", "/v1/switches/7"), 404, "unknown-epoch", "no epoch 7")
    refused(await world.request("GET", "/v1/history?limit=many"), 422, "invalid-field", "limit")


async def test_rollback_of_what_cannot_be_undone_is_refused(begin: Begin) -> None:
    world = await begin()
    answer = await world.post("/v1/rollbacks", {"service": "checkout"})
    refused(answer, 409, "nothing-to-undo", "first table")
    answer = await world.post("/v1/rollbacks", {"service": "checkout", "undo": 9})
    refused(answer, 404, "unknown-epoch", "9")
    await unchanged(world)


async def test_switch_with_a_stale_agent_is_refused_unless_it_is_passed_over(
    begin: Begin,
) -> None:
    world = await begin()
    world.make_agent("c", "region-a")
    await world.enrol(world.agents["c"])
    document = refused(await world.switch("green"), 409, "stale-agents", "c (new")
    assert document["agents"] == ["c"]
    answer = await world.switch("green", allow_stale=["c"])
    assert answer.status_code == 202
    assert (await world.finished(answer.json()["epoch"]))["outcome"] == "live"
    answer = await world.switch("blue", allow_stale=1)
    document = await world.finished(answer.json()["epoch"])
    assert document["outcome"] == "partial"
    answer = await world.switch("green", allow_stale=["nobody"])
    refused(answer, 404, "unknown-agent", "nobody")


async def test_nearly_full_store_refuses_switches_but_not_rollbacks(begin: Begin) -> None:
    world = await begin()
    await world.finished((await world.switch("green")).json()["epoch"])
    await world.all_good()
    leader = await world.leader()
    leader.running.replica._quota_used = 0.81
    refused(await world.switch("blue"), 507, "quota", "81%")
    answer = await world.post("/v1/rollbacks", {"service": "checkout"})
    assert answer.status_code == 202
