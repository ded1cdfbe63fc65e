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
from simulator.results import OperationResult
from simulator.virtual_time import Agenda
from turnout.protocol.clock import SECOND
from turnout.protocol.effects import Accepted, Done, Refused
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


@define(kw_only=True, eq=False)
class _Asked:
    """One operation; ``result`` is what came of it so far, once its moment has come."""

    what: str
    moment: str
    at_ns: int | None = None
    result: Callable[[], tuple[str, str | None]] = lambda: ("none", None)


class Director:
    """Arranges the operations of a run."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.founder = stage.founder
        self._numbers = 0
        self.last: Wish | None = None
        """The last operation that could begin a switch."""
        self._asked: list[_Asked] = []

    def arrange(self, operation: Operation) -> None:
        """Let an operation be done at its moment."""
        asked = _Asked(what=_name(operation), moment=operation.moment)
        self._asked.append(asked)
        self._stage.moments.arrange(operation, lambda: self._do(operation, asked))

    def results(self) -> tuple[OperationResult, ...]:
        """What came of each, in the order in which they were asked for."""
        never = self._stage.agenda.now_ns + 1
        in_order = sorted(self._asked, key=lambda one: never if one.at_ns is None else one.at_ns)
        return tuple(_result(one) for one in in_order)

    def _do(self, operation: Operation, asked: _Asked) -> None:
        """Ask for it now; and again, with the same key, as often as it says."""
        asked.at_ns = self._stage.agenda.now_ns
        if isinstance(operation, doing.RestartOperation):
            asked.result = lambda: ("done", None)
            self._restart(operation)
            return
        if isinstance(operation, doing.RebaseOperation):
            asked.result = lambda: ("done" if self.founder.is_done else "none", None)
            self.founder.begin()
            return
        self._numbers += 1
        make = self._event(operation, f"operation-{self._numbers}")
        through = self._through(operation)
        wish = self._stage.operators.ask(asked.what, make, through)
        asked.result = partial(_answer, wish)
        if operation.do in doing.BEGINS_AN_EPOCH:
            self.last = wish
        for number in range(operation.repeat):
            again = _Asked(what=f"{asked.what} again", moment=asked.moment)
            act = partial(self._again, again, make, through)
            self._stage.agenda.after((number + 1) * REPEAT_NS, act)

    def _again(self, again: _Asked, make: MakeEvent, through: ReplicaNode | None) -> None:
        again.at_ns = self._stage.agenda.now_ns
        again.result = partial(_answer, self._stage.operators.ask(again.what, make, through))
        self._asked.append(again)

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


def _result(asked: _Asked) -> OperationResult:
    answer, code = asked.result()
    return OperationResult(
        what=asked.what, moment=asked.moment, asked_ns=asked.at_ns, answer=answer, code=code
    )


def _answer(wish: Wish) -> tuple[str, str | None]:
    """What it was answered until now, and a refusal's code."""
    match wish.answer:
        case Accepted(epoch=epoch):
            return f"accepted epoch {epoch}", None
        case Refused(code=code):
            return "refused", code
        case Done():
            return "done", None
        case None:
            return "none", None


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
        case doing.RestartOperation():
            return f"restart {', '.join(operation.node)}"
        case _:
            return str(operation.do)
