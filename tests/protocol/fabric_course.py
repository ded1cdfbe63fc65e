"""The course of a history, as the invariants want it: what was promised from when, and when it came."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from attrs import frozen

from tests.protocol.fabric_chronicle import Chronicle, Days, Switch
from turnout.protocol.identifiers import AgentId, Epoch
from turnout.protocol.invariants import Course, Span
from turnout.protocol.limits import Timing
from turnout.protocol.records import Kind, OutcomeKind

JITTER_NS = 10
"""The fabric's timers ring to the nanosecond; some of its arithmetic rounds."""


@frozen(kw_only=True)
class Core:
    """A healed part of the fabric: a store, a replica that can lead, and these agents.

    Attributes:
        healed_ns: since when they reach each other.
        is_whole: whether all is well everywhere: then a switch must be live, not only over.
    """

    agents: Collection[AgentId]
    healed_ns: int
    is_whole: bool


def course_of(chronicle: Chronicle, core: Core, timing: Timing, until_ns: int) -> Course:
    """All that a history recorded; what had to happen is counted from the core's healing."""
    return Course(
        timing=timing,
        until_ns=until_ns,
        jitter_ns=JITTER_NS,
        flips=tuple(chronicle.flips),
        requests=tuple(chronicle.requests),
        partings=tuple(chronicle.partings),
        intrusions=tuple(chronicle.intrusions),
        proofs=tuple(chronicle.proofs),
        switches=tuple(_switches(chronicle, core)),
        intents=tuple(_intents(chronicle, core)),
        doubts=tuple(_doubts(chronicle, core)),
        cores=tuple(_cores(chronicle, core, timing.convergence_ns)),
    )


def _switches(chronicle: Chronicle, core: Core) -> Iterator[Span]:
    for epoch, switch in chronicle.switches.items():
        strict = core.is_whole and switch.accepted_ns >= core.healed_ns
        yield Span(
            what=f"epoch {epoch}, accepted",
            since_ns=max(switch.accepted_ns, core.healed_ns),
            seen_ns=_live_ns(chronicle, epoch, switch) if strict else switch.ended_ns,
        )


def _live_ns(chronicle: Chronicle, epoch: Epoch, switch: Switch) -> int | None:
    """When it was in force at the proxies of all that the decision counts on, or was over otherwise.

    A switch that was undone first is over with that, and a rollback with ``partial``.
    """
    over = {OutcomeKind.ABORTED, OutcomeKind.ROLLED_BACK}
    if switch.intent.request.kind is Kind.ROLLBACK:
        over.add(OutcomeKind.PARTIAL)
    if switch.outcome in over:
        return switch.ended_ns
    if not switch.is_commit:
        return None
    landed = [_first_live(chronicle.days[agent], epoch) for agent in switch.required]
    moments = [moment for moment in landed if moment is not None]
    return max(moments) if len(moments) == len(landed) else None


def _first_live(days: Days, epoch: Epoch) -> int | None:
    return min((ns for proven, ns in days.live.items() if proven >= epoch), default=None)


def _intents(chronicle: Chronicle, core: Core) -> Iterator[Span]:
    for epoch, switch in chronicle.switches.items():
        yield Span(
            what=f"intent {epoch}",
            since_ns=max(switch.accepted_ns, core.healed_ns),
            seen_ns=switch.decided_ns,
        )


def _doubts(chronicle: Chronicle, core: Core) -> Iterator[Span]:
    for agent in core.agents:
        days = chronicle.days[agent]
        if days.kept_out:
            continue
        for epoch, since_ns, until_ns in days.doubts:
            yield Span(
                what=f"{agent} in doubt about epoch {epoch}",
                since_ns=max(since_ns, core.healed_ns, days.let_in_ns),
                seen_ns=until_ns,
            )


def _cores(chronicle: Chronicle, core: Core, limit_ns: int) -> Iterator[Span]:
    """Of commits that are not followed by another within the limit: who is on the way is late."""
    for epoch, at_ns, next_ns in chronicle.commits():
        for agent in core.agents:
            days = chronicle.days[agent]
            since_ns = max(at_ns, core.healed_ns, days.let_in_ns)
            if days.kept_out or (next_ns is not None and next_ns - since_ns <= limit_ns):
                continue
            yield Span(
                what=f"{agent} at epoch {epoch}",
                since_ns=since_ns,
                seen_ns=min((ns for ns, served in days.served if served >= epoch), default=None),
            )
