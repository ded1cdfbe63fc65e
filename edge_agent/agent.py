"""One edge agent, put together: two machines, what carries their effects out, and nothing else.

    async with trio.open_nursery() as nursery:
        agent = Agent(parts)
        await nursery.start(agent.run)

The daemon runs one over a real disk and proxy; tests and benches run many in one process, over
``MemoryDisk`` and ``MemoryDriver``. The participant's machine decides what to vote, journal and
serve; the session's machine whom to listen to.
"""

from __future__ import annotations

import secrets
import ssl

import structlog
import trio
from attrs import evolve, frozen

from edge_agent.disk import Disk
from edge_agent.drivers.base import Driver
from edge_agent.hands import Hands
from edge_agent.link import Link
from edge_agent.proxy_work import ProxyWork
from edge_agent.table_shelf import TableShelf
from edge_agent.watcher import Watcher
from edge_agent.withdrawal import AFTER_S, Withdrawal
from turnout.protocol import session
from turnout.protocol.clock import Instant, MonotonicNs
from turnout.protocol.effects import AgentEffect
from turnout.protocol.events import AgentEvent, Booted
from turnout.protocol.messages import Report
from turnout.protocol.participant import Participant
from turnout.protocol.participant_state import ParticipantConfig, ParticipantState
from turnout.protocol.records import Active
from turnout.protocol.reporting import report_of
from turnout.protocol.session import Session, SessionEffect, SessionEvent
from turnout.protocol.signing import Signer, Verifier
from turnout.runtime.host import Clock, Host

_SEED_BITS = 64

_log = structlog.get_logger(__name__)


@frozen(kw_only=True)
class AgentParts:
    """What one agent is made of.

    Attributes:
        coordinators: addresses of replicas, such as ``http://127.0.0.1:7100``.
        signer: the agent's own key.
        ssl_context: for https; share one among all agents of a process (36 ms each otherwise).
    """

    config: ParticipantConfig
    coordinators: tuple[str, ...]
    signer: Signer
    verifier: Verifier
    disk: Disk
    driver: Driver
    clock: Clock
    ssl_context: ssl.SSLContext | None = None
    watcher: Watcher = Watcher()
    withdraw_after_s: float = AFTER_S


class Agent:
    """One agent; :meth:`run` runs it once."""

    def __init__(self, parts: AgentParts) -> None:
        self._parts = parts
        self._machine = Participant(parts.config, parts.verifier)
        self._booted = trio.Event()
        shelf = TableShelf()
        self.proxy = ProxyWork(
            parts.driver,
            shelf,
            parts.config.region,
            tell=self._tell_agent,
            clock=parts.clock,
            timing=parts.config.timing,
        )
        self.link = Link(
            signer=parts.signer,
            timing=parts.config.timing,
            opening=self._opening_report,
            tell_session=self._tell_session,
            tell_agent=self._tell_agent,
            turned_away=parts.watcher.turned_away,
            clock=parts.clock,
            ssl_context=parts.ssl_context,
        )
        self.withdrawal = Withdrawal(
            parts.driver,
            shelf,
            isolated_ns=lambda: self.isolated_ns,
            is_up=lambda: self.proxy.is_up,
            after_s=parts.withdraw_after_s,
        )
        self._shelf = shelf
        self._host: Host[ParticipantState, AgentEvent, AgentEffect] = Host(
            self._machine,
            ParticipantState(),
            Hands(parts.disk, shelf, self.proxy, self.link, parts.watcher),
            parts.clock,
            after_step=self._after_step,
        )
        self._session: Host[Session, SessionEvent, SessionEffect] = Host(
            _SessionMachine(), self._begun_session(), self.link, parts.clock
        )

    @property
    def state(self) -> ParticipantState:
        """What the participant's machine knows now."""
        return self._host.state

    @property
    def isolated_ns(self) -> int:
        """For how long no leader has been heard; 0 while one is."""
        return self._session.state.isolated_ns(self._parts.clock.now())

    @property
    def clock_bound_ns(self) -> int | None:
        """How well the leader's clock is known; None: not at all."""
        return self.state.estimate.bound_ns(self._parts.clock.now().monotonic_ns)

    @property
    def is_booted(self) -> bool:
        """Whether journal, disk and proxy have been read."""
        return self._booted.is_set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Boot from disk and proxy, then serve until cancelled; started once it has booted.

        Raises:
            StateError: the disk lost what the agent had promised. The proxy goes on serving.
        """
        booted = await self._boot()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.proxy.run)
            nursery.start_soon(self.link.run)
            nursery.start_soon(self._host.run)
            await self._host.tell(booted)
            await self._booted.wait()
            task_status.started()
            nursery.start_soon(self._session.run)
            nursery.start_soon(self.withdrawal.run)

    async def _boot(self) -> Booted:
        """Read journal, tables and proxy. The proxy is not waited for if it will not start."""
        disk = self._parts.disk
        if disk.finding:
            _log.warning(disk.finding, journal_id=disk.record.journal_id)
        tables = await disk.tables()
        for table in tables:
            self._shelf.put(table)
        status = await self.proxy.start_proxy()
        serving = status.serving if status else Active()
        self._shelf.active = serving.digest
        _log.info(
            "booted",
            serving=serving.epoch,
            active=disk.record.active.epoch,
            committed=disk.record.committed_epoch,
            journal_id=disk.record.journal_id,
        )
        return Booted(record=disk.record, tables=tables, serving=serving)

    def _begun_session(self) -> Session:
        return Session.begin(
            urls=self._parts.coordinators,
            timing=self._parts.config.timing,
            seed=secrets.randbits(_SEED_BITS),
            now=self._parts.clock.now(),
        )

    def _opening_report(self) -> Report:
        """What the agent says first on a new stream: how things stand on its *disk*.

        The machine's state may be ahead of it at this moment, by a record that is being written.
        """
        state = evolve(self.state, record=self._parts.disk.record)
        return report_of(self._parts.config, state, self._parts.clock.now())

    def _after_step(self, before: ParticipantState, after: ParticipantState) -> None:
        self._booted.set()
        self._parts.watcher.stepped(before, after)

    async def _tell_agent(self, event: AgentEvent) -> None:
        await self._host.tell(event)

    async def _tell_session(self, event: SessionEvent) -> None:
        await self._session.tell(event)


class _SessionMachine:
    """``turnout.protocol.session`` as a host drives it."""

    def step(
        self, state: Session, event: SessionEvent, now: Instant
    ) -> tuple[Session, tuple[SessionEffect, ...]]:
        return session.step(state, event, now)

    def next_deadline(self, state: Session, /) -> MonotonicNs:
        return state.due_ns
