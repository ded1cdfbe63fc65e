"""What a flip costs the users of a proxy, and how long it takes.

    python -m bench.proxies [--proxy NAME...] [--switches 100] [--services 2] [--entries N...] [--json]

Each proxy, the real one, is switched back and forth by its driver while users ask (``proxy_site.py``): a
switch is staged, flipped and proven live, as the agent does it. *live* is from the order to flip until it
is proven. No request may be answered by an epoch before that is ordered, nor, sent after one was proven
live, by an older one; and always by the colour of its epoch.

``--services``: so many in all, of four backends a colour in three regions; two of them are asked for, and all
are switched. ``--entries``: the driver alone instead, without users, with so many routes.

The exit code is 1 where a request failed, was misrouted, or a connection was reset.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
import trio
from attrs import asdict, evolve, frozen

from bench.proxy_site import (
    HOST,
    PROXIES,
    REGION,
    SOCKETS_HOST,
    Flip,
    Site,
    colour_of,
    driver_of,
    running_proxy,
)
from bench.workplace import machine, workplace
from edge_agent.probe import prove
from edge_agent.sample_backend import SampleBackend, run_backend
from turnout.protocol.identifiers import Epoch, ServiceName
from turnout.protocol.records import Active
from turnout.protocol.routing import (
    Backends,
    Colour,
    RegionBackends,
    RoutingTable,
    Service,
    Weights,
)
from turnout.runtime.ports import free_ports

_PATIENCE_S: Final = 120.0
_SOCKET_S: Final = 3.0
_PAUSE_S: Final = 0.1
_ASKED: Final = 2
_SERVICES: Final = 10
_MS: Final = 1_000_000


@frozen(kw_only=True)
class Result:
    """What was seen under load; times in milliseconds, quantiles by nearest rank."""

    proxy: str
    services: int
    switches: int
    sent: int
    failed: int
    misrouted: int
    reset: int
    on_new_connections: int
    slow: int
    web_sockets: int
    requests_per_s: int
    staged_ms_p50: float
    flip_ms_p50: float
    flip_ms_p99: float
    live_ms_p50: float
    live_ms_p99: float

    @property
    def is_clean(self) -> bool:
        """Whether no user noticed anything."""
        return not (self.failed or self.misrouted or self.reset)


@frozen(kw_only=True)
class Alone:
    """The driver alone, with so many routes."""

    proxy: str
    entries: int
    switches: int
    staged_ms_p50: float
    flip_ms_p50: float
    flip_ms_p99: float


async def under_load(proxy: str, services: int, switches: int, folder: Path) -> Result:
    """Back and forth while users ask."""
    staged, flipped, live = list[float](), list[float](), list[float]()
    async with (
        running_proxy(proxy, folder, services - _ASKED) as site,
        trio.open_nursery() as users,
    ):
        await _switch(site, 1, first=True)
        await site.begin()
        began_s = time.monotonic()
        users.start_soon(site.sockets.live_on, Colour.BLUE, _SOCKET_S)
        for number in range(switches):
            epoch = number + 2
            lap = await _switch(site, epoch)
            for times, one in zip((staged, flipped, live), lap, strict=True):
                times.append(one)
            users.start_soon(site.sockets.live_on, colour_of(epoch), _SOCKET_S)
            await trio.sleep(_PAUSE_S)
        seen, wrk = await site.end()
        elapsed_s = time.monotonic() - began_s
        while site.sockets.living:  # noqa: ASYNC110 - counted by tasks
            await trio.sleep(_PAUSE_S)
    sockets = site.sockets
    sent = seen.sent + wrk["sent"] + sockets.opened
    return Result(
        proxy=proxy,
        services=services,
        switches=switches,
        sent=sent,
        failed=seen.failed + wrk["failed"] + sockets.failed,
        misrouted=seen.misrouted + wrk["misrouted"] + sockets.misrouted,
        reset=wrk["reset"],
        on_new_connections=seen.on_new_connections,
        slow=seen.slow,
        web_sockets=sockets.opened,
        requests_per_s=round(sent / elapsed_s),
        staged_ms_p50=_quantile(staged, 50),
        flip_ms_p50=_quantile(flipped, 50),
        flip_ms_p99=_quantile(flipped, 99),
        live_ms_p50=_quantile(live, 50),
        live_ms_p99=_quantile(live, 99),
    )


async def _switch(site: Site, epoch: int, *, first: bool = False) -> tuple[float, float, float]:
    """One switch; how long staging, flip and proof took, the last two from the order to flip."""
    colour = colour_of(epoch)
    table, driver = site.table(colour), site.driver
    changed = [service for service in table.services if service.hosts[0] in (HOST, SOCKETS_HOST)]
    began_ns = time.monotonic_ns()
    await driver.stage(Epoch(epoch), table, changed)
    ordered_ns, ordered_wall_ns = time.monotonic_ns(), time.time_ns()
    evidence = await driver.activate(Active(incarnation=1, epoch=Epoch(epoch), digest=table.digest))
    abandoned = [] if first else [(service, colour.other) for service in changed]
    await prove(driver, Epoch(epoch), table, changed, abandoned, timeout_s=_PATIENCE_S)
    live_ns, live_wall_ns = time.monotonic_ns(), time.time_ns()
    site.flips.append(Flip(epoch=epoch, ordered_ns=ordered_wall_ns, live_ns=live_wall_ns))
    return (
        (ordered_ns - began_ns) / _MS,
        (evidence.flipped_at_ns - ordered_ns) / _MS,
        (live_ns - ordered_ns) / _MS,
    )


async def alone(proxy: str, entries: int, switches: int, folder: Path) -> Alone:
    """The driver without users, with so many routes."""
    (port,) = free_ports(1)
    driver = driver_of(proxy, folder, port, patience_s=_PATIENCE_S)
    staged, flipped = list[float](), list[float]()
    async with trio.open_nursery() as nursery:
        addresses = []
        for colour in Colour:
            server = await nursery.start(run_backend, SampleBackend(name=colour.value))
            addresses.append("{}:{}".format(*server.addresses[0]))
        try:
            await driver.start()
            for number in range(switches + 1):
                colour = Colour.BLUE if number % 2 else Colour.GREEN
                table = _wide(entries, addresses, colour)
                began_ns = time.monotonic_ns()
                await driver.stage(Epoch(number + 1), table, ())
                ordered_ns = time.monotonic_ns()
                target = Active(incarnation=1, epoch=Epoch(number + 1), digest=table.digest)
                evidence = await driver.activate(target)
                if number:  # the first loads what all later ones have
                    staged.append((ordered_ns - began_ns) / _MS)
                    flipped.append((evidence.flipped_at_ns - ordered_ns) / _MS)
        finally:
            with trio.CancelScope(shield=True):
                await driver.stop_proxy()
        nursery.cancel_scope.cancel()
    return Alone(
        proxy=proxy,
        entries=entries,
        switches=switches,
        staged_ms_p50=_quantile(staged, 50),
        flip_ms_p50=_quantile(flipped, 50),
        flip_ms_p99=_quantile(flipped, 99),
    )


def _wide(entries: int, addresses: Sequence[str], colour: Colour) -> RoutingTable:
    """So many hosts, shared by a few services."""
    blue, green = (Backends(addresses=(address,)) for address in addresses)
    count = min(_SERVICES, entries)
    base = Service(
        name=ServiceName("s"),
        hosts=(),
        weights=Weights.all_to(colour),
        backends=(RegionBackends(region=REGION, blue=blue, green=green),),
    )
    return RoutingTable(
        services=tuple(
            evolve(
                base,
                name=ServiceName(f"s{number}"),
                hosts=tuple(f"h{host}.example" for host in range(number, entries, count)),
            )
            for number in range(count)
        )
    )


def _quantile(values: Sequence[float], percent: int) -> float:
    rank = max(0, -(-percent * len(values) // 100) - 1)
    return round(sorted(values)[rank], 2)


def _run(
    proxies: Sequence[str], services: int, switches: int, entries: Sequence[int]
) -> list[Result | Alone]:
    results: list[Result | Alone] = []
    with workplace() as folder:
        for proxy in proxies:
            for count in entries or (0,):
                below = folder / f"{proxy}{count}"
                below.mkdir()
                click.echo(f"{proxy} {count or 'under load'} ...", err=True)
                if count:
                    results.append(trio.run(alone, proxy, count, switches, below))
                else:
                    results.append(trio.run(under_load, proxy, services, switches, below))
    return results


@click.command()
@click.option(
    "--proxy", "proxies", multiple=True, type=click.Choice(PROXIES), help="[default: all]"
)
@click.option("--switches", type=click.IntRange(min=2), default=100, show_default=True)
@click.option("--services", type=click.IntRange(min=_ASKED), default=_ASKED, show_default=True)
@click.option("--entries", type=click.IntRange(min=1), multiple=True, help="The driver alone.")
@click.option("--json", "as_json", is_flag=True)
def main(
    proxies: tuple[str, ...],
    services: int,
    switches: int,
    entries: tuple[int, ...],
    *,
    as_json: bool,
) -> None:
    """Measure proxies."""
    results = _run(proxies or PROXIES, services, switches, entries)
    if as_json:
        click.echo(json.dumps({"machine": machine(), "runs": [asdict(one) for one in results]}))
    else:
        click.echo(machine())
        for result in results:
            click.echo()
            for name, value in asdict(result).items():
                shown = f"{value:,}" if isinstance(value, int | float) else value
                click.echo(f"{name:20} {shown:>10}")
    sys.exit(not all(one.is_clean for one in results if isinstance(one, Result)))


if __name__ == "__main__":
    main()
