"""The agent's own little HTTP server, on loopback: /healthz, /readyz, /status and /metrics.

It answers with the control plane gone; that is when it is asked most.
"""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from edge_agent.agent import Agent
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.participant_state import ParticipantConfig, ParticipantState
from turnout.protocol.records import Active
from turnout.runtime.metrics import MetricsEndpoint
from turnout.runtime.problems import exception_handlers

_UNAVAILABLE = 503


def status_app(agent: Agent, config: ParticipantConfig, registry: CollectorRegistry) -> Starlette:
    """The application; serve it on loopback only: it asks nobody who they are."""

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        trouble = why_not_ready(agent)
        text = f"not ready: {trouble}\n" if trouble else "ready\n"
        return PlainTextResponse(text, status_code=_UNAVAILABLE if trouble else 200)

    async def status(_request: Request) -> Response:
        return JSONResponse(status_of(agent, config))

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/status", status),
            Route("/metrics", MetricsEndpoint(registry).answer),
        ],
        exception_handlers=exception_handlers(),
    )


def why_not_ready(agent: Agent) -> str:
    """Why the agent cannot do its work, for people; empty when it can.

    An agent without a leader is ready: it keeps its proxy serving, which is its work.
    """
    if not agent.is_booted:
        return "it is booting"
    if agent.proxy.trouble:
        return f"the proxy does not run: {agent.proxy.trouble}"
    state = agent.state
    if state.record.active.epoch and not state.serving.epoch:
        return f"epoch {state.record.active.epoch} is not served again yet: {state.trouble}"
    return ""


def status_of(agent: Agent, config: ParticipantConfig) -> dict[str, Any]:
    """All that an operator asks of one agent, as JSON values."""
    state, record = agent.state, agent.state.record
    bound_ns = agent.clock_bound_ns
    return {
        "agent": config.agent,
        "region": config.region,
        "serving": _active(state.serving),
        "active": _active(record.active),
        "committed": _active(state.newest),
        "prepared": {"epoch": record.prepared.epoch, "digest": record.prepared.digest}
        if record.prepared
        else None,
        "vote": state.voting,
        "progress": state.progress,
        "reason": state.trouble or state.staged_lost,
        "isolated_s": round(agent.isolated_ns / SECOND, 3),
        "leader": _leader(agent, state),
        "coordinators": {
            "trouble": "" if state.linked else agent.link.trouble,
            "mistrust": state.mistrust,
        },
        "clock": {
            "bound_ms": None if bound_ns is None else bound_ns / MS,
            "fault": state.estimate.fault,
        },
        "journal": {
            "id": record.journal_id,
            "incarnation": record.incarnation.number if record.incarnation else None,
            "promised_term": record.promised,
        },
        "proxy": {"trouble": agent.proxy.trouble},
        "withdrawn": sorted(agent.withdrawal.names or ()),
        "drains": [
            {
                "epoch": drain.epoch,
                "service": drain.service,
                "colour": drain.colour,
                "in_flight": drain.in_flight,
                "ended": drain.ended or None,
            }
            for drain in state.drains
        ],
        "tables": sorted(state.tables),
    }


def _active(active: Active) -> dict[str, Any] | None:
    if not active.epoch:
        return None
    return {
        "incarnation": active.incarnation,
        "epoch": active.epoch,
        "digest": active.digest,
    }


def _leader(agent: Agent, state: ParticipantState) -> dict[str, Any] | None:
    if not state.linked:
        return None
    term = state.clock.term if state.clock else None
    return {"url": agent.link.url, "term": term}
