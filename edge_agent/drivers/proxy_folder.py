"""The state folder of a proxy that Turnout owns: what is the same whatever the proxy.

    ready/       files on their way: written there whole, synced, and renamed into place
    NAME.lock    locked by the proxy's process as long as it lives
    NAME.pid     for people and scripts; nothing of ours trusts it
    NAME.log     the proxy's own words
    admin.sock   where the agent asks it; staging.sock: where it serves what is staged

So a proxy never sees half of a file, and a full disk leaves the old one as it was.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from attrs import frozen

from edge_agent.drivers.base import RefusalCode, Refused

_LOG_KEPT_BYTES = 1 << 20
_TAIL_BYTES = 8192

# sun_path of sockaddr_un holds 108 bytes with the final zero (unix(7)).
_MAX_SOCKET_PATH_BYTES = 107


@frozen
class ProxyFolder:
    """Paths below one state folder; a driver adds what its proxy reads."""

    root: Path
    proxy: ClassVar[str]
    """What the proxy's lock, log and process number are named after."""

    title: ClassVar[str]
    """The proxy's name in sentences."""

    @property
    def ready_folder(self) -> Path:
        """Where files are written before they are renamed into place."""
        return self.root / "ready"

    @property
    def admin_socket(self) -> Path:
        """Where the proxy answers questions about itself."""
        return self.root / "admin.sock"

    @property
    def staging_socket(self) -> Path:
        """Where the proxy serves the staged routes."""
        return self.root / "staging.sock"

    @property
    def lock(self) -> Path:
        """Locked while a proxy of ours lives."""
        return self.root / f"{self.proxy}.lock"

    @property
    def pid(self) -> Path:
        """Process id of the proxy last started or found."""
        return self.root / f"{self.proxy}.pid"

    @property
    def log(self) -> Path:
        """The proxy's standard output and error."""
        return self.root / f"{self.proxy}.log"

    def write(self, path: Path, data: bytes) -> None:
        """Put ``data`` in place of ``path``: whole and durable, or not at all. Raises OSError."""
        mine = f"{os.getpid()}-{threading.get_ident()}"  # two agents may start one proxy at once
        temporary = self.ready_folder / f"{path.parent.name}-{path.name}.{mine}.new"
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)

    def log_size(self) -> int:
        """Where the log ends now, in bytes."""
        return self.log.stat().st_size if self.log.exists() else 0

    def log_since(self, offset_bytes: int) -> list[str]:
        """Lines that the proxy wrote after ``offset_bytes``; the last few kilobytes of them."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as file:
            file.seek(max(offset_bytes, self.log_size() - _TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()

    def clear_sockets(self) -> None:
        """Remove what a killed proxy left: nginx would not bind there again. While none lives only."""
        self.admin_socket.unlink(missing_ok=True)
        self.staging_socket.unlink(missing_ok=True)

    def rotate_log(self) -> None:
        """Put a long log aside; only while no proxy writes to it."""
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


def check_socket_path(path: Path) -> None:
    """Raise Refused (DISK) if a UNIX socket cannot have this path."""
    if len(bytes(path)) > _MAX_SOCKET_PATH_BYTES:
        raise Refused(
            RefusalCode.DISK,
            f"the state folder's path is too long: '{path}' would be a socket, whose path may have "
            f"at most {_MAX_SOCKET_PATH_BYTES} bytes; choose a shorter state folder",
        )
