"""What a table is in nginx: lines that ``turnout.lua`` reads. Pure, but for names that it is given."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

from edge_agent.drivers.base import RefusalCode, Refused, withdrawable
from edge_agent.drivers.slots import Loaded
from edge_agent.drivers.version import Version, short_digest
from edge_agent.request import endpoint_of
from turnout.protocol.identifiers import Epoch, Region
from turnout.protocol.records import Active
from turnout.protocol.routing import Backends, Colour, RoutingTable, Service

_IPV6 = 6

NOWHERE = "-"
"""Instead of addresses, for a service that has none in this region, and of a health endpoint that is not to
be withdrawn."""


def backend_name(service: str, colour: Colour) -> str:
    """How a colour's backends are called where somebody counts them."""
    return f"{service}/{colour}"


def table_lines(
    epoch: Epoch, table: RoutingTable, region: Region, numeric: Mapping[str, str]
) -> tuple[Version, bytes]:
    """A table's version and file; ``numeric``: every address, looked up.

    Raises:
        Refused: INCONSISTENT, REJECTED: a host or path that no line can hold, a named upstream.
    """
    lines = [*_services(table, region, numeric), *_hosts(table)]
    version = Version(serving=Active(epoch=epoch, digest=table.digest), build=short_digest(lines))
    first = f"v\t{Loaded(version=version).table}"
    return version, "".join(f"{line}\n" for line in (first, *lines)).encode()


def sends_to(table: RoutingTable, region: Region) -> frozenset[str]:
    """What new requests go to."""
    return frozenset(
        backend_name(service.name, colour)
        for service in table.services
        if service.in_region(region)
        for colour in Colour
        if service.sends_to(colour)
    )


def addresses_of(table: RoutingTable, region: Region) -> frozenset[str]:
    """Every address that a table has in a region."""
    return frozenset(
        address
        for service in table.services
        if (entry := service.in_region(region)) is not None
        for colour in Colour
        for address in entry.of(colour).addresses
    )


def needs(table: RoutingTable, region: Region, numeric: Mapping[str, str]) -> frozenset[str]:
    """Which addresses each colour has, for whoever cuts connections to them."""
    return frozenset(
        f"{backend_name(service.name, colour)} {numeric[address]}"
        for service in table.services
        if (entry := service.in_region(region)) is not None
        for colour in Colour
        for address in entry.of(colour).addresses
    )


def addresses_in(loaded: Loaded, names: AbstractSet[str]) -> frozenset[tuple[str, int]]:
    """The addresses that these backends have in a slot."""
    pairs = (need.split(" ") for need in loaded.needs)
    return frozenset(endpoint_of(address) for name, address in pairs if name in names)


def by_name(loaded: Loaded) -> dict[str, list[str]]:
    """The addresses that a slot's table has, by colour."""
    found: dict[str, list[str]] = {}
    for need in sorted(loaded.needs):
        name, address = need.split(" ")
        found.setdefault(name, []).append(address)
    return found


def _services(table: RoutingTable, region: Region, numeric: Mapping[str, str]) -> Iterator[str]:
    for service in table.services:
        entry = service.in_region(region)
        found = (
            _addresses(service, entry.of(colour), numeric) if entry else NOWHERE
            for colour in Colour
        )
        health = withdrawable(table, service) or NOWHERE
        yield "\t".join(("s", service.name, str(service.weights.blue), *found, health))


def _addresses(service: Service, backends: Backends, numeric: Mapping[str, str]) -> str:
    if backends.cluster is not None:
        raise Refused(
            RefusalCode.REJECTED,
            f"service '{service.name}': nginx has no upstream '{backends.cluster}', for Turnout owns "
            "its configuration: give addresses",
        )
    return ",".join(numeric[address] for address in backends.addresses)


def _hosts(table: RoutingTable) -> Iterator[str]:
    """Longest pattern and longest prefix first: the first that matches is the right one."""
    matches = sorted(
        (
            (host, service.path_prefix, number)
            for number, service in enumerate(table.services, start=1)
            for host in service.hosts
        ),
        key=lambda match: (-len(match[0]), match[0], -len(match[1]), match[1]),
    )
    for host, prefix, number in matches:
        if not (host + prefix).isprintable():
            raise Refused(
                RefusalCode.INCONSISTENT,
                f"service '{table.services[number - 1].name}': {host + prefix!r} has control "
                "characters, which nginx never gets to see",
            )
        yield f"h\t{host}\t{prefix}\t{number}"


def numeric_form(address: str) -> str | None:
    """An address as ``turnout.lua`` reads it, IPv6 in brackets; None for one that is given by name."""
    host, port = endpoint_of(address)
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    return f"[{ip}]:{port}" if ip.version == _IPV6 else f"{ip}:{port}"
