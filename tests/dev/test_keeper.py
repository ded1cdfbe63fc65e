"""Nothing of a fleet is left behind, whichever of its three processes is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from tests.dev.conftest import is_running, until

# Stands for the fleet program: starts a process in a session of its own (as an agent starts its
# Envoy), whose parent then ends, writes both numbers into the folder, and waits.
FLEET = """
import os, pathlib, subprocess, sys, time
folder = pathlib.Path(sys.argv[1])
folder.mkdir()
sleeper = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)"
starter = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True)"
subprocess.run([sys.executable, "-c", starter, sys.executable, "-c", sleeper, str(folder / "envoy")])
while not (folder / "envoy").exists() or not (folder / "envoy").read_text():
    time.sleep(0.01)
(folder / "fleet.new").write_text(str(os.getpid()))
(folder / "fleet.new").rename(folder / "fleet")
sys.exit(7) if sys.argv[2] == "end" else time.sleep(600)
"""

OWNER = """
import pathlib, sys
from turnout.dev.keeper import run_kept
sys.exit(run_kept(sys.argv[2:], pathlib.Path(sys.argv[1]), keep_folder=False))
"""


@attrs.define
class Kept:
    """A fleet program under its keeper and owner."""

    owner: subprocess.Popen[bytes]
    folder: Path

    async def up(self) -> tuple[int, int, int]:
        """The keeper's, the fleet program's and the orphan's numbers, once all run."""
        await until((self.folder / "fleet").exists)
        fleet = int((self.folder / "fleet").read_text())
        return parent_of(fleet), fleet, int((self.folder / "envoy").read_text())


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Kept]]:
    started: list[subprocess.Popen[bytes]] = []

    def start_one(what: str = "wait") -> Kept:
        folder = tmp_path / "fleet"
        command = [sys.executable, "-c", FLEET, str(folder), what]
        owner = subprocess.Popen([sys.executable, "-c", OWNER, str(folder), *command])
        started.append(owner)
        return Kept(owner, folder)

    yield start_one
    for owner in started:
        owner.kill()
        owner.wait()


async def test_owner_killed_leaves_neither_process_nor_folder(start: Callable[..., Kept]) -> None:
    kept = start()
    pids = await kept.up()
    kept.owner.kill()
    kept.owner.wait()
    await until(lambda: not any(map(is_running, pids)) and not kept.folder.exists())


@pytest.mark.parametrize("which", [0, 1])
async def test_keeper_or_fleet_program_killed_leaves_neither_process_nor_folder(
    start: Callable[..., Kept], which: int
) -> None:
    kept = start()
    pids = await kept.up()
    os.kill(pids[which], signal.SIGKILL)
    await until(lambda: kept.owner.poll() is not None)
    assert not any(map(is_running, pids))
    assert not kept.folder.exists()
    assert kept.owner.returncode == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_signal_to_the_owner_ends_everything(
    start: Callable[..., Kept], number: signal.Signals
) -> None:
    kept = start()
    pids = await kept.up()
    kept.owner.send_signal(number)
    await until(lambda: kept.owner.poll() is not None)
    assert not any(map(is_running, pids))
    assert not kept.folder.exists()


async def test_exit_code_of_the_fleet_program_is_the_owners(start: Callable[..., Kept]) -> None:
    kept = start("end")
    await until(lambda: kept.owner.poll() is not None)
    assert kept.owner.returncode == 7
    assert not kept.folder.exists()
