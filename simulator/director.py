"""What operators do in a run: each ``[[operation]]`` of a scenario, asked for at its moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from attrs import define

from simulator import operations as doing
from simulator.domain import FIRST, Domain
from simulator.fault_kinds import Fault, FaultKind, RestartFault
from simulator.founder import Founder
from simulator.moving import Moments, Whereabouts
from simulator.operations import Do, Operation
from simulator.operators import Operators, Wish
from simulator.process import NodeName
from simulator.replica_node import ReplicaNode
from simulator.virtual_time import Agenda
from turnout.protocol.clock import SECOND
from turnout.protocol.events import (
    AbortRequested,
    CoordinatorEvent,
    ExcludeRequested,
    IncludeRequested,
    Requested,
    WaiveRequested,
)
from turnout.protocol.identifiers import AgentId, Epoch
from turnout.protocol.records import Kind, Mode, Request

ACTOR = "operator"
REPEAT_NS = SECOND
"""Between one request and the same one again."""

MakeEvent = Callable[[int], CoordinatorEvent]


@define(kw_only=True, eq=False)
class Stage:
    """What operators act on."""

    agenda: Agenda
    domain: Domain
    operators: Operators
    moments: Moments
    whereabouts: Whereabouts
    founder: Founder
    hurts: Callable[[Fault], None]
    replicas: Mapping[NodeName, ReplicaNode]
    newest: Callable[[], Epoch]
    """The newest epoch that anybody asked for: what an abort or a rollback by number means."""
    activation: Mode


class Director:
    """Arranges the operations of a run."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.founder = stage.founder
        self._numbers = 0
        self.last: Wish | None = None
        """The last operation that could begin a switch."""

    def arrange(self, operation: Operation) -> None:
        """Let an operation be done at its moment."""
        self._stage.moments.arrange(operation, lambda: self.do(operation))

    def do(self, operation: Operation) -> None:
        """Ask for it now; and again, with the same key, as often as it says."""
        if isinstance(operation, doing.RestartOperation):
            self._restart(operation)
            return
        if isinstance(operation, doing.RebaseOperation):
            self.founder.begin()
            return
        self._numbers += 1
        make = self._event(operation, f"operation-{self._numbers}")
        name = _name(operation)
        through = self._through(operation)
        wish = self._stage.operators.ask(name, make, through)
        if operation.do in doing.BEGINS_AN_EPOCH:
            self.last = wish
        for number in range(operation.repeat):
            again = partial(self._again, f"{name} again", make, through)
            self._stage.agenda.after((number + 1) * REPEAT_NS, again)

    def _again(self, name: str, make: MakeEvent, through: ReplicaNode | None) -> None:
        self._stage.operators.ask(name, make, through)

    def _through(self, operation: Operation) -> ReplicaNode | None:
        if operation.through is None:
            return None
        names = self._stage.whereabouts.of([operation.through])
        return next((self._stage.replicas[n] for n in names if n in self._stage.replicas), None)

    def _restart(self, operation: doing.RestartOperation) -> None:
        """To whom it befalls it is the same as when a supervisor does it."""
        at_s = self._stage.agenda.now_ns / SECOND
        self._stage.hurts(RestartFault(kind=FaultKind.RESTART, at_s=at_s, node=operation.node))

    # ---------------------------------------------------------------- what is asked

    def _event(self, operation: Operation, key: str) -> MakeEvent:
        match operation:
            case doing.SwitchOperation():
                request = Request(
                    key=key,
                    kind=Kind.SWITCH,
                    service=operation.service,
                    to=operation.to,
                    activation=self._mode(operation.activation),
                    allow_stale_count=operation.allow_stale,
                    actor=ACTOR,
                )
                return lambda ticket: Requested(ticket=ticket, request=request)
            case doing.ApplyOperation():
                return self._apply(operation, key)
            case doing.RollbackOperation():
                undo = None if operation.undo is None else Epoch(FIRST + operation.undo)
                request = Request(
                    key=key,
                    kind=Kind.ROLLBACK,
                    service=operation.service,
                    undo=undo,
                    activation=self._mode(operation.activation),
                    actor=ACTOR,
                )
                return lambda ticket: Requested(ticket=ticket, request=request)
            case doing.AbortOperation():
                epoch = self._stage.newest()
                return lambda ticket: AbortRequested(
                    ticket=ticket, epoch=epoch, actor=ACTOR, reason="asked"
                )
            case doing.RegionOperation():
                return _region_event(operation)
            case doing.WaiveOperation():
                return self._waive(operation)
            case _:
                raise AssertionError(f"nobody knows how to {operation.do}")

    def _mode(self, asked: str | None) -> Mode:
        return Mode(asked) if asked else self._stage.activation

    def _apply(self, operation: doing.ApplyOperation, key: str) -> MakeEvent:
        """Another table: with one more service, or other backends."""
        domain, port = self._stage.domain, 80 + self._numbers
        more = (operation.service,) if operation.service else ()
        table = domain.table_of(dict.fromkeys((*domain.services, *more)), port=port)
        request = Request(
            key=key,
            kind=Kind.APPLY,
            table=table,
            activation=self._mode(operation.activation),
            actor=ACTOR,
        )
        return lambda ticket: Requested(ticket=ticket, request=request)

    def _waive(self, operation: doing.WaiveOperation) -> MakeEvent:
        (name,) = self._stage.whereabouts.of([operation.node])
        agent = AgentId(name.removeprefix("agent "))
        epoch = self._stage.newest() if operation.of is None else Epoch(FIRST + operation.of)
        return lambda ticket: WaiveRequested(
            ticket=ticket, epoch=epoch, agent=agent, actor=ACTOR, reason="asked"
        )


def _region_event(operation: doing.RegionOperation) -> MakeEvent:
    region = operation.region
    if operation.do is Do.EXCLUDE:
        return lambda ticket: ExcludeRequested(
            ticket=ticket, region=region, actor=ACTOR, reason="asked"
        )
    return lambda ticket: IncludeRequested(
        ticket=ticket, region=region, actor=ACTOR, reason="asked"
    )


def _name(operation: Operation) -> str:
    """What is asked, in words."""
    match operation:
        case doing.SwitchOperation():
            return f"switch {operation.service} to {operation.to}"
        case doing.ApplyOperation():
            return "apply another table"
        case doing.RollbackOperation():
            return f"rollback {operation.service}"
        case doing.RegionOperation():
            return f"{operation.do} {operation.region}"
        case doing.WaiveOperation():
            return f"waive {operation.node}"
        case _:
            return str(operation.do)
