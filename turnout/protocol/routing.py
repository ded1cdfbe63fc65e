"""The routing table: every service's match rules, backends by region and colour, and weights.

A table is immutable, complete and named by its digest, the SHA-256 of its canonical bytes; the
epoch is not part of them, so that a rollback to an earlier table is recognised as that table
(H2). Only whole tables are published, and only consistent ones:
:func:`inconsistencies` names every fault, at request time, at prepare and after decoding
(the idea is go-control-plane's ``Snapshot.Consistent``).
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property

from attrs import evolve, frozen

from turnout.protocol.codec import canonical_bytes, digest_of
from turnout.protocol.identifiers import NAME_RULE, Digest, Region, ServiceName, is_name
from turnout.protocol.limits import (
    MAX_DRAIN_TIMEOUT_MS,
    MAX_HEALTH_TIMEOUT_MS,
    MAX_HOST,
    MAX_PATH_PREFIX,
    MAX_PORT,
)

FULL_WEIGHT = 100

_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_IPV6 = 6


class Colour(enum.StrEnum):
    """One of a service's two backend sets."""

    BLUE = "blue"
    GREEN = "green"

    @property
    def other(self) -> Colour:
        """The colour that a switch away from this one goes to."""
        return Colour.GREEN if self is Colour.BLUE else Colour.BLUE


class AfterDrain(enum.StrEnum):
    """What becomes of connections left at the source when the drain ends."""

    KEEP = "keep"
    CLOSE = "close"


class OnIsolation(enum.StrEnum):
    """What an agent cut off from every coordinator does: serve last good, or fail health."""

    SERVE = "serve"
    WITHDRAW = "withdraw"


class OnFailure(enum.StrEnum):
    """What follows when a proxy refuses at the flip."""

    ROLLBACK = "rollback"
    HOLD = "hold"


@frozen(kw_only=True)
class Weights:
    """Percent of new requests to each colour; they add up to 100."""

    blue: int
    green: int

    @classmethod
    def all_to(cls, colour: Colour) -> Weights:
        """Everything to one colour."""
        blue = FULL_WEIGHT if colour is Colour.BLUE else 0
        return cls(blue=blue, green=FULL_WEIGHT - blue)

    def of(self, colour: Colour) -> int:
        """Percent of new requests that go to ``colour``."""
        return self.blue if colour is Colour.BLUE else self.green


@frozen(kw_only=True)
class Backends:
    """One colour's backends in one region: addresses (``host:port``), or a cluster of the proxy's.

    Exactly one of the two is given: ``addresses`` Turnout loads into the proxy, a ``cluster`` is
    one that somebody else configured there.
    """

    addresses: tuple[str, ...] = ()
    cluster: str | None = None


@frozen(kw_only=True)
class RegionBackends:
    """Both colours' backends in one region."""

    region: Region
    blue: Backends
    green: Backends

    def of(self, colour: Colour) -> Backends:
        """The backends of one colour."""
        return self.blue if colour is Colour.BLUE else self.green


@frozen(kw_only=True)
class Health:
    """How agents check a colour's backends before they vote for it."""

    path: str = "/healthz"
    timeout_ms: int = 1000
    min_healthy_percent: int = 100
    version_path: str | None = None


@frozen(kw_only=True)
class Service:
    """What is switched: matched by host and path prefix, served by blue or green backends."""

    name: ServiceName
    hosts: tuple[str, ...]
    path_prefix: str = "/"
    weights: Weights
    health: Health = Health()
    backends: tuple[RegionBackends, ...]
    drain_timeout_ms: int = 30_000
    after_drain: AfterDrain = AfterDrain.KEEP
    retain_ms: int = 3_600_000
    on_isolation: OnIsolation = OnIsolation.SERVE
    on_failure: OnFailure = OnFailure.ROLLBACK

    @property
    def active(self) -> Colour:
        """The colour with the greater weight (blue at 50:50)."""
        return Colour.GREEN if self.weights.green > self.weights.blue else Colour.BLUE

    def sends_to(self, colour: Colour) -> bool:
        """Whether any new request goes to ``colour``."""
        return self.weights.of(colour) > 0

    def in_region(self, region: Region) -> RegionBackends | None:
        """Return the backends of one region, or None where the service has none."""
        return next((entry for entry in self.backends if entry.region == region), None)


@frozen(kw_only=True, slots=False)
class RoutingTable:
    """Every service of a domain, sorted by name. Compare tables by :attr:`digest`."""

    services: tuple[Service, ...] = ()

    @cached_property
    def digest(self) -> Digest:
        """The table's name: SHA-256 of its canonical bytes."""
        return digest_of(canonical_bytes(self))

    @cached_property
    def faults(self) -> tuple[str, ...]:
        """What :func:`inconsistencies` names: everybody who is given the table asks."""
        return tuple(_faults(self))

    def service(self, name: str) -> Service | None:
        """Return one service, or None."""
        for service in self.services:
            if service.name == name:
                return service
        return None

    def with_service(self, service: Service) -> RoutingTable:
        """Return the table with this service in place of its namesake, or added."""
        others = [entry for entry in self.services if entry.name != service.name]
        return RoutingTable(services=tuple(sorted([*others, service], key=lambda s: s.name)))

    def without_service(self, name: str) -> RoutingTable:
        """Return the table without this service."""
        return RoutingTable(services=tuple(s for s in self.services if s.name != name))

    def switched(self, name: str, to: Colour) -> RoutingTable:
        """Return the table with all of one service's weight on ``to``.

        Raises:
            KeyError: there is no such service.
        """
        service = self.service(name)
        if service is None:
            raise KeyError(name)
        return self.with_service(evolve(service, weights=Weights.all_to(to)))

    def regions(self) -> tuple[Region, ...]:
        """Every region that some service has backends in, sorted."""
        return tuple(sorted({entry.region for s in self.services for entry in s.backends}))


def changed_services(old: RoutingTable | None, new: RoutingTable) -> tuple[Service, ...]:
    """Return the services of ``new`` that ``old`` lacks or has otherwise, by name."""
    before = {service.name: service for service in old.services} if old else {}
    return tuple(s for s in new.services if before.get(s.name) != s)


def removed_services(old: RoutingTable | None, new: RoutingTable) -> tuple[Service, ...]:
    """Return the services of ``old`` that ``new`` has no more, by name."""
    return tuple(s for s in old.services if new.service(s.name) is None) if old else ()


def abandoned_colours(
    old: RoutingTable | None, new: RoutingTable
) -> tuple[tuple[ServiceName, Colour], ...]:
    """Return (service, colour) pairs that got new requests under ``old`` and get none under ``new``.

    These are what a flip from ``old`` to ``new`` has to drain.
    """
    pairs = []
    for service in old.services if old else ():
        after = new.service(service.name)
        pairs += [
            (service.name, colour)
            for colour in Colour
            if service.sends_to(colour) and not (after and after.sends_to(colour))
        ]
    return tuple(pairs)


def unused_colours(table: RoutingTable) -> tuple[tuple[ServiceName, Colour], ...]:
    """Return every (service, colour) that the table sends no new requests to."""
    return tuple(
        (service.name, colour)
        for service in table.services
        for colour in Colour
        if not service.sends_to(colour)
    )


def inconsistencies(table: RoutingTable) -> tuple[str, ...]:
    """Name every fault for which a table is refused; an empty result means consistent."""
    return table.faults


def _faults(table: RoutingTable) -> Iterator[str]:
    if not table.services:
        yield "the table has no service: an empty table is never published"
    names = [service.name for service in table.services]
    if names != sorted(names):
        yield "the services are not sorted by name"
    for name, count in Counter(names).items():
        if count > 1:
            yield f"service '{name}' is defined {count} times"
    matches = Counter((h, s.path_prefix) for s in table.services for h in s.hosts)
    for (host, prefix), count in matches.items():
        if count > 1:
            yield f"host '{host}' with path_prefix '{prefix}' is matched by {count} services"
    for service in table.services:
        for fault in _service_faults(service):
            yield f"service '{service.name}': {fault}"


def _service_faults(service: Service) -> Iterator[str]:
    if not is_name(service.name):
        yield f"the name must have {NAME_RULE}"
    yield from _match_faults(service)
    weights = (service.weights.blue, service.weights.green)
    if min(weights) < 0 or sum(weights) != FULL_WEIGHT:
        yield f"weights {weights[0]}:{weights[1]} must be 0 or more and add up to {FULL_WEIGHT}"
    yield from _number_faults(service)
    if not service.backends:
        yield "no region has backends"
    regions = [entry.region for entry in service.backends]
    if regions != sorted(set(regions)):
        yield "the regions of its backends must be sorted and named once each"
    for entry in service.backends:
        if not is_name(entry.region):
            yield f"region '{entry.region}': a name must have {NAME_RULE}"
        for colour in Colour:
            for fault in _backend_faults(entry.of(colour)):
                yield f"backends.{entry.region}.{colour}: {fault}"


def _match_faults(service: Service) -> Iterator[str]:
    if not service.hosts:
        yield "hosts is empty: name at least one"
    for host in service.hosts:
        if not host.strip() or host != host.strip().lower() or "/" in host or " " in host:
            yield f"host '{host}' must be a lower-case host name without blanks or slashes"
        elif len(host) > MAX_HOST or host.endswith("."):
            yield f"host '{host}' must have at most {MAX_HOST} characters and no dot at its end"
    if len(service.path_prefix) > MAX_PATH_PREFIX:
        yield f"path_prefix has {len(service.path_prefix)} of at most {MAX_PATH_PREFIX} characters"
    if not service.path_prefix.startswith("/") or " " in service.path_prefix:
        yield f"path_prefix '{service.path_prefix}' must begin with '/' and have no blanks"


def _number_faults(service: Service) -> Iterator[str]:
    health = service.health
    paths = {"health.path": health.path, "health.version_path": health.version_path}
    for key, path in paths.items():
        if path is not None and not path.startswith("/"):
            yield f"{key} '{path}' must begin with '/'"
    if not 1 <= health.timeout_ms <= MAX_HEALTH_TIMEOUT_MS:
        yield f"health.timeout_s {health.timeout_ms / 1000:g} must be above 0 and at most 60"
    if not 0 <= health.min_healthy_percent <= FULL_WEIGHT:
        yield f"health.min_healthy {health.min_healthy_percent / 100:g} must be within 0 and 1"
    if not 0 <= service.drain_timeout_ms <= MAX_DRAIN_TIMEOUT_MS:
        yield f"drain_timeout_s {service.drain_timeout_ms / 1000:g} must be within 0 and 86400"
    if service.retain_ms < 0:
        yield f"retain_s {service.retain_ms / 1000:g} must not be negative"


def _is_host(text: str) -> bool:
    """Whether it is an IP address or a host name, and nothing that a proxy would take for more.

    HAProxy would read ``unix@/path``, ``"a"``, ``$HOME`` and ``a#`` as something else than an address.
    """
    if text.startswith("[") and text.endswith("]"):
        try:
            return "%" not in text and ipaddress.ip_address(text[1:-1]).version == _IPV6
        except ValueError:
            return False
    return _HOST_NAME.fullmatch(text) is not None


def _backend_faults(backends: Backends) -> Iterator[str]:
    if (not backends.addresses) == (backends.cluster is None):
        yield "give either addresses or {cluster = NAME}"
    if backends.cluster is not None and not backends.cluster.strip():
        yield "the cluster's name is blank"
    for address in backends.addresses:
        host, colon, port = address.rpartition(":")
        is_port = port.isascii() and port.isdecimal() and 0 < int(port) <= MAX_PORT
        if not (colon and is_port and _is_host(host)):
            yield (
                f"'{address}' must be host:port: an IP address (IPv6 in brackets) or a host name, and a "
                "port from 1 to 65535"
            )
    if len(set(backends.addresses)) != len(backends.addresses):
        yield "an address is listed twice"
