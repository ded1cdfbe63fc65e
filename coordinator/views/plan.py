"""The JSON of what a request would change, per region (``--dry-run``)."""

from __future__ import annotations

from coordinator.views.services import backends_view
from coordinator.views.values import Json
from turnout.protocol.coordinator_state import CoordinatorState
from turnout.protocol.identifiers import AgentId, Region
from turnout.protocol.planning import Noop, Plan, head_table
from turnout.protocol.records import Request
from turnout.protocol.routing import RoutingTable, Service, changed_services


def plan_view(request: Request, state: CoordinatorState, plan: Plan | Noop) -> Json:
    """What would be done; nothing has been."""
    before = head_table(state) or RoutingTable()
    after = before if isinstance(plan, Noop) else plan.table
    asked = () if isinstance(plan, Noop) else plan.required
    passed = () if isinstance(plan, Noop) else (*plan.passed_over, *plan.unreachable)
    assert state.head is not None
    return {
        "dry_run": True,
        "noop": isinstance(plan, Noop),
        "kind": request.kind.value,
        "service": request.service,
        "epoch": state.head.committed if isinstance(plan, Noop) else state.head.decided + 1,
        "digest": after.digest,
        "asked": list(asked),
        "passed_over": sorted(set(passed)),
        "excluded_regions": list(state.fleet.excluded_regions),
        "removed_services": [s.name for s in before.services if after.service(s.name) is None],
        "regions": [
            _region(state, region, before, after, asked)
            for region in sorted({*after.regions(), *before.regions(), *_staffed(state)})
        ],
    }


def _staffed(state: CoordinatorState) -> set[Region]:
    return {entry.region for entry in state.fleet.agents.values()}


def _region(
    state: CoordinatorState,
    region: Region,
    before: RoutingTable,
    after: RoutingTable,
    asked: tuple[AgentId, ...],
) -> Json:
    agents = state.fleet.agents
    here = [agent for agent in sorted(agents) if agents[agent].region == region]
    changes = []
    for service in changed_services(before, after):
        was, becomes = _here(before.service(service.name), region), _here(service, region)
        if was != becomes:
            changes.append({"service": service.name, "before": was, "after": becomes})
    return {
        "region": region,
        "agents": [
            {"agent": a, "asked": a in asked, "standing": state.fleet.status(a).value} for a in here
        ],
        "changes": changes,
    }


def _here(service: Service | None, region: Region) -> Json | None:
    """What one region's proxies do for a service; None where it has no backends."""
    backends = service.in_region(region) if service else None
    if service is None or backends is None:
        return None
    return {
        "active": service.active.value,
        "weights": {"blue": service.weights.blue, "green": service.weights.green},
        "hosts": list(service.hosts),
        "path_prefix": service.path_prefix,
        "blue": backends_view(backends.blue),
        "green": backends_view(backends.green),
    }
