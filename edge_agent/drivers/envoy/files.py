"""The state folder of an owned Envoy: who reads what, and how it is written.

    bootstrap.json           Envoy, at its start
    clusters/clusters.json   Envoy, watched: clusters of the live and the staged table, and draining ones
    live/routes.json         Envoy, watched: what users get; changed by a rename from ready/ only
    staged/routes.json       Envoy, watched: what the staging listener serves
    ready/routes.json        the driver: the staged table's live routes, waiting for their rename
    ready/previous.json      the driver: the live routes that these replace, should they be rejected
    admin.sock staging.sock  Envoy listens there, for the agent only
    envoy.lock               locked by the Envoy process as long as it lives
    envoy.pid                for people and scripts; nothing of ours trusts it
    envoy.log                Envoy's own words

A file is written to ready/ under a temporary name, synced, and renamed into place: Envoy never
sees half of one, and a full disk leaves the old one as it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from edge_agent.drivers.base import RefusalCode, Refused

_LOG_KEPT_BYTES = 1 << 20
_TAIL_BYTES = 8192


@frozen
class Files:
    """Paths below one state folder."""

    root: Path

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
        return self.root / "ready" / "routes.json"

    @property
    def previous(self) -> Path:
        """Live routes as they stood when the ready ones were laid."""
        return self.root / "ready" / "previous.json"

    @property
    def admin_socket(self) -> Path:
        """Where Envoy answers questions about itself."""
        return self.root / "admin.sock"

    @property
    def staging_socket(self) -> Path:
        """Where Envoy serves the staged routes."""
        return self.root / "staging.sock"

    @property
    def lock(self) -> Path:
        """Locked while an Envoy of ours lives."""
        return self.root / "envoy.lock"

    @property
    def pid(self) -> Path:
        """Process id of the Envoy last started or found."""
        return self.root / "envoy.pid"

    @property
    def log(self) -> Path:
        """Envoy's standard output and error."""
        return self.root / "envoy.log"

    def make_folders(self) -> None:
        """Make what is missing; readable by the owner only."""
        for path in (self.clusters, self.live, self.staged, self.ready):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, path: Path, data: bytes) -> None:
        """Put ``data`` in place of ``path``: whole and durable, or not at all. Raises OSError."""
        temporary = self.ready.parent / f"{path.parent.name}-{path.name}.new"
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        sync_folder(path.parent)

    def keep_live(self) -> None:
        """Have the live routes in ``previous`` too. Raises OSError."""
        self.previous.unlink(missing_ok=True)
        self.previous.hardlink_to(self.live)

    def log_size(self) -> int:
        """Where the log ends now, in bytes."""
        return self.log.stat().st_size if self.log.exists() else 0

    def log_since(self, offset_bytes: int) -> list[str]:
        """Lines that Envoy wrote after ``offset_bytes``; the last few kilobytes of them."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as file:
            file.seek(max(offset_bytes, self.log_size() - _TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()

    def rotate_log(self) -> None:
        """Put a long log aside; only while no Envoy writes to it."""
        if self.log_size() > _LOG_KEPT_BYTES:
            self.log.rename(self.log.with_suffix(".log.1"))


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def disk_refusals(doing: str) -> Iterator[None]:
    """Turn an OSError inside into Refused (DISK) that says what could not be done."""
    try:
        yield
    except OSError as error:
        where = f" ('{error.filename}')" if error.filename else ""
        raise Refused(
            RefusalCode.DISK, f"cannot {doing}: {error.strerror or error}{where}"
        ) from error
