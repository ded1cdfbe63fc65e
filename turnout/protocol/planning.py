"""Whether a request may become a switch, and which: the one place where requests are validated.

A pure question to the state with four answers: a :class:`Plan` (the next table and who is asked),
a :class:`Noop`, a :class:`Need` (of decisions or tables that are not in memory: read them, then
ask again) or a ``Refused`` that names what to do. The rules are DESIGN.md section 5, step 1 and
"Rollback"; their stories are H7, H10, P1 and P12.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import evolve, frozen

from turnout.protocol.coordinator_state import CoordinatorState, Fleet
from turnout.protocol.effects import Refused
from turnout.protocol.errors import MalformedError
from turnout.protocol.identifiers import AgentId, Digest, Epoch, Region
from turnout.protocol.limits import MAX_DRAIN_TIMEOUT_MS, MAX_KEY, MAX_TEXT
from turnout.protocol.records import Head, Kind, Request, SignedTable, Status, Verdict
from turnout.protocol.routing import (
    Colour,
    RoutingTable,
    Service,
    changed_services,
    inconsistencies,
    removed_services,
)
from turnout.protocol.wire import pack_table
from turnout.protocol.wording import counted


@frozen(kw_only=True)
class Plan:
    """What the request comes to.

    Attributes:
        table: the next table.
        source: the colour that a switch of one service leaves.
        required: the agents to ask, sorted.
        passed_over: agents left out though not excluded, sorted.
        unreachable: good agents that a rollback cannot reach and marks stale.
    """

    table: RoutingTable
    source: Colour | None
    required: tuple[AgentId, ...]
    passed_over: tuple[AgentId, ...] = ()
    unreachable: tuple[AgentId, ...] = ()


@frozen(kw_only=True)
class Noop:
    """The wanted table is in force already."""


@frozen(kw_only=True)
class Need:
    """Decisions and tables to be read before the question can be answered."""

    decisions: tuple[Epoch, ...] = ()
    tables: tuple[Digest, ...] = ()


GONE = Refused(
    code="unknown-epoch",
    text="what it would go back to is not in the store any more: apply a table instead",
)
"""What is needed was looked up, and is needed still."""

POINT_OF_NO_RETURN = "point-of-no-return"
"""What ``--override`` must name for a rollback past one."""

SERVICE_REMOVED = "service-removed"
"""What ``--override`` must name for a table without a service that is in force."""

OVERRIDABLE = (POINT_OF_NO_RETURN, SERVICE_REMOVED)
"""All that ``--override`` may name: any other name is a mistake, and would be believed to count."""

_SHOWN = 60
"""Characters of a wrong name that are repeated to whoever sent it."""

Answer: TypeAlias = Plan | Noop | Need | Refused
_Wanted: TypeAlias = tuple[RoutingTable, Colour | None]


def plan(state: CoordinatorState, request: Request) -> Answer:
    """Answer whether, and as what, the request may become the next epoch."""
    malformed = malformed_in(request)
    if malformed is not None:
        return malformed
    unknown = _unknown_agents(state.fleet, request)
    if unknown is not None:
        return unknown
    assert state.head is not None
    if request.kind is Kind.ROLLBACK:
        wanted = _rolled_back(state, state.head, request)
    elif request.kind is Kind.APPLY:
        wanted = _applied(state, state.head, request)
    else:
        wanted = _switched(state, state.head, request)
    if not isinstance(wanted, tuple):
        return wanted
    table, source = wanted
    faults = inconsistencies(table)
    if faults:
        return Refused(code="invalid-table", text="; ".join(faults))
    removing = _removing(head_table(state), request, table)
    if removing is not None:
        return removing
    if table.digest == state.head.digest:
        return Noop()
    if table.digest not in state.tables:
        try:
            pack_table(SignedTable(table=table))
        except MalformedError as error:
            return Refused(code="table-too-large", text=str(error))
    if request.kind is Kind.ROLLBACK:
        return _whom_to_roll_back(state, table, source)
    return _whom_to_ask(state, request, table, source)


def malformed_in(request: Request) -> Refused | None:
    """What is wrong with a request, whatever the state of the domain."""
    if not request.key.strip() or len(request.key) > MAX_KEY:
        text = f"the idempotency key must have 1 to {MAX_KEY} characters that are not all blank"
        return Refused(code="malformed-request", text=text)
    for name in ("reason", "comment", "actor"):
        if len(getattr(request, name)) > MAX_TEXT:
            text = f"{name} is longer than {MAX_TEXT} characters"
            return Refused(code="malformed-request", text=text)
    drain = request.drain_timeout_ms
    if drain is not None and not 0 <= drain <= MAX_DRAIN_TIMEOUT_MS:
        text = f"the drain timeout must be 0 to 86400 s, not {drain / 1000:g}"
        return Refused(code="malformed-request", text=text)
    if request.allow_stale_count < 0:
        return Refused(code="malformed-request", text="a count of stale agents is 0 or more")
    for name in request.override:
        if name not in OVERRIDABLE:
            known = ", ".join(OVERRIDABLE)
            text = f"there is no refusal '{name[:_SHOWN]}' to override; known: {known}"
            return Refused(code="malformed-request", text=text)
    return None


def _unknown_agents(fleet: Fleet, request: Request) -> Refused | None:
    """A name that is no agent's is a mistake, whatever the request would come to.

    A rollback passes over nobody by name, and nothing is to be in its way.
    """
    unknown = tuple(agent for agent in request.allow_stale if agent not in fleet.agents)
    if not unknown or request.kind is Kind.ROLLBACK:
        return None
    text = f"--allow-stale names agents that are not enrolled: {', '.join(unknown)}"
    return Refused(code="unknown-agent", text=text, agents=unknown)


def head_table(state: CoordinatorState) -> RoutingTable | None:
    """The table in force; None at epoch 0, and until it has been read."""
    assert state.head is not None
    held = state.tables.get(state.head.digest)
    return held.table if held else None


# --- the wanted table ---------------------------------------------------------------------------


def _switched(state: CoordinatorState, head: Head, request: Request) -> _Wanted | Need | Refused:
    if head.digest and head.digest not in state.tables:
        return Need(tables=(head.digest,))
    table = head_table(state) or RoutingTable()
    name = request.service or ""
    service = table.service(name)
    if service is None:
        known = ", ".join(s.name for s in table.services) or "none yet: apply a table first"
        text = f"there is no service '{name}'; known: {known}"
        return Refused(code="unknown-service", text=text)
    if request.to is None:
        text = "name the target colour: blue or green"
        return Refused(code="unknown-colour", text=text)
    empty = _without_backends(state.fleet, service, request.to)
    if empty:
        text = (
            f"'{name}' has no {request.to} backends in {', '.join(empty)}: "
            "apply a table that has, or exclude the region"
        )
        return Refused(code="no-backends", text=text)
    return table.switched(name, request.to), request.to.other


def _without_backends(fleet: Fleet, service: Service, colour: Colour) -> list[Region]:
    """Regions, not excluded, where an agent serves but the target has no backends."""
    excluded = set(fleet.excluded_regions)
    regions = {entry.region for entry in fleet.agents.values()} - excluded
    lacking = []
    for region in sorted(regions):
        here = service.in_region(region)
        if here is None or not (here.of(colour).addresses or here.of(colour).cluster):
            lacking.append(region)
    return lacking


def _applied(state: CoordinatorState, head: Head, request: Request) -> _Wanted | Need | Refused:
    if head.digest and head.digest not in state.tables:
        return Need(tables=(head.digest,))
    current = head_table(state) or RoutingTable()
    if request.table is None or not request.table.services:
        text = "the table has no service: an empty table is never published"
        return Refused(code="invalid-table", text=text)
    merged = RoutingTable(
        services=tuple(_keeping_weights(current, s) for s in request.table.services)
    )
    excluded = set(state.fleet.excluded_regions)
    for service in changed_services(current, merged):
        for region in sorted({a.region for a in state.fleet.agents.values()} - excluded):
            if service.in_region(region) is None:
                text = (
                    f"'{service.name}' has no backends in {region}, where agents serve: "
                    "add them, or exclude the region"
                )
                return Refused(code="no-backends", text=text)
    return merged, None


def _removing(
    current: RoutingTable | None, request: Request, table: RoutingTable
) -> Refused | None:
    """A table without a service that is in force: a line forgotten would take it down everywhere."""
    gone = removed_services(current, table)
    if not gone or request.kind is not Kind.APPLY or SERVICE_REMOVED in request.override:
        return None
    names = ", ".join(service.name for service in gone)
    text = (
        f"{counted(len(gone), 'service')} in force {'is' if len(gone) == 1 else 'are'} not in the "
        f"table: {names}. Every region would answer their users with 404; if that is meant: "
        f"--override {SERVICE_REMOVED}"
    )
    return Refused(code="service-removed", text=text)


def _keeping_weights(current: RoutingTable, service: Service) -> Service:
    """A known service keeps its weights: ``active`` is read on first apply only."""
    before = current.service(service.name)
    return evolve(service, weights=before.weights) if before else service


def _rolled_back(state: CoordinatorState, head: Head, request: Request) -> _Wanted | Need | Refused:
    if head.committed == 0:
        return Refused(code="nothing-to-undo", text="nothing was ever committed")
    undo = request.undo if request.undo is not None else _newest_change(state, head, request)
    if not isinstance(undo, int):
        return undo
    if not 0 < undo <= head.decided:
        text = f"there is no epoch {undo}; the newest decided one is {head.decided}"
        return Refused(code="unknown-epoch", text=text)
    needed = _needed_to_undo(state, head, undo)
    if needed is not None:
        return needed
    changed = state.library[undo]
    if changed.verdict is not Verdict.COMMIT:
        text = f"epoch {undo} was aborted: it changed nothing, so there is nothing to undo"
        return Refused(code="already-undone", text=text)
    if not changed.head.base:
        text = f"epoch {undo} is the first table: there is nothing to go back to"
        return Refused(code="nothing-to-undo", text=text)
    reason = changed.point_of_no_return
    if reason is not None and POINT_OF_NO_RETURN not in request.override:
        text = (
            f"epoch {undo} was declared a point of no return: {reason}. "
            f"To go back all the same: --override {POINT_OF_NO_RETURN}"
        )
        return Refused(code="point-of-no-return", text=text)
    now = state.tables[head.digest].table
    then = state.tables[changed.head.digest].table
    before = state.tables[changed.head.base].table
    if request.service is None:
        return _whole_table_back(head, undo, now, before)
    return _service_back(request, undo, now, then, before)


def _newest_change(state: CoordinatorState, head: Head, request: Request) -> Epoch | Need | Refused:
    """The newest commit that changed the service; a rollback is not undone without its number.

    Otherwise a second press of the same button would roll forward again (H10).
    """
    epoch = head.committed
    while epoch > 0:
        needed = _needed_to_undo(state, head, epoch)
        if needed is not None:
            return needed
        decision = state.library[epoch]
        then = state.tables[decision.head.digest].table
        held = state.tables.get(decision.head.base)
        before = held.table if held else RoutingTable()
        name = request.service or ""
        if request.service is None or before.service(name) != then.service(name):
            if decision.kind is Kind.ROLLBACK:
                text = (
                    f"epoch {epoch} already rolled it back; "
                    f"to undo that rollback itself, name it: --undo {epoch}"
                )
                return Refused(code="already-undone", text=text)
            return epoch
        epoch = decision.head.base_epoch
    return Refused(code="unknown-service", text=f"no epoch ever changed '{request.service}'")


def _needed_to_undo(state: CoordinatorState, head: Head, undo: Epoch) -> Need | None:
    decision = state.library.get(undo)
    if decision is None:
        return Need(decisions=(undo,))
    if decision.verdict is Verdict.ABORT:
        return None  # it changed nothing, whatever its head names
    digests = {head.digest, decision.head.digest, decision.head.base}
    missing = tuple(sorted(d for d in digests if d and d not in state.tables))
    return Need(tables=missing) if missing else None


def _whole_table_back(
    head: Head, undo: Epoch, now: RoutingTable, before: RoutingTable
) -> _Wanted | Refused:
    if undo != head.committed:
        text = f"epoch {undo} is not the newest commit ({head.committed}): name a service to undo"
        return Refused(code="service-changed-since", text=text)
    changed = changed_services(before, now)
    return before, changed[0].active if len(changed) == 1 else None


def _service_back(
    request: Request, undo: Epoch, now: RoutingTable, then: RoutingTable, before: RoutingTable
) -> _Wanted | Refused:
    name = request.service or ""
    was, became, current = before.service(name), then.service(name), now.service(name)
    if became is None and was is None:
        return Refused(code="unknown-service", text=f"epoch {undo} has no service '{name}'")
    if became == was:
        text = f"epoch {undo} did not change '{name}': name the epoch that did (turnout history)"
        return Refused(code="nothing-to-undo", text=text)
    if current == was:
        return Refused(code="already-undone", text=f"'{name}' is as it was before epoch {undo}")
    if current != became:
        text = f"'{name}' changed again since epoch {undo}: name that epoch instead"
        return Refused(code="service-changed-since", text=text)
    if was is None:
        return now.without_service(name), None
    return now.with_service(was), became.active if became else None


# --- whom to ask --------------------------------------------------------------------------------


def _whom_to_roll_back(
    state: CoordinatorState, table: RoutingTable, source: Colour | None
) -> Plan | Refused:
    """Good agents with a stream; who cannot be reached is marked stale and never delays it."""
    good = state.fleet.good
    required = tuple(agent for agent in good if agent in state.connected)
    if not required:
        text = "no good agent is connected: there is nobody to roll back"
        return Refused(code="no-good-agent", text=text)
    unreachable = tuple(agent for agent in good if agent not in state.connected)
    stale = state.fleet.with_status(Status.STALE)
    return Plan(
        table=table,
        source=source,
        required=required,
        passed_over=tuple(sorted({*stale, *unreachable})),
        unreachable=unreachable,
    )


def _whom_to_ask(
    state: CoordinatorState, request: Request, table: RoutingTable, source: Colour | None
) -> Plan | Refused:
    fleet = state.fleet
    required = fleet.good
    if not required:
        text = "no agent is in good standing: start agents, or see `turnout agents`"
        return Refused(code="no-good-agent", text=text)
    stale = fleet.with_status(Status.STALE)
    unnamed = tuple(agent for agent in stale if agent not in request.allow_stale)
    if len(unnamed) > request.allow_stale_count:
        reasons = "; ".join(f"{a} ({fleet.standing[a].reason})" for a in unnamed)
        text = (
            f"{counted(len(unnamed), 'agent')} {'is' if len(unnamed) == 1 else 'are'} stale: "
            f"{reasons}. Wait until all have caught up, exclude their region, or pass them over "
            "with --allow-stale"
        )
        return Refused(code="stale-agents", text=text, agents=unnamed)
    excluded = set(fleet.excluded_regions)
    covered = {fleet.agents[agent].region for agent in required}
    bare = sorted({e.region for e in fleet.agents.values()} - covered - excluded)
    if bare:
        text = f"no good agent in {', '.join(bare)}: exclude the region, or bring one back"
        return Refused(code="no-good-agent", text=text)
    return Plan(table=table, source=source, required=required, passed_over=stale)
