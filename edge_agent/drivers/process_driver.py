"""A driver of one proxy process: found, adopted, asked, let go of; of any kind.

What each kind does with tables is its own; this is what Envoy, HAProxy and nginx have in common.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Generic, TypeVar

from edge_agent.drivers.base import Driver, ProxyStatus, RefusalCode, Refused
from edge_agent.drivers.proxy_folder import ProxyFolder
from edge_agent.drivers.proxy_process import ProxyProcess, find
from edge_agent.drivers.proxy_settings import ProxySettings
from edge_agent.drivers.version import version_at
from edge_agent.probe import NotProven, prove_staged
from edge_agent.request import Answer, Request, ask
from turnout.protocol.identifiers import Epoch
from turnout.protocol.records import Active
from turnout.protocol.routing import RoutingTable, Service

Settings = TypeVar("Settings", bound=ProxySettings)
Folder = TypeVar("Folder", bound=ProxyFolder)


class ProcessDriver(Driver, Generic[Settings, Folder]):
    """What is the same for every proxy that is a process."""

    def __init__(self, settings: Settings, files: Folder) -> None:
        self._settings = settings
        self._files = files
        self._process: ProxyProcess | None = None
        self._restart_needed = False

    @abc.abstractmethod
    def _command(self) -> list[str] | None:
        """How the proxy is started; None where that is somebody else's business."""

    async def wait_stopped(self) -> None:
        """Return when the proxy found or started by :meth:`start` has ended."""
        if self._process is not None:
            await self._process.wait()

    async def aclose(self) -> None:
        """Let go of the proxy."""
        if self._process is not None:
            self._process.release()
            self._process = None

    async def stop_proxy(self) -> None:
        """End the proxy, also one that this driver has not looked for yet; another's is let go of."""
        if self._command() is None:
            await self.aclose()
            return
        process = self._process or await find(self._files)
        self._process = None
        if process is not None:
            await process.stop()
            process.release()

    async def status(self) -> ProxyStatus:
        """What the live listener answers, and which process it is."""
        process = self._process
        if process is None or not process.running:
            return ProxyStatus(running=False)
        version = await version_at(self._settings.asked_at)
        return ProxyStatus(
            running=True,
            started_id=process.started_id,
            serving=version.serving if version else Active(),
            restart_needed=self._restart_needed,
        )

    async def ask(self, request: Request, *, staged: bool = False) -> Answer:
        """One request through the live or the staging listener."""
        endpoint = self._files.staging_socket if staged else self._settings.asked_at
        return await ask(endpoint, request, timeout_s=self._settings.probe_timeout_s)

    def _refuse_if_down(self) -> ProxyProcess:
        if self._process is None or not self._process.running:
            raise Refused(RefusalCode.PROXY_DOWN, f"{self._files.title} is not running")
        return self._process

    async def _probe_staged(
        self, epoch: Epoch, table: RoutingTable, changed: Sequence[Service]
    ) -> None:
        try:
            timeout_s = self._settings.probe_timeout_s
            await prove_staged(self, epoch, table, changed, timeout_s=timeout_s)
        except NotProven as error:
            raise Refused(RefusalCode.PROBE, f"on the staged routes: {error}") from error
