"""The program as it is run: its configuration, its signals, its exit codes."""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import httpx
import pytest
import structlog
import trio

from coordinator.config import (
    EXAMPLE,
    CoordinatorSettings,
    EtcdSettings,
    LogSettings,
    load_settings,
)
from coordinator.daemon import main
from tests.coordinator.world import World, until
from turnout.protocol.timing_settings import TimingSettings
from turnout.runtime.key_file import make_key
from turnout.runtime.ports import free_ports
from turnout.runtime.store.etcd_options import Login

PROGRAM = "import sys; from pathlib import Path; from coordinator.daemon import main; "
PROGRAM += "sys.exit(main(Path(sys.argv[1])))"


def config_text(world: World, port: int, replica: str = "c0") -> str:
    endpoints = json.dumps(list(world.endpoints))
    return f"""
replica = "{replica}"
domain = "{world.domain}"
domain_key = "domain.key"
listen = "127.0.0.1:{port}"
[etcd]
endpoints = {endpoints}
[timing]
lease_ttl_s = 2
election_s = 0.5
[log]
json_lines = true
"""


class Program:
    """A coordinator in a process of its own."""

    def __init__(self, config: Path) -> None:
        self.log = config.with_suffix(".log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(config)],
                stderr=log,
                cwd=Path(__file__).parents[2],
            )

    async def exit_code(self) -> int:
        await until(lambda: self.process.poll() is not None)
        return int(self.process.returncode)


async def answers(url: str) -> bool:
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            return (await client.get(url)).status_code == 200
        except httpx.TransportError:
            return False


async def until_ready(url: str) -> None:
    with trio.fail_after(20):
        while True:
            if await answers(f"{url}/readyz"):
                return
            await trio.sleep(0.05)


async def test_program_serves_until_sigterm_and_exits_with_zero(empty_world: World) -> None:
    await empty_world.init()
    (port,) = free_ports(1)
    config = empty_world.folder / "coordinator.toml"
    config.write_text(config_text(empty_world, port))
    program = Program(config)
    try:
        await until_ready(f"http://127.0.0.1:{port}")
        program.process.send_signal(signal.SIGTERM)
        assert await program.exit_code() == 0
        events = [json.loads(line)["event"] for line in program.log.read_text().splitlines()]
        assert {"serving", "elected", "stopping", "stopped"} <= set(events)
        assert not await answers(f"http://127.0.0.1:{port}/healthz")
    finally:
        program.process.kill()
        program.process.wait()


async def test_program_killed_with_a_switch_on_its_way_loses_nothing_accepted(
    empty_world: World,
) -> None:
    world = empty_world
    await world.init()
    survivor = await world.start_coordinator()
    await world.leader()
    await world.populate("a", "b")
    await world.apply_first()
    (port,) = free_ports(1)
    config = world.folder / "coordinator.toml"
    config.write_text(config_text(world, port, "killed"))
    program = Program(config)
    try:
        await until_ready(f"http://127.0.0.1:{port}")
        survivor.running.replica.candidate.hand_over("a test")
        for agent in world.agents.values():
            agent.urls.append(f"http://127.0.0.1:{port}")
            agent.silent = True
        candidate = survivor.running.replica.candidate
        await until(lambda: bool(candidate.leader and candidate.leader.replica == "killed"))
        for name in ("a", "b"):
            world.kill_agent(name)
            world.start_agent(name)
        accepted = await world.switch("green", key="k")
        assert accepted.status_code == 202, accepted.text
        os.kill(program.process.pid, signal.SIGKILL)
        await program.exit_code()
        for agent in world.agents.values():
            agent.silent = False
        document = await world.finished(accepted.json()["epoch"])
        assert document["outcome"] in ("live", "aborted")
        assert (await world.switch("green", key="k")).json()["epoch"] == document["epoch"]
    finally:
        program.process.kill()
        program.process.wait()


Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def process_as_before() -> Iterator[None]:
    """What ``main`` sets up in this process is taken back."""
    handlers, threshold = logging.root.handlers[:], gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a ``coordinator.toml`` with one key changed."""

    def config(**changes: str) -> Path:
        values = {
            "replica": '"c0"',
            "domain": '"shop"',
            "domain_key": '"domain.key"',
            "listen": '"127.0.0.1:0"',
            "etcd": '{endpoints = ["127.0.0.1:1"]}',
        }
        values |= changes
        path = tmp_path / "coordinator.toml"
        path.write_text("".join(f"{key} = {value}\n" for key, value in values.items()))
        return path

    return config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"listen": '"0.0.0.0:7100"'}, "loopback address"),
        ({"listen": '"example.com:7100"'}, "loopback address"),
        ({"listen": '"127.0.0.1"'}, "HOST:PORT"),
        ({"replica": '"C 0"'}, "replica"),
        ({"etcd": "{endpoints = []}"}, "endpoints"),
        ({"etcd": '{endpoints = ["http://x:1"]}'}, "HOST:PORT"),
        ({"etcd": '{endpoints = ["x:1"], user = "u"}'}, "both user and password_file"),
        ({"timing": "{prepare_timeout_s = 20}"}, "above the budget"),
        ({"timing": "{silence_s = 0.5}"}, "silence_s"),
        ({"url": '"example.com"'}, "is not an address"),
        ({"colour": '"blue"'}, "colour is not a known key"),
        ({}, "domain.key"),
    ],
)
def test_configuration_that_cannot_be_is_refused_by_its_key(
    write: Write, changes: dict[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(write(**changes)) == 3
    assert words in capsys.readouterr().err


def test_address_that_is_taken_is_refused(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_key(tmp_path / "domain.key")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(write(listen=f'"127.0.0.1:{port}"')) == 3
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_key_file_that_others_may_read_is_refused(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_key(tmp_path / "domain.key")
    (tmp_path / "domain.key").chmod(0o644)
    assert main(write()) == 3
    assert "can be read by others" in capsys.readouterr().err


def test_example_says_the_defaults_and_can_be_used_with_every_key(tmp_path: Path) -> None:
    path = tmp_path / "coordinator.toml"
    path.write_text(EXAMPLE)
    settings = load_settings(path)
    assert settings.domain_key == tmp_path / "domain.key"
    everything = re.sub(r"^# (\[|\w+ = )", r"\1", EXAMPLE, flags=re.MULTILINE)
    path.write_text(everything)
    (tmp_path / "etcd.password").write_text("secret\n")
    full = load_settings(path)
    assert (full.timing, full.max_connections) == (settings.timing, settings.max_connections)
    assert full.etcd.password_file == tmp_path / "etcd.password"
    assert full.etcd_options().login == Login(user="turnout", password="secret")


def test_key_that_the_example_does_not_have_is_none(tmp_path: Path) -> None:
    for cls in (CoordinatorSettings, EtcdSettings, TimingSettings, LogSettings):
        for name in (field.name for field in attrs.fields(cls)):
            assert name in EXAMPLE, name
