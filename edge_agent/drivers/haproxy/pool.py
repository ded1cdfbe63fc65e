"""Which backends HAProxy has, and what is in each. Pure.

HAProxy can be given servers while it runs, but no backends. So it has a *pool* of them,
``turnout_0``, ``turnout_1`` and so on, always some more than are in use. A service's colour takes a
free one, and a changed address set is another one, so that the old one keeps its requests until they
are over. Only a pool that is too small is made larger, with a reload. Servers say what they are,
``checkout.blue.1``, in HAProxy's statistics too.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

from attrs import frozen

from edge_agent.request import endpoint_of
from turnout.protocol.identifiers import Region, ServiceName
from turnout.protocol.routing import Colour, RoutingTable

PREFIX = "turnout_"
SPARES = 16
"""So many backends are free at least whenever the pool is made anew, and a quarter of those in use."""

_BACKEND = re.compile(rf"backend {PREFIX}\d+ .*")
_SERVER = re.compile(r"\s+server (\S+)\.(blue|green)\.\d+ (\S+)")


@frozen(kw_only=True)
class Content:
    """What a backend is for: one colour of a service, with these addresses."""

    service: ServiceName
    colour: Colour
    addresses: tuple[str, ...]

    @property
    def servers(self) -> dict[str, str]:
        """Addresses by the servers' names."""
        return {
            f"{self.service}.{self.colour}.{number}": address
            for number, address in enumerate(self.addresses, start=1)
        }

    @property
    def is_numeric(self) -> bool:
        """Whether HAProxy can be given the servers while it runs: it resolves no names then."""
        return all(is_numeric(address) for address in self.addresses)


@frozen
class Pool:
    """The backends by number: what is in each, None where one is free."""

    places: tuple[Content | None, ...] = (None,) * SPARES

    def backend_of(self, content: Content) -> str:
        """The name of the backend that has it."""
        return backend_name(self.places.index(content))

    def contents(self) -> Iterator[tuple[str, Content]]:
        """What is in the pool, by the backends' names."""
        for number, content in enumerate(self.places):
            if content is not None:
                yield backend_name(number), content

    def without(self, names: AbstractSet[str]) -> Pool:
        """The pool with these backends free."""
        return Pool(
            tuple(
                None if backend_name(number) in names else content
                for number, content in enumerate(self.places)
            )
        )

    def with_all(self, needed: Iterable[Content]) -> Pool:
        """The pool with all that is needed in it; larger, if it must be."""
        places = list(self.places)
        present = set(places)
        missing = [content for content in dict.fromkeys(needed) if content not in present]
        free = [number for number, content in enumerate(places) if content is None]
        if len(missing) > len(free):
            used = len(places) - len(free) + len(missing)
            places += [None] * (used + max(SPARES, used // 4) - len(places))
            free = [number for number, content in enumerate(places) if content is None]
        for number, content in zip(free, missing, strict=False):
            places[number] = content
        return Pool(tuple(places))


def backend_name(number: int) -> str:
    """How a backend of the pool is called."""
    return f"{PREFIX}{number}"


def read_pool(config: str) -> Pool:
    """The pool of a routing configuration that ``config.py`` wrote."""
    places: list[list[tuple[str, str, str]]] = []
    for line in config.splitlines():
        if _BACKEND.fullmatch(line):
            places.append([])
        elif found := _SERVER.match(line):
            places[-1].append((found[1], found[2], found[3]))
    return Pool(tuple(_content(servers) for servers in places))


def needed_by(table: RoutingTable, region: Region) -> list[Content]:
    """What a table needs in a region, of both colours; not what the proxy has itself."""
    return [
        Content(service=service.name, colour=colour, addresses=entry.of(colour).addresses)
        for service in table.services
        if (entry := service.in_region(region)) is not None
        for colour in Colour
        if entry.of(colour).addresses
    ]


def is_numeric(address: str) -> bool:
    """Whether it is an IP address with a port."""
    try:
        ipaddress.ip_address(endpoint_of(address)[0])
    except ValueError:
        return False
    return True


def _content(servers: list[tuple[str, str, str]]) -> Content | None:
    if not servers:
        return None
    service, colour, _ = servers[0]
    addresses = tuple(address for _, _, address in servers)
    return Content(service=ServiceName(service), colour=Colour(colour), addresses=addresses)
