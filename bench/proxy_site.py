"""One proxy with its driver, sample backends and users who never stop asking.

Users are of four kinds: the demo's load generator (kept connections, new ones, slow requests), whose
every request is judged by when it was sent; wrk, for volume, which looks at status, colour and epoch of
each answer; and WebSockets (``web_sockets.py``), which live on while the service goes back and forth.
"""

from __future__ import annotations

import json
import signal
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio
from attrs import define, field, frozen

from bench.web_sockets import WebSockets, serve_echo
from edge_agent.drivers.base import Driver
from edge_agent.drivers.envoy.driver import EnvoyDriver
from edge_agent.drivers.envoy.settings import EnvoySettings
from edge_agent.drivers.haproxy.driver import HAProxyDriver
from edge_agent.drivers.haproxy.settings import HAProxySettings
from edge_agent.drivers.nginx.driver import NginxDriver
from edge_agent.drivers.nginx.settings import NginxSettings
from turnout.dev.observations import Observation, ObservationFile, Requests
from turnout.dev.programs import Program
from turnout.protocol.identifiers import Region, ServiceName
from turnout.protocol.routing import (
    Backends,
    Colour,
    Health,
    RegionBackends,
    RoutingTable,
    Service,
    Weights,
)
from turnout.runtime.ports import free_ports

REGION: Final = Region("eu-west-1")
OTHER_REGIONS: Final = (Region("ap-south-1"), Region("us-east-1"))
HOST: Final = "checkout.example"
SOCKETS_HOST: Final = "sockets.example"
PROXIES: Final = ("envoy", "haproxy", "nginx")

_RATE: Final = 400
"""Requests a second of the load generator; wrk sends what its connections allow."""

_WRK_CONNECTIONS: Final = 4
_DAY: Final = "24h"
_POLL_S: Final = 0.05
_SETTLE_S: Final = 5.5
"""A slow request takes 5 s."""

_WRK: Final = """\
local counts = { sent = 0, failed = 0, misrouted = 0 }
local threads = {}
function setup(thread) threads[#threads + 1] = thread end
function init(args)
  sent, failed, misrouted = 0, 0, 0
  wrk.headers["Host"] = "HOST"
end
function response(status, headers, body)
  sent = sent + 1
  local epoch, colour = tonumber(headers["x-turnout-epoch"]), headers["x-turnout-colour"]
  if status ~= 200 or not epoch then
    failed = failed + 1
  elseif colour ~= (epoch % 2 == 0 and "green" or "blue") or headers["x-backend"] ~= colour then
    misrouted = misrouted + 1
  end
end
function done(summary, latency, requests)
  local errors = summary.errors
  for _, thread in ipairs(threads) do
    counts.sent = counts.sent + thread:get("sent")
    counts.failed = counts.failed + thread:get("failed")
    counts.misrouted = counts.misrouted + thread:get("misrouted")
  end
  io.write(string.format(
    'SUMMARY {"sent": %d, "failed": %d, "misrouted": %d, "reset": %d}\\n',
    counts.sent, counts.failed + errors.timeout, counts.misrouted,
    errors.connect + errors.read + errors.write))
end
"""


def driver_of(proxy: str, folder: Path, port: int, *, patience_s: float = 10.0) -> Driver:
    """The driver of a new proxy of this kind; ``patience_s``: how long its steps may take."""
    common: dict[str, Any] = {
        "region": REGION,
        "state_dir": folder,
        "listen": f"127.0.0.1:{port}",
        "stage_timeout_s": patience_s,
        "flip_timeout_s": patience_s,
    }
    kinds: Mapping[str, Callable[[], Driver]] = {
        "envoy": lambda: EnvoyDriver(EnvoySettings(**common)),
        "haproxy": lambda: HAProxyDriver(HAProxySettings(**common)),
        "nginx": lambda: NginxDriver(NginxSettings(**common)),
    }
    return kinds[proxy]()


@frozen(kw_only=True)
class Flip:
    """One flip, on this machine's wall clock: when it was ordered, and when it was proven live."""

    epoch: int
    ordered_ns: int
    live_ns: int


def judged(seen: Iterable[Observation], flips: Sequence[Flip]) -> Requests:
    """What failed, and what was *misrouted*.

    A request is answered by the colour of its epoch. It was answered by no epoch that was not ordered yet,
    and, sent after one was proven live, by none before that.
    """
    lives, orders = [flip.live_ns for flip in flips], [flip.ordered_ns for flip in flips]
    kinds: Counter[str] = Counter()
    failed = misrouted = 0
    for one in seen:
        kinds[one.kind] += 1
        least = flips[max(0, bisect_right(lives, one.sent_ns) - 1)].epoch
        most = flips[max(0, bisect_right(orders, one.done_ns) - 1)].epoch
        if one.failed:
            failed += 1
        elif one.colour != colour_of(one.epoch) or not least <= one.epoch <= most:
            misrouted += 1
    return Requests(
        sent=sum(kinds.values()),
        failed=failed,
        misrouted=misrouted,
        on_new_connections=kinds["new connection"],
        slow=kinds["slow"],
    )


def colour_of(epoch: int) -> Colour:
    """Which colour an epoch of a bench has."""
    return Colour.BLUE if epoch % 2 else Colour.GREEN


@define(kw_only=True)
class Site:
    """A running proxy under load.

    Attributes:
        flips: every flip so far, oldest first.
        others: how many services there are besides that nobody asks for, of four backends a colour in each
            of three regions.
    """

    driver: Driver
    checkout: Mapping[Colour, str]
    sockets: WebSockets
    record: ObservationFile
    wrk: Program
    wrk_log: Path
    load: Program
    others: int = 0
    flips: list[Flip] = field(factory=list)

    def table(self, colour: Colour) -> RoutingTable:
        """All services, all to one colour."""
        asked = (
            _service("checkout", HOST, self.checkout, colour),
            _service("sockets", SOCKETS_HOST, self.sockets.backends, colour),
        )
        others = (_silent(number, colour) for number in range(self.others))
        return RoutingTable(services=tuple(sorted((*asked, *others), key=lambda one: one.name)))

    async def begin(self) -> None:
        """Have users ask, and wait until a slow request is under way."""
        self.load.start()
        self.load.tell(f"rate {_RATE}")
        self.wrk.start()
        await trio.sleep(_SETTLE_S)

    async def end(self) -> tuple[Requests, Mapping[str, int]]:
        """Let all that is under way finish; what the load generator and wrk have seen."""
        await trio.sleep(_SETTLE_S)
        self.wrk.signal(signal.SIGINT)
        while self.wrk.running:  # noqa: ASYNC110 - another process sets no event
            await trio.sleep(_POLL_S)
        seen = judged(self.record.new(), self.flips)
        (line,) = [
            line
            for line in self.wrk_log.read_text(encoding="utf-8").splitlines()
            if line.startswith("SUMMARY ")
        ]
        return seen, json.loads(line.removeprefix("SUMMARY "))


@asynccontextmanager
async def running_proxy(proxy: str, folder: Path, others: int = 0) -> AsyncIterator[Site]:
    """Starts a proxy, backends of both colours, and users who wait for :meth:`Site.begin`."""
    edge, *ports = free_ports(3)
    backends, programs = {}, []
    for colour, port in zip(Colour, ports, strict=True):
        command = [sys.executable, "-m", "edge_agent.sample_backend", "--name", colour.value]
        program = Program(
            f"backend {colour}", [*command, "--port", str(port)], folder / f"{colour}.log"
        )
        program.start()
        programs.append(program)
        backends[colour] = f"127.0.0.1:{port}"
    script, record = folder / "wrk.lua", folder / "load.bin"
    script.write_text(_WRK.replace("HOST", HOST), encoding="utf-8")
    wrk = ["wrk", "-t1", f"-c{_WRK_CONNECTIONS}", f"-d{_DAY}", "-s", str(script)]
    options = ["--edge", f"127.0.0.1:{edge}", "--host", HOST, "--record", str(record)]
    state = folder / "p"
    state.mkdir()
    driver = driver_of(proxy, state, edge)
    async with trio.open_nursery() as nursery:
        echoes = {colour: await nursery.start(serve_echo, colour.value) for colour in Colour}
        await driver.start()
        site = Site(
            driver=driver,
            others=others,
            checkout=backends,
            sockets=WebSockets(("127.0.0.1", edge), SOCKETS_HOST, echoes),
            record=ObservationFile(record),
            wrk=Program("wrk", [*wrk, f"http://127.0.0.1:{edge}/"], folder / "wrk.log"),
            wrk_log=folder / "wrk.log",
            load=Program(
                "load",
                [sys.executable, "-m", "turnout.dev.load", *options],
                folder / "load.log",
                has_stdin=True,
            ),
        )
        try:
            yield site
        finally:
            for program in (site.load, site.wrk, *programs):
                program.kill()
            with trio.CancelScope(shield=True):
                await driver.stop_proxy()
            nursery.cancel_scope.cancel()


def _silent(number: int, colour: Colour) -> Service:
    """A service that nobody asks for: no backend of it is there."""
    backends = {
        one: tuple(f"127.1.{side}.{place}:{1 + number}" for place in range(1, 5))
        for side, one in enumerate(Colour)
    }
    regions = (
        RegionBackends(
            region=region,
            blue=Backends(addresses=backends[Colour.BLUE]),
            green=Backends(addresses=backends[Colour.GREEN]),
        )
        for region in sorted((REGION, *OTHER_REGIONS))
    )
    return Service(
        name=ServiceName(f"s{number:05}"),
        hosts=(f"s{number:05}.example",),
        weights=Weights.all_to(colour),
        backends=tuple(regions),
    )


def _service(name: str, host: str, backends: Mapping[Colour, str], colour: Colour) -> Service:
    entry = RegionBackends(
        region=REGION,
        blue=Backends(addresses=(backends[Colour.BLUE],)),
        green=Backends(addresses=(backends[Colour.GREEN],)),
    )
    return Service(
        name=ServiceName(name),
        hosts=(host,),
        weights=Weights.all_to(colour),
        health=Health(min_healthy_percent=100),
        backends=(entry,),
    )
