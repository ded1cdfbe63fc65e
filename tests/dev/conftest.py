"""`turnout dev` as a user runs it, and what must be gone afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from turnout.dev.processes import descendants

TURNOUT = [sys.executable, "-m", "turnout.cli.main"]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    with trio.fail_after(timeout_s):
        while not condition():  # noqa: ASYNC110 - other processes set no event of ours
            await trio.sleep(0.02)


@attrs.define
class DevFleet:
    """A running `turnout dev --json`, and what it said of itself."""

    process: subprocess.Popen[str]
    document: dict[str, Any]

    @property
    def everything(self) -> list[int]:
        """Every process of it, the owner included."""
        return [self.process.pid, *descendants(self.process.pid)]

    def turnout(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "TURNOUT_COORDINATORS": ",".join(self.document["coordinators"]),
        }
        command = [*TURNOUT, *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    async def is_gone(self, pids: list[int]) -> None:
        """Waits until neither a process nor a file is left."""
        folder = Path(self.document["folder"])
        await until(lambda: not any(map(is_running, pids)) and not folder.exists())


@pytest.fixture
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevFleet]:
    """One region, one coordinator, one etcd; its files are in a temporary folder with a short path."""
    options = ["--regions", "1", "--coordinators", "1", "--etcd", "1", "--json"]
    process = subprocess.Popen(
        [*TURNOUT, "dev", *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path_factory.mktemp("dev"))},
    )
    assert process.stdout is not None
    try:
        text = ""
        while not text.endswith("\n}\n"):
            line = process.stdout.readline()
            assert line, f"turnout dev ended early: {text}"
            text += line
        yield DevFleet(process, json.loads(text))
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
