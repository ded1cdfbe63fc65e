"""The JSON of the services and of the table in force."""

from __future__ import annotations

from coordinator.views.values import Json, instant, seconds
from turnout.protocol.codec import converter
from turnout.protocol.coordinator_state import CoordinatorState, Following
from turnout.protocol.planning import head_table
from turnout.protocol.routing import Backends, RoutingTable, Service


def services_view(state: CoordinatorState) -> Json:
    """Every service of the table in force."""
    table = head_table(state) or RoutingTable()
    return {
        "epoch": state.head.committed if state.head else 0,
        "services": [_service(state, service) for service in table.services],
    }


def table_view(state: CoordinatorState) -> Json:
    """The table in force, whole; null before the first."""
    table = head_table(state)
    return {
        "epoch": state.head.committed if state.head else 0,
        "digest": table.digest if table else None,
        "table": converter.unstructure(table) if table else None,
    }


def _service(state: CoordinatorState, service: Service) -> Json:
    changed = _last_change(state, service)
    return {
        "service": service.name,
        "hosts": list(service.hosts),
        "path_prefix": service.path_prefix,
        "active": service.active.value,
        "weights": {"blue": service.weights.blue, "green": service.weights.green},
        "changed_in": changed.epoch if changed else None,
        "rollback_until": instant(_retained_until_ns(changed, service)),
        "drain_timeout_s": seconds(service.drain_timeout_ms * 1_000_000),
        "backends": {
            here.region: {"blue": backends_view(here.blue), "green": backends_view(here.green)}
            for here in service.backends
        },
    }


def backends_view(backends: Backends) -> list[str] | Json:
    """Addresses, or the name of a cluster that the proxy has, as the table file writes them."""
    if backends.cluster is not None:
        return {"cluster": backends.cluster}
    return list(backends.addresses)


def _last_change(state: CoordinatorState, service: Service) -> Following | None:
    """The newest commit, of those not released yet, that made the service what it is."""
    for epoch in sorted(state.following, reverse=True):
        following = state.following[epoch]
        after = state.tables.get(following.intent.digest)
        before = state.tables.get(following.intent.base)
        if after is None:
            continue
        was = before.table.service(service.name) if before else None
        if after.table.service(service.name) == service != was:
            return following
    return None


def _retained_until_ns(changed: Following | None, service: Service) -> int | None:
    """Until when a rollback finds the source still loaded; None where there is nothing to undo."""
    if changed is None or not changed.intent.base:
        return None
    return changed.decision.decided_at_ns + service.retain_ms * 1_000_000
