"""Taking services away from an edge that hears no coordinator, where they ask for it.

``on_isolation = "withdraw"``: after a while without any leader the proxy fails the service's health
endpoint, so that whoever stands before the edges sends users elsewhere. What comes all the same is served
by the last good table. When a leader is heard again the endpoint is what the backends say.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from edge_agent.drivers.base import Driver, Refused
from edge_agent.table_shelf import TableShelf
from turnout.protocol.clock import SECOND
from turnout.protocol.identifiers import ServiceName
from turnout.protocol.routing import OnIsolation

AFTER_S = 10.0
"""A takeover and a reconnect are over by then."""

_LOOK_S = 0.5

_log = structlog.get_logger(__name__)


class Withdrawal:
    """Keeps the proxy told which services are withdrawn; :meth:`run` in a task."""

    def __init__(
        self,
        driver: Driver,
        shelf: TableShelf,
        *,
        isolated_ns: Callable[[], int],
        is_up: Callable[[], bool],
        after_s: float = AFTER_S,
    ) -> None:
        """``isolated_ns``: for how long no leader has been heard; ``is_up``: whether the driver may be asked."""
        self._driver = driver
        self._shelf = shelf
        self._isolated_ns = isolated_ns
        self._is_up = is_up
        self._after_ns = after_s * SECOND
        self.names: frozenset[ServiceName] | None = None
        """What the proxy was told to withdraw; None before it was told anything."""

    async def run(self) -> None:
        """Look again and again. A proxy that restarts has forgotten: while anything is, it is told again."""
        while True:
            wanted = self._wanted()
            if self._is_up() and (wanted or wanted != self.names):
                await self._tell(wanted)
            await trio.sleep(_LOOK_S)

    def _wanted(self) -> frozenset[ServiceName]:
        table = self._shelf.get(self._shelf.active)
        if table is None or self._isolated_ns() < self._after_ns:
            return frozenset()
        asking = (one for one in table.services if one.on_isolation is OnIsolation.WITHDRAW)
        return frozenset(service.name for service in asking)

    async def _tell(self, names: frozenset[ServiceName]) -> None:
        try:
            await self._driver.withdraw(names)
        except Refused as refusal:
            _log.warning("services are not withdrawn", services=sorted(names), reason=str(refusal))
            return
        if names != (self.names or frozenset()):
            _log.warning("health endpoints fail", services=sorted(names))
        self.names = names
