"""What an operator may choose about a HAProxy, and where its binary is found."""

from __future__ import annotations

import shutil
from pathlib import Path

from attrs import frozen

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.drivers.proxy_settings import ProxySettings


@frozen(kw_only=True)
class Attached:
    """A HAProxy that somebody else starts and configures, in master-worker mode.

    Attributes:
        config: its own files, as they are given to it with ``-f``, without Turnout's.
        admin_socket: its ``stats socket``, with ``level admin``.
        master_socket: its master's (``-S``).
    """

    config: tuple[Path, ...]
    admin_socket: Path
    master_socket: Path


@frozen(kw_only=True)
class HAProxySettings(ProxySettings):
    """Everything about one HAProxy. ``binary``: None means ``haproxy`` in PATH."""

    threads: int | None = None
    """Of its worker; None: one a core. Not for one that somebody else configures."""

    attach: Attached | None = None
    """None: Turnout starts HAProxy and owns it."""


def find_binary(chosen: Path | None) -> Path:
    """Return HAProxy's executable.

    Raises:
        Refused: PROXY_DOWN: there is none, and what to do.
    """
    # Debian puts it into /usr/sbin, which is not in everybody's PATH.
    found = shutil.which(chosen or "haproxy") or shutil.which("/usr/sbin/haproxy")
    if found and (chosen is None or shutil.which(chosen)):
        return Path(found)
    raise Refused(
        RefusalCode.PROXY_DOWN,
        f"no HAProxy executable at '{chosen}'"
        if chosen
        else "no HAProxy executable found: install HAProxy 2.6 or newer, put 'haproxy' into PATH, or "
        "name it with 'binary' in the agent's settings",
    )
