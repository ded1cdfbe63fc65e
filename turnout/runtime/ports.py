"""Free ports on loopback."""

from __future__ import annotations

import secrets
import socket
from contextlib import ExitStack
from pathlib import Path

LOWEST = 10_000
"""Below it are the ports of well-known services."""

_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
_ATTEMPTS = 1000


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; all are held until all are chosen.

    None of those from which the kernel gives outgoing connections theirs: on a busy host one of these
    took a port between its choice and the start of the program that was to listen on it.

    Raises:
        OSError: there are no more.
    """
    with ExitStack() as held:
        return [_bound(held.enter_context(socket.socket())) for _ in range(count)]


def first_outgoing() -> int:
    """The lowest port of outgoing connections: Linux's default where nobody says."""
    try:
        return int(_OUTGOING.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768


def _bound(one: socket.socket) -> int:
    room = range(LOWEST, first_outgoing())
    for _ in range(_ATTEMPTS):
        port = secrets.choice(room) if room else 0  # a host that gives them all away chooses itself
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            continue  # somebody has it
        return int(one.getsockname()[1])
    raise OSError(f"no free port on 127.0.0.1 from {room.start} to {room.stop - 1}")
