"""All that is known of one switch, wherever it is known from: the machine's state, or the store."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from turnout.protocol.clock import ClockNs
from turnout.protocol.coordinator_state import (
    Attempt,
    CoordinatorState,
    Following,
    Landed,
)
from turnout.protocol.identifiers import AgentId, Epoch
from turnout.protocol.messages import Vote
from turnout.protocol.records import Decision, HistoryEntry, Intent, Outcome, Verdict
from turnout.protocol.transitions import SwitchPhase


@frozen(kw_only=True)
class Story:
    """One switch.

    Attributes:
        intent: None where a new leader used up a number that had none.
        required: the agents asked; empty where only the store is left to tell.
        yes, no: the votes, while it is known who gave them.
        is_over: nothing further will become of it.
        moments: further entries of its history: (when, kind, text).
    """

    epoch: Epoch
    phase: SwitchPhase
    intent: Intent | None = None
    required: tuple[AgentId, ...] = ()
    accepted_at_ns: ClockNs | None = None
    yes: frozenset[AgentId] = frozenset()
    no: Mapping[AgentId, Vote] = field(factory=dict)
    decision: Decision | None = None
    outcome: Outcome | None = None
    live: Mapping[AgentId, Landed] = field(factory=dict)
    diverged: Mapping[AgentId, str] = field(factory=dict)
    drained: frozenset[AgentId] = frozenset()
    waived: tuple[AgentId, ...] = ()
    moments: tuple[HistoryEntry, ...] = ()
    is_over: bool = False


def in_memory(state: CoordinatorState, epoch: Epoch) -> Story | None:
    """The switch as the leader's machine knows it, while it is under way."""
    if state.attempt is not None and state.attempt.epoch == epoch:
        return of_attempt(state.attempt)
    following = state.following.get(epoch)
    return None if following is None else of_following(following)


def of_attempt(attempt: Attempt) -> Story:
    """A switch before its decision is in the store."""
    return Story(
        epoch=attempt.epoch,
        phase=attempt.phase,
        intent=attempt.intent,
        required=attempt.required,
        accepted_at_ns=attempt.accepted_at_ns,
        yes=frozenset(attempt.yes),
        no=attempt.no,
    )


def of_following(following: Following) -> Story:
    """A committed switch; whoever was asked and is not named absent has said yes to it."""
    absent = set(following.decision.absent)
    return Story(
        epoch=following.epoch,
        phase=following.phase,
        intent=following.intent,
        required=following.required,
        accepted_at_ns=following.decision.accepted_at_ns,
        yes=frozenset(agent for agent in following.required if agent not in absent),
        decision=following.decision,
        outcome=following.outcome,
        live=following.live,
        diverged=following.diverged,
        drained=frozenset(following.drained),
        waived=following.waived,
    )


def of_records(
    epoch: Epoch,
    *,
    intent: Intent | None,
    decision: Decision | None,
    outcome: Outcome | None,
    is_followed: bool,
    is_released: bool,
    history: tuple[HistoryEntry, ...],
) -> Story:
    """A switch as the store tells it.

    One that is followed no more is over; but only of one that was released may the source be scaled
    down. A later switch made the others' sources its own business: those stay retained.
    """
    phase = _phase(decision, outcome)
    if phase is SwitchPhase.DRAINING and not is_followed:
        phase = SwitchPhase.RELEASED if is_released else SwitchPhase.RETAINED
    return Story(
        epoch=epoch,
        phase=phase,
        intent=intent,
        accepted_at_ns=decision.accepted_at_ns if decision else None,
        decision=decision,
        outcome=outcome,
        moments=history,
        is_over=decision is not None and not is_followed,
    )


def _phase(decision: Decision | None, outcome: Outcome | None) -> SwitchPhase:
    if decision is None:
        return SwitchPhase.PREPARING
    if decision.verdict is Verdict.ABORT:
        return SwitchPhase.ABORTED
    if outcome is None:
        return SwitchPhase.COMMITTED
    return SwitchPhase.DRAINING
