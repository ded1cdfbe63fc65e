"""The tables at hand, by digest: what effects name, drivers are given, and drains look up."""

from __future__ import annotations

from turnout.protocol.identifiers import NO_DIGEST, Digest, ServiceName
from turnout.protocol.records import SignedTable
from turnout.protocol.routing import (
    Colour,
    RoutingTable,
    Service,
    abandoned_colours,
    changed_services,
)


class TableShelf:
    """Every table that is on this agent's disk; ``active`` names the one last flipped to."""

    def __init__(self) -> None:
        self._tables: dict[Digest, RoutingTable] = {}
        self.active = NO_DIGEST

    def put(self, table: SignedTable) -> None:
        """Add a table."""
        self._tables[table.digest] = table.table

    def keep_only(self, digests: tuple[Digest, ...]) -> None:
        """Drop all others."""
        self._tables = {name: table for name, table in self._tables.items() if name in digests}

    def get(self, digest: Digest) -> RoutingTable | None:
        """The table of this name, or None."""
        return self._tables.get(digest)

    def changed(self, before: Digest, table: RoutingTable) -> tuple[Service, ...]:
        """The services that ``table`` has otherwise than the one before."""
        return changed_services(self.get(before), table)

    def abandoned(self, before: Digest, table: RoutingTable) -> tuple[tuple[Service, Colour], ...]:
        """What got requests under ``before`` and gets none now, with the service as it was."""
        old = self.get(before)
        if old is None:
            return ()
        found = ((old.service(name), colour) for name, colour in abandoned_colours(old, table))
        return tuple((service, colour) for service, colour in found if service is not None)

    def service(self, name: ServiceName) -> Service | None:
        """A service as the active table has it, else as any table here does."""
        active = self.get(self.active)
        tables = [active, *self._tables.values()] if active else list(self._tables.values())
        found = (table.service(name) for table in tables)
        return next((service for service in found if service is not None), None)
