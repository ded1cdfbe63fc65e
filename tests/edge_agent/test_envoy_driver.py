"""What only a real Envoy can show: refusals in its words, files, clusters."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import trio

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.drivers.envoy.settings import find_binary
from edge_agent.request import Answer, AskError
from tests.edge_agent.proxy_harness import (
    BLUE,
    GREEN,
    REGION,
    EnvoyHarness,
    active,
    make_table,
    marks,
    no_file_longer_than,
    until,
)
from turnout.protocol.identifiers import Epoch
from turnout.protocol.routing import Backends, RegionBackends, Weights


async def test_unknown_cluster_is_refused_in_envoys_words(envoy: EnvoyHarness) -> None:
    first = envoy.table(BLUE)
    await envoy.serve(1, first)
    named = RegionBackends(region=REGION, blue=Backends(cluster="nowhere"), green=envoy.green)
    table = make_table(envoy.service(backends=(named,)))
    with pytest.raises(Refused, match="unknown cluster 'nowhere'") as refused:
        await envoy.driver.stage(Epoch(2), table, table.services)
    assert refused.value.code is RefusalCode.REJECTED
    assert marks(await envoy.get(staged=True)) == (200, "1", "checkout", "blue")
    assert (await envoy.driver.status()).serving == active(1, first)
    await envoy.serve(3, envoy.table(GREEN))


async def test_routes_rejected_at_the_flip_are_taken_back(envoy: EnvoyHarness) -> None:
    blue, green = envoy.table(BLUE), envoy.table(GREEN)
    await envoy.serve(1, blue)
    await envoy.driver.stage(Epoch(2), green, green.services)
    broken = json.loads(envoy.files.ready.read_bytes())
    broken["resources"][0]["virtual_hosts"][0]["domains"] = []
    envoy.files.ready.write_text(json.dumps(broken))
    with pytest.raises(Refused) as refused:
        await envoy.driver.activate(active(2, green))
    assert refused.value.code is RefusalCode.REJECTED
    assert (await envoy.driver.status()).serving.epoch == 1
    envoy.kill_proxy()
    await envoy.driver.wait_stopped()
    assert (await envoy.driver.start()).serving.epoch == 1
    await envoy.serve(2, green)
    assert (await envoy.driver.status()).serving.epoch == 2


async def test_full_disk_at_a_flip_into_another_incarnation_changes_nothing(
    envoy: EnvoyHarness,
) -> None:
    blue, green = envoy.table(BLUE), envoy.table(GREEN)
    await envoy.serve(5, blue)
    await envoy.stage(1, green)
    with no_file_longer_than(100), pytest.raises(Refused, match="cannot write") as refused:
        await envoy.driver.activate(active(1, green, incarnation=2))
    assert refused.value.code is RefusalCode.DISK
    assert (await envoy.driver.status()).serving == active(5, blue)
    await envoy.driver.activate(active(1, green, incarnation=2))
    assert (await envoy.driver.status()).serving == active(1, green, incarnation=2)


async def test_flip_within_an_incarnation_writes_no_routes(envoy: EnvoyHarness) -> None:
    await envoy.serve(1, envoy.table(BLUE))
    await envoy.stage(2, envoy.table(GREEN))
    laid = envoy.files.ready.stat().st_ino
    await envoy.driver.activate(active(2, envoy.table(GREEN)))
    assert envoy.files.live.stat().st_ino == laid


async def test_disk_that_takes_no_more_refuses_and_changes_nothing(envoy: EnvoyHarness) -> None:
    blue, green = envoy.table(BLUE), envoy.table(GREEN)
    await envoy.serve(1, blue)
    before = {path: path.read_bytes() for path in envoy.files.root.rglob("*.json")}
    with no_file_longer_than(100), pytest.raises(Refused, match="cannot write") as refused:
        await envoy.driver.stage(Epoch(2), green, green.services)
    assert refused.value.code is RefusalCode.DISK
    after = {path: path.read_bytes() for path in envoy.files.root.rglob("*.json")}
    assert after == before
    await envoy.serve(2, green)


async def test_routes_file_changed_by_somebody_is_refused_with_what_to_do(
    envoy: EnvoyHarness,
) -> None:
    await envoy.serve(1, envoy.table(BLUE))
    envoy.files.live.write_text("{}")
    with pytest.raises(Refused, match="is not as Turnout wrote it"):
        await envoy.driver.start()


def test_missing_binary_says_what_to_do() -> None:
    with pytest.raises(Refused, match="no Envoy executable at '/nowhere/envoy'"):
        find_binary(Path("/nowhere/envoy"))


async def test_envoy_started_by_somebody_else_serves_and_is_adopted(envoy: EnvoyHarness) -> None:
    table = envoy.table(GREEN)
    await envoy.serve(4, table)
    await envoy.driver.stop_proxy()
    binary, config = str(find_binary(None)), str(envoy.files.bootstrap)
    command = [binary, "--config-path", config, "--disable-hot-restart"]
    process = await trio.lowlevel.open_process(command, stderr=subprocess.DEVNULL)

    async def serves() -> bool:
        try:
            return marks(await envoy.get()) == (200, "4", "checkout", "green")
        except AskError:
            return False

    try:
        await until(serves)
        status = await envoy.driver.start()
        assert status.serving == active(4, table)
        assert envoy.pid == process.pid
    finally:
        process.kill()
        await process.wait()


async def test_replaced_addresses_stay_until_their_requests_end(envoy: EnvoyHarness) -> None:
    def clusters() -> list[str]:
        listing = json.loads(envoy.files.clusters.read_bytes())
        return [resource["name"] for resource in listing["resources"]]

    await envoy.serve(1, envoy.table(BLUE))
    (old_blue,) = [name for name in clusters() if "/blue/" in name]
    await envoy.hold_request(BLUE, seconds=1.0)
    swapped = RegionBackends(region=REGION, blue=envoy.green, green=envoy.blue)
    table = envoy.table(BLUE, backends=(swapped,))
    await envoy.serve(2, table)
    await envoy.serve(3, table)
    assert old_blue in clusters()

    async def ended() -> bool:
        return bool(envoy.held)

    await until(ended)
    assert isinstance(envoy.held[0], Answer)
    await envoy.serve(4, table)
    assert old_blue not in clusters()


async def test_close_spares_addresses_that_another_service_uses(envoy: EnvoyHarness) -> None:
    neighbour = envoy.service(name="neighbour", hosts=("neighbour.example",))
    await envoy.serve(1, make_table(envoy.service(weights=Weights.all_to(GREEN)), neighbour))
    with pytest.raises(Refused, match=envoy.blue.addresses[0]) as refused:
        await envoy.driver.close(envoy.service(), BLUE)
    assert refused.value.code is RefusalCode.IN_USE
