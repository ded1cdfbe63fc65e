"""The Envoy process: started in its own session, found again, never doubled.

Who holds the lock is alive: the lock file's descriptor is inherited by Envoy, and the kernel gives
the lock back when the last process with it ends. So two agents, or an agent that was killed between
starting Envoy and noting its number, cannot start a second Envoy, which would share the port
(SO_REUSEPORT) and split the traffic. The process number comes from the kernel too: the peer
credentials of the admin socket (unix(7)), which no recycled number can fake.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

import trio

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.drivers.envoy.admin import Admin
from edge_agent.drivers.envoy.files import Files, disk_refusals
from edge_agent.request import connect

_POLL_S = 0.01
_LAST_WORDS = 5
_LOCK_FD = 3
_UCRED = struct.Struct("3i")


class EnvoyProcess:
    """A running Envoy, child of ours or not."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.started_id = f"{pid}-{_start_time(pid)}"
        self._pidfd = os.pidfd_open(pid)

    @property
    def running(self) -> bool:
        """Whether the process still exists."""
        try:
            signal.pidfd_send_signal(self._pidfd, 0)
        except ProcessLookupError:
            return False
        return not self._is_zombie()

    def _is_zombie(self) -> bool:
        try:
            return _stat_fields(self.pid)[0] == "Z"
        except (OSError, IndexError):
            return True

    async def wait(self) -> None:
        """Return when the process has ended."""
        await trio.lowlevel.wait_readable(self._pidfd)
        self._reap()

    async def stop(self, grace_s: float = 5.0) -> None:
        """Ask it to end, make it end after ``grace_s``, and return when it has."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                return
            with trio.move_on_after(grace_s):
                await self.wait()
                return

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):  # an earlier agent's child: init reaps it
            os.waitpid(self.pid, os.WNOHANG)

    def release(self) -> None:
        """Let go of it; it keeps running."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


async def find(files: Files) -> EnvoyProcess | None:
    """Return the process that listens on the admin socket, however it was started."""
    try:
        stream = await connect(files.admin_socket)
    except OSError:
        return None
    async with stream:
        raw = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, _, _ = _UCRED.unpack(raw)
    try:
        return EnvoyProcess(pid)
    except (OSError, IndexError):
        return None  # it ended since, or lives where this agent cannot see it


async def find_or_spawn(files: Files, command: Sequence[str], timeout_s: float) -> EnvoyProcess:
    """Return the Envoy of this state folder, started now unless there is one, once it is LIVE.

    Raises:
        Refused: PROXY_DOWN, with Envoy's last words.
    """
    log_start = files.log_size()
    process: EnvoyProcess | None = None
    with trio.move_on_after(timeout_s):
        while process is None or not await _is_live(files):
            if process is not None and not process.running:
                process.release()
                raise Refused(RefusalCode.PROXY_DOWN, f"Envoy ended: {_words(files, log_start)}")
            with disk_refusals("start Envoy"):
                process = process or await find(files) or _spawn_if_free(files, command)
            await trio.sleep(_POLL_S)
        return process
    pid = f" (process {process.pid})" if process else ""
    if process is not None:
        process.release()
    raise Refused(
        RefusalCode.PROXY_DOWN,
        f"Envoy{pid} is not ready after {timeout_s:g} s: {_words(files, log_start)}",
    )


async def _is_live(files: Files) -> bool:
    try:
        return await Admin(files.admin_socket).state() == "LIVE"
    except Refused:
        return False


def _spawn_if_free(files: Files, command: Sequence[str]) -> EnvoyProcess | None:
    """Start Envoy, unless one holds the lock: then it is about to open its admin socket."""
    lock = os.open(files.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        files.rotate_log()
        return EnvoyProcess(_spawn(command, files.log, lock))
    finally:
        os.close(lock)


def _spawn(command: Sequence[str], log: Path, lock: int) -> int:
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        command[0],
        list(command),
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            (os.POSIX_SPAWN_DUP2, lock, _LOCK_FD),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGTERM),
    )


def _words(files: Files, log_start: int) -> str:
    lines = [line for line in files.log_since(log_start) if line.strip()]
    return " | ".join(lines[-_LAST_WORDS:]) or "it wrote nothing to its log"


def _start_time(pid: int) -> str:
    """Clock ticks from boot to the process's start (proc(5), field 22 of stat)."""
    return _stat_fields(pid)[19]


def _stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third, the state, on: the name before may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
