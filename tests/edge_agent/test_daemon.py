"""The agent's real process beside a real Envoy, with a fake leader that speaks real HTTP."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import trio
from attrs import define, field

from edge_agent.config import load_settings
from edge_agent.daemon import open_state, proxy_driver
from edge_agent.sample_backend import SampleBackend, run_backend
from tests.edge_agent.fake_coordinator import (
    DOMAIN,
    HOST,
    FakeCoordinator,
    table_of,
    until,
)
from tests.edge_agent.proxy_harness import free_port
from turnout.protocol.identifiers import AgentId
from turnout.protocol.routing import Colour, RoutingTable
from turnout.runtime.key_file import make_key
from turnout.runtime.problems import ExitCode

AGENT = AgentId("eu-a")
START = "import sys; from pathlib import Path; from edge_agent.daemon import main; "
START += "sys.exit(main(Path(sys.argv[1])))"


@define(kw_only=True)
class Installation:
    """A host with an agent installed: its folder, its addresses, its process when it runs."""

    folder: Path
    urls: list[str]
    key: str
    edge: str = field(factory=lambda: f"127.0.0.1:{free_port()}")
    listen: str = field(factory=lambda: f"127.0.0.1:{free_port()}")
    process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return self.folder / "agent.toml"

    def write_config(self) -> None:
        urls = ", ".join(f'"{url}"' for url in self.urls)
        self.config.write_text(
            f'id = "{AGENT}"\nregion = "eu"\ncoordinators = [{urls}]\n'
            f'domain_key = "{DOMAIN.public_key}"\nkey_file = "agent.key"\n'
            f'state_folder = "state"\nlisten = "{self.listen}"\n'
            f'[envoy]\nlisten = "{self.edge}"\nconcurrency = 1\n'
        )

    def start(self) -> None:
        log = (self.folder / "agent.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, str(self.config)], stderr=log, stdout=log
        )
        log.close()

    def signal(self, number: signal.Signals) -> int:
        """Signal the agent and wait for its end; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(timeout=20)
        self.process = None
        return code

    def kill_proxy(self) -> None:
        os.kill(self.proxy_pid, signal.SIGKILL)

    @property
    def proxy_pid(self) -> int:
        return int(next((self.folder / "state/envoy").glob("*.pid")).read_text())

    async def epoch(self) -> str:
        """The epoch that a user's answer is marked with; empty where there is none."""
        try:
            async with httpx.AsyncClient(trust_env=False) as user:
                answer = await user.get(f"http://{self.edge}/", headers={"host": HOST})
        except httpx.HTTPError:
            return ""
        return answer.headers.get("x-turnout-epoch", "") if answer.is_success else ""

    async def until_epoch(self, epoch: str) -> None:
        with trio.fail_after(20):
            while True:
                if await self.epoch() == epoch:
                    return
                await trio.sleep(0.02)

    async def status(self) -> dict[str, object]:
        """/status, once the agent says that it is ready."""
        with trio.fail_after(20):
            while True:
                try:
                    return await self._status_if_ready()
                except httpx.HTTPError:
                    await trio.sleep(0.05)

    async def _status_if_ready(self) -> dict[str, object]:
        url = f"http://{self.listen}"
        async with httpx.AsyncClient(trust_env=False, base_url=url) as asked:
            (await asked.get("/readyz")).raise_for_status()
            found: dict[str, object] = (await asked.get("/status")).json()
            return found


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="agent-"))  # tmp_path would be too long for sockets
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def leader(nursery: trio.Nursery) -> AsyncIterator[FakeCoordinator]:
    coordinator = FakeCoordinator()
    await coordinator.start(nursery)
    yield coordinator
    coordinator.stop()


@pytest.fixture
async def host(folder: Path, leader: FakeCoordinator) -> AsyncIterator[Installation]:
    second = f"http://127.0.0.1:{free_port()}"
    key = make_key(folder / "agent.key").public_key
    installed = Installation(folder=folder, urls=[leader.url, second], key=key)
    installed.write_config()
    leader.keys[AGENT] = key
    try:
        yield installed
    finally:
        if installed.process is not None:
            installed.signal(signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await proxy_driver(load_settings(installed.config)).stop_proxy()


@pytest.fixture
async def tables(nursery: trio.Nursery) -> AsyncIterator[dict[Colour, RoutingTable]]:
    """A service of two real backends, sent to either of them."""
    addresses = {}
    for colour in Colour:
        server = await nursery.start(run_backend, SampleBackend(name=colour.value))
        name, port = server.addresses[0]
        addresses[colour] = (f"{name}:{port}",)
    yield {
        colour: table_of(
            colour,
            blue=addresses[Colour.BLUE],
            green=addresses[Colour.GREEN],
            min_healthy_percent=100,
        )
        for colour in Colour
    }
    nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_agent_and_envoy_keep_their_word_through_kills_with_everything_else_gone(
    host: Installation,
    leader: FakeCoordinator,
    tables: dict[Colour, RoutingTable],
    nursery: trio.Nursery,
) -> None:
    blue, green = tables[Colour.BLUE], tables[Colour.GREEN]
    host.start()
    await until(lambda: AGENT in leader.streams, within_s=20)
    await leader.switch(blue)
    assert await host.epoch() == "1"

    leader.tell(leader.prepare(green))
    await until(lambda: leader.votes_of(2))
    assert leader.votes_of(2)[0].no is None
    host.signal(signal.SIGKILL)
    assert await host.epoch() == "1", "the proxy outlives its agent"

    leader.stop()
    proxy = host.proxy_pid
    host.start()
    status = await host.status()
    assert host.proxy_pid == proxy, "a restarted agent adopts its proxy"
    assert status["prepared"] == {"epoch": 2, "digest": green.digest}
    assert status["leader"] is None
    assert await host.epoch() == "1"

    host.signal(signal.SIGKILL)
    host.kill_proxy()
    host.start()
    await host.until_epoch("1")
    await until(lambda: host.proxy_pid != proxy)  # the file is written when it serves

    second = FakeCoordinator(term=2, replica="c2")
    second.keys, second.head = leader.keys, leader.head
    second.commit(green)
    await second.start(nursery, port=int(host.urls[1].rpartition(":")[2]))
    await until(lambda: second.is_live(2), within_s=20)
    assert await host.epoch() == "2"

    assert host.signal(signal.SIGTERM) == 0
    assert await host.epoch() == "2", "the proxy outlives its agent"
    second.stop()


async def refusal(host: Installation, prelude: str = "") -> str:
    """What an agent that does not start says."""
    ended = await trio.run_process(
        [sys.executable, "-c", prelude + START, str(host.config)],
        capture_stderr=True,
        check=False,
    )
    said = ended.stderr.decode()
    assert ended.returncode == ExitCode.REFUSED
    assert "Traceback" not in said
    return said


async def test_configuration_that_is_wrong_ends_the_start_with_a_sentence(
    host: Installation,
) -> None:
    host.config.write_text('id = "A"\n')
    said = await refusal(host)
    assert said.startswith(f"turnout agent: {host.config}: ")
    assert "id must have" in said
    host.write_config()


async def test_key_that_others_may_read_ends_the_start(host: Installation) -> None:
    (host.folder / "agent.key").chmod(0o644)
    assert "can be read by others" in await refusal(host)


async def test_second_agent_on_one_state_folder_ends_at_once(host: Installation) -> None:
    with open_state(load_settings(host.config)):
        assert "in use by another agent" in await refusal(host)


async def test_start_on_a_full_disk_ends_with_what_to_do(host: Installation) -> None:
    limit = "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (0, 0)); "
    assert "the file may not grow" in await refusal(host, limit)


async def test_address_that_is_taken_ends_the_start(host: Installation) -> None:
    host.listen = host.urls[0].removeprefix("http://")
    host.write_config()
    assert host.listen in await refusal(host)
