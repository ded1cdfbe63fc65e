"""What the machine asks of the proxy, as tasks over its driver; what came of it, as events.

Every staging, flip and probing is answered by exactly one event, whatever happens: the machine
waits for it. When the proxy's process ends, what is under way is answered with a refusal first;
then the proxy is started again (or found, if it came back by itself), and the machine is told.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

import structlog
import trio

from edge_agent.drain_watch import DrainWatch
from edge_agent.drivers.base import Driver, ProxyStatus, RefusalCode, Refused
from edge_agent.health import check_backends
from edge_agent.probe import NotProven, prove
from edge_agent.table_shelf import TableShelf
from turnout.protocol.clock import SECOND, MonotonicNs
from turnout.protocol.effects import (
    Activate,
    CloseSource,
    Prove,
    Stage,
    StopDrain,
    WatchDrain,
)
from turnout.protocol.events import (
    Activated,
    AgentEvent,
    Proven,
    ProxyRestarted,
    Refusal,
    Staged,
)
from turnout.protocol.identifiers import Region
from turnout.protocol.limits import Timing
from turnout.protocol.messages import No
from turnout.protocol.records import Active
from turnout.protocol.routing import RoutingTable
from turnout.runtime.host import Clock

Operation: TypeAlias = Stage | Activate | Prove
ProxyEffect: TypeAlias = Operation | WatchDrain | StopDrain | CloseSource

_NO_OF = {
    RefusalCode.INCONSISTENT: No.TABLE,
    RefusalCode.UNHEALTHY: No.UNHEALTHY,
    RefusalCode.DRIFT: No.UNHEALTHY,
}

_RESTART_S = 2.0
"""How long work waits for a proxy that is being started: an Envoy takes 0.3 s, and T_prep is 5 s."""

_log = structlog.get_logger(__name__)


class ProxyWork:
    """One proxy's work. :meth:`start_proxy` comes first, then :meth:`run` in a task."""

    def __init__(
        self,
        driver: Driver,
        shelf: TableShelf,
        region: Region,
        *,
        tell: Callable[[AgentEvent], Awaitable[None]],
        clock: Clock,
        timing: Timing,
    ) -> None:
        self._driver = driver
        self._shelf = shelf
        self._region = region
        self._tell = tell
        self._clock = clock
        self._timing = timing
        self._drains = DrainWatch(driver, shelf, tell, is_up=lambda: self.is_up)
        self._under_way: dict[Operation, trio.CancelScope] = {}
        self._all_answered = trio.Event()
        self._open = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._started_at = -math.inf
        self.trouble = ""
        """Why the proxy does not run, for people; empty while it does."""

    async def start_proxy(self) -> ProxyStatus | None:
        """Find the proxy or start it; None (see :attr:`trouble`) where it will not."""
        try:
            status = await self._driver.start()
        except Refused as refusal:
            self.trouble = str(refusal)
            _log.error("the proxy does not start", reason=self.trouble)
            return None
        self.trouble = ""
        self._started_at = trio.current_time()
        self._open.set()
        return status

    async def run(self) -> None:
        """Carry out what :meth:`begin` is given, and keep the proxy running, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            while True:
                await self._driver.wait_stopped()
                await self._let_go()
                status = await self._started_again()
                await self._tell(ProxyRestarted(serving=status.serving))

    def begin(self, effect: ProxyEffect) -> None:
        """Start what the machine asks for; its answer comes as an event."""
        assert self._nursery is not None, "run() was started before the machine was told anything"
        match effect:
            case WatchDrain():
                self._drains.begin(self._nursery, effect.service, effect.colour)
            case StopDrain():
                self._drains.stop(effect.service, effect.colour)
            case CloseSource():
                self._nursery.start_soon(self._drains.close, effect.service, effect.colour)
            case _:
                # Entered now, so that a proxy that stops before the task runs finds it.
                self._under_way[effect] = trio.CancelScope()
                self._nursery.start_soon(self._operate, effect)

    @property
    def is_up(self) -> bool:
        """Whether the driver may be asked: not while it starts the proxy."""
        return self._open.is_set()

    async def _let_go(self) -> None:
        """End what is under way, and wait until each operation has been answered."""
        self._open = trio.Event()
        self._all_answered = trio.Event()
        for scope in self._under_way.values():
            scope.cancel()
        while self._under_way:
            self._all_answered = trio.Event()
            await self._all_answered.wait()

    async def _started_again(self) -> ProxyStatus:
        """Start the proxy until it runs; one that keeps falling over gets a pause between."""
        pause_s = self._timing.retry_ns / SECOND
        is_falling_over = trio.current_time() < self._started_at + pause_s
        status = None if is_falling_over else await self.start_proxy()
        while status is None:
            await trio.sleep(pause_s)
            status = await self.start_proxy()
        _log.warning("the proxy was started again", started_id=status.started_id)
        return status

    async def _operate(self, operation: Operation) -> None:
        answer = refused(operation, "the proxy stopped")
        with self._under_way[operation]:
            answer = await self._carry_out(operation)
        del self._under_way[operation]
        self._all_answered.set()
        await self._tell(answer)

    async def _carry_out(self, operation: Operation) -> Staged | Activated | Proven:
        with trio.move_on_after(_RESTART_S):
            await self._open.wait()
        if not self._open.is_set():
            return refused(operation, self.trouble or "the proxy is being started")
        table = self._shelf.get(operation.digest)
        if table is None:
            return refused(operation, f"table {operation.digest} is not on this disk", No.TABLE)
        try:
            match operation:
                case Stage():
                    return await self._stage(operation, table)
                case Activate():
                    return await self._activate(operation)
                case Prove():
                    return await self._prove(operation, table)
        except Refused as refusal:
            return refused(operation, str(refusal), _NO_OF.get(refusal.code, No.REFUSED))

    async def _stage(self, wanted: Stage, table: RoutingTable) -> Staged:
        """Stage, and check the backends meanwhile: T_prep has to be enough for both."""
        began_ns = self._clock.now().monotonic_ns
        changed = self._shelf.changed(wanted.against, table)
        refusals: list[Refused] = []

        async def noting(work: Callable[[], Awaitable[None]]) -> None:
            try:
                await work()
            except Refused as refusal:
                refusals.append(refusal)

        async with trio.open_nursery() as nursery:
            if wanted.check:
                check = partial(check_backends, table, changed, self._region)
                nursery.start_soon(noting, check)
            await noting(partial(self._driver.stage, wanted.epoch, table, changed))
        if refusals:
            raise refusals[0]
        staging_ns = self._clock.now().monotonic_ns - began_ns
        return Staged(epoch=wanted.epoch, digest=wanted.digest, staging_ns=staging_ns)

    async def _activate(self, wanted: Activate) -> Activated:
        target = Active(incarnation=wanted.incarnation, epoch=wanted.epoch, digest=wanted.digest)
        evidence = await self._driver.activate(target)
        self._shelf.active = wanted.digest
        return Activated(
            epoch=wanted.epoch,
            digest=wanted.digest,
            flipped_ns=MonotonicNs(evidence.flipped_at_ns),
        )

    async def _prove(self, wanted: Prove, table: RoutingTable) -> Proven:
        # Where nothing changed, one service still shows the epoch.
        changed = self._shelf.changed(wanted.against, table) or table.services[:1]
        abandoned = self._shelf.abandoned(wanted.against, table)
        timeout_s = self._timing.flip_ns / SECOND
        probing = partial(prove, self._driver, wanted.epoch, table, changed, abandoned)
        try:
            await probing(timeout_s=timeout_s)
        except NotProven as doubt:
            return Proven(epoch=wanted.epoch, failure=str(doubt))
        return Proven(epoch=wanted.epoch, proven_ns=self._clock.now().monotonic_ns)


def refused(operation: Operation, reason: str, no: No = No.REFUSED) -> Staged | Activated | Proven:
    """The answer to an operation that came to nothing."""
    refusal = Refusal(no=no, reason=reason)
    match operation:
        case Stage():
            return Staged(epoch=operation.epoch, digest=operation.digest, refusal=refusal)
        case Activate():
            return Activated(epoch=operation.epoch, digest=operation.digest, refusal=refusal)
        case Prove():
            return Proven(epoch=operation.epoch, failure=reason)
