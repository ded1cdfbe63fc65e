"""The state folder of an Envoy: who reads what, and how it is written.

    bootstrap.json           Envoy, at its start; for one that is another's: what its own must have
    clusters/clusters.json   Envoy, watched: clusters of the live and the staged table, and draining ones
    live/routes.json         Envoy, watched: what users get; changed by a rename from ready/ only
    staged/routes.json       Envoy, watched: what the staging listener serves
    ready/routes.json        the driver: the staged table's live routes, waiting for their rename
    ready/previous.json      the driver: the live routes that these replace, should they be rejected

``proxy_folder.py`` has the rest, and says how files are written.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from attrs import frozen

from edge_agent.drivers.envoy.settings import Attached
from edge_agent.drivers.proxy_folder import ProxyFolder


@frozen
class Files(ProxyFolder):
    """Paths below one state folder."""

    proxy: ClassVar[str] = "envoy"
    title: ClassVar[str] = "Envoy"
    attach: Attached | None = None

    @property
    def admin_socket(self) -> Path:
        """Where Envoy answers questions about itself."""
        return self.attach.admin_socket if self.attach else super().admin_socket

    @property
    def bootstrap(self) -> Path:
        """Envoy's bootstrap configuration."""
        return self.root / "bootstrap.json"

    @property
    def clusters(self) -> Path:
        """What Envoy's CDS reads."""
        return self.root / "clusters" / "clusters.json"

    @property
    def live(self) -> Path:
        """What the live listener's RDS reads."""
        return self.root / "live" / "routes.json"

    @property
    def staged(self) -> Path:
        """What the staging listener's RDS reads."""
        return self.root / "staged" / "routes.json"

    @property
    def ready(self) -> Path:
        """Live routes of the staged table."""
        return self.ready_folder / "routes.json"

    @property
    def previous(self) -> Path:
        """Live routes as they stood when the ready ones were laid."""
        return self.ready_folder / "previous.json"

    def make_folders(self) -> None:
        """Make what is missing; readable by the owner only."""
        for path in (self.clusters, self.live, self.staged, self.ready):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def keep_live(self) -> None:
        """Have the live routes in ``previous`` too. Raises OSError."""
        self.previous.unlink(missing_ok=True)
        self.previous.hardlink_to(self.live)
