"""A proxy beside its agent: it takes its time, refuses, dies, forgets, and outlives the agent.

    proxy = Proxy(agent, process, randomness, users, disk.table)
    proxy.find(tell, booted)       # at each start of the agent: booted(serving)
    proxy.begin(effect)            # answered by one event through tell, later, never at once

Its rules are those of the real drivers and of the work around them: it serves one table; one more can
be staged beside it; what it is told to serve must rank above what it was told before (S5). What it
serves is on its own disk and survives its restart; what is staged does not, nor the agent's death. A
flip that the proxy was told of happens, whether or not anybody still waits for it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TypeAlias

from attrs import define, frozen

from simulator.drain_counts import DrainCounts
from simulator.process import Process
from simulator.proxy_faults import ProxyFaults, Step
from simulator.proxy_knobs import ENVOY, ProxyKnobs, Span
from simulator.randomness import Randomness
from simulator.users import Users
from simulator.virtual_time import Appointment
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
from turnout.protocol.identifiers import AgentId, Digest, Epoch, ServiceName
from turnout.protocol.messages import No
from turnout.protocol.records import Active
from turnout.protocol.routing import (
    Colour,
    RoutingTable,
    Service,
    abandoned_colours,
    changed_services,
    inconsistencies,
)

Operation: TypeAlias = Stage | Activate | Prove
ProxyEffect: TypeAlias = Operation | WatchDrain | StopDrain | CloseSource
Answer: TypeAlias = Callable[[], AgentEvent]
"""Makes the answer when the agent gets it: its measured moments are of its own clock then."""


class Memory(enum.StrEnum):
    """What a proxy comes back with from a restart."""

    KEPT = "kept"
    NOTHING = "nothing"


@frozen
class _Table:
    """A table under its epoch; incarnation 0 while it is only staged."""

    active: Active
    table: RoutingTable


@define(eq=False)
class _Work:
    """An operation under way for one life of the agent; ``ends`` is when something comes of it."""

    operation: Operation
    life: int
    began_mono_ns: int
    ends: Appointment | None = None


class Proxy:
    """One proxy.

    Attributes:
        faults: what its steps suffer.
        on_flip: called with each table that it begins to serve: proxy, what, true moment.
        on_restart: called whenever it has come back, with what it serves now, be it less.
    """

    def __init__(
        self,
        agent: AgentId,
        process: Process,
        randomness: Randomness,
        users: Users,
        tables: Callable[[Digest], RoutingTable | None],
        knobs: ProxyKnobs = ENVOY,
    ) -> None:
        self.agent = agent
        self.faults = ProxyFaults()
        self.on_flip: list[Callable[[Proxy, Active, int], None]] = []
        self.on_restart: list[Callable[[Proxy, Active, int], None]] = []
        self._process = process
        self._agenda = process.agenda
        self._chance = randomness.stream(f"proxy of {process.name}")
        self._users = users
        self._tables = tables
        self._knobs = knobs
        self._live: _Table | None = None
        self._before: _Table | None = None
        self._staged: _Table | None = None
        self._told: _Table | None = None
        self._flip_due: Appointment | None = None
        self._lingers_until_ns = 0
        self._is_up = True
        self._crashes = 0
        self._dies_after_flip = False
        self._works: list[_Work] = []
        self._finder: Appointment | None = None
        self._found: Callable[[Active], None] | None = None
        self._tell: Callable[[AgentEvent], None] | None = None
        self._drains = DrainCounts(agent, process, users, self._say)
        users.join(agent, process.region, self.colour_for)
        process.on_death.append(self._let_go)

    def install(self, active: Active, table: RoutingTable) -> None:
        """Let it serve this when the run begins."""
        self._live = _Table(active, table)
        self._users.serve(self.agent, active, table)

    @property
    def serving(self) -> Active:
        """What it serves; epoch 0 while it serves nothing of ours."""
        return self._live.active if self._live else Active()

    @property
    def is_up(self) -> bool:
        """Whether its process runs."""
        return self._is_up

    def colour_for(self, service: ServiceName, percent: int) -> Colour | None:
        """Where a new request goes now, ``percent`` (below 100) choosing by weight; None: nowhere."""
        lingers = self._agenda.now_ns < self._lingers_until_ns
        table = self._before if lingers else self._live
        found = table.table.service(service) if table and self._is_up else None
        if found is None:
            return None
        return Colour.BLUE if percent < found.weights.blue else Colour.GREEN

    # --- the agent -----------------------------------------------------------------------------

    def find(self, tell: Callable[[AgentEvent], None], found: Callable[[Active], None]) -> None:
        """A starting agent looks for its proxy: ``found`` with what it serves, now or once it is up.

        One that does not come up in time is taken to serve nothing; ``tell`` hears of it later.
        """
        self._tell = tell
        if self._is_up:
            found(self.serving)
            return
        self._found = found
        self._finder = self._process.after(self._knobs.start_limit_ns, self._not_found)

    def _not_found(self) -> None:
        self._is_found(Active())

    def _is_found(self, serving: Active) -> bool:
        """Tell an agent that waits what is served; return whether one did."""
        found, self._found = self._found, None
        if self._finder is not None:
            self._finder.cancel()
            self._finder = None
        if found is not None:
            waiting = found
            self._process.deliver(lambda: waiting(serving), self._process.life)
        return found is not None

    def begin(self, effect: ProxyEffect) -> None:
        """Start what the machine asks for."""
        match effect:
            case WatchDrain():
                self._drains.begin((effect.service, effect.colour))
            case StopDrain():
                self._drains.stop((effect.service, effect.colour))
            case CloseSource():
                self._close(effect)
            case _:
                self._take_up(effect)

    def _let_go(self) -> None:
        """The agent dies: nobody waits any more, and the next one stages anew."""
        for work in self._works:
            if work.ends is not None:
                work.ends.cancel()
        self._works.clear()
        self._staged = self._found = self._tell = None

    def _say(self, event: AgentEvent) -> None:
        if self._tell is not None:
            self._tell(event)

    # --- operations ------------------------------------------------------------------------------

    def _take_up(self, operation: Operation) -> None:
        work = _Work(operation, self._process.life, self._process.now().monotonic_ns)
        self._works.append(work)
        if self._is_up:
            self._work(work)
        else:
            limit_ns = self._knobs.restart_limit_ns
            self._end_later(work, limit_ns, _no(work, "the proxy is being started"))

    def _work(self, work: _Work) -> None:
        operation = work.operation
        table = self._tables(operation.digest)
        if table is None:
            reason = f"table {operation.digest} is not on this disk"
            self._end_later(work, 0, _no(work, reason, No.TABLE))
            return
        match operation:
            case Stage():
                self._stage(work, operation, table)
            case Activate():
                self._activate(work, operation)
            case Prove():
                self._prove(work, operation, table)

    def _end_later(self, work: _Work, delay_ns: int, answer: Answer) -> None:
        self._then(work, delay_ns, lambda: self._end(work, answer))

    def _then(self, work: _Work, delay_ns: int, act: Callable[[], None]) -> None:
        if work.ends is not None:
            work.ends.cancel()
        work.ends = self._agenda.after(delay_ns, act)

    def _end(self, work: _Work, answer: Answer) -> None:
        self._works = [other for other in self._works if other is not work]
        if work.ends is not None:
            work.ends.cancel()
        self._process.deliver(lambda: self._say(answer()), work.life)

    def _draw(self, span: Span) -> int:
        return self._chance.randrange(span[0], span[1] + 1)

    # --- staging ---------------------------------------------------------------------------------

    def _stage(self, work: _Work, wanted: Stage, table: RoutingTable) -> None:
        knobs = self._knobs
        took_ns = self._draw(knobs.staging_ns) + len(table.services) * knobs.staging_per_service_ns
        if wanted.check:
            took_ns = max(took_ns, self._draw(knobs.health_ns))
        took_ns += self.faults.added_ns(Step.STAGE)
        if took_ns > knobs.staging_limit_ns:
            self._end_later(work, knobs.staging_limit_ns, _no(work, "not staged in time"))
        else:
            self._then(work, took_ns, lambda: self._staged_now(work, wanted, table))

    def _staged_now(self, work: _Work, wanted: Stage, table: RoutingTable) -> None:
        refusal = self.faults.refusal(Step.STAGE) or self._staging_refusal(wanted, table)
        if refusal is not None:
            self._end(work, _no(work, refusal.reason, refusal.no))
            return
        self._staged = _Table(Active(epoch=wanted.epoch, digest=wanted.digest), table)
        self._end(
            work,
            lambda: Staged(
                epoch=wanted.epoch,
                digest=wanted.digest,
                staging_ns=self._process.now().monotonic_ns - work.began_mono_ns,
            ),
        )

    def _staging_refusal(self, wanted: Stage, table: RoutingTable) -> Refusal | None:
        faults = inconsistencies(table)
        if faults:
            return Refusal(no=No.TABLE, reason="; ".join(faults))
        sick = self._sick(self._changed(wanted.against, table)) if wanted.check else ()
        if sick:
            return Refusal(no=No.UNHEALTHY, reason=f"no healthy backends: {', '.join(sick)}")
        return None

    def _changed(self, against: Digest, table: RoutingTable) -> tuple[Service, ...]:
        return changed_services(self._tables(against), table)

    def _sick(self, services: tuple[Service, ...]) -> tuple[str, ...]:
        """Every side that these services send to and whose backends are down."""
        return tuple(
            f"{service.name} {colour}"
            for service in services
            if service.health.min_healthy_percent
            for colour in Colour
            if service.sends_to(colour) and self.faults.is_sick(service.name, colour)
        )

    # --- the flip --------------------------------------------------------------------------------

    def _activate(self, work: _Work, wanted: Activate) -> None:
        target = _target(wanted)
        if target == self.serving and self._told is None:
            self._end_later(work, 0, self._activated(target))
            return
        if self._told is None or self._told.active != target:
            refusal = self._flip_refusal(target)
            if refusal is not None:
                self._end_later(work, 0, _no(work, refusal.reason))
                return
            refusal = self.faults.refusal(Step.FLIP)
            if refusal is not None:
                self._end_later(work, self._flip_takes_ns(), _no(work, refusal.reason))
                return
            self._be_told(target)
        limit_ns = self._knobs.flip_limit_ns
        self._end_later(work, limit_ns, _no(work, f"not seen to serve epoch {wanted.epoch}"))

    def _flip_refusal(self, target: Active) -> Refusal | None:
        floor = self._told.active if self._told else self.serving
        reason = ""
        if target.rank <= floor.rank:
            reason = f"epoch {target.epoch} is not above epoch {floor.epoch}, which it was told"
        elif self._staged is None or _name(self._staged.active) != _name(target):
            reason = f"epoch {target.epoch} is not staged here"
        return Refusal(no=No.REFUSED, reason=reason) if reason else None

    def _be_told(self, target: Active) -> None:
        assert self._staged is not None
        self._told = _Table(target, self._staged.table)
        if self._flip_due is not None:
            self._flip_due.cancel()
        self._flip_due = self._agenda.after(self._flip_takes_ns(), self._flip)

    def _flip_takes_ns(self) -> int:
        table = self._told or self._staged
        services = len(table.table.services) if table else 0
        per_ns = services * self._knobs.flip_per_service_ns
        return self._draw(self._knobs.flip_ns) + per_ns + self.faults.added_ns(Step.FLIP)

    def _flip(self) -> None:
        told = self._take_told()
        target = told.active
        self._lingers_until_ns = self._agenda.now_ns + self.faults.linger_ns if self._live else 0
        self._serve(told)
        if self._dies_after_flip:
            self.crash()
            return
        for work in list(self._works):
            if isinstance(work.operation, Activate) and _target(work.operation) == target:
                self._end(work, self._activated(target))

    def _take_told(self) -> _Table:
        told, self._told = self._told, None
        if self._flip_due is not None:
            self._flip_due.cancel()
            self._flip_due = None
        assert told is not None
        return told

    def _serve(self, told: _Table) -> None:
        """From now on it serves this, and says so."""
        self._before, self._live = self._live, told
        self._users.serve(self.agent, told.active, told.table)
        for hear in self.on_flip:
            hear(self, told.active, self._agenda.now_ns)

    def _activated(self, target: Active) -> Answer:
        return lambda: Activated(
            epoch=target.epoch,
            digest=target.digest,
            flipped_ns=self._process.now().monotonic_ns,
        )

    # --- proof -----------------------------------------------------------------------------------

    def _prove(self, work: _Work, wanted: Prove, table: RoutingTable) -> None:
        knobs = self._knobs
        took_ns = self._draw(knobs.proof_ns) + self.faults.added_ns(Step.PROVE)
        if abandoned_colours(self._tables(wanted.against), table):
            took_ns = max(took_ns, self._lingers_until_ns - self._agenda.now_ns) + knobs.silence_ns
        if took_ns > knobs.proof_limit_ns:
            self._end_later(work, knobs.proof_limit_ns, _no(work, "not proven in time"))
            return

        def look() -> None:
            if self._doubt(wanted, table):
                # Probes go on until their time is over: what they see then is what counts.
                self._then(work, knobs.proof_limit_ns - took_ns, conclude)
            else:
                conclude()

        def conclude() -> None:
            doubt = self._doubt(wanted, table)
            refusal = self.faults.refusal(Step.PROVE)
            failure = doubt or (refusal.reason if refusal else None)
            self._end(work, self._proven(wanted.epoch, failure))

        self._then(work, took_ns, look)

    def _doubt(self, wanted: Prove, table: RoutingTable) -> str | None:
        if _name(self.serving) != (wanted.epoch, wanted.digest):
            return f"epoch {self.serving.epoch} is served, not {wanted.epoch}"
        sick = self._sick(self._changed(wanted.against, table) or table.services[:1])
        return f"every probe was answered with an error: {', '.join(sick)}" if sick else None

    def _proven(self, epoch: Epoch, failure: str | None) -> Answer:
        if failure is not None:
            return lambda: Proven(epoch=epoch, failure=failure)
        return lambda: Proven(epoch=epoch, proven_ns=self._process.now().monotonic_ns)

    # --- sources -----------------------------------------------------------------------------------

    def _close(self, effect: CloseSource) -> None:
        """Cut what is left at a source, unless the table in force sends there."""
        live = self._live.table.service(effect.service) if self._live else None
        if not self._is_up or (live is not None and live.sends_to(effect.colour)):
            return
        self._users.close(self.agent, effect.service, effect.colour)

    # --- its own process ---------------------------------------------------------------------------

    def crash(self, *, memory: Memory = Memory.KEPT) -> None:
        """Its process ends; it comes back by itself after a while."""
        if self._is_up:
            self._die()
        self._crashes += 1
        crash = self._crashes
        delay_ns = self._draw(self._knobs.start_ns)
        self._agenda.after(delay_ns, lambda: self._start(crash, memory))

    def die_after_flip(self) -> None:
        """Let it crash at its next flip, before anybody hears of that."""
        self._dies_after_flip = True

    def _die(self) -> None:
        self._is_up = False
        self._dies_after_flip = False
        self._staged = None
        self._lingers_until_ns = 0
        if self._flip_due is not None:
            self._flip_due.cancel()
            self._flip_due = None
        self._users.crash(self.agent)
        self._drains.pause()
        for work in self._works:
            self._end_later(work, 0, _no(work, "the proxy stopped"))

    def _start(self, crash: int, memory: Memory) -> None:
        if self._is_up or crash != self._crashes:
            return
        self._is_up = True
        self._remember(memory)
        for hear in self.on_restart:
            hear(self, self.serving, self._agenda.now_ns)
        serving = self.serving
        if not self._is_found(serving):
            self._process.deliver(
                lambda: self._say(ProxyRestarted(serving=serving)), self._process.life
            )
        self._drains.resume()
        for work in list(self._works):
            self._work(work)

    def _remember(self, memory: Memory) -> None:
        """What it was told last is on its disk, unless it forgets."""
        if memory is Memory.KEPT and self._told is not None:
            self._serve(self._take_told())
            return
        self._told = None
        if memory is Memory.NOTHING:
            self._live = self._before = None
        if self._live is not None:
            self._users.serve(self.agent, self._live.active, self._live.table)


def _target(wanted: Activate) -> Active:
    return Active(incarnation=wanted.incarnation, epoch=wanted.epoch, digest=wanted.digest)


def _name(active: Active) -> tuple[Epoch, Digest]:
    return active.epoch, active.digest


def _no(work: _Work, reason: str, no: No = No.REFUSED) -> Answer:
    """The answer to an operation that came to nothing."""
    operation = work.operation
    if isinstance(operation, Prove):
        return lambda: Proven(epoch=operation.epoch, failure=reason)
    make = Staged if isinstance(operation, Stage) else Activated
    refusal = Refusal(no=no, reason=reason)
    return lambda: make(epoch=operation.epoch, digest=operation.digest, refusal=refusal)
