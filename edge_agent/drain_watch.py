"""Counting down what draining sources still have to finish, from the proxy's own counters.

A request that pauses before it is tried again is in no counter, so a 0 is believed, and told, only
once it was read twice in a row, further apart than such a pause lasts. What could not be read
(the proxy is down, or being started) is no reading: a watch goes on over it until it is stopped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
import trio

from edge_agent.drivers.base import RETRY_INTERVAL_S, Driver, Refused
from edge_agent.table_shelf import TableShelf
from turnout.protocol.events import AgentEvent, InFlight
from turnout.protocol.identifiers import ServiceName
from turnout.protocol.routing import Colour

_POLL_S = 1.2 * RETRY_INTERVAL_S
_COUNTED_AT_ONCE = 8

_log = structlog.get_logger(__name__)


class DrainWatch:
    """The drains being watched; each change of a count is told as an event."""

    def __init__(
        self,
        driver: Driver,
        shelf: TableShelf,
        tell: Callable[[AgentEvent], Awaitable[None]],
        *,
        is_up: Callable[[], bool],
    ) -> None:
        """``is_up`` tells whether the driver may be asked: not while it starts the proxy."""
        self._driver = driver
        self._shelf = shelf
        self._tell = tell
        self._is_up = is_up
        self._scopes: dict[tuple[ServiceName, Colour], trio.CancelScope] = {}
        self._limiter = trio.CapacityLimiter(_COUNTED_AT_ONCE)

    def begin(self, nursery: trio.Nursery, name: ServiceName, colour: Colour) -> None:
        """Count in a task of the nursery until stopped; beginning again starts anew."""
        self.stop(name, colour)
        scope = self._scopes[name, colour] = trio.CancelScope()
        nursery.start_soon(self._watch, scope, name, colour)

    def stop(self, name: ServiceName, colour: Colour) -> None:
        """Count no more."""
        scope = self._scopes.pop((name, colour), None)
        if scope is not None:
            scope.cancel()

    async def close(self, name: ServiceName, colour: Colour) -> None:
        """Cut what is left at a source whose time is over."""
        service = self._shelf.service(name)
        if service is None:
            return
        try:
            cut = await self._driver.close(service, colour)
        except Refused as refusal:
            _log.warning("a source is not closed", service=name, colour=colour, reason=str(refusal))
        else:
            _log.info("a source was closed", service=name, colour=colour, requests=cut)

    async def _watch(self, scope: trio.CancelScope, name: ServiceName, colour: Colour) -> None:
        told: int | None = None
        count: int | None = None
        with scope:
            while True:
                # Not at once: an edge that has just flipped first has to prove that it is live.
                await trio.sleep(_POLL_S)
                before, count = count, await self._count(name, colour)
                is_doubtful = count == 0 and before != 0
                if count is not None and count != told and not is_doubtful:
                    told = count
                    await self._tell(InFlight(service=name, colour=colour, count=count))

    async def _count(self, name: ServiceName, colour: Colour) -> int | None:
        """What the proxy counts; None while there is nobody to ask."""
        service = self._shelf.service(name)
        if service is None or not self._is_up():
            return None
        async with self._limiter:
            try:
                return await self._driver.in_flight(service, colour)
            except Refused:
                return None
