"""`turnout dev`: a real fleet that can be switched, and that leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import httpx
import pytest

from tests.dev.conftest import DevFleet

pytestmark = pytest.mark.slow


def answer_of(dev: DevFleet) -> httpx.Response:
    edge = dev.document["regions"][0]["edge"]
    return httpx.get(edge, headers={"host": dev.document["host"]}, trust_env=False)


def test_fleet_serves_the_sample_service_and_can_be_switched(dev: DevFleet) -> None:
    assert answer_of(dev).headers["x-turnout-colour"] == "blue"
    done = dev.turnout("switch", "checkout", "--to", "green", "-o", "json")
    assert done.returncode == 0, done.stderr
    switch = json.loads(done.stdout)
    assert (switch["outcome"], switch["sla"]["met"]) == ("live", True)
    answer = answer_of(dev)
    assert answer.headers["x-backend"] == "green"
    assert answer.headers["x-turnout-epoch"] == str(switch["epoch"])
    again = dev.turnout("switch", "checkout", "--to", "green")
    assert (again.returncode, "Nothing to do" in again.stdout) == (0, True)


async def test_fleet_whose_owner_is_killed_leaves_nothing(dev: DevFleet) -> None:
    pids = dev.everything
    assert len(pids) > 6
    dev.process.kill()
    await dev.is_gone(pids)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_fleet_that_is_asked_to_end_leaves_nothing(
    dev: DevFleet, number: signal.Signals
) -> None:
    pids = dev.everything
    dev.process.send_signal(number)
    assert dev.process.wait(30) == 0
    await dev.is_gone(pids)


async def test_agent_killed_in_a_fleet_leaves_its_proxy_serving(dev: DevFleet) -> None:
    (agent,) = [pid for pid in dev.everything if b"agent\0run" in command_of(pid)]
    os.kill(agent, signal.SIGKILL)
    assert answer_of(dev).headers["x-turnout-epoch"] == "1"


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
