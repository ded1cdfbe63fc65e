"""``coordinator.toml``: which replica this is, where etcd is, and the times of the protocol.

    settings = load_settings(Path("coordinator.toml"))

Every key is in ``EXAMPLE``. Paths are relative to the file's folder, so that a configuration can be
moved whole. Whatever is unknown, blank or impossible is refused with the key's name and what is
allowed, all faults at once.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Final, Literal

import attrs
from attrs import field, frozen
from attrs.validators import gt, min_len

from turnout.protocol.clock import SECOND
from turnout.protocol.identifiers import NAME_RULE, ReplicaId, is_name
from turnout.protocol.limits import broken_relations
from turnout.protocol.timing_settings import TimingSettings
from turnout.runtime.config import ConfigError, Fault, load_toml
from turnout.runtime.http.client import checked_url
from turnout.runtime.http.limits import HttpLimits
from turnout.runtime.store.etcd_options import ClientTls, EtcdOptions, Login

EXAMPLE: Final = """\
# A coordinator: `turnout serve --config coordinator.toml`. Keys that are commented out have the
# value shown. Paths are relative to this file's folder.

replica = "c0"                  # this replica's name; no two replicas of a domain may share one
domain = "shop"                 # what is switched together; one etcd can hold many domains
domain_key = "domain.key"       # made by `turnout domain init`; its owner's alone (mode 0600)
# listen = "127.0.0.1:7100"     # loopback only; port 0 takes a free one
# url = "http://127.0.0.1:7100" # where agents, operators and the other replicas reach this one
# max_connections = 4096        # agents' streams and callers together

[etcd]
endpoints = ["127.0.0.1:2379"]  # HOST:PORT of every member
# quota_bytes = 2147483648      # etcd's own --quota-backend-bytes
# user = "turnout"              # for an etcd with authentication; then password_file too
# password_file = "etcd.password"

# [etcd.tls]                    # for an etcd with TLS
# ca = "etcd-ca.pem"
# certificate = "etcd-client.pem"  # both or neither
# key = "etcd-client.key"

# [timing]                      # in seconds; the sum that must stay below budget_s is checked
# prepare_timeout_s = 5         # to collect every yes
# undo_timeout_s = 2            # after which a rollback goes on without the silent
# live_timeout_s = 5            # after the activation time, until an outcome is "partial"
# budget_s = 30                 # the promise
# lease_ttl_s = 5               # the leader key's lease
# election_s = 1                # etcd's own --election-timeout
# streams_per_replica = 100     # agents that a lost replica leaves to the others ...
# handshakes_per_s = 200        # ... which admit so many a second
# max_g_s = 2.5                 # longest wait for a scheduled activation
# max_round_trip_s = 0.5        # to the farthest agent
# store_write_s = 0.25          # one write of etcd, by way of its farthest member
# flip_s = 1.5                  # a flip and its probes
# max_clock_bound_s = 0.05      # clocks known less well are named in the report
# sync_interval_s = 1           # how often every agent is told the head
# silence_s = 4                 # how long an agent takes silence for a leader's
# retry_s = 1                   # before what was not answered is asked again

# [log]
# level = "info"                # debug | info | warning | error
# json_lines = true             # default: unless stderr is a terminal
"""


def _name(_owner: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not is_name(value):
        raise ValueError(f"must have {NAME_RULE}: {attribute.name} = {value!r} has not")


def _loopback(_owner: object, _attribute: attrs.Attribute[str], value: str) -> None:
    """Nobody is identified yet, so nobody from elsewhere is let in."""
    host, port = split_address(value)
    if host == "localhost":
        return
    try:
        inside = ipaddress.ip_address(host).is_loopback
    except ValueError:
        inside = False
    if not inside:
        raise ValueError(
            f"must be a loopback address such as 127.0.0.1:{port or 7100}: until identities are "
            "set up, a coordinator serves its own host only"
        )


def _reachable(_owner: object, _attribute: attrs.Attribute[str | None], value: str | None) -> None:
    if value is not None:
        checked_url(value)


def split_address(address: str) -> tuple[str, int]:
    """``HOST:PORT`` or ``[IPV6]:PORT`` as its parts. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65_535:  # noqa: PLR2004
        raise ValueError(f"must be HOST:PORT, not {address!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


@frozen(kw_only=True)
class EtcdTlsSettings:
    """PEM files: who is trusted to be etcd, and (both or neither) who we are."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None


@frozen(kw_only=True)
class EtcdSettings:
    """Where the truth is.

    Attributes:
        endpoints: HOST:PORT of every member; the first that answers is kept.
        quota_bytes: etcd's own ``--quota-backend-bytes``, which etcd 3.4 does not tell.
        user, password_file: for an etcd with authentication; both or neither.
    """

    endpoints: tuple[str, ...] = field(validator=min_len(1))
    quota_bytes: int = field(default=2 * 1024**3, validator=gt(0))
    user: str | None = None
    password_file: Path | None = None
    tls: EtcdTlsSettings | None = None


@frozen(kw_only=True)
class LogSettings:
    """``json_lines`` unset: JSON unless stderr is a terminal."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    json_lines: bool | None = None


@frozen(kw_only=True)
class CoordinatorSettings:
    """One replica.

    Attributes:
        replica: its name; no two replicas of a domain may share one.
        domain: what it coordinates; one etcd may hold many.
        domain_key: file of the domain's private key, as ``turnout domain init`` wrote it.
        listen: HOST:PORT; port 0 takes a free one.
        url: where agents, operators and the other replicas reach it; unset: ``http://`` and the
            address listened on.
        max_connections: held streams and callers together.
    """

    replica: str = field(validator=_name)
    domain: str = field(validator=_name)
    domain_key: Path
    listen: str = field(default="127.0.0.1:7100", validator=_loopback)
    url: str | None = field(default=None, validator=_reachable)
    max_connections: int = field(default=4096, validator=gt(0))
    etcd: EtcdSettings
    timing: TimingSettings = TimingSettings()
    log: LogSettings = LogSettings()

    @property
    def replica_id(self) -> ReplicaId:
        """The replica's name, as the machines know it."""
        return ReplicaId(self.replica)

    def http_limits(self) -> HttpLimits:
        """What the HTTP server grants."""
        return HttpLimits(
            max_connections=self.max_connections,
            handshakes_per_s=self.timing.handshakes_per_s,
        )

    def etcd_options(self) -> EtcdOptions:
        """How to reach etcd. Raises OSError for a password file that cannot be read."""
        etcd = self.etcd
        login = None
        if etcd.user is not None and etcd.password_file is not None:
            password = etcd.password_file.read_text(encoding="utf-8").strip()
            login = Login(user=etcd.user, password=password)
        tls = None
        if etcd.tls is not None:
            tls = ClientTls(ca=etcd.tls.ca, certificate=etcd.tls.certificate, key=etcd.tls.key)
        return EtcdOptions(
            endpoints=etcd.endpoints,
            domain=self.domain,
            timeout_s=self.timing.timing().store_timeout_ns / SECOND,
            quota_bytes=etcd.quota_bytes,
            tls=tls,
            login=login,
        )


def load_settings(path: Path) -> CoordinatorSettings:
    """Read ``coordinator.toml``. Raises ConfigError that names every fault."""
    settings = _from_folder(load_toml(path, CoordinatorSettings), path.parent)
    faults = tuple(_faults(settings))
    if faults:
        raise ConfigError(str(path), faults)
    return settings


def _faults(settings: CoordinatorSettings) -> list[Fault]:
    """What is wrong between several keys."""
    broken = [
        Fault(path="timing", message=f": {b}") for b in broken_relations(settings.timing.timing())
    ]
    if (settings.etcd.user is None) != (settings.etcd.password_file is None):
        broken.append(Fault(path="etcd", message="needs both user and password_file, or neither"))
        return broken
    try:
        settings.etcd_options()
    except (ValueError, OSError) as error:
        broken.append(Fault(path="etcd", message=f": {error}"))
    return broken


def _from_folder(settings: CoordinatorSettings, folder: Path) -> CoordinatorSettings:
    """The settings with their paths taken from this folder."""
    etcd = settings.etcd
    if etcd.password_file is not None:
        etcd = attrs.evolve(etcd, password_file=folder / etcd.password_file)
    if etcd.tls is not None:
        tls = etcd.tls
        tls = EtcdTlsSettings(
            ca=folder / tls.ca,
            certificate=tls.certificate and folder / tls.certificate,
            key=tls.key and folder / tls.key,
        )
        etcd = attrs.evolve(etcd, tls=tls)
    return attrs.evolve(settings, domain_key=folder / settings.domain_key, etcd=etcd)
