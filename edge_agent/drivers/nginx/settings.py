"""What an operator may choose about an nginx, and where its binary is found."""

from __future__ import annotations

import shutil
from pathlib import Path

from attrs import field, frozen
from attrs.validators import ge

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.drivers.proxy_settings import ProxySettings


@frozen(kw_only=True)
class Attached:
    """An nginx that somebody else starts and configures, with Turnout's file in its ``http`` section.

    Attributes:
        config: its configuration.
    """

    config: Path


@frozen(kw_only=True)
class NginxSettings(ProxySettings):
    """Everything about one nginx. ``binary``: None means ``nginx`` in PATH."""

    workers: int | None = None
    """Worker processes; None: one a core. Not for one that somebody else configures."""

    attach: Attached | None = None
    """None: Turnout starts nginx and owns it."""

    modules_dir: Path = Path("/usr/lib/nginx/modules")
    """Where ``ndk_http_module.so`` and ``ngx_http_lua_module.so`` are."""

    table_memory_mib: int = field(default=64, validator=ge(1))
    """Shared memory for the tables of four slots: a service takes some hundred bytes in each."""


def find_binary(chosen: Path | None) -> Path:
    """Return nginx's executable.

    Raises:
        Refused: PROXY_DOWN: there is none, and what to do.
    """
    # Debian puts it into /usr/sbin, which is not in everybody's PATH.
    found = shutil.which(chosen or "nginx") or (None if chosen else shutil.which("/usr/sbin/nginx"))
    if found:
        return Path(found)
    raise Refused(
        RefusalCode.PROXY_DOWN,
        f"no nginx executable at '{chosen}'"
        if chosen
        else "no nginx executable found: install nginx 1.22 or newer with its Lua module (Debian: "
        "libnginx-mod-http-lua), put 'nginx' into PATH, or name it with 'binary' in the agent's settings",
    )
