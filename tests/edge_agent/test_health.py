from __future__ import annotations

from typing import Any

import pytest
import trio
from attrs import evolve

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.health import check_backends
from edge_agent.sample_backend import SampleBackend, run_backend
from tests.edge_agent.proxy_harness import GREEN, REGION, free_port, make_service, make_table
from turnout.protocol.identifiers import Region
from turnout.protocol.routing import Backends, RegionBackends, RoutingTable, Weights


async def start(nursery: trio.Nursery, **backend: Any) -> str:
    server = await nursery.start(run_backend, SampleBackend(**{"name": "blue", **backend}))
    host, port = server.addresses[0]
    return f"{host}:{port}"


def table_of(blue: list[str], green: list[str] | None = None, **health: Any) -> RoutingTable:
    service = make_service(
        backends=(
            RegionBackends(
                region=REGION,
                blue=Backends(addresses=tuple(blue)),
                green=Backends(addresses=tuple(green or ["127.0.0.1:1"])),
            ),
        )
    )
    return make_table(evolve(service, health=evolve(service.health, **health)))


async def check(table: RoutingTable) -> None:
    await check_backends(table, table.services, REGION)


async def test_healthy_target_passes_and_the_idle_colour_is_not_asked(
    nursery: trio.Nursery,
) -> None:
    await check(table_of([await start(nursery), await start(nursery)]))
    nursery.cancel_scope.cancel()


async def test_every_failing_backend_is_named_with_its_reason(nursery: trio.Nursery) -> None:
    good, bad = await start(nursery), await start(nursery, healthy=False)
    gone = f"127.0.0.1:{free_port()}"
    with pytest.raises(Refused) as refused:
        await check(table_of([good, bad, gone]))
    assert refused.value.code is RefusalCode.UNHEALTHY
    assert "service 'checkout', blue: 2 of 3 backends failed /healthz" in refused.value.text
    assert f"{bad} (/healthz answered 503)" in refused.value.text
    assert f"{gone} (connection refused)" in refused.value.text
    assert good not in refused.value.text
    nursery.cancel_scope.cancel()


async def test_enough_healthy_backends_pass_and_one_fewer_does_not(nursery: trio.Nursery) -> None:
    addresses = [await start(nursery), await start(nursery, healthy=False)]
    await check(table_of(addresses, min_healthy_percent=50))
    with pytest.raises(Refused):
        await check(table_of(addresses, min_healthy_percent=51))
    nursery.cancel_scope.cancel()


async def test_slow_backend_is_unhealthy(nursery: trio.Nursery) -> None:
    address = await start(nursery)
    with pytest.raises(Refused, match=r"no answer within 0\.05 s"):
        await check(table_of([address], path="/slow?seconds=60", timeout_ms=50))
    nursery.cancel_scope.cancel()


async def test_versions_that_differ_are_drift(nursery: trio.Nursery) -> None:
    old, new = await start(nursery, version="1"), await start(nursery, version="2")
    with pytest.raises(Refused, match=f"'1' at {old}, '2' at {new}") as refused:
        await check(table_of([old, new], version_path="/version"))
    assert refused.value.code is RefusalCode.DRIFT
    await check(table_of([new], version_path="/version"))
    nursery.cancel_scope.cancel()


async def test_both_colours_are_asked_where_both_get_requests(nursery: trio.Nursery) -> None:
    good, bad = await start(nursery), await start(nursery, healthy=False)
    table = table_of([good], [bad])
    await check(table)
    split = make_table(evolve(table.services[0], weights=Weights(blue=90, green=10)))
    with pytest.raises(Refused, match="green: 1 of 1"):
        await check(split)
    nursery.cancel_scope.cancel()


async def test_nothing_is_asked_of_other_regions_or_when_no_health_is_required() -> None:
    dead = table_of(["127.0.0.1:1"])
    await check_backends(dead, dead.services, Region("us-east-1"))
    await check(table_of(["127.0.0.1:1"], min_healthy_percent=0))
    named = RegionBackends(
        region=REGION, blue=Backends(cluster="theirs"), green=Backends(cluster="theirs-too")
    )
    await check(make_table(make_service(backends=(named,), weights=Weights.all_to(GREEN))))
