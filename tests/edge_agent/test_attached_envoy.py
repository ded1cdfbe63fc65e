"""Beside an Envoy that somebody else starts, configures and restarts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.drivers.envoy.driver import EnvoyDriver
from edge_agent.drivers.envoy.files import Files
from edge_agent.drivers.envoy.resources import socket_address
from edge_agent.drivers.envoy.settings import Attached, EnvoySettings, find_binary
from edge_agent.request import endpoint_of
from tests.edge_agent.attached import AttachedHarness, attached
from tests.edge_agent.proxy_harness import (
    BLUE,
    GREEN,
    REGION,
    active,
    free_port,
    make_table,
    marks,
)
from turnout.protocol.routing import Backends, RegionBackends, Weights

_TYPE = "type.googleapis.com/envoy.extensions.filters"


class Theirs(AttachedHarness):
    """An operator with an Envoy, and an agent that may use it."""

    driver_type = EnvoyDriver
    files: Files

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        super().__init__(folder, nursery)
        self.attach = Attached(config=folder / "theirs.json", admin_socket=folder / "theirs.sock")
        self.settings = EnvoySettings(
            region=REGION,
            state_dir=folder / "turnout",
            listen=f"127.0.0.1:{free_port()}",
            attach=self.attach,
        )
        self.files = Files(folder / "turnout", self.attach)
        self.driver = self.new_driver()

    def configure(self, *, with_turnout: bool = True) -> None:
        """Their own listener and clusters, and (as docs/proxies.md says) what Turnout needs."""
        ours = json.loads(self.files.bootstrap.read_bytes())
        theirs: dict[str, Any] = {
            "node": ours["node"],
            "admin": {"address": {"pipe": {"path": str(self.attach.admin_socket), "mode": 0o600}}},
            "static_resources": {
                "listeners": [self.listener()],
                "clusters": [
                    self.cluster("old", self.blue.addresses[0]),
                    self.cluster("new", self.green.addresses[0]),
                ],
            },
        }
        if with_turnout:
            theirs["dynamic_resources"] = ours["dynamic_resources"]
            theirs["static_resources"]["listeners"] += ours["static_resources"]["listeners"]
        self.attach.config.write_text(json.dumps(theirs))

    def listener(self) -> dict[str, Any]:
        router = {"@type": f"{_TYPE}.http.router.v3.Router"}
        route = {
            "match": {"prefix": "/"},
            "direct_response": {"status": 200, "body": {"inline_string": "theirs"}},
        }
        manager = {
            "@type": f"{_TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "theirs",
            "route_config": {
                "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]
            },
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
        }
        name = "envoy.filters.network.http_connection_manager"
        return {
            "name": "theirs",
            "address": socket_address("127.0.0.1", self.port),
            "filter_chains": [{"filters": [{"name": name, "typed_config": manager}]}],
        }

    def cluster(self, name: str, address: str) -> dict[str, Any]:
        endpoint = {"endpoint": {"address": socket_address(*endpoint_of(address))}}
        return {
            "name": name,
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [endpoint]}],
            },
        }

    async def start_envoy(self) -> None:
        """As its supervisor does."""
        command = [str(find_binary(None)), "--config-path", str(self.attach.config)]
        await self.launch([*command, "--use-dynamic-base-id"])


@pytest.fixture
async def theirs(nursery: trio.Nursery) -> AsyncIterator[Theirs]:
    async with attached(Theirs, nursery) as harness:
        await harness.wait_for_it()
        yield harness


async def attach(theirs: Theirs) -> None:
    theirs.configure()
    await theirs.start_envoy()
    await theirs.driver.start()


async def test_agent_switches_beside_what_is_theirs(theirs: Theirs) -> None:
    await attach(theirs)
    await theirs.serve(1, theirs.table(BLUE))
    evidence = await theirs.serve(2, theirs.table(GREEN))
    assert evidence.serving == active(2, theirs.table(GREEN))
    assert marks(await theirs.get()) == (200, "2", "checkout", "green")
    assert await theirs.is_theirs_up()
    assert theirs.process is not None
    assert theirs.pid == theirs.process.pid


async def test_their_restart_brings_the_table_back(theirs: Theirs) -> None:
    await attach(theirs)
    await theirs.serve(1, theirs.table(GREEN))
    await theirs.end()
    await theirs.driver.wait_stopped()
    assert not (await theirs.driver.status()).running
    await theirs.start_envoy()
    assert (await theirs.driver.start()).serving == active(1, theirs.table(GREEN))
    assert marks(await theirs.get()) == (200, "1", "checkout", "green")
    await theirs.serve(2, theirs.table(BLUE))


async def test_their_own_clusters_are_switched_by_name(theirs: Theirs) -> None:
    await attach(theirs)
    named = RegionBackends(
        region=REGION, blue=Backends(cluster="old"), green=Backends(cluster="new")
    )
    for epoch, weights in ((1, Weights.all_to(BLUE)), (2, Weights.all_to(GREEN))):
        await theirs.serve(epoch, make_table(theirs.service(backends=(named,), weights=weights)))
    answer = await theirs.get()
    assert marks(answer) == (200, "2", "checkout", "green")
    assert answer.body.startswith(b"green")
    assert await theirs.driver.requests_total(theirs.service(backends=(named,)), GREEN) > 0


async def test_envoy_without_turnouts_part_is_refused_with_what_to_do(theirs: Theirs) -> None:
    theirs.configure(with_turnout=False)
    await theirs.start_envoy()
    with pytest.raises(
        Refused, match=r"must have the listeners, .*layered_runtime of .*bootstrap\.json"
    ) as refused:
        await theirs.driver.start()
    assert refused.value.code is RefusalCode.PROXY_DOWN


async def test_proxy_of_theirs_is_never_ended(theirs: Theirs) -> None:
    await attach(theirs)
    await theirs.serve(1, theirs.table(BLUE))
    await theirs.driver.stop_proxy()
    assert marks(await theirs.get()) == (200, "1", "checkout", "blue")


async def test_check_reads_their_configuration(theirs: Theirs) -> None:
    await attach(theirs)
    findings = {finding.what: finding for finding in await theirs.driver.check()}
    assert findings["configuration"].is_well
    assert "adopt" in findings["process"].found
    theirs.attach.config.write_text('{"nonsense": 1}')
    findings = {finding.what: finding for finding in await theirs.driver.check()}
    assert not findings["configuration"].is_well
    assert "nonsense" in findings["configuration"].found
