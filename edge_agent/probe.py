"""Probes: what a proxy serves, shown by answers that came through it.

A probe is a plain request on a new connection, with a host of the service and a path that belongs
to it, and it must come back marked with the epoch, the service and a colour that the table sends to.
The path is the service's health path where that lies below its prefix, for backends expect to
be asked that at any time; else the health path appended to the prefix. It is checked against the
whole table, so that a neighbour with a longer prefix does not answer instead.

One bad answer starts the count again: workers of a proxy may pick up a change milliseconds apart,
and proof is a run of good answers on new connections. A service is proven only if one of them was
no gateway or server error, unless the table asks for no healthy backend at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from edge_agent.drivers.base import (
    COLOUR_HEADER,
    EPOCH_HEADER,
    PROBE,
    SERVICE_HEADER,
    Driver,
)
from edge_agent.drivers.matching import owner
from edge_agent.request import Answer, AskError, Request
from turnout.protocol.identifiers import Epoch
from turnout.protocol.routing import Colour, RoutingTable, Service

PROBES_IN_A_ROW = 3
_AT_ONCE = 16
_PAUSE_S = 0.02
_SERVER_ERROR = 500


class NotProven(Exception):  # noqa: N818 - the opposite of the field's word "proven"
    """What was expected of an answer through the proxy, and what came."""


async def prove(
    driver: Driver,
    epoch: Epoch,
    table: RoutingTable,
    changed: Sequence[Service],
    abandoned: Sequence[tuple[Service, Colour]] = (),
    *,
    timeout_s: float = 2.0,
) -> None:
    """Return once users' requests are seen to be served as ``table`` says at ``epoch``.

    Every service in ``changed`` is probed through the live listener; then the backends in
    ``abandoned``, (service as it was before, colour) pairs, are seen to get no more requests.

    Raises:
        NotProven: not within ``timeout_s``; the reason names the last answer that was wrong.
        Refused: the proxy is down.
    """
    await _with_deadline(
        driver, epoch, table, changed, abandoned, staged=False, timeout_s=timeout_s
    )


async def prove_staged(
    driver: Driver,
    epoch: Epoch,
    table: RoutingTable,
    changed: Sequence[Service],
    *,
    timeout_s: float = 2.0,
) -> None:
    """Probe ``changed`` on the routes that are staged.

    Raises:
        NotProven: as :func:`prove`.
    """
    await _with_deadline(driver, epoch, table, changed, (), staged=True, timeout_s=timeout_s)


def probe_requests(table: RoutingTable, service: Service) -> list[Request]:
    """One probe for each host of a service, at least ``PROBES_IN_A_ROW`` in all.

    Raises:
        NotProven: no path below the service's prefix belongs to it under one of its hosts.
    """
    requests = [_probe(table, service, host) for host in service.hosts]
    rounds = -(-PROBES_IN_A_ROW // len(requests))
    return requests * rounds


async def _with_deadline(
    driver: Driver,
    epoch: Epoch,
    table: RoutingTable,
    changed: Sequence[Service],
    abandoned: Sequence[tuple[Service, Colour]],
    *,
    staged: bool,
    timeout_s: float,
) -> None:
    proof = _Proof(driver, epoch, staged=staged)
    runs = [(service, probe_requests(table, service)) for service in changed]
    limiter = trio.CapacityLimiter(_AT_ONCE)
    with trio.move_on_after(timeout_s):
        async with trio.open_nursery() as nursery:
            for service, requests in runs:
                nursery.start_soon(proof.of_service, service, requests, limiter)
        await proof.of_silence(abandoned)
        return
    raise NotProven("; ".join(proof.doubts.values()) or f"not complete within {timeout_s:g} s")


class _Proof:
    """A run of probes; ``doubts`` holds the last wrong answer of what is not proven yet."""

    def __init__(self, driver: Driver, epoch: Epoch, *, staged: bool) -> None:
        self._driver = driver
        self._epoch = epoch
        self._staged = staged
        self.doubts: dict[str, str] = {}

    async def of_service(
        self, service: Service, requests: Sequence[Request], limiter: trio.CapacityLimiter
    ) -> None:
        while True:
            async with limiter:
                doubt = await self._run(service, requests)
            if doubt is None:
                self.doubts.pop(service.name, None)
                return
            self.doubts[service.name] = f"service '{service.name}': {doubt}"
            await trio.sleep(_PAUSE_S)

    async def of_silence(self, abandoned: Sequence[tuple[Service, Colour]]) -> None:
        for service, colour in abandoned:
            key = f"{service.name}/{colour}"
            before = await self._driver.requests_total(service, colour)
            await trio.sleep(_PAUSE_S)
            while (after := await self._driver.requests_total(service, colour)) != before:
                self.doubts[key] = f"service '{service.name}': {colour} still gets new requests"
                before = after
                await trio.sleep(_PAUSE_S)
            self.doubts.pop(key, None)

    async def _run(self, service: Service, requests: Sequence[Request]) -> str | None:
        statuses = []
        for request in requests:
            try:
                answer = await self._driver.ask(request, staged=self._staged)
            except AskError as error:
                return f"host '{request.host}', path '{request.path}': {error}"
            doubt = _doubt(answer, self._epoch, service)
            if doubt:
                return f"host '{request.host}', path '{request.path}': {doubt}"
            statuses.append(answer.status)
        if service.health.min_healthy_percent and min(statuses) >= _SERVER_ERROR:
            return f"every probe was answered with an error (status {min(statuses)})"
        return None


def _doubt(answer: Answer, epoch: Epoch, service: Service) -> str | None:
    """What is wrong with the marks of one answer, or None."""
    colours = [colour.value for colour in Colour if service.sends_to(colour)]
    expected: dict[str, list[str]] = {
        EPOCH_HEADER: [str(epoch)],
        SERVICE_HEADER: [service.name],
        COLOUR_HEADER: colours,
    }
    for header, values in expected.items():
        got = answer.headers.get(header, "(none)")
        if got not in values:
            return f"{header} is {got}, not {' or '.join(values)} (status {answer.status})"
    return None


def _probe(table: RoutingTable, service: Service, host: str) -> Request:
    asked = host.replace("*", PROBE)
    prefix = service.path_prefix.rstrip("/")
    health = service.health.path
    for path in (health, prefix + health, f"{prefix}/{PROBE}"):
        if owner(table, asked, path.partition("?")[0]) == service:
            return Request(host=asked, path=path, headers={"user-agent": PROBE})
    raise NotProven(
        f"service '{service.name}': no path below '{service.path_prefix}' on host '{host}' is its own"
    )
