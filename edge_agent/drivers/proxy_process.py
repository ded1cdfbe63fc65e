"""A proxy's process: started in its own session, found again, never doubled.

Who holds the lock is alive: the lock file's descriptor is inherited by the proxy, and the kernel gives
the lock back when the last process with it ends. So two agents, or an agent that was killed between
starting a proxy and noting its number, cannot start a second one, which would share the port
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
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import trio

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.drivers.proxy_folder import ProxyFolder, disk_refusals
from edge_agent.request import connect

_POLL_S = 0.01
_LAST_WORDS = 5
_LOCK_FD = 3
_UCRED = struct.Struct("3i")


class ProxyProcess:
    """A running proxy, child of ours or not."""

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

    def children(self) -> tuple[int, ...]:
        """The processes that it has started, as long as they live (proc(5))."""
        found = []
        for thread in Path(f"/proc/{self.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(pid) for pid in thread.read_text(encoding="ascii").split()]
        return tuple(found)

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


async def find(folder: ProxyFolder) -> ProxyProcess | None:
    """Return the process that listens on the admin socket, however it was started."""
    try:
        stream = await connect(folder.admin_socket)
    except OSError:
        return None
    async with stream:
        raw = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, _, _ = _UCRED.unpack(raw)
    try:
        return ProxyProcess(pid)
    except (OSError, IndexError):
        return None  # it ended since, or lives where this agent cannot see it


async def find_or_spawn(
    folder: ProxyFolder,
    command: Sequence[str] | None,
    is_ready: Callable[[], Awaitable[bool]],
    timeout_s: float,
) -> ProxyProcess:
    """Return the proxy of this state folder, started now unless there is one, once it is ready.

    Without a ``command`` somebody else starts it, and it is waited for.

    Raises:
        Refused: PROXY_DOWN, with the proxy's last words.
    """
    log_start = folder.log_size()
    process: ProxyProcess | None = None
    with trio.move_on_after(timeout_s):
        while process is None or not await is_ready():
            if process is not None and not process.running:
                process.release()
                words = _words(folder, log_start)
                raise Refused(RefusalCode.PROXY_DOWN, f"{folder.title} ended: {words}")
            with disk_refusals(f"start {folder.title}"):
                process = process or await find(folder)
                if process is None and command is not None:
                    process = _spawn_if_free(folder, command)
            await trio.sleep(_POLL_S)
        return process
    if process is None and command is None:
        raise Refused(
            RefusalCode.PROXY_DOWN,
            f"nobody answers on {folder.title}'s admin socket '{folder.admin_socket}' for "
            f"{timeout_s:g} s: it is to be started by whoever configures it",
        )
    pid = f" (process {process.pid})" if process else ""
    if process is not None:
        process.release()
    raise Refused(
        RefusalCode.PROXY_DOWN,
        f"{folder.title}{pid} is not ready after {timeout_s:g} s: {_words(folder, log_start)}",
    )


def _spawn_if_free(folder: ProxyFolder, command: Sequence[str]) -> ProxyProcess | None:
    """Start it, unless one holds the lock: then it is about to open its admin socket."""
    lock = os.open(folder.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        folder.rotate_log()
        folder.clear_sockets()
        return ProxyProcess(_spawn(command, folder.log, lock))
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


def _words(folder: ProxyFolder, log_start: int) -> str:
    lines = [line for line in folder.log_since(log_start) if line.strip()]
    return " | ".join(lines[-_LAST_WORDS:]) or "it wrote nothing to its log"


def _start_time(pid: int) -> str:
    """Clock ticks from boot to the process's start (proc(5), field 22 of stat)."""
    return _stat_fields(pid)[19]


def _stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third, the state, on: the name before may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
