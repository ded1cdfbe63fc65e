"""Backend health checks from this edge, before it votes for a table that sends to them.

A backend is healthy if it answers ``health.path`` with a status below 400 within the timeout. Of each
colour that the table sends to, at least ``min_healthy`` of the backends in this region must be. Where
a ``version_path`` is given, the healthy ones must all answer it with the same body: half an old
release behind one colour is drift, and worth a no. Backends that are a cluster of the proxy's own are
unknown here; probes on the staged routes stand for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import trio
from attrs import frozen

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.request import Answer, AskError, Request, ask, endpoint_of
from turnout.protocol.identifiers import Region
from turnout.protocol.routing import Backends, Colour, RoutingTable, Service

_AT_ONCE = 64
_ERROR_STATUS = 400
_SHOWN_CHARACTERS = 60
_PERCENT = 100


async def check_backends(table: RoutingTable, services: Sequence[Service], region: Region) -> None:
    """Check the backends in ``region`` that ``table`` sends requests of ``services`` to.

    Services are looked up by name in ``table``; all backends are asked at once.

    Raises:
        Refused: UNHEALTHY, naming each backend that failed and why, or DRIFT, naming the versions.
    """
    groups = list(_groups(table, services, region))
    limiter = trio.CapacityLimiter(_AT_ONCE)
    async with trio.open_nursery() as nursery:
        for group in groups:
            for check in group.checks:
                nursery.start_soon(check.run, limiter)
    unhealthy = [text for group in groups for text in group.failures()]
    if unhealthy:
        raise Refused(RefusalCode.UNHEALTHY, "; ".join(unhealthy))
    drifting = [text for group in groups for text in group.drift()]
    if drifting:
        raise Refused(RefusalCode.DRIFT, "; ".join(drifting))


def _groups(table: RoutingTable, services: Sequence[Service], region: Region) -> Iterator[_Group]:
    for name in (service.name for service in services):
        service = table.service(name)
        entry = service.in_region(region) if service else None
        if service is None or entry is None or not service.health.min_healthy_percent:
            continue
        for colour in Colour:
            if service.sends_to(colour):
                yield _Group.of(service, colour, entry.of(colour))


@frozen(kw_only=True)
class _Group:
    """The checks of one colour's backends."""

    service: Service
    colour: Colour
    checks: tuple[_Check, ...]

    @classmethod
    def of(cls, service: Service, colour: Colour, backends: Backends) -> _Group:
        checks = tuple(_Check(service, address) for address in backends.addresses)
        return cls(service=service, colour=colour, checks=checks)

    def failures(self) -> Iterator[str]:
        failed = [check for check in self.checks if check.failure]
        healthy_percent = _PERCENT * (len(self.checks) - len(failed))
        if failed and healthy_percent < self.service.health.min_healthy_percent * len(self.checks):
            named = ", ".join(f"{check.address} ({check.failure})" for check in failed)
            yield (
                f"service '{self.service.name}', {self.colour}: {len(failed)} of {len(self.checks)} "
                f"backends failed {self.service.health.path}: {named}"
            )

    def drift(self) -> Iterator[str]:
        by_version: dict[str, list[str]] = {}
        for check in self.checks:
            if check.version is not None:
                by_version.setdefault(check.version, []).append(check.address)
        if len(by_version) > 1:
            named = ", ".join(f"'{v}' at {', '.join(a)}" for v, a in sorted(by_version.items()))
            yield f"service '{self.service.name}', {self.colour}: versions differ: {named}"


class _Check:
    """One backend: asked once, then either failed or healthy, with a version if asked for."""

    def __init__(self, service: Service, address: str) -> None:
        self.address = address
        self.failure: str | None = "not asked"
        self.version: str | None = None
        self._health = service.health
        exact = (host for host in service.hosts if "*" not in host)
        self._host = next(exact, address)

    async def run(self, limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            try:
                await self._get(self._health.path)
                if self._health.version_path:
                    answer = await self._get(self._health.version_path)
                    body = answer.body.decode(errors="replace").strip()
                    self.version = body[:_SHOWN_CHARACTERS]
            except AskError as error:
                self.failure = str(error)
            else:
                self.failure = None

    async def _get(self, path: str) -> Answer:
        request = Request(host=self._host, path=path, headers={"user-agent": "turnout-health"})
        timeout_s = self._health.timeout_ms / 1000
        answer = await ask(endpoint_of(self.address), request, timeout_s=timeout_s)
        if answer.status >= _ERROR_STATUS:
            raise AskError(f"{path} answered {answer.status}")
        return answer
