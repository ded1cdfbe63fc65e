"""What a table is in HAProxy: five maps of a slot. Pure.

A request's host is looked up first (``hosts``, then ``suffixes``, then ``prefixes``, else everything,
``*``), which gives the pattern that it matched; then pattern and path together (``paths``, where the
path is a service's prefix itself, then ``below`` for the longest prefix above it), which gives the
service's *entry*: its name, blue's share of a hundred, both colours' backends, and the health endpoint
that may be withdrawn.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from edge_agent.drivers.base import RefusalCode, Refused, withdrawable
from edge_agent.drivers.haproxy.pool import Content, Pool, needed_by
from edge_agent.drivers.matching import EVERYTHING
from edge_agent.drivers.slots import Loaded
from edge_agent.drivers.version import Version, short_digest
from turnout.protocol.identifiers import Epoch, Region
from turnout.protocol.records import Active
from turnout.protocol.routing import Colour, RoutingTable, Service

KINDS: Mapping[str, str] = {
    "hosts": "map_str",
    "suffixes": "map_end",
    "prefixes": "map_beg",
    "paths": "map_str",
    "below": "map_beg",
}
"""A slot's maps, and how HAProxy looks things up in each."""

NOWHERE = "/"
"""Instead of a backend, for a service that has none in this region (no backend can be called that), and of
a health endpoint that is not to be withdrawn."""

Entries = list[tuple[str, str]]


@frozen(kw_only=True)
class Plan:
    """One table, ready for HAProxy."""

    version: Version
    maps: Mapping[str, Entries]
    needs: frozenset[str]
    """Backends of the pool, of both colours."""

    sends_to: frozenset[str]
    """Backends that new requests go to."""

    named: frozenset[str]
    """Backends that somebody else configured."""

    def loaded(self, slot: str) -> Loaded:
        """What the slot's file will say of it."""
        return Loaded(slot=slot, version=self.version, sends_to=self.sends_to, needs=self.needs)


def plan(epoch: Epoch, table: RoutingTable, region: Region, pool: Pool) -> Plan:
    """Make one table ready, with its contents in the pool already; in no incarnation yet.

    Raises:
        Refused: INCONSISTENT: a host or path that HAProxy's maps cannot hold.
    """
    maps: dict[str, Entries] = {kind: [] for kind in KINDS}
    for host in sorted({host for service in table.services for host in service.hosts}, key=_order):
        kind, key = _host_key(host)
        if kind:
            maps[kind].append((key, host))
    backends = {
        (service.name, colour): _backend(service, colour, region, pool)
        for service in table.services
        for colour in Colour
    }
    below: dict[str, str] = {}
    for service in table.services:
        shares = (backends[service.name, colour] for colour in Colour)
        health = withdrawable(table, service) or NOWHERE
        entry = "|".join((service.name, str(service.weights.blue), *shares, health))
        for host in service.hosts:
            key = host + service.path_prefix
            _refuse_unwritable(service, host, key)
            if service.path_prefix.endswith("/"):
                below[key] = entry
            else:
                maps["paths"].append((key, entry))
                below.setdefault(f"{key}/", entry)
    maps["below"] = sorted(below.items())
    digest = table.digest
    named = [
        here.of(colour).cluster
        for service in table.services
        if (here := service.in_region(region)) is not None
        for colour in Colour
    ]
    sends_to = {
        backends[service.name, colour]
        for service in table.services
        for colour in Colour
        if service.sends_to(colour)
    }
    return Plan(
        version=Version(serving=Active(epoch=epoch, digest=digest), build=short_digest(maps)),
        maps=maps,
        needs=frozenset(pool.backend_of(content) for content in needed_by(table, region)),
        sends_to=frozenset(sends_to - {NOWHERE}),
        named=frozenset(name for name in named if name is not None),
    )


def lines_of(entries: Entries) -> bytes:
    """A map's file."""
    return "".join(f"{key} {value}\n" for key, value in entries).encode()


def _order(host: str) -> tuple[int, str]:
    """Longest first: of the suffixes that match HAProxy takes the first in its list."""
    return -len(host), host


def _host_key(host: str) -> tuple[str, str]:
    """In which map a host pattern is, under which key; everything is in none."""
    if host == EVERYTHING:
        return "", ""
    if host.startswith("*"):
        return "suffixes", host[1:]
    if host.endswith("*"):
        return "prefixes", host[:-1]
    return "hosts", host


def _backend(service: Service, colour: Colour, region: Region, pool: Pool) -> str:
    entry = service.in_region(region)
    if entry is None:
        return NOWHERE
    backends = entry.of(colour)
    if backends.cluster is not None:
        return backends.cluster
    return pool.backend_of(
        Content(service=service.name, colour=colour, addresses=backends.addresses)
    )


def _refuse_unwritable(service: Service, host: str, key: str) -> None:
    if not key.isprintable() or "#" in host or len(key.split()) != 1:
        raise Refused(
            RefusalCode.INCONSISTENT,
            f"service '{service.name}': {key!r} cannot be in a map of HAProxy: it may have no blanks "
            "and control characters, nor '#' in the host",
        )
