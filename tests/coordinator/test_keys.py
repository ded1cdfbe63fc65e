from __future__ import annotations

from tests.coordinator.conftest import Begin


async def test_same_key_with_the_same_body_is_the_same_switch(begin: Begin) -> None:
    world = await begin()
    first = await world.switch("green", key="release-7")
    await world.finished(first.json()["epoch"])
    second = await world.switch("green", key="release-7")
    assert second.status_code == 202
    assert second.json()["epoch"] == first.json()["epoch"]
    assert (await world.get("/v1/table"))["epoch"] == first.json()["epoch"]


async def test_same_key_with_another_body_is_refused(begin: Begin) -> None:
    world = await begin()
    await world.finished((await world.switch("green", key="release-7")).json()["epoch"])
    answer = await world.switch("blue", key="release-7")
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:turnout:problem:idempotency-conflict"
    assert "use a new key" in answer.json()["detail"]


async def test_same_key_while_the_switch_runs_is_answered_with_it(begin: Begin) -> None:
    world = await begin()
    world.agents["a"].silent = True
    first = await world.switch("green", key="k")
    second = await world.switch("green", key="k")
    assert second.json()["epoch"] == first.json()["epoch"]


async def test_request_without_a_key_is_given_one(begin: Begin) -> None:
    world = await begin()
    answer = await world.switch("green")
    key = answer.headers["idempotency-key"]
    again = await world.switch("green", key=key)
    assert again.json()["epoch"] == answer.json()["epoch"]


async def test_blank_or_endless_key_is_refused(begin: Begin) -> None:
    world = await begin()
    for key in ("", "x" * 129):
        answer = await world.switch("green", key=key)
        assert answer.status_code == 422, answer.text
        assert "idempotency key" in answer.json()["detail"]
