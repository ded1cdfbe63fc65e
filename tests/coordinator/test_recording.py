"""Which refusals are written down: those of attempts to change something, whatever refused them."""

from __future__ import annotations

from types import SimpleNamespace

import httpx
import pytest
import trio
from attrs import evolve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from coordinator.api.addresses import OPERATORS
from coordinator.api.leading import by_leader
from coordinator.api.recording import recorded
from coordinator.metrics import Metrics
from coordinator.refusal_book import Refusal
from coordinator.views.status import Surroundings
from tests.coordinator.conftest import Begin
from tests.coordinator.world import World
from turnout.protocol.candidacy import Claim
from turnout.protocol.coordinator_state import CoordinatorState, Role
from turnout.protocol.identifiers import ReplicaId
from turnout.runtime.clock import SystemClock
from turnout.runtime.problems import exception_handlers


class Replica:
    """As much of a replica as the decorators look at."""

    def __init__(self) -> None:
        self.noted: list[Refusal] = []
        self.around = Surroundings(
            replica=ReplicaId("r0"),
            domain="d",
            version="0",
            leader=None,
            unfit="",
            troubles=(),
            streams=0,
            suspicions=(),
        )
        context = SimpleNamespace(
            state=CoordinatorState(role=Role.FOLLOWER),
            around=lambda: self.around,
            clock=SystemClock(),
            metrics=Metrics("0"),
            refusals=SimpleNamespace(note=self.noted.append),
        )
        route = Route("/v1/agents/{agent}", recorded(by_leader(delete)), methods=["DELETE"])
        self.app = Starlette(routes=[route], exception_handlers=exception_handlers())
        self.app.state.context = context

    async def delete(self) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.app, client=("10.0.0.7", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://r0") as client:
            headers = {"x-turnout-actor": "ada"}
            return await client.delete("/v1/agents/a?reason=private", headers=headers)


async def delete(_http: Request) -> Response:
    return JSONResponse({})


async def test_refusal_for_want_of_a_leader_is_noted() -> None:
    replica = Replica()
    answer = await replica.delete()
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    (noted,) = replica.noted
    assert (noted.actor, noted.address, noted.code) == ("ada", "10.0.0.7", "no-leader")
    assert noted.action == "DELETE /v1/agents/a", "without the query, which may say anything"


async def test_follower_that_redirects_has_refused_nothing() -> None:
    replica = Replica()
    claim = Claim(replica=ReplicaId("r1"), url="http://r1", lease=1)
    replica.around = evolve(replica.around, leader=claim)
    assert (await replica.delete()).status_code == 307
    assert replica.noted == []


def test_every_address_that_changes_something_is_recorded_and_no_other() -> None:
    for address in OPERATORS:
        names = _layers(address.endpoint)
        assert ("recorded" in names) == (address.method != "GET"), address.path


def _layers(endpoint: object) -> set[str]:
    found = set()
    while endpoint is not None:
        found.add(endpoint.__code__.co_qualname.partition(".")[0])  # type: ignore[attr-defined]
        endpoint = getattr(endpoint, "__wrapped__", None)
    return found


# --- over the real interface ---------------------------------------------------------------------


async def refusals(world: World, count: int) -> list[dict[str, object]]:
    """The refused attempts in the history, newest first, once there are so many."""
    with trio.fail_after(20):
        while True:
            history = await world.get("/v1/history?limit=1000")
            found = [entry for entry in history["entries"] if entry["kind"] == "refused"]
            if len(found) >= count:
                return found
            await trio.sleep(0.1)


async def test_refused_attempts_are_in_the_history_in_the_order_of_time(begin: Begin) -> None:
    world = await begin()
    await world.switch("green", service="chekout")
    await world.post("/v1/switches", {"service": "checkout", "to": "green", "token": "s3cret"})
    await world.request("DELETE", "/v1/exclusions/mars")
    found = await refusals(world, 3)
    assert [entry["reason"] for entry in found] == [
        "unknown-region",
        "invalid-field",
        "unknown-service",
    ]
    assert {entry["actor"] for entry in found} == {"ada", "operator"}
    assert "'chekout'" in str(found[2]["text"])
    assert "POST /v1/switches from 127.0.0.1" in str(found[2]["text"])
    assert "token" in str(found[1]["text"])
    assert "s3cret" not in str(found)
    assert {entry["epoch"] for entry in found} == {1}


async def test_refusal_while_a_switch_is_under_way_is_told_after_its_beginning(
    begin: Begin,
) -> None:
    world = await begin()
    world.agents["b"].silent = True
    epoch = (await world.switch("green", key="k")).json()["epoch"]
    assert (await world.switch("blue", key="k")).status_code == 409
    assert (await world.switch("blue")).status_code == 409
    world.agents["b"].silent = False
    await refusals(world, 2)
    await world.finished(epoch)
    history = await world.get("/v1/history?limit=1000")
    times = [entry["at"] for entry in history["entries"]]
    assert times == sorted(times, reverse=True)
    kinds = [(entry["epoch"], entry["kind"]) for entry in reversed(history["entries"])]
    assert kinds.index((epoch, "accepted")) < kinds.index((epoch - 1, "refused"))
    codes = {e["reason"] for e in history["entries"] if e["kind"] == "refused"}
    assert codes == {"idempotency-conflict", "switch-in-progress"}


async def test_refusals_are_no_part_of_a_switch_nor_of_the_chain(begin: Begin) -> None:
    world = await begin()
    await world.switch("green", service="chekout")
    await refusals(world, 1)
    told = await world.get("/v1/switches/1")
    assert "refused" not in [moment["event"] for moment in told["timeline"]]
    await world.finished((await world.switch("green")).json()["epoch"])
    history = await world.get("/v1/history?limit=1000")
    decided = {e["epoch"]: e for e in history["entries"] if e["kind"] == "decided"}
    assert decided[2]["previous"] == decided[1]["digest"]


@pytest.mark.parametrize("method", ["GET", "dry run"])
async def test_question_that_is_refused_is_no_attempt(begin: Begin, method: str) -> None:
    world = await begin()
    if method == "GET":
        answer = await world.request("GET", "/v1/switches/99")
    else:
        answer = await world.switch("green", service="nope", dry_run=True)
    assert answer.status_code == 404
    await world.switch("green", service="chekout")
    (found,) = await refusals(world, 1)
    assert "'chekout'" in str(found["text"])
