"""Every address of the interface, once: the routes and the OpenAPI document are made from it."""

from __future__ import annotations

from attrs import frozen

from coordinator.api import events, fleet, reading, switches
from coordinator.api.bodies import (
    ApplyBody,
    EnrolBody,
    ExcludeBody,
    ReasonBody,
    RollbackBody,
    SwitchBody,
    WaiveBody,
)
from coordinator.api.leading import Endpoint
from coordinator.api.recording import recorded


@frozen(kw_only=True)
class Address:
    """One method at one path.

    Attributes:
        body: the class that the request's body is read as; None: it has none.
        status: of the usual answer.
        media_type: of the usual answer.
        query: parameters that it takes.
    """

    method: str
    path: str
    endpoint: Endpoint
    body: type | None = None
    status: int = 200
    media_type: str = "application/json"
    query: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """What it does: the first line of the handler's own description."""
        return (self.endpoint.__doc__ or "").strip().partition("\n")[0]


def _get(path: str, endpoint: Endpoint, *query: str, media: str = "application/json") -> Address:
    return Address(method="GET", path=path, endpoint=endpoint, query=query, media_type=media)


def _post(path: str, endpoint: Endpoint, body: type, status: int = 200) -> Address:
    return Address(method="POST", path=path, endpoint=recorded(endpoint), body=body, status=status)


def _delete(path: str, endpoint: Endpoint) -> Address:
    return Address(method="DELETE", path=path, endpoint=recorded(endpoint), query=("reason",))


OPERATORS = (
    _post("/v1/switches", switches.post_switch, SwitchBody, 202),
    _post("/v1/rollbacks", switches.post_rollback, RollbackBody, 202),
    _post("/v1/tables", switches.post_table, ApplyBody, 202),
    _get("/v1/switches", switches.get_switches, "limit"),
    _get("/v1/switches/{epoch:int}", switches.get_switch),
    _get("/v1/switches/{epoch:int}/events", events.get_events, "until", media="text/event-stream"),
    _post("/v1/switches/{epoch:int}/abort", switches.post_abort, ReasonBody, 202),
    _post("/v1/switches/{epoch:int}/waive", switches.post_waive, WaiveBody),
    _get("/v1/services", reading.get_services),
    _get("/v1/table", reading.get_table),
    _get("/v1/agents", fleet.get_agents),
    _post("/v1/agents", fleet.post_agent, EnrolBody, 201),
    _delete("/v1/agents/{agent}", fleet.delete_agent),
    _get("/v1/exclusions", fleet.get_exclusions),
    _post("/v1/exclusions", fleet.post_exclusion, ExcludeBody),
    _delete("/v1/exclusions/{region}", fleet.delete_exclusion),
    _get("/v1/history", reading.get_history, "limit", "before"),
    _get("/v1/status", reading.get_status),
    _get("/healthz", reading.get_health),
    _get("/readyz", reading.get_readiness),
)
