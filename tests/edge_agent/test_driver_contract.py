"""What every driver promises (edge_agent/drivers/base.py), asked of every kind of proxy."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import pytest
import trio
from attrs import evolve

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.drivers.matching import owner
from edge_agent.probe import PROBES_IN_A_ROW, NotProven, prove
from edge_agent.request import AskError
from tests.edge_agent.proxy_harness import (
    BLUE,
    GREEN,
    HOST,
    PATIENCE_S,
    REGION,
    Harness,
    active,
    make_table,
    until,
)
from turnout.protocol.identifiers import Epoch
from turnout.protocol.records import Active
from turnout.protocol.routing import (
    Backends,
    OnIsolation,
    RegionBackends,
    RoutingTable,
    Weights,
)


async def served(proxy: Harness) -> Active:
    return (await proxy.driver.status()).serving


async def test_new_proxy_serves_no_table_and_says_epoch_0(proxy: Harness) -> None:
    status = await proxy.driver.status()
    assert status.running
    assert status.serving == Active()
    answer = await proxy.get()
    assert answer.status == 503
    assert answer.headers["x-turnout-epoch"] == "0"


async def test_start_twice_finds_the_same_proxy(proxy: Harness) -> None:
    before = await proxy.driver.status()
    assert (await proxy.driver.start()) == before


async def test_staged_table_is_served_on_staged_routes_only(proxy: Harness) -> None:
    blue, green = proxy.table(BLUE), proxy.table(GREEN)
    await proxy.serve(1, blue)
    await proxy.driver.stage(Epoch(2), green, green.services)
    staged = await proxy.get(staged=True)
    assert staged.headers["x-turnout-epoch"] == "2"
    assert staged.headers["x-turnout-colour"] == "green"
    live = await proxy.get()
    assert live.headers["x-turnout-epoch"] == "1"
    assert live.headers["x-turnout-colour"] == "blue"
    assert await served(proxy) == active(1, blue)


async def test_activated_table_is_served_and_marks_every_answer(proxy: Harness) -> None:
    table = proxy.table(BLUE)
    started_ns = time.monotonic_ns()
    evidence = await proxy.serve(7, table)
    assert evidence.serving == active(7, table)
    assert started_ns < evidence.flipped_at_ns <= time.monotonic_ns()
    answer = await proxy.get()
    assert answer.status == 200
    assert answer.headers["x-turnout-epoch"] == "7"
    assert answer.headers["x-turnout-service"] == "checkout"
    assert answer.headers["x-turnout-colour"] == "blue"
    nobody = await proxy.get(host="nobody.example")
    assert nobody.status == 404
    assert nobody.headers["x-turnout-epoch"] == "7"
    assert "x-turnout-service" not in nobody.headers
    assert await served(proxy) == active(7, table)


async def test_activate_refuses_what_is_not_staged(proxy: Harness) -> None:
    blue, green = proxy.table(BLUE), proxy.table(GREEN)
    with pytest.raises(Refused) as nothing:
        await proxy.driver.activate(active(1, blue))
    await proxy.driver.stage(Epoch(1), blue, blue.services)
    with pytest.raises(Refused) as other_digest:
        await proxy.driver.activate(active(1, green))
    with pytest.raises(Refused) as other_epoch:
        await proxy.driver.activate(active(2, blue))
    codes = {refused.value.code for refused in (nothing, other_digest, other_epoch)}
    assert codes == {RefusalCode.NOT_STAGED}
    assert await served(proxy) == Active()


@pytest.mark.parametrize("epoch", [3, 5])
async def test_s5_activate_refuses_an_epoch_not_above_the_one_told(
    proxy: Harness, epoch: int
) -> None:
    blue, green = proxy.table(BLUE), proxy.table(GREEN)
    await proxy.serve(5, blue)
    with pytest.raises(Refused) as refused:
        await proxy.serve(epoch, green)
    assert refused.value.code is RefusalCode.STALE_EPOCH
    await proxy.restart_driver()
    with pytest.raises(Refused) as after_restart:
        await proxy.serve(epoch, green)
    assert after_restart.value.code is RefusalCode.STALE_EPOCH
    assert await served(proxy) == active(5, blue)


async def test_s5_lower_epoch_of_a_higher_incarnation_is_served(proxy: Harness) -> None:
    blue, green = proxy.table(BLUE), proxy.table(GREEN)
    await proxy.serve(5, blue)
    evidence = await proxy.serve(2, green, incarnation=2)
    assert evidence.serving == await served(proxy) == active(2, green, incarnation=2)
    assert (await proxy.get()).headers["x-turnout-epoch"] == "2"
    assert (await proxy.get()).headers["x-turnout-colour"] == "green"


async def test_s5_higher_epoch_of_a_lower_incarnation_is_refused(proxy: Harness) -> None:
    blue, green = proxy.table(BLUE), proxy.table(GREEN)
    await proxy.serve(2, blue, incarnation=2)
    for _ in range(2):
        with pytest.raises(Refused, match="epoch 5 of incarnation 1") as refused:
            await proxy.serve(5, green, incarnation=1)
        assert refused.value.code is RefusalCode.STALE_EPOCH
        await proxy.restart_driver()
    assert await served(proxy) == active(2, blue, incarnation=2)
    assert (await proxy.get()).headers["x-turnout-colour"] == "blue"


async def test_incarnation_is_given_back_by_the_proxy_to_a_new_driver_and_after_its_restart(
    proxy: Harness,
) -> None:
    table = proxy.table(GREEN)
    await proxy.serve(4, table, incarnation=3)
    await proxy.restart_driver()
    assert await served(proxy) == active(4, table, incarnation=3)
    proxy.kill_proxy()
    await proxy.driver.wait_stopped()
    assert (await proxy.driver.start()).serving == active(4, table, incarnation=3)


async def test_same_table_under_the_same_epoch_flips_into_a_higher_incarnation(
    proxy: Harness,
) -> None:
    table = proxy.table(BLUE)
    await proxy.serve(1, table)
    await proxy.stage(1, table)
    await proxy.driver.activate(active(1, table, incarnation=2))
    assert await served(proxy) == active(1, table, incarnation=2)


async def test_activate_again_waits_for_the_same_evidence(proxy: Harness) -> None:
    table = proxy.table()
    await proxy.serve(1, table)
    again = await proxy.driver.activate(active(1, table))
    assert again.serving == active(1, table)
    driver = await proxy.restart_driver()
    after_restart = await driver.activate(active(1, table))
    assert after_restart.flipped_at_ns >= again.flipped_at_ns


async def test_stage_refuses_an_empty_table_and_names_the_fault(proxy: Harness) -> None:
    table = proxy.table()
    await proxy.serve(1, table)
    with pytest.raises(Refused, match="no service") as refused:
        await proxy.driver.stage(Epoch(2), RoutingTable(), ())
    assert refused.value.code is RefusalCode.INCONSISTENT
    assert await served(proxy) == active(1, table)


async def test_staged_table_is_replaced_by_the_next_one(proxy: Harness) -> None:
    blue, green = proxy.table(BLUE), proxy.table(GREEN)
    await proxy.driver.stage(Epoch(1), blue, blue.services)
    await proxy.driver.stage(Epoch(2), green, green.services)
    with pytest.raises(Refused) as refused:
        await proxy.driver.activate(active(1, blue))
    assert refused.value.code is RefusalCode.NOT_STAGED
    await proxy.driver.activate(active(2, green))
    assert await served(proxy) == active(2, green)


async def test_staging_the_same_again_changes_nothing(proxy: Harness) -> None:
    table = proxy.table()
    await proxy.driver.stage(Epoch(1), table, table.services)
    await proxy.driver.stage(Epoch(1), table, table.services)
    await proxy.driver.activate(active(1, table))
    await proxy.driver.stage(Epoch(1), table, table.services)
    assert await served(proxy) == active(1, table)


async def test_refused_stage_leaves_the_earlier_one_ready(proxy: Harness) -> None:
    blue, green = proxy.table(BLUE), proxy.table(GREEN)
    await proxy.driver.stage(Epoch(1), blue, blue.services)
    await proxy.break_backend(GREEN)
    with pytest.raises(Refused, match="checkout") as refused:
        await proxy.driver.stage(Epoch(2), green, green.services)
    assert refused.value.code is RefusalCode.PROBE
    await proxy.driver.activate(active(1, blue))
    assert await served(proxy) == active(1, blue)


async def test_new_driver_finds_the_proxy_and_must_stage_again(proxy: Harness) -> None:
    blue, green = proxy.table(BLUE), proxy.table(GREEN)
    await proxy.serve(1, blue)
    await proxy.driver.stage(Epoch(2), green, green.services)
    before = await proxy.driver.status()
    driver = await proxy.restart_driver()
    assert await driver.status() == before
    with pytest.raises(Refused) as refused:
        await driver.activate(active(2, green))
    assert refused.value.code is RefusalCode.NOT_STAGED
    await proxy.serve(2, green)
    assert (await proxy.get()).headers["x-turnout-colour"] == "green"


async def test_killed_proxy_is_noticed_and_comes_back_with_the_active_table(
    proxy: Harness,
) -> None:
    table = proxy.table(GREEN)
    await proxy.serve(3, table)
    before = await proxy.driver.status()
    proxy.kill_proxy()
    with trio.fail_after(PATIENCE_S):
        await proxy.driver.wait_stopped()
    assert not (await proxy.driver.status()).running
    after = await proxy.driver.start()
    assert after.serving == active(3, table)
    assert after.started_id != before.started_id
    assert (await proxy.get()).headers["x-turnout-colour"] == "green"


async def test_stopped_proxy_refuses_everything_and_still_has_a_status(proxy: Harness) -> None:
    table = proxy.table()
    await proxy.driver.stage(Epoch(1), table, table.services)
    await proxy.driver.stop_proxy()
    await proxy.driver.stop_proxy()
    service = table.services[0]
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: proxy.driver.stage(Epoch(1), table, table.services),
        lambda: proxy.driver.activate(active(1, table)),
        lambda: proxy.driver.in_flight(service, BLUE),
        lambda: proxy.driver.requests_total(service, BLUE),
        lambda: proxy.driver.close(service, BLUE),
        lambda: proxy.driver.withdraw({service.name}),
    ]
    for call in calls:
        with pytest.raises(Refused) as refused:
            await call()
        assert refused.value.code is RefusalCode.PROXY_DOWN
    with pytest.raises(AskError):
        await proxy.get()
    assert not (await proxy.driver.status()).running


async def test_request_in_flight_is_counted_across_the_flip_and_cut_by_close(
    proxy: Harness,
) -> None:
    await proxy.serve(1, proxy.table(BLUE))
    service = proxy.service()
    await proxy.hold_request(BLUE)
    with pytest.raises(Refused) as refused:
        await proxy.driver.close(service, BLUE)
    assert refused.value.code is RefusalCode.IN_USE
    await proxy.serve(2, proxy.table(GREEN))
    assert await proxy.driver.in_flight(service, BLUE) == 1
    assert await proxy.driver.in_flight(service, GREEN) == 0
    assert await proxy.driver.close(service, BLUE) >= 1

    async def cut() -> bool:
        return await proxy.driver.in_flight(service, BLUE) == 0

    await until(cut)


async def test_longest_prefix_wins_by_whole_path_elements(proxy: Harness) -> None:
    site = proxy.service(name="site", hosts=(HOST,))
    api = proxy.service(name="api", hosts=(HOST,), path_prefix="/api")
    await proxy.serve(1, make_table(site, api))
    owners = {
        path: (await proxy.get(path)).headers["x-turnout-service"]
        for path in ("/", "/api", "/api/x", "/api?x=/", "/apis")
    }
    assert owners == {
        "/": "site",
        "/api": "api",
        "/api/x": "api",
        "/api?x=/": "api",
        "/apis": "site",
    }


async def test_every_proxy_matches_by_the_one_rule(proxy: Harness) -> None:
    hosts = ("a.example", "*.example", "*.b.example", "a.*", "a.b.*", "*")
    prefixes = ("/", "/x", "/x/", "/x/y")
    table = make_table(
        *(
            proxy.service(name=f"s{h}-{p}", hosts=(host,), path_prefix=prefix)
            for h, host in enumerate(hosts)
            for p, prefix in enumerate(prefixes)
            if (h + p) % 3  # so that every host lacks some prefix
        )
    )
    await proxy.driver.stage(Epoch(1), table, ())
    await proxy.driver.activate(active(1, table))
    asked = ["a.example", "c.example", "c.b.example", "a.b.example", "a.b.c", "a.org"]
    asked += ["A.Example", "a.example.", "a.example:80"]
    paths = ["/", "/x", "/x/", "/x/z", "/x/y", "/x/y/", "/x/yy", "/xx", "/x?y=/x/y"]
    paths += ["/x/../y", "/%78", "/x%2Fy", "//x", "/./x", "/x/./y"]
    for host in asked:
        for path in paths:
            answer = await proxy.get(path, host=host)
            found = owner(table, host.removesuffix(":80"), path.partition("?")[0])
            mark = answer.headers.get("x-turnout-service")
            assert mark == (found.name if found else None), (host, path)


async def test_host_matches_but_path_does_not_is_404_with_the_epoch(proxy: Harness) -> None:
    await proxy.serve(4, make_table(proxy.service(path_prefix="/api")))
    answer = await proxy.get("/other")
    assert answer.status == 404
    assert answer.headers["x-turnout-epoch"] == "4"


async def test_weights_split_requests_between_marked_colours(proxy: Harness) -> None:
    table = make_table(proxy.service(weights=Weights(blue=50, green=50)))
    await proxy.serve(1, table)
    answers = [await proxy.get() for _ in range(200)]
    colours = {answer.headers["x-turnout-colour"] for answer in answers}
    assert colours == {"blue", "green"}
    for answer in answers:
        assert answer.body.decode().startswith(answer.headers["x-turnout-colour"])
    await prove(proxy.driver, Epoch(1), table, table.services)


async def test_flip_is_proven_for_changed_services_and_silent_source(proxy: Harness) -> None:
    blue, green = proxy.table(BLUE), proxy.table(GREEN)
    service = blue.services[0]
    await proxy.serve(1, blue)
    await proxy.serve(2, green)
    before = [await proxy.driver.requests_total(service, colour) for colour in (BLUE, GREEN)]
    await prove(proxy.driver, Epoch(2), green, green.services, [(service, BLUE)])
    after = [await proxy.driver.requests_total(service, colour) for colour in (BLUE, GREEN)]
    assert after[0] == before[0]
    assert after[1] >= before[1] + PROBES_IN_A_ROW


async def test_proof_of_another_epoch_or_colour_fails_with_the_reason(proxy: Harness) -> None:
    blue, green = proxy.table(BLUE), proxy.table(GREEN)
    await proxy.serve(1, blue)
    with pytest.raises(NotProven, match="x-turnout-epoch is 1, not 2"):
        await prove(proxy.driver, Epoch(2), green, green.services, timeout_s=0.1)
    with pytest.raises(NotProven, match="x-turnout-colour is blue, not green"):
        await prove(proxy.driver, Epoch(1), green, green.services, timeout_s=0.1)


async def test_proof_fails_while_the_source_gets_new_requests(
    proxy: Harness, nursery: trio.Nursery
) -> None:
    blue = proxy.table(BLUE)
    await proxy.serve(1, blue)

    async def keep_asking() -> None:
        while True:
            await proxy.get()

    for _ in range(8):  # so many that no two readings of the counter are without a new one
        nursery.start_soon(keep_asking)
    source = [(blue.services[0], BLUE)]
    with pytest.raises(NotProven, match="blue still gets new requests"):
        await prove(proxy.driver, Epoch(1), blue, (), source, timeout_s=0.3)
    nursery.cancel_scope.cancel()


async def test_dead_target_is_not_proven_unless_no_healthy_backend_is_asked_for(
    proxy: Harness,
) -> None:
    table = proxy.table(BLUE)
    await proxy.serve(1, table)
    await proxy.break_backend(BLUE)
    with pytest.raises(NotProven, match="error"):
        await prove(proxy.driver, Epoch(1), table, table.services, timeout_s=0.1)
    service = table.services[0]
    lenient = evolve(service, health=evolve(service.health, min_healthy_percent=0))
    await prove(proxy.driver, Epoch(1), make_table(lenient), [lenient])


async def test_withdrawn_service_fails_its_health_endpoint_and_serves_all_else(
    proxy: Harness,
) -> None:
    asks = proxy.service(on_isolation=OnIsolation.WITHDRAW)
    other = proxy.service(name="other", hosts=("other.example",))
    table = make_table(asks, other)
    await proxy.serve(1, table)
    for _ in range(2):
        await proxy.driver.withdraw({asks.name, other.name})
        failing = await proxy.get("/healthz?deep=1")
        assert (failing.status, failing.headers["x-turnout-epoch"]) == (503, "1")
        assert (await proxy.get("/healthz", staged=True)).status == 200
        assert (await proxy.get("/")).status == 200
        assert (await proxy.get("/healthz", host="other.example")).status == 200
    second = make_table(evolve(asks, weights=Weights.all_to(GREEN)), other)
    await proxy.serve(2, second)
    await prove(proxy.driver, Epoch(2), second, second.services)
    assert (await proxy.get("/healthz")).status == 503
    await proxy.driver.withdraw(set())
    assert (await proxy.get("/healthz")).status == 200


async def test_proxy_that_restarts_has_forgotten_what_was_withdrawn(proxy: Harness) -> None:
    asks = proxy.service(on_isolation=OnIsolation.WITHDRAW)
    await proxy.serve(1, make_table(asks))
    await proxy.driver.withdraw({asks.name})
    proxy.kill_proxy()
    await proxy.driver.wait_stopped()
    await proxy.driver.start()
    assert (await proxy.get("/healthz")).status == 200


async def test_service_keeps_its_backends_when_only_another_changes(proxy: Harness) -> None:
    other = proxy.service(name="other", hosts=("other.example",))
    first = make_table(proxy.service(), other)
    await proxy.serve(1, first)
    moved = Backends(addresses=proxy.green.addresses)
    changed = evolve(
        other, backends=(RegionBackends(region=REGION, blue=moved, green=proxy.green),)
    )
    second = make_table(proxy.service(), changed)
    await proxy.driver.stage(Epoch(2), second, [changed])
    await proxy.driver.activate(active(2, second))
    assert (await proxy.get()).headers["x-turnout-service"] == "checkout"
    assert (await proxy.get(host="other.example")).headers["x-turnout-epoch"] == "2"
