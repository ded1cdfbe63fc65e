"""Cutting a proxy's connections to given addresses, for Envoy and nginx themselves have no way to.

Removing a cluster of Envoy's, failing its health or changing its hosts only *drains* HTTP connections:
what is in flight goes on. So the agent takes a copy of the socket out of the process
(pidfd_getfd(2)) and shuts it down; the proxy sees its backend hang up. The kernel grants that to root,
to a process with CAP_SYS_PTRACE, and, as far as Yama allows, to the same user.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

from edge_agent.drivers.base import RefusalCode, Refused

_PIDFD_GETFD = 438  # the same number on every architecture
_ESTABLISHED = "01"
_libc = ctypes.CDLL(None, use_errno=True)


def cut(pid: int, addresses: AbstractSet[tuple[str, int]]) -> int:
    """Shut down every connection of process ``pid`` to one of ``addresses``; return how many.

    Raises:
        Refused: NOT_PERMITTED: this agent may not reach into that process.
    """
    try:
        wanted = set(_inodes(pid, addresses))
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return 0
    try:
        fds = [fd for fd, inode in _socket_fds(pid) if inode in wanted]
        return sum(_shut_down(pidfd, fd) for fd in fds)
    except PermissionError as error:
        raise Refused(
            RefusalCode.NOT_PERMITTED,
            f"connections of the proxy (process {pid}) cannot be cut: {error.strerror}; give the agent "
            'CAP_SYS_PTRACE, or use after_drain = "keep"',
        ) from error
    finally:
        os.close(pidfd)


def _inodes(pid: int, addresses: AbstractSet[tuple[str, int]]) -> Iterator[int]:
    for table in ("tcp", "tcp6"):
        path = Path(f"/proc/{pid}/net/{table}")
        if not path.exists():
            continue
        for line in path.read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == _ESTABLISHED and _remote(fields[2]) in addresses:
                yield int(fields[9])


def _remote(text: str) -> tuple[str, int]:
    """Read ``0100007F:1F90`` of proc(5): 32-bit words in the machine's byte order, then the port."""
    raw, _, port = text.partition(":")
    words = [int(raw[i : i + 8], 16).to_bytes(4, sys.byteorder) for i in range(0, len(raw), 8)]
    address = ipaddress.ip_address(b"".join(words))
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address), int(port, 16)


def _socket_fds(pid: int) -> Iterator[tuple[int, int]]:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue  # closed since it was listed
        if target.startswith("socket:["):
            yield int(entry.name), int(target[len("socket:[") : -1])


def _shut_down(pidfd: int, fd: int) -> bool:
    copy = _libc.syscall(_PIDFD_GETFD, pidfd, fd, 0)
    if copy < 0:
        number = ctypes.get_errno()
        if isinstance(error := OSError(number, os.strerror(number)), PermissionError):
            raise error
        return False  # closed since it was listed
    with socket.socket(fileno=copy) as connection:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False
    return True
