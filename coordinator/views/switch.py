"""The JSON of a switch (DESIGN.md section 9), the same for one that runs and one long over."""

from __future__ import annotations

from typing import TypeAlias

from coordinator.story import Story
from coordinator.views.values import Json, instant, milliseconds, seconds
from turnout.protocol.coordinator_state import CoordinatorState
from turnout.protocol.identifiers import AgentId
from turnout.protocol.messages import Report
from turnout.protocol.records import Activation, Kind, Mode, OutcomeKind, Verdict
from turnout.protocol.routing import Colour
from turnout.protocol.transitions import SwitchPhase
from turnout.protocol.wording import counted

Moment: TypeAlias = tuple[int, str, str]
"""When (nanoseconds of a leader's clock), what, and in which words."""


def switch_view(story: Story, state: CoordinatorState, budget_ns: int) -> Json:
    """One switch; ``state`` tells how its agents stand now."""
    intent, outcome = story.intent, story.outcome
    source, target = _colours(story)
    return {
        "epoch": story.epoch,
        "kind": intent.request.kind.value if intent else None,
        "service": intent.request.service if intent else None,
        "from": source,
        "to": target,
        "phase": _phase(story.phase),
        "outcome": _outcome(story),
        "reason": _reason(story),
        "requested": _requested(story),
        "accepted_at": instant(story.accepted_at_ns),
        "elapsed_s": seconds(outcome.elapsed_ns) if outcome else None,
        "known_s": seconds(outcome.known_ns) if outcome else None,
        "sla": {
            "budget_s": seconds(outcome.budget_ns if outcome else budget_ns),
            "met": outcome.sla_met if outcome else None,
        },
        "activation": _activation(story),
        "agents": _agents(story, state),
        "laggards": _laggards(story),
        "timeline": _timeline(story),
    }


def _phase(phase: SwitchPhase) -> str:
    """Operators are shown no difference between collecting votes and writing what they come to."""
    return (SwitchPhase.PREPARING if phase is SwitchPhase.DECIDING else phase).value


def _outcome(story: Story) -> str | None:
    """What it came to; a number that a new leader used up has no record of that but the abort."""
    if story.outcome is not None:
        return story.outcome.outcome.value
    is_aborted = story.decision is not None and story.decision.verdict is Verdict.ABORT
    return OutcomeKind.ABORTED.value if is_aborted else None


def _colours(story: Story) -> tuple[str | None, str | None]:
    if story.intent is None:
        return None, None
    source: Colour | None = story.intent.source
    target = story.intent.request.to
    if target is None and source is not None and story.intent.request.kind is Kind.ROLLBACK:
        target = source.other
    return source.value if source else None, target.value if target else None


def _reason(story: Story) -> str | None:
    if story.outcome is not None and story.outcome.reason:
        return story.outcome.reason
    if story.decision is not None and story.decision.verdict is Verdict.ABORT:
        return story.decision.reason
    return None


def _requested(story: Story) -> Json | None:
    """Who asked for it, why, and with which options."""
    if story.intent is None:
        return None
    request = story.intent.request
    return {
        "key": request.key,
        "actor": request.actor,
        "reason": request.reason,
        "comment": request.comment,
        "undo": request.undo,
        "activation": request.activation.value,
        "allow_stale": list(request.allow_stale) or request.allow_stale_count,
        "override": list(request.override),
        "point_of_no_return": request.point_of_no_return,
    }


def _activation(story: Story) -> Json | None:
    decision = story.decision
    if decision is None or decision.verdict is Verdict.ABORT:
        return None
    activation: Activation = decision.head.activation
    skew_ns = story.outcome.skew_ns if story.outcome else None
    time_ns = activation.time_ns if activation.mode is Mode.SCHEDULED else None
    return {
        "mode": activation.mode.value,
        "reason": activation.reason or None,
        "time": instant(time_ns),
        "skew_ms": milliseconds(skew_ns),
        "bound_ms": milliseconds(activation.bound_ns),
    }


def _laggards(story: Story) -> list[Json]:
    laggards = story.outcome.laggards if story.outcome else ()
    return [{"agent": lag.agent, "region": lag.region, "reason": lag.reason} for lag in laggards]


# --- the agents ---------------------------------------------------------------------------------


def _agents(story: Story, state: CoordinatorState) -> list[Json]:
    """Every enrolled agent, asked or not; none where only the store is left to tell."""
    if not story.required:
        return []
    return [_agent(story, state, agent) for agent in sorted(state.fleet.agents)]


def _agent(story: Story, state: CoordinatorState, agent: AgentId) -> Json:
    landed = story.live.get(agent)
    report = state.reports.get(agent)
    return {
        "agent": agent,
        "region": state.fleet.agents[agent].region,
        "standing": state.fleet.status(agent).value,
        "asked": agent in story.required,
        "vote": "yes" if agent in story.yes else "no" if agent in story.no else None,
        "reason": _agent_reason(story, state, agent),
        "flipped_at": instant(landed.flipped_at_ns) if landed else None,
        "live_at": instant(landed.live_at_ns) if landed else None,
        "bound_ms": milliseconds(landed.bound_ns) if landed else None,
        "late": landed.late if landed else None,
        "in_flight": _in_flight(story, report),
        "drained": agent in story.drained or agent in story.waived,
        "epoch": report.active.epoch if report else None,
    }


def _agent_reason(story: Story, state: CoordinatorState, agent: AgentId) -> str | None:
    if agent in story.no:
        vote = story.no[agent]
        return f"{vote.no}: {vote.reason}"
    if agent in story.diverged:
        return f"diverged: {story.diverged[agent]}"
    if agent in story.waived:
        return "waived"
    entry = state.fleet.standing.get(agent)
    if entry is not None:
        return entry.reason
    return None


def _in_flight(story: Story, report: Report | None) -> int | None:
    """What the sources that this switch left still have to finish at one edge."""
    if report is None:
        return None
    counts = [drain.in_flight for drain in report.drains if drain.epoch == story.epoch]
    return sum(counts) if counts else None


# --- the timeline -------------------------------------------------------------------------------


def _timeline(story: Story) -> list[Json]:
    """What happened when, in order: the history where it was read, else what is in memory."""
    if story.moments:
        moments: list[Moment] = [(entry.at_ns, entry.kind, entry.text) for entry in story.moments]
    else:
        moments = _moments(story)
    return [{"at": instant(at), "event": what, "text": text} for at, what, text in sorted(moments)]


def _moments(story: Story) -> list[Moment]:
    moments: list[Moment] = []

    def add(at_ns: int | None, what: str, text: str) -> None:
        if at_ns is not None:
            moments.append((at_ns, what, text))

    if story.intent is not None:
        add(story.intent.requested_at_ns, "requested", f"by {story.intent.request.actor or '?'}")
    add(story.accepted_at_ns, "accepted", f"{counted(len(story.required), 'agent')} asked")
    if story.decision is not None:
        text = f"{story.decision.verdict}: {story.decision.reason}"
        add(story.decision.decided_at_ns, "decided", text)
    flips = [f.flipped_at_ns for f in story.live.values() if f.flipped_at_ns is not None]
    flipped = f"{counted(len(flips), 'agent')} flipped"
    add(min(flips, default=None), "first-flip", flipped)
    add(max(flips, default=None), "last-flip", flipped)
    lives = [f.live_at_ns for f in story.live.values()]
    if lives and len(story.live) >= len(story.required):
        add(max(lives), "live", f"{counted(len(lives), 'agent')} live")
    started_ns, outcome = story.accepted_at_ns, story.outcome
    if outcome is not None and outcome.known_ns is not None and started_ns is not None:
        text = f"{outcome.outcome}: {outcome.reason}".removesuffix(": ")
        add(started_ns + outcome.known_ns, "outcome", text)
    return moments
