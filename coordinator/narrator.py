"""The log of a leader: a line for what an operator would ask about afterwards.

It is read off the machine's state, so that it tells what is in the store, and nothing sooner.
"""

from __future__ import annotations

import structlog

from turnout.protocol.clock import SECOND
from turnout.protocol.coordinator_state import Attempt, CoordinatorState, Following, Role
from turnout.protocol.records import Decision, Outcome, OutcomeKind, Status, Verdict

_log = structlog.get_logger(__name__)

_NAMED = 10
"""Agents that a line names; the status has them all."""


class Narrator:
    """Logs what was accepted and decided, what it came to, and who is good."""

    def stepped(self, before: CoordinatorState, after: CoordinatorState) -> None:
        """Tell what a step of a leader has changed."""
        if after.role is not Role.LEADING:
            return
        if before.role is not Role.LEADING:
            _tell_begin(after)
            return
        if after.attempt is not before.attempt and after.attempt is not None:
            _tell_accepted(before.attempt, after.attempt)
        if after.head is not before.head and after.head is not None:
            _tell_decided(after.library.get(after.head.decided))
        if after.following is not before.following:
            _tell_outcomes(before, after)
        if after.fleet.standing is not before.fleet.standing:
            _tell_standing(before, after)


def _tell_begin(state: CoordinatorState) -> None:
    assert state.head is not None
    _log.info(
        "leading",
        term=state.term,
        decided=state.head.decided,
        committed=state.head.committed,
        agents=len(state.fleet.agents),
    )


def _tell_accepted(before: Attempt | None, attempt: Attempt) -> None:
    was_accepted = before is not None and before.accepted_at_ns is not None
    if attempt.accepted_at_ns is None or was_accepted:
        return
    request = attempt.intent.request
    _log.info(
        "accepted",
        epoch=attempt.epoch,
        kind=request.kind.value,
        service=request.service,
        to=request.to.value if request.to else None,
        actor=request.actor,
        reason=request.reason,
        asked=len(attempt.required),
    )


def _tell_decided(decision: Decision | None) -> None:
    if decision is None:
        return
    if decision.verdict is Verdict.ABORT:
        _log.warning("aborted", epoch=decision.epoch, reason=decision.reason)
    elif decision.absent:
        _log.warning("committed", epoch=decision.epoch, absent=_few(decision.absent))
    else:
        _log.info("committed", epoch=decision.epoch, activation=decision.head.activation.mode.value)


def _tell_outcomes(before: CoordinatorState, after: CoordinatorState) -> None:
    for epoch, was in before.following.items():
        if was.outcome is None and (outcome := _outcome_of(was, after.following.get(epoch))):
            _tell_outcome(outcome)


def _outcome_of(before: Following, after: Following | None) -> Outcome | None:
    """What has just become known of a commit; one that was undone is followed no more."""
    return before.writing if after is None else after.outcome


def _tell_outcome(outcome: Outcome) -> None:
    elapsed_s = None if outcome.elapsed_ns is None else outcome.elapsed_ns / SECOND
    if outcome.outcome is OutcomeKind.LIVE:
        _log.info("live", epoch=outcome.epoch, elapsed_s=elapsed_s)
        return
    laggards = tuple(f"{laggard.agent}: {laggard.reason}" for laggard in outcome.laggards)
    _log.warning(
        outcome.outcome.value, epoch=outcome.epoch, reason=outcome.reason, laggards=_few(laggards)
    )


def _tell_standing(before: CoordinatorState, after: CoordinatorState) -> None:
    was, now = before.fleet.standing, after.fleet.standing
    good = tuple(agent for agent in was if agent not in now and agent in after.fleet.agents)
    if good:
        _log.info("good", agents=_few(good))
    for status in Status:
        fallen = tuple(
            f"{agent}: {entry.reason}"
            for agent, entry in now.items()
            if entry.status is status and was.get(agent) != entry
        )
        if fallen:
            _log.warning(status.value, agents=_few(fallen))


def _few(names: tuple[str, ...]) -> list[str]:
    more = len(names) - _NAMED
    return [*names[:_NAMED], *([f"and {more} more"] if more > 0 else [])]
