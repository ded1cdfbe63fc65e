"""One edge agent: its process, its two machines, and the models that they act on.

The participant's machine decides what to vote, journal and serve; the session's machine whom to
listen to. Here is only what ``edge_agent/agent.py`` does for real: boot from disk and proxy, carry
effects out in their order, pass on what comes back.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from simulator.agent_link import AgentLink
from simulator.clocks import NodeClock
from simulator.disk import Disk, Opened
from simulator.host import Host
from simulator.journal_file import DiskError
from simulator.process import Condition, Process
from simulator.proxy import Proxy
from simulator.signers import CheapSigner, CheapVerifier
from simulator.world import World
from turnout.protocol import session
from turnout.protocol.clock import SECOND, MonotonicNs
from turnout.protocol.effects import (
    Activate,
    AgentEffect,
    CloseSource,
    ForgetTables,
    Persist,
    Prove,
    SaveTable,
    Send,
    Stage,
    StopDrain,
    WatchDrain,
)
from turnout.protocol.events import (
    AgentEvent,
    Booted,
    FromLeader,
    LinkUp,
    PersistFailed,
    Wake,
)
from turnout.protocol.identifiers import AgentId
from turnout.protocol.messages import Report, Up
from turnout.protocol.participant import Participant
from turnout.protocol.participant_state import ParticipantConfig, ParticipantState
from turnout.protocol.records import Active, AgentRecord
from turnout.protocol.reporting import report_of
from turnout.protocol.session import (
    Announce,
    Connect,
    Disconnect,
    Session,
    SessionEffect,
    SessionEvent,
)

RESTART_NS = 1 * SECOND
"""After so long whoever supervises an agent that ended by itself starts it again (systemd's
``RestartSec`` in the units that will be shipped; its default is 0.1 s)."""


class AgentNode:
    """One agent over its disk and beside its proxy."""

    def __init__(
        self, agent: AgentId, process: Process, disk: Disk, proxy: Proxy, world: World
    ) -> None:
        self.agent = agent
        self.process = process
        self.disk = disk
        self.proxy = proxy
        self.signer = CheapSigner(f"agent {agent}")
        self.isolated_since_ns: int | None = 0
        self._world = world
        self._config = ParticipantConfig(
            agent=agent,
            region=process.region,
            domain_key=world.domain.public_key,
            timing=world.timing,
        )
        self._host: Host[ParticipantState, AgentEvent, AgentEffect] = Host(
            process, Participant(self._config, CheapVerifier()), self, _Watcher(self, world)
        )
        self._session: Host[Session, SessionEvent, SessionEffect] = Host(
            process, _SessionMachine(), _SessionHands(self), _SessionWatcher(self, world)
        )
        self._link = AgentLink(self, world.network, world.door, self.signer, world.timing)
        self._chance = world.randomness.stream(f"session of {process.name}")
        self._urls = world.urls(process)
        disk.on_lost = lambda: self._end("its journal has lost what was synced to it")
        process.on_death.append(self._die)
        process.on_start.append(self.boot)

    @property
    def state(self) -> ParticipantState:
        """What the participant's machine knows."""
        return self._host.state

    @property
    def clock(self) -> NodeClock:
        """What it goes by."""
        return self.process.clock

    @property
    def record(self) -> AgentRecord:
        """What its disk is known to have kept."""
        return self.disk.record

    @property
    def serving(self) -> Active:
        """What its proxy serves."""
        return self.proxy.serving

    @property
    def is_idle(self) -> bool:
        """Whether a message is taken at once, with nothing else in between."""
        return self.process.condition is Condition.RUNNING and self._host.is_idle

    @property
    def session(self) -> Session:
        """What the session's machine knows."""
        return self._session.state

    def boot(self) -> None:
        """Start from disk and proxy; one whose disk cannot be read ends, and is started again."""
        try:
            opened = self.disk.open()
        except DiskError as error:
            self._end(f"does not start: {error}")
            return
        if opened.finding:
            self._world.observer.noted(self.process, opened.finding)
        self._host.begin(ParticipantState())
        self.proxy.find(self._host.tell, lambda serving: self._found_proxy(opened, serving))

    def _found_proxy(self, opened: Opened, serving: Active) -> None:
        self._host.tell(Booted(record=opened.record, tables=opened.tables, serving=serving))
        self._session.begin(
            Session.begin(
                urls=self._urls,
                timing=self._world.timing,
                seed=self._chance.getrandbits(64),
                now=self.process.now(),
            )
        )

    def _end(self, reason: str) -> None:
        """It ends by itself, and its supervisor starts it again."""
        self._world.observer.noted(self.process, reason)
        self.process.kill()
        self._world.agenda.after(RESTART_NS, self.process.start)

    def _die(self) -> None:
        self._host.end()
        self._session.end()
        self._link.close()

    # ---------------------------------------------------------------- of the link

    def opening(self) -> Report:
        """What a stream is opened with: how things stand on the *disk*."""
        state = evolve(self._host.state, record=self.disk.record)
        return report_of(self._config, state, self.process.now())

    def tell_session(self, event: SessionEvent) -> None:
        """Something has become of the connection."""
        self._session.tell(event)

    def tell(self, event: AgentEvent) -> None:
        """Something for the participant's machine."""
        self._host.tell(event)

    def hear(self, heard: FromLeader) -> None:
        """A leader has said something."""
        self._host.tell(heard)

    def said(self, message: Up, replica: Process) -> Callable[[], None]:
        """A message leaves."""
        return self._world.observer.said(message, self.process, replica)

    # ---------------------------------------------------------------- of the machines

    def carry_out(self, effect: AgentEffect) -> bool:
        """Do it, start it, or (False) have the host wait for the disk."""
        match effect:
            case Persist():
                self.disk.persist(effect.record, lambda failure: self._kept(effect, failure))
                return False
            case SaveTable():
                self.disk.save_table(effect.table, lambda failure: self._kept(effect, failure))
                return False
            case ForgetTables():
                self.disk.forget_tables(effect.keep)
            case Send():
                self._world.observer.voted(self, effect.message)
                self._link.send(effect.message)
            case Stage() | Activate() | Prove() | WatchDrain() | StopDrain() | CloseSource():
                self._world.observer.asked_of_proxy(self, effect)
                self.proxy.begin(effect)
        return True

    def _kept(self, effect: Persist | SaveTable, failure: str | None) -> None:
        if failure is None:
            if isinstance(effect, Persist):
                self._world.observer.journalled(self, effect.record, self.disk.line)
            self._host.done()
            return
        self._world.observer.noted(self.process, f"its disk failed: {failure}")
        self._host.failed(lambda undone: self._failed(failure, undone))

    def _failed(self, reason: str, undone: tuple[AgentEffect, ...]) -> AgentEvent:
        return PersistFailed(
            reason=reason,
            record=self.disk.record,
            tables=tuple(table.digest for table in self.disk.tables()),
            undone=undone,
        )

    def carry_out_session(self, effect: SessionEffect) -> None:
        """Do what the session asks for."""
        match effect:
            case Connect():
                self._link.connect(effect)
            case Disconnect():
                self._link.close()
            case Announce():
                is_up = isinstance(effect.event, LinkUp)
                self.isolated_since_ns = None if is_up else self._world.agenda.now_ns
                self._host.tell(effect.event)


class _SessionMachine:
    """``turnout.protocol.session`` as a host drives it."""

    step = staticmethod(session.step)

    def next_deadline(self, state: Session, /) -> MonotonicNs:
        return state.due_ns


class _SessionHands:
    def __init__(self, node: AgentNode) -> None:
        self._node = node

    def carry_out(self, effect: SessionEffect) -> bool:
        self._node.carry_out_session(effect)
        return True


class _Watcher:
    """Shows an agent's steps to whoever judges, and its seams to whoever hurts."""

    def __init__(self, node: AgentNode, world: World) -> None:
        self._node = node
        self._world = world

    def stepped(
        self,
        before: ParticipantState,
        event: AgentEvent | Wake,
        after: ParticipantState,
        effects: tuple[AgentEffect, ...],
    ) -> None:
        self._world.trace.step(self._node.process.name, event, effects)
        self._world.observer.agent_stepped(self._node, before, event, after)

    def seam(self, effects: tuple[AgentEffect, ...], place: int) -> None:
        self._world.faults.at_agent_seam(self._node, effects, place)


class _SessionWatcher:
    def __init__(self, node: AgentNode, world: World) -> None:
        self._node = node
        self._world = world

    def stepped(
        self,
        _before: Session,
        event: SessionEvent | Wake,
        _after: Session,
        effects: tuple[SessionEffect, ...],
    ) -> None:
        if effects:
            self._world.trace.step(self._node.process.name, event, effects)

    def seam(self, effects: tuple[SessionEffect, ...], place: int) -> None:
        """Nothing of a session outlives it: a death between two of its effects is any other death."""
