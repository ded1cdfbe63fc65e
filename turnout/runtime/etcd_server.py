"""Real etcd members as child processes on loopback: for `turnout dev`, chaos and tests.

A cluster lives below one folder and on ports that were free when it was made. Starting and killing
are plain calls, so a cluster can outlive one trio run (a test session's fixture); waiting is trio's.
Readiness and leadership are read from each member's metrics port, which is plain HTTP on loopback
whatever TLS and authentication its client port asks for.

Nothing here survives its owner on purpose, and nothing is hidden from it: who makes a cluster
calls ``kill`` or ``stop`` in the end, or uses ``running_etcd``.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import trio
from attrs import frozen

from turnout.runtime.ports import free_ports

_POLL_S = 0.02
_STOP_TIMEOUT_S = 5.0
_PORTS_A_MEMBER = 3
_LOG_TAIL_BYTES = 2000


class EtcdNotReadyError(Exception):
    """An etcd member ended, or did not become ready in time; the text ends with its log."""


@frozen(kw_only=True)
class ServerTls:
    """PEM files for the client port; naming a client CA makes client certificates a must."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@frozen(kw_only=True)
class EtcdSettings:
    """How members are run.

    ``command`` is the program with whatever must stand before its flags. Short heartbeat and
    election times make a cluster on one machine elect in a fraction of a second; too short for a
    busy machine, they make it lose its leader for no reason. ``flags`` are passed on as they are.
    """

    command: tuple[str, ...] = ("etcd",)
    heartbeat_ms: int = 100
    election_ms: int = 1000
    tls: ServerTls | None = None
    flags: tuple[str, ...] = ()


class EtcdMemberProcess:
    """One member: a folder, three ports, and a process that may be started, hurt and ended."""

    def __init__(
        self, name: str, folder: Path, ports: Sequence[int], settings: EtcdSettings
    ) -> None:
        """Remember where everything will be; nothing is started."""
        self.name = name
        self.data_folder = folder / name
        self.log_path = folder / f"{name}.log"
        self.client_port, self.peer_port, self.metrics_port = ports
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Where clients find it, HOST:PORT."""
        return f"127.0.0.1:{self.client_port}"

    @property
    def peer_url(self) -> str:
        """Where the other members find it."""
        return f"http://127.0.0.1:{self.peer_port}"

    @property
    def pid(self) -> int | None:
        """The process id, None while it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self, initial_cluster: str) -> None:
        """Start the process, on the data it left if it ran before. Raises ``OSError``."""
        if self.pid is not None:
            raise RuntimeError(f"etcd member {self.name} is running already")
        # etcd takes settings from ETCD_* as well; only what is written here shall count.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the program our owner named
                [*self._settings.command, *self._flags(initial_cluster)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    async def ready(self, timeout_s: float = 15.0) -> None:
        """Wait until it serves with a leader; raise ``EtcdNotReadyError`` with the log's end."""
        with trio.move_on_after(timeout_s):
            while self.pid is not None:
                if await self._get("/health", '"health":"true"'):
                    return
                await trio.sleep(_POLL_S)
        what = "is not ready in time" if self.pid is not None else "has ended"
        raise EtcdNotReadyError(f"etcd member {self.name} {what}:\n{self._log_tail()}")

    async def is_leader(self) -> bool:
        """Whether it says that it leads; False too while it does not run or answer."""
        return self.pid is not None and await self._get("/metrics", "\netcd_server_is_leader 1\n")

    def pause(self) -> None:
        """Stop it in its tracks (SIGSTOP): connections stay, nothing answers.

        A signal takes effect a little after it was sent, long enough for an answer or two; this
        returns when every thread stands still.
        """
        if (pid := self.pid) is not None:
            os.kill(pid, signal.SIGSTOP)
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once (SIGKILL), paused or not, and reap it; again is no error."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def stop(self) -> None:
        """End it properly (SIGTERM), by SIGKILL after 5 s or when cancelled."""
        process = self._process
        if process is None or self.pid is None:
            return
        try:
            self._signal(signal.SIGCONT)
            self._signal(signal.SIGTERM)
            with trio.move_on_after(_STOP_TIMEOUT_S):
                await _exit_of(process.pid)
        finally:
            self.kill()

    def _flags(self, initial_cluster: str) -> list[str]:
        tls, scheme = self._settings.tls, "https" if self._settings.tls else "http"
        client_url = f"{scheme}://{self.endpoint}"
        flags = {
            "name": self.name,
            "data-dir": str(self.data_folder),
            "listen-client-urls": client_url,
            "advertise-client-urls": client_url,
            "listen-peer-urls": self.peer_url,
            "initial-advertise-peer-urls": self.peer_url,
            "listen-metrics-urls": f"http://127.0.0.1:{self.metrics_port}",
            "initial-cluster": initial_cluster,
            "heartbeat-interval": str(self._settings.heartbeat_ms),
            "election-timeout": str(self._settings.election_ms),
            "logger": "zap",
        }
        if tls is not None:
            flags |= {"cert-file": str(tls.certificate), "key-file": str(tls.key)}
            if tls.client_ca is not None:
                flags |= {"client-cert-auth": "true", "trusted-ca-file": str(tls.client_ca)}
        return [f"--{name}={value}" for name, value in flags.items()] + list(self._settings.flags)

    async def _get(self, path: str, wanted: str) -> bool:
        """Whether a page of the metrics port has this text."""
        async with httpx.AsyncClient(trust_env=False, timeout=1.0, verify=False) as client:  # noqa: S501 - plain HTTP; spares loading the CAs
            try:
                page = await client.get(f"http://127.0.0.1:{self.metrics_port}{path}")
            except httpx.TransportError:
                return False
        return wanted in page.text

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _log_tail(self) -> str:
        return self.log_path.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")


class EtcdCluster:
    """Members that know of each other, numbered ``m0``, ``m1``, ..."""

    def __init__(
        self, folder: Path, members: int = 1, settings: EtcdSettings | None = None
    ) -> None:
        """Choose ports and places below ``folder``; nothing is started."""
        settings = settings or EtcdSettings()
        ports = free_ports(members * _PORTS_A_MEMBER)
        self.members = tuple(
            EtcdMemberProcess(
                f"m{n}",
                folder,
                ports[n * _PORTS_A_MEMBER : (n + 1) * _PORTS_A_MEMBER],
                settings,
            )
            for n in range(members)
        )
        self._initial = ",".join(f"{member.name}={member.peer_url}" for member in self.members)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where clients find the members."""
        return tuple(member.endpoint for member in self.members)

    def start(self, *members: EtcdMemberProcess) -> None:
        """Start these members, or all; one that ran before comes back with its data."""
        for member in members or self.members:
            member.start(self._initial)

    async def ready(self, timeout_s: float = 15.0) -> None:
        """Wait until every member serves with a leader. Raises ``EtcdNotReadyError``."""
        for member in self.members:
            await member.ready(timeout_s)

    async def leader(self, timeout_s: float = 15.0) -> EtcdMemberProcess:
        """Wait for exactly one running member that says it leads. Raises ``TooSlowError``."""
        with trio.fail_after(timeout_s):
            while True:
                leading = [member for member in self.members if await member.is_leader()]
                if len(leading) == 1:
                    return leading[0]
                await trio.sleep(_POLL_S)

    def kill(self) -> None:
        """End every member at once."""
        for member in self.members:
            member.kill()

    async def stop(self) -> None:
        """End every member properly, all at the same time; at once when cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                for member in self.members:
                    nursery.start_soon(member.stop)
        finally:
            self.kill()


@asynccontextmanager
async def running_etcd(
    folder: Path, members: int = 1, settings: EtcdSettings | None = None
) -> AsyncIterator[EtcdCluster]:
    """Give a cluster that is ready; its processes are gone afterwards, its files stay.

    Raises ``EtcdNotReadyError``, or ``OSError`` where the program cannot be started.
    """
    cluster = EtcdCluster(folder, members, settings)
    try:
        cluster.start()
        await cluster.ready()
        yield cluster
    finally:
        cluster.kill()


async def _exit_of(pid: int) -> None:
    """Wait until a child has ended, without a thread; it still wants to be reaped."""
    descriptor = os.pidfd_open(pid)
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)
