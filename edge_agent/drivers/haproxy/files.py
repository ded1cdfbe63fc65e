"""The state folder of a HAProxy: who reads what.

    haproxy.cfg          HAProxy, when it starts or reloads: process and sockets; not if it is another's
    turnout.cfg          the same: time limits, frontends, and the pool of backends with their servers
    maps/active.map      the same: which slot is live, and in which incarnation; the flip, on disk
    maps/tables.map      the same: which table is in which slot
    maps/withdrawn.map   the same, and empty: which services' health endpoints fail is told at run time
    maps/SLOT/*.map      the same: a table's hosts and paths
    maps/SLOT/plan.json  the driver: which backends the slot's table needs, and sends to
    ready/turnout.cfg    the driver: the next turnout.cfg, while HAProxy checks it
    master.sock          HAProxy's master listens there: workers, reloads

What HAProxy is told over its sockets it forgets when it restarts: each file is in step with it.
``proxy_folder.py`` has the rest, and says how files are written.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from attrs import frozen

from edge_agent.drivers.haproxy.settings import Attached
from edge_agent.drivers.slots import SLOTS, SlotFolder


@frozen
class Files(SlotFolder):
    """Paths below one state folder."""

    proxy: ClassVar[str] = "haproxy"
    title: ClassVar[str] = "HAProxy"
    attach: Attached | None = None

    @property
    def admin_socket(self) -> Path:
        """Where HAProxy's worker answers."""
        return self.attach.admin_socket if self.attach else super().admin_socket

    @property
    def own_config(self) -> tuple[Path, ...]:
        """What HAProxy is given beside the routing."""
        return self.attach.config if self.attach else (self.process,)

    @property
    def process(self) -> Path:
        """HAProxy's configuration of itself."""
        return self.root / "haproxy.cfg"

    @property
    def routing(self) -> Path:
        """HAProxy's configuration of frontends and backends."""
        return self.root / "turnout.cfg"

    @property
    def candidate(self) -> Path:
        """The next routing configuration, while it is checked."""
        return self.ready_folder / "turnout.cfg"

    @property
    def maps(self) -> Path:
        """Folder of all maps."""
        return self.root / "maps"

    @property
    def active(self) -> Path:
        """Which slot is live."""
        return self.maps / "active.map"

    @property
    def tables(self) -> Path:
        """Which table is in which slot."""
        return self.maps / "tables.map"

    @property
    def withdrawn(self) -> Path:
        """Services whose health endpoints fail."""
        return self.maps / "withdrawn.map"

    def map_of(self, slot: str, kind: str) -> Path:
        """One of a slot's maps."""
        return self.maps / slot / f"{kind}.map"

    def plan_of(self, slot: str) -> Path:
        """What the driver must know of a slot."""
        return self.maps / slot / "plan.json"

    @property
    def master_socket(self) -> Path:
        """Where HAProxy's master answers."""
        return self.attach.master_socket if self.attach else self.root / "master.sock"

    def make_folders(self) -> None:
        """Make what is missing; readable by the owner only."""
        for folder in (self.ready_folder, *(self.maps / slot for slot in SLOTS)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
