"""The course of a run, as the invariants want it: what was promised from when, and when it came.

What is promised depends on what works. S8-S11 hold always. L1-L3 are counted from the moment at which
a *core* works: a majority of etcd, one replica and the agents named, all of which reach each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from attrs import frozen

from simulator.judging.chronicle import Chronicle, Days, Switch
from turnout.protocol.identifiers import AgentId, Epoch
from turnout.protocol.invariants import Course, Span
from turnout.protocol.limits import Timing
from turnout.protocol.records import Kind, OutcomeKind

JITTER_NS = 1000
"""Timers here ring to the nanosecond; arithmetic of drifting clocks rounds, a few times each."""


@frozen(kw_only=True)
class Core:
    """A part of the world that works from a moment on.

    Attributes:
        agents: those that reach it and whose proxies obey.
        healed_ns: since when.
        is_whole: whether all is well everywhere: then a switch must be live, not only over.
    """

    agents: Collection[AgentId]
    healed_ns: int
    is_whole: bool


def course_of(chronicle: Chronicle, core: Core | None, timing: Timing, until_ns: int) -> Course:
    """All that a run recorded; without a core nothing is promised but safety."""
    return Course(
        timing=timing,
        until_ns=until_ns,
        jitter_ns=JITTER_NS,
        flips=tuple(chronicle.flips),
        partings=tuple(chronicle.partings),
        intrusions=tuple(chronicle.intrusions),
        proofs=tuple(chronicle.proofs),
        switches=tuple(_switches(chronicle, core)) if core else (),
        intents=tuple(_intents(chronicle, core)) if core else (),
        doubts=tuple(_doubts(chronicle, core)) if core else (),
        cores=tuple(_cores(chronicle, core, timing.convergence_ns)) if core else (),
        vacancies=tuple(_vacancies(chronicle.reigns, core))
        if core and chronicle.reigns is not None
        else (),
    )


def _switches(chronicle: Chronicle, core: Core) -> Iterator[Span]:
    for epoch, switch in chronicle.of_now():
        strict = core.is_whole and switch.accepted_ns >= core.healed_ns
        yield Span(
            what=f"epoch {epoch}, accepted",
            since_ns=max(switch.accepted_ns, core.healed_ns),
            seen_ns=live_ns(chronicle, epoch, switch) if strict else switch.ended_ns,
        )


def live_ns(chronicle: Chronicle, epoch: Epoch, switch: Switch) -> int | None:
    """When it was in force at the proxies of all that the decision counts on, or was over otherwise.

    A switch that was undone first is over with that, and a rollback with ``partial``.
    """
    over = {OutcomeKind.ABORTED, OutcomeKind.ROLLED_BACK}
    if switch.intent.request.kind is Kind.ROLLBACK:
        over.add(OutcomeKind.PARTIAL)
    if switch.outcome is not None and switch.outcome.outcome in over:
        return switch.ended_ns
    if not switch.is_commit:
        return None
    landed = [_first_live(chronicle.days_of(agent), epoch) for agent in switch.required]
    moments = [moment for moment in landed if moment is not None]
    return max(moments) if moments and len(moments) == len(landed) else None


def _first_live(days: Days, epoch: Epoch) -> int | None:
    return min((ns for proven, ns in days.live.items() if proven >= epoch), default=None)


def _intents(chronicle: Chronicle, core: Core) -> Iterator[Span]:
    for epoch, switch in chronicle.of_now():
        yield Span(
            what=f"intent {epoch}",
            since_ns=max(switch.accepted_ns, core.healed_ns),
            seen_ns=switch.decided_ns,
        )


def _doubts(chronicle: Chronicle, core: Core) -> Iterator[Span]:
    for agent in core.agents:
        days = chronicle.days_of(agent)
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
            days = chronicle.days_of(agent)
            since_ns = max(at_ns, core.healed_ns, days.let_in_ns)
            if days.kept_out or (next_ns is not None and next_ns - since_ns <= limit_ns):
                continue
            yield Span(
                what=f"{agent} at epoch {epoch}",
                since_ns=since_ns,
                seen_ns=min(
                    (ns for ns, served in days.served if served.epoch >= epoch), default=None
                ),
            )


def _vacancies(reigns: Iterable[tuple[int, str, bool]], core: Core) -> Iterator[Span]:
    """From when nobody leads until somebody does: also one whose clock or agents are unwell."""
    leading: set[str] = set()
    since_ns: int | None = 0
    for at_ns, replica, leads in reigns:
        (leading.add if leads else leading.discard)(replica)
        if leading and since_ns is not None:
            if at_ns > core.healed_ns:
                yield _vacancy(since_ns, at_ns, core)
            since_ns = None
        elif not leading and since_ns is None:
            since_ns = at_ns
    if since_ns is not None:
        yield _vacancy(since_ns, None, core)


def _vacancy(since_ns: int, seen_ns: int | None, core: Core) -> Span:
    since_ns = max(since_ns, core.healed_ns)
    return Span(what="a core that nobody leads", since_ns=since_ns, seen_ns=seen_ns)
