"""Who opens a stream, before it is opened: twins are turned away, and what is odd is noted."""

from __future__ import annotations

from starlette.types import Scope

from coordinator.api.context import Context
from coordinator.oddities import oddities
from coordinator.refusal_book import Refusal
from coordinator.twins import TAKEN_OVER
from turnout.protocol.identifiers import AgentId
from turnout.protocol.messages import Report
from turnout.runtime import problems
from turnout.runtime.problems import Problem, ProblemError


def address_of(scope: Scope) -> str:
    """Where a request came from."""
    client = scope.get("client")
    return client[0] if client else "an unknown address"


def is_held(context: Context, agent: AgentId) -> bool:
    """Whether a stream of the agent is open."""
    stream = context.registry.get(agent)
    return stream is not None and stream.end_reason is None


def turn_twin_away(context: Context, report: Report, address: str, *, held: bool) -> None:
    """Refuse a second agent under an identity that another one holds. Raises ProblemError."""
    registered = context.state.fleet.agents[report.agent].journal_id
    refusal = context.twins.refusal(report, address, registered, held=held)
    if refusal is not None:
        problem = problems.IDENTITY_IN_USE.problem(refusal, agents=[report.agent])
        context.metrics.message_refused(problem.type.name)
        suspect(context, report.agent, problem, address)
        raise ProblemError(problem)


def suspect(context: Context, agent: AgentId, problem: Problem, address: str) -> None:
    """Have it shown that somebody was refused who spoke as this agent, and written down once."""
    if context.suspicions.note(agent, problem.type.name, problem.detail, address):
        context.refusals.note(
            Refusal(
                at_ns=context.clock.now().clock_ns,
                actor=agent,
                address=address,
                action="agent",
                code=problem.type.name,
                detail=problem.detail,
            )
        )


def take_note(context: Context, report: Report, address: str, *, held: bool) -> None:
    """Note what an operator should know of a stream that is opened."""
    agent, state = report.agent, context.state
    if held:
        context.metrics.stream_taken_over(agent)
    twins = context.twins.opened(report, address, held=held)
    found = [(TAKEN_OVER, twins)] if twins else []
    found += oddities(report, state.fleet.agents[agent], state.known_incarnation)
    for reason, text in found:
        context.suspicions.note(agent, reason, text, address)
