"""Beside an nginx that somebody else starts, configures, reloads and restarts."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from edge_agent.drivers.nginx.config import MODULES
from edge_agent.drivers.nginx.driver import NginxDriver
from edge_agent.drivers.nginx.files import Files
from edge_agent.drivers.nginx.settings import Attached, NginxSettings, find_binary
from tests.edge_agent.attached import AttachedHarness, attached
from tests.edge_agent.proxy_harness import (
    BLUE,
    GREEN,
    REGION,
    active,
    free_port,
    marks,
    until,
)

_OWN = """\
{modules}
{user}
daemon off;
pid {folder}/theirs.pid;
error_log {folder}/theirs.log;
worker_processes 2;
events {{ worker_connections 1024; }}
http {{
  access_log {folder}/access.log;
  keepalive_timeout 5s;
  client_max_body_size 1m;
  {include}
  server {{
    listen 127.0.0.1:{port};
    location / {{ return 200 "theirs"; }}
  }}
}}
"""


class Theirs(AttachedHarness):
    """An operator with an nginx, and an agent that may use it."""

    driver_type = NginxDriver
    files: Files
    settings: NginxSettings
    unreachable = 502

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        super().__init__(folder, nursery)
        self.config = folder / "theirs.conf"
        self.settings = NginxSettings(
            region=REGION,
            state_dir=folder / "turnout",
            listen=f"127.0.0.1:{free_port()}",
            attach=Attached(config=self.config),
        )
        self.files = Files(folder / "turnout")
        self.driver = self.new_driver()

    def configure(self, *, include: str | None = None) -> None:
        modules = [f"load_module {self.settings.modules_dir / module};" for module in MODULES]
        text = _OWN.format(
            modules="\n".join(modules),
            user="user root root;" if os.geteuid() == 0 else "",
            folder=self.folder,
            include=f"include {self.files.http};" if include is None else include,
            port=self.port,
        )
        self.config.write_text(text)

    async def start_nginx(self) -> None:
        """As its supervisor does."""
        for path in (self.files.admin_socket, self.files.staging_socket):
            path.unlink(missing_ok=True)
        command = [str(find_binary(None)), "-p", str(self.folder), "-c", str(self.config)]
        await self.launch([*command, "-e", "stderr"])


@pytest.fixture
async def theirs(nursery: trio.Nursery) -> AsyncIterator[Theirs]:
    async with attached(Theirs, nursery) as harness:
        await harness.wait_for_it()
        yield harness


async def attach(theirs: Theirs) -> None:
    theirs.configure()
    await theirs.start_nginx()
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
    assert not (await theirs.driver.status()).restart_needed


async def test_their_restart_brings_the_table_back(theirs: Theirs) -> None:
    await attach(theirs)
    await theirs.serve(1, theirs.table(GREEN))
    await theirs.end()
    await theirs.driver.wait_stopped()
    assert not (await theirs.driver.status()).running
    await theirs.start_nginx()
    assert marks(await theirs.get()) == (200, "1", "checkout", "green")
    assert (await theirs.driver.start()).serving == active(1, theirs.table(GREEN))
    await theirs.serve(2, theirs.table(BLUE))


async def test_s5_their_reload_in_the_middle_of_a_flip_takes_nothing_back(theirs: Theirs) -> None:
    await attach(theirs)
    await theirs.serve(1, theirs.table(BLUE))
    assert theirs.process is not None
    for epoch in range(2, 8):
        table = theirs.table(GREEN if epoch % 2 == 0 else BLUE)
        await theirs.stage(epoch, table)
        os.kill(theirs.process.pid, signal.SIGHUP)
        await trio.sleep(0.004 * (epoch - 2))  # so that reload and flip meet in different places
        await theirs.driver.activate(active(epoch, table))
        with trio.move_on_after(0.2):
            while True:
                assert (await theirs.driver.status()).serving.epoch == epoch


async def test_s5_their_reload_that_read_the_file_before_a_flip_takes_nothing_back(
    theirs: Theirs,
) -> None:
    await attach(theirs)
    await theirs.serve(1, theirs.table(BLUE))
    before_the_flip = theirs.files.active.read_bytes()
    await theirs.serve(2, theirs.table(GREEN))
    theirs.files.active.write_bytes(before_the_flip)
    old = workers(theirs)
    os.kill(theirs.pid, signal.SIGHUP)

    async def is_reloaded() -> bool:
        return bool(workers(theirs)) and not old & workers(theirs)

    await until(is_reloaded)
    assert (await theirs.driver.status()).serving == active(2, theirs.table(GREEN))


def workers(theirs: Theirs) -> set[int]:
    children = Path(f"/proc/{theirs.pid}/task/{theirs.pid}/children").read_text()
    return {int(pid) for pid in children.split()}


async def test_request_in_flight_survives_their_reload_and_is_counted(theirs: Theirs) -> None:
    await attach(theirs)
    await theirs.serve(1, theirs.table(BLUE))
    await theirs.hold_request(BLUE, 1.0)
    assert theirs.process is not None
    os.kill(theirs.process.pid, signal.SIGHUP)
    await theirs.serve(2, theirs.table(GREEN))
    assert await theirs.driver.in_flight(theirs.service(), BLUE) == 1

    async def drained() -> bool:
        return await theirs.driver.in_flight(theirs.service(), BLUE) == 0

    await until(drained)
    assert marks(theirs.held[0]) == (200, "1", "checkout", "blue")  # type: ignore[arg-type]


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
    theirs.configure(include="nonsense;")
    findings = {finding.what: finding for finding in await theirs.driver.check()}
    assert not findings["configuration"].is_well
    assert "nonsense" in findings["configuration"].found
