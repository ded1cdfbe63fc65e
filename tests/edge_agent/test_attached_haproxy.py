"""Beside a HAProxy that somebody else starts, configures, reloads and restarts."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.drivers.haproxy.driver import HAProxyDriver
from edge_agent.drivers.haproxy.files import Files
from edge_agent.drivers.haproxy.settings import Attached, HAProxySettings, find_binary
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

_OWN = """\
global
  stats socket {folder}/theirs.sock mode 600 level admin expose-fd listeners
defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 1s
frontend theirs
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/plain string "theirs"
backend old
  server one {blue}
backend new
  server one {green}
"""


class Theirs(AttachedHarness):
    """An operator with a HAProxy, and an agent that may use it."""

    driver_type = HAProxyDriver
    files: Files

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        super().__init__(folder, nursery)
        attach = Attached(
            config=(folder / "theirs.cfg",),
            admin_socket=folder / "theirs.sock",
            master_socket=folder / "master.sock",
        )
        self.settings = HAProxySettings(
            region=REGION,
            state_dir=folder / "turnout",
            listen=f"127.0.0.1:{free_port()}",
            attach=attach,
        )
        self.files = Files(folder / "turnout", attach)
        self.driver = self.new_driver()

    def configure(self) -> None:
        (blue,), (green,) = self.blue.addresses, self.green.addresses
        own = _OWN.format(folder=self.folder, port=self.port, blue=blue, green=green)
        (self.folder / "theirs.cfg").write_text(own)

    async def start_haproxy(self, *more: Path) -> None:
        """As its supervisor does."""
        files = (self.folder / "theirs.cfg", *more)
        command = [str(find_binary(None)), "-W", "-S", f"{self.folder}/master.sock,mode,600"]
        for path in files:
            command += ["-f", str(path)]
        await self.launch(command)


@pytest.fixture
async def theirs(nursery: trio.Nursery) -> AsyncIterator[Theirs]:
    async with attached(Theirs, nursery) as harness:
        harness.configure()
        yield harness


async def attach(theirs: Theirs) -> None:
    """The files first, for HAProxy is given one of them; then HAProxy, then the agent."""
    await theirs.wait_for_it()
    await theirs.start_haproxy(theirs.files.routing)
    await theirs.driver.start()


async def test_agent_waits_for_it_and_switches_beside_what_is_theirs(theirs: Theirs) -> None:
    await attach(theirs)
    await theirs.serve(1, theirs.table(BLUE))
    evidence = await theirs.serve(2, theirs.table(GREEN))
    assert evidence.serving == active(2, theirs.table(GREEN))
    assert marks(await theirs.get()) == (200, "2", "checkout", "green")
    assert await theirs.is_theirs_up()
    status = await theirs.driver.status()
    assert (status.running, status.restart_needed) == (True, False)
    assert theirs.process is not None
    assert theirs.pid == theirs.process.pid


async def test_their_restart_and_their_reload_bring_the_table_back(theirs: Theirs) -> None:
    await attach(theirs)
    await theirs.serve(1, theirs.table(GREEN))
    await theirs.end()
    await theirs.driver.wait_stopped()
    assert not (await theirs.driver.status()).running
    await theirs.start_haproxy(theirs.files.routing)
    assert marks(await theirs.get()) == (200, "1", "checkout", "green")
    assert (await theirs.driver.start()).serving == active(1, theirs.table(GREEN))
    assert theirs.process is not None
    os.kill(theirs.process.pid, signal.SIGUSR2)
    await theirs.serve(2, theirs.table(BLUE))
    assert marks(await theirs.get()) == (200, "2", "checkout", "blue")


async def test_s5_their_reload_in_the_middle_of_a_flip_takes_nothing_back(theirs: Theirs) -> None:
    await attach(theirs)
    await theirs.serve(1, theirs.table(BLUE))
    assert theirs.process is not None
    for epoch in range(2, 8):
        table = theirs.table(GREEN if epoch % 2 == 0 else BLUE)
        await theirs.stage(epoch, table)
        os.kill(theirs.process.pid, signal.SIGUSR2)
        await trio.sleep(0.003 * (epoch - 2))  # so that reload and flip meet in different places
        await theirs.driver.activate(active(epoch, table))
        with trio.move_on_after(0.2):
            while True:
                assert (await theirs.driver.status()).serving.epoch == epoch


async def test_their_own_backends_are_switched_by_name(theirs: Theirs) -> None:
    await attach(theirs)
    named = RegionBackends(
        region=REGION, blue=Backends(cluster="old"), green=Backends(cluster="new")
    )
    service = theirs.service(backends=(named,))
    for epoch, weights in ((1, Weights.all_to(BLUE)), (2, Weights.all_to(GREEN))):
        table = make_table(theirs.service(backends=(named,), weights=weights))
        await theirs.serve(epoch, table)
    answer = await theirs.get()
    assert marks(answer) == (200, "2", "checkout", "green")
    assert answer.body.startswith(b"green")
    assert await theirs.driver.requests_total(service, GREEN) > 0
    assert await theirs.driver.in_flight(service, BLUE) == 0


async def test_haproxy_without_turnouts_part_is_refused_with_what_to_do(theirs: Theirs) -> None:
    await theirs.start_haproxy()
    with pytest.raises(Refused, match=r"give it -f '.*/turnout\.cfg'") as refused:
        await theirs.driver.start()
    assert refused.value.code is RefusalCode.PROXY_DOWN


async def test_proxy_of_theirs_is_never_ended(theirs: Theirs) -> None:
    await attach(theirs)
    await theirs.serve(1, theirs.table(BLUE))
    await theirs.driver.stop_proxy()
    assert marks(await theirs.get()) == (200, "1", "checkout", "blue")


async def test_check_reads_their_configuration_too(theirs: Theirs) -> None:
    await attach(theirs)
    findings = {finding.what: finding for finding in await theirs.driver.check()}
    assert findings["configuration"].is_well
    assert "adopt" in findings["process"].found
    (theirs.folder / "theirs.cfg").write_text("nonsense\n")
    findings = {finding.what: finding for finding in await theirs.driver.check()}
    assert not findings["configuration"].is_well
    assert "nonsense" in findings["configuration"].found
