"""Giving Envoy files, and seeing that it took them.

Envoy tells three things of a watched file: ``version_text`` is the version it accepted last,
``update_rejected`` and ``update_failure`` count what it would not take (the reason is in its log
only). A listener's own answer to ``turnout.invalid`` is better evidence still: workers serve it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

import trio
import trio.to_thread
from attrs import frozen

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.drivers.envoy.admin import Admin
from edge_agent.drivers.envoy.bootstrap import LIVE_STATS, STAGING_STATS
from edge_agent.drivers.envoy.files import Files
from edge_agent.drivers.envoy.resources import (
    CLUSTER_PREFIX,
    ROUTES_NAME,
    Json,
    Plan,
    clusters_file,
)
from edge_agent.drivers.proxy_folder import disk_refusals
from edge_agent.drivers.version import version_at

CDS = "cluster_manager.cds"
STAGED_RDS = f"http.{STAGING_STATS}.rds.{ROUTES_NAME}"
LIVE_RDS = f"http.{LIVE_STATS}.rds.{ROUTES_NAME}"

# Requests that occupy a backend or wait for a connection to one.
ACTIVE = ("upstream_rq_active", "upstream_rq_pending_active")

# Envoy's main thread answers for its counters, and loads what is waited for: ask it less and less.
_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.1
_REASON_MARKS = ("rejected", "failure", "error", "invalid")
_REASON_CHARACTERS = 600
_LOG_PREFIX = re.compile(r"^(?:\[[^\]]*\] ?)+")  # time, thread, level, logger, place in the source


@frozen(kw_only=True)
class Before:
    """How a watched file's counters stood before it was written."""

    subscription: str
    refusals: int
    log_bytes: int


class Loader:
    """Writes clusters and staged routes, and returns when Envoy shows that it has them."""

    def __init__(self, files: Files, admin: Admin, *, timeout_s: float) -> None:
        self._files = files
        self._admin = admin
        self._timeout_s = timeout_s

    async def load_clusters(self, needed: Mapping[str, Json], keep: AbstractSet[str]) -> None:
        """Have Envoy know ``needed``, and still those of ``keep`` and all with requests in flight.

        Raises:
            Refused: REJECTED, UNCONFIRMED, PROXY_DOWN, DISK; the file is as it was.
        """
        with disk_refusals("read the clusters that Envoy has"):
            old = await trio.to_thread.run_sync(self._files.clusters.read_bytes)
        present = {resource["name"]: resource for resource in json.loads(old)["resources"]}
        spare = present.keys() - needed.keys() - keep
        dropped = spare - await self._busy() if spare else set()
        kept = {name: present[name] for name in present if name not in dropped}
        version, new = clusters_file({**kept, **needed})

        async def loaded() -> bool:
            stats = await self._admin.stats(
                rf"{CDS}\.version_text", r"cluster_manager\.warming_clusters"
            )
            warming = stats.get("cluster_manager.warming_clusters")
            return stats.get(f"{CDS}.version_text") == version and warming == "0"

        await self._replace(self._files.clusters, old, new, CDS, loaded)

    async def load_staged_routes(self, plan: Plan) -> None:
        """Have the staging listener serve a plan's routes.

        Raises:
            Refused: as :meth:`load_clusters`.
        """
        with disk_refusals("read the staged routes"):
            old = await trio.to_thread.run_sync(self._files.staged.read_bytes)
        new = await trio.to_thread.run_sync(lambda: plan.routes(validate=True))

        async def loaded() -> bool:
            return await version_at(self._files.staging_socket) == plan.version

        await self._replace(self._files.staged, old, new, STAGED_RDS, loaded)

    async def before(self, subscription: str) -> Before:
        """Note how a subscription's counters stand."""
        return Before(
            subscription=subscription,
            refusals=await self._refusals(subscription),
            log_bytes=self._files.log_size(),
        )

    async def refuse_if_rejected(self, before: Before) -> None:
        """Raise Refused (REJECTED), in Envoy's words, if it would not take what was written."""
        if await self._refusals(before.subscription) > before.refusals:
            raise Refused(RefusalCode.REJECTED, f"Envoy refuses it: {self._reason(before)}")

    async def write(self, path: Path, data: bytes) -> None:
        """Write a file of the state folder, whole or not at all.

        Raises:
            Refused: DISK.
        """
        with disk_refusals(f"write {path.parent.name}/{path.name}"):
            await trio.to_thread.run_sync(self._files.write, path, data)

    async def _replace(
        self,
        path: Path,
        old: bytes,
        new: bytes,
        subscription: str,
        loaded: Callable[[], Awaitable[bool]],
    ) -> None:
        before = await self.before(subscription)
        if new != old:
            await self.write(path, new)
        try:
            await self._until(loaded, before, path.name)
        except Refused:
            await self.write(path, old)
            raise

    async def _until(
        self, loaded: Callable[[], Awaitable[bool]], before: Before, name: str
    ) -> None:
        pause_s = _FIRST_PAUSE_S
        with trio.move_on_after(self._timeout_s):
            while not await loaded():
                await self.refuse_if_rejected(before)
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            return
        raise Refused(
            RefusalCode.UNCONFIRMED,
            f"Envoy does not confirm {name} within {self._timeout_s:g} s: {self._reason(before)}",
        )

    async def _refusals(self, subscription: str) -> int:
        return await self._admin.sum_of(rf"{subscription}\.update_(rejected|failure)")

    async def _busy(self) -> set[str]:
        """Clusters of ours with requests in flight."""
        stats = await self._admin.stats(rf"cluster\.{CLUSTER_PREFIX}.*\.({'|'.join(ACTIVE)})")
        return {
            name.removeprefix("cluster.").rpartition(".")[0]
            for name, value in stats.items()
            if value != "0"
        }

    def _reason(self, before: Before) -> str:
        lines = self._files.log_since(before.log_bytes)
        told = [_LOG_PREFIX.sub("", line) for line in lines]
        telling = [line for line in told if any(mark in line for mark in _REASON_MARKS)]
        if self._files.attach:
            return "its log says why"
        return " | ".join(telling)[:_REASON_CHARACTERS] or "its log gives no reason"
