"""What an operator may choose about any proxy that Turnout keeps."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen
from attrs.validators import gt, matches_re

from edge_agent.request import endpoint_of
from turnout.protocol.identifiers import Region

_ANY_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - asked there, not bound


@frozen(kw_only=True)
class ProxySettings:
    """One proxy of an edge. Times are in seconds."""

    region: Region
    state_dir: Path
    """Folder of Turnout's own: files for the proxy, its sockets, lock and log."""

    listen: str = field(validator=matches_re(r".+:\d+"))
    """``host:port`` that users' requests come to."""

    binary: Path | None = None
    """The proxy's executable; None: wherever the driver looks for it."""

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
