"""The table file: a routing table as an operator writes it (`turnout apply -f FILE`).

    table = load_table(Path("table.toml"))

Every key is in ``EXAMPLE``, with what it means and what is allowed. An unknown key, a blank, a
wrong type or an impossible combination is refused with the key's whole name (``service.checkout.
health.timeout_s``) and the allowed values, all faults at once.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs
import cattrs
from attrs import field, frozen

from turnout.protocol.identifiers import NAME_RULE, Region, ServiceName, is_name
from turnout.protocol.routing import (
    AfterDrain,
    Backends,
    Colour,
    Health,
    OnFailure,
    OnIsolation,
    RegionBackends,
    RoutingTable,
    Service,
    Weights,
    inconsistencies,
)
from turnout.runtime.config import ConfigError, load_toml, parse_toml
from turnout.runtime.structuring import Fault, shown, strict_converter

EXAMPLE: Final = """\
# A routing table for `turnout apply -f FILE`: every service of the domain, whole. Keys that are
# commented out have the value shown.

[service.checkout]              # the name that `turnout switch` takes
hosts = ["checkout.example"]    # which requests: the Host header, lower case, without a port
# path_prefix = "/"             # ... and the beginning of the path
# active = "blue"               # blue | green; read when the service is new. Afterwards a switch
#                               # moves it, and apply leaves it where it is
# drain_timeout_s = 30          # 0 to 86400: how long requests in flight may take after a switch
# after_drain = "keep"          # keep | close: connections that are left when that time is over
# retain_s = 3600               # how long the old colour is kept for a rollback
# on_isolation = "serve"        # serve | withdraw: what an edge does without any coordinator. Both go on
#                               # with the last good table; withdraw fails the health endpoint besides
# on_failure = "rollback"       # rollback | hold: when a proxy refuses a table that is committed

[service.checkout.health]       # how every edge checks the backends of a colour it is to switch to
# path = "/healthz"
# timeout_s = 1                 # 0.001 to 60
# min_healthy = 1.0             # 0 to 1: the fraction of a region's backends that must be healthy
# version_path = "/version"     # all backends of a colour must answer the same; not asked if absent

[service.checkout.backends.eu-west-1]  # one such table for every region, both colours in each
blue = ["10.0.0.1:8080", "10.0.0.2:8080"]
green = ["10.0.1.1:8080", "10.0.1.2:8080"]

[service.checkout.backends.us-east-1]
blue = { cluster = "checkout-blue" }   # a cluster that somebody else configured in the proxy
green = { cluster = "checkout-green" }
"""

_MILLISECONDS: Final = 1000


def load_table(path: Path) -> RoutingTable:
    """The table in a file. Raises ConfigError, which names every fault."""
    return _table(load_toml(path, _TableFile, converter=_converter()), str(path))


def parse_table(content: bytes, *, source: str) -> RoutingTable:
    """The table in these bytes of TOML; ``source`` names them. Raises ConfigError."""
    return _table(parse_toml(content, _TableFile, source=source, converter=_converter()), source)


# ------------------------------------------------------------------------------ what may be said

_Validator: TypeAlias = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _within(low: float, high: float) -> _Validator:
    def check(_: object, __: attrs.Attribute[Any], value: float) -> None:
        if not low <= value <= high:
            raise ValueError(f"must be from {low:g} to {high:g}, not {value:g}")

    return check


def _absolute_path(_: object, __: attrs.Attribute[Any], value: str | None) -> None:
    if value is not None and (not value.startswith("/") or " " in value):
        raise ValueError(f"must begin with '/' and have no blanks, not {shown(value)}")


def _not_empty(what: str) -> _Validator:
    def check(_: object, __: attrs.Attribute[Any], value: tuple[object, ...]) -> None:
        if not value:
            raise ValueError(f"is empty: name at least one {what}")

    return check


@frozen(kw_only=True)
class _Cluster:
    cluster: str


_Backends: TypeAlias = tuple[str, ...] | _Cluster


@frozen(kw_only=True)
class _RegionTable:
    blue: _Backends
    green: _Backends


@frozen(kw_only=True)
class _HealthTable:
    path: str = field(default="/healthz", validator=_absolute_path)
    timeout_s: float = field(default=1.0, validator=_within(0.001, 60))
    min_healthy: float = field(default=1.0, validator=_within(0, 1))
    version_path: str | None = field(default=None, validator=_absolute_path)


@frozen(kw_only=True)
class _ServiceTable:
    hosts: tuple[str, ...] = field(validator=_not_empty("host"))
    path_prefix: str = field(default="/", validator=_absolute_path)
    active: Colour = Colour.BLUE
    drain_timeout_s: float = field(default=30.0, validator=_within(0, 86_400))
    after_drain: AfterDrain = AfterDrain.KEEP
    retain_s: float = field(default=3600.0, validator=_within(0, 10 * 365 * 86_400))
    on_isolation: OnIsolation = OnIsolation.SERVE
    on_failure: OnFailure = OnFailure.ROLLBACK
    health: _HealthTable = _HealthTable()
    backends: dict[Region, _RegionTable] = field(validator=_not_empty("region"))


@frozen(kw_only=True)
class _TableFile:
    service: dict[ServiceName, _ServiceTable] = field(validator=_not_empty("service"))


def _converter() -> cattrs.Converter:
    converter = strict_converter()
    for kind in (ServiceName, Region):
        converter.register_structure_hook_func(partial(operator.is_, kind), _name)

    def structure(value: object, _: object) -> object:
        if not isinstance(value, list | dict) or not value:
            raise ValueError(
                'must be a list of addresses such as ["10.0.0.1:8080"] or a table'
                f' {{ cluster = "NAME" }}, and name at least one; it is {shown(value)}'
            )
        kind = _Cluster if isinstance(value, dict) else tuple[str, ...]
        return converter.structure(value, kind)

    converter.register_structure_hook_func(lambda asked: asked == _Backends, structure)
    return converter


def _name(value: object, _: object) -> str:
    if not isinstance(value, str) or not is_name(value):
        raise ValueError(f"is not a name: it must have {NAME_RULE}")
    return value


# --------------------------------------------------------------------------------- what it means


def _table(file: _TableFile, source: str) -> RoutingTable:
    services = [_service(name, said) for name, said in sorted(file.service.items())]
    table = RoutingTable(services=tuple(services))
    faults = inconsistencies(table)
    if faults:
        raise ConfigError(source, tuple(Fault(path="", message=fault) for fault in faults))
    return table


def _service(name: ServiceName, said: _ServiceTable) -> Service:
    return Service(
        name=name,
        hosts=said.hosts,
        path_prefix=said.path_prefix,
        weights=Weights.all_to(said.active),
        health=Health(
            path=said.health.path,
            timeout_ms=_ms(said.health.timeout_s),
            min_healthy_percent=round(said.health.min_healthy * 100),
            version_path=said.health.version_path,
        ),
        backends=tuple(
            RegionBackends(region=region, blue=_backends(pair.blue), green=_backends(pair.green))
            for region, pair in sorted(said.backends.items())
        ),
        drain_timeout_ms=_ms(said.drain_timeout_s),
        after_drain=said.after_drain,
        retain_ms=_ms(said.retain_s),
        on_isolation=said.on_isolation,
        on_failure=said.on_failure,
    )


def _backends(said: _Backends) -> Backends:
    if isinstance(said, _Cluster):
        return Backends(cluster=said.cluster)
    return Backends(addresses=said)


def _ms(seconds: float) -> int:
    return round(seconds * _MILLISECONDS)
