"""The driver contract without a proxy: for tests, and for benches with a thousand agents.

The proxy is a :class:`MemoryProxy`, a value of its own that outlives the driver, as a real one
outlives its agent. Tests hurt it: it can be made to refuse or delay a step, crash, hold requests,
or answer probes wrongly. It holds no socket, thread or file.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Literal

import trio
from attrs import Factory, define, evolve, frozen

from edge_agent.drivers.base import (
    COLOUR_HEADER,
    EPOCH_HEADER,
    PROBE,
    SERVICE_HEADER,
    Driver,
    Finding,
    FlipEvidence,
    ProxyStatus,
    RefusalCode,
    Refused,
    refuse_inconsistent,
    refuse_stale,
    withdrawable,
)
from edge_agent.drivers.matching import owner
from edge_agent.probe import NotProven, prove_staged
from edge_agent.request import Answer, AskError, Request
from turnout.protocol.identifiers import NO_EPOCH, Epoch, ServiceName
from turnout.protocol.records import Active
from turnout.protocol.routing import Colour, RoutingTable, Service

Step = Literal["start", "stage", "activate", "close"]
Side = tuple[ServiceName, Colour]

_OK = 200
_NOT_FOUND = 404
_UNAVAILABLE = 503


@frozen(kw_only=True)
class Serving:
    """A table under its epoch; incarnation 0 while it is only staged."""

    incarnation: int = 0
    epoch: Epoch
    table: RoutingTable

    @property
    def active(self) -> Active:
        """It, as the protocol names it."""
        return Active(incarnation=self.incarnation, epoch=self.epoch, digest=self.table.digest)


@define(kw_only=True)
class MemoryProxy:
    """What a real proxy would be; shared by every driver that is made over it."""

    running: bool = False
    starts: int = 0
    live: Serving | None = None
    staged: Serving | None = None
    in_flight: Counter[Side] = Factory(Counter)
    requests: Counter[Side] = Factory(Counter)
    dead: set[Side] = Factory(set)
    """Sides whose backends are down: what is sent there is answered 503."""

    withdrawn: frozenset[ServiceName] = frozenset()
    """Services whose health endpoints fail."""

    flips: list[Serving] = Factory(list)
    """Everything it ever served, oldest first: a ghost for checkers."""

    _refusals: defaultdict[Step, deque[Refused]] = Factory(lambda: defaultdict(deque))
    _delays_s: dict[Step, float] = Factory(dict)
    _stopped: trio.Event = Factory(trio.Event)

    @property
    def serving(self) -> Active:
        """What is live, as the protocol names it."""
        return self.live.active if self.live else Active()

    def refuse(self, step: Step, refusal: Refused, *, times: int = 1) -> None:
        """Refuse the next ``times`` calls of a step."""
        self._refusals[step].extend([refusal] * times)

    def delay(self, step: Step, seconds: float) -> None:
        """Let every call of a step take so long, until told otherwise."""
        self._delays_s[step] = seconds

    def crash(self) -> None:
        """End: requests in flight are lost, what is live and staged is on its disk."""
        self.running = False
        self.withdrawn = frozenset()
        self.in_flight.clear()
        self._stopped.set()

    def boot(self) -> None:
        """Start, unless it runs."""
        if not self.running:
            self.running = True
            self.starts += 1
            self.requests.clear()
            self._stopped = trio.Event()

    async def wait_stopped(self) -> None:
        """Return when it does not run."""
        if self.running:
            await self._stopped.wait()

    async def take_part(self, step: Step) -> None:
        """Delay, then refuse, as told. Raises Refused."""
        await trio.sleep(self._delays_s.get(step, 0))
        if self._refusals[step]:
            raise self._refusals[step].popleft()

    def answer(self, serving: Serving | None, request: Request) -> Answer:
        """Answer a request as the routes of ``serving`` say."""
        marks = {EPOCH_HEADER: str(serving.epoch if serving else NO_EPOCH)}
        if serving is None:
            return Answer(status=_UNAVAILABLE, headers=marks, body=b"")
        host, path = request.host.partition(":")[0], request.path.partition("?")[0]
        service = owner(serving.table, host, path)
        if service is None:
            return Answer(status=_NOT_FOUND, headers=marks, body=b"")
        if serving is self.live and self._is_withdrawn(serving.table, service, request):
            return Answer(status=_UNAVAILABLE, headers=marks, body=b"")
        colour = self._pick(service)
        side = (service.name, colour)
        self.requests[side] += 1
        marks |= {SERVICE_HEADER: service.name, COLOUR_HEADER: colour.value}
        status = _UNAVAILABLE if side in self.dead else _OK
        return Answer(status=status, headers=marks, body=colour.value.encode())

    def _is_withdrawn(self, table: RoutingTable, service: Service, request: Request) -> bool:
        is_endpoint = request.path.partition("?")[0] == withdrawable(table, service)
        is_probe = request.headers.get("user-agent") == PROBE
        return service.name in self.withdrawn and is_endpoint and not is_probe

    def _pick(self, service: Service) -> Colour:
        """Spread a hundred requests exactly by weight."""
        sent = sum(self.requests[service.name, colour] for colour in Colour)
        return Colour.BLUE if sent % 100 < service.weights.blue else Colour.GREEN


class MemoryDriver(Driver):
    """The driver contract over a :class:`MemoryProxy`."""

    def __init__(self, proxy: MemoryProxy, *, probe_timeout_s: float = 2.0) -> None:
        self._proxy = proxy
        self._probe_timeout_s = probe_timeout_s
        self._ready: Serving | None = None
        self._one_stage = trio.Lock()

    async def check(self) -> Sequence[Finding]:
        """There is nothing that could be missing."""
        return ()

    async def start(self) -> ProxyStatus:
        """Boot the proxy unless it runs."""
        await self._proxy.take_part("start")
        self._ready = None
        self._proxy.boot()
        return await self.status()

    async def wait_stopped(self) -> None:
        """Return when the proxy was crashed or stopped."""
        await self._proxy.wait_stopped()

    async def aclose(self) -> None:
        """Nothing to let go of."""
        await trio.lowlevel.checkpoint()

    async def stop_proxy(self) -> None:
        """Stop the proxy; what is live stays on its disk."""
        await trio.lowlevel.checkpoint()
        self._proxy.crash()

    async def status(self) -> ProxyStatus:
        """What the proxy serves."""
        await trio.lowlevel.checkpoint()
        proxy = self._proxy
        if not proxy.running:
            return ProxyStatus(running=False)
        return ProxyStatus(
            running=True,
            started_id=str(proxy.starts),
            serving=proxy.serving,
        )

    async def stage(self, epoch: Epoch, table: RoutingTable, changed: Sequence[Service]) -> None:
        """Keep the table beside the live one and probe it."""
        refuse_inconsistent(table)
        async with self._one_stage:
            self._refuse_if_down()
            await self._proxy.take_part("stage")
            serving = Serving(epoch=epoch, table=table)
            self._proxy.staged = serving
            try:
                await prove_staged(self, epoch, table, changed, timeout_s=self._probe_timeout_s)
            except NotProven as error:
                raise Refused(RefusalCode.PROBE, f"on the staged routes: {error}") from error
            self._ready = serving

    async def activate(self, target: Active) -> FlipEvidence:
        """Make the staged table the live one."""
        self._refuse_if_down()
        await self._proxy.take_part("activate")
        if self._proxy.serving != target:
            refuse_stale(target, self._proxy.serving)
            flipped = self._ready_for(target)
            self._proxy.live = flipped
            self._proxy.flips.append(flipped)
        return FlipEvidence(serving=target, flipped_at_ns=time.monotonic_ns())

    async def ask(self, request: Request, *, staged: bool = False) -> Answer:
        """Answer as the live or the staged table says."""
        await trio.lowlevel.checkpoint()
        proxy = self._proxy
        if not proxy.running:
            raise AskError("connection refused")
        return proxy.answer(proxy.staged if staged else proxy.live, request)

    async def in_flight(self, service: Service, colour: Colour) -> int:
        """What a test put there."""
        await trio.lowlevel.checkpoint()
        self._refuse_if_down()
        return self._proxy.in_flight[service.name, colour]

    async def requests_total(self, service: Service, colour: Colour) -> int:
        """Requests answered since the proxy's start."""
        await trio.lowlevel.checkpoint()
        self._refuse_if_down()
        return self._proxy.requests[service.name, colour]

    async def withdraw(self, names: AbstractSet[ServiceName]) -> None:
        """Fail these services' health endpoints."""
        self._refuse_if_down()
        self._proxy.withdrawn = frozenset(names)

    async def close(self, service: Service, colour: Colour) -> int:
        """Drop what is in flight at a colour that gets no new requests."""
        self._refuse_if_down()
        await self._proxy.take_part("close")
        live = self._proxy.live.table.service(service.name) if self._proxy.live else None
        if live is not None and live.sends_to(colour):
            raise Refused(
                RefusalCode.IN_USE,
                f"the table in force sends requests of '{service.name}' to {colour}",
            )
        return self._proxy.in_flight.pop((service.name, colour), 0)

    def _ready_for(self, target: Active) -> Serving:
        ready = self._ready
        if ready is None or (ready.epoch, ready.table.digest) != (target.epoch, target.digest):
            raise Refused(RefusalCode.NOT_STAGED, f"epoch {target.epoch} is not staged here")
        return evolve(ready, incarnation=target.incarnation)

    def _refuse_if_down(self) -> None:
        if not self._proxy.running:
            raise Refused(RefusalCode.PROXY_DOWN, "the proxy is not running")
