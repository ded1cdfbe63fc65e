"""The state folder of an nginx: who reads what.

    nginx.conf           nginx, when it starts; not if it is another's
    turnout.conf         the same: what goes into its http section
    lua/turnout.lua      the same: what it does with a table
    tables/active.map    the same: which slot is live, and in which incarnation; the flip, on disk
    tables/SLOT.table    the same: a slot's table, which the agent sends it besides
    tables/SLOT.json     the driver: which backends the slot's table sends to
    tables/addresses.json  the driver: where each colour's backends are and last were, for whoever cuts them
    temp/                nginx, for bodies it cannot hold

What nginx holds in shared memory it forgets when it restarts: each file is in step with it.
``proxy_folder.py`` has the rest, and says how files are written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from attrs import frozen

from edge_agent.drivers.slots import SlotFolder

_KEPT_ADDRESSES = 64
"""Of those that a colour had before, so many."""


@frozen
class Files(SlotFolder):
    """Paths below one state folder."""

    proxy: ClassVar[str] = "nginx"
    title: ClassVar[str] = "nginx"

    @property
    def config(self) -> Path:
        """Nginx's configuration."""
        return self.root / "nginx.conf"

    @property
    def http(self) -> Path:
        """What goes into nginx's ``http`` section."""
        return self.root / "turnout.conf"

    @property
    def lua(self) -> Path:
        """What nginx does with tables."""
        return self.root / "lua" / "turnout.lua"

    @property
    def tables(self) -> Path:
        """Folder of the slots."""
        return self.root / "tables"

    @property
    def temporary(self) -> Path:
        """Folder for nginx's temporary files."""
        return self.root / "temp"

    @property
    def active(self) -> Path:
        """Which slot is live."""
        return self.tables / "active.map"

    def table_of(self, slot: str) -> Path:
        """A slot's table."""
        return self.tables / f"{slot}.table"

    def plan_of(self, slot: str) -> Path:
        """What the driver must know of a slot."""
        return self.tables / f"{slot}.json"

    @property
    def addresses(self) -> Path:
        """Where each colour's backends are, and last were."""
        return self.tables / "addresses.json"

    def read_addresses(self) -> dict[str, list[str]]:
        """Addresses by colour, the newest first. Raises OSError, ValueError."""
        return json.loads(self.addresses.read_bytes()) if self.addresses.exists() else {}

    def add_addresses(self, found: Mapping[str, Sequence[str]]) -> None:
        """Remember where a table has its backends. Raises OSError, ValueError."""
        known = self.read_addresses()
        for name, addresses in found.items():
            newest = dict.fromkeys([*addresses, *known.get(name, ())])
            known[name] = list(newest)[: len(addresses) + _KEPT_ADDRESSES]
        self.write(self.addresses, json.dumps(known).encode())

    def make_folders(self) -> None:
        """Make what is missing; readable by the owner only: nginx lets anybody into its sockets."""
        for folder in (self.ready_folder, self.lua.parent, self.tables, self.temporary):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root.chmod(0o700)
