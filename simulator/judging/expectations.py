"""What a scenario expects of its run, judged like any invariant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from simulator.results import Finding, SwitchResult, Verdict
from turnout.protocol.clock import SECOND
from turnout.protocol.effects import Refused
from turnout.protocol.records import OutcomeKind

if TYPE_CHECKING:
    from simulator.simulation import Simulation


def judged(simulation: Simulation, switches: Sequence[SwitchResult]) -> list[Finding]:
    """One finding for each key of ``[expect]`` that is given.

    But for ``verdict`` and ``violated``, which ``summing_up.py`` looks at.
    """
    return [
        Finding(
            number=f"expect.{name}",
            verdict=Verdict.INVALID if faults else Verdict.VALID,
            violations=faults,
        )
        for name, faults in _all(simulation, switches)
    ]


def _all(
    simulation: Simulation, switches: Sequence[SwitchResult]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    expect, last = simulation.scenario.expect, switches[-1] if switches else None
    if expect.outcome is not None:
        found = last.outcome if last else "no switch"
        yield "outcome", _unless(found == expect.outcome, f"{found}, not {expect.outcome}")
    if expect.laggards is not None:
        behind = tuple(sorted(last.laggards)) if last else ()
        wanted = tuple(sorted(expect.laggards))
        text = f"laggards are {', '.join(behind) or 'none'}, not {', '.join(wanted) or 'none'}"
        yield "laggards", _unless(behind == wanted, text)
    if expect.because is not None:
        yield "because", tuple(_otherwise(last, expect.because))
    if expect.elapsed_s_max is not None:
        yield "elapsed_s_max", tuple(_slow(switches, expect.elapsed_s_max))
    if expect.converged_within_s is not None:
        yield "converged_within_s", tuple(_behind(simulation, expect.converged_within_s))
    if expect.refused is not None:
        yield "refused", _refusal(simulation, expect.refused)
    if expect.requests_lost_max is not None:
        lost = simulation.users.requests()
        count = lost.failed + lost.misrouted + lost.cut
        text = f"{count} requests were lost, above {expect.requests_lost_max}"
        yield "requests_lost_max", _unless(count <= expect.requests_lost_max, text)
    if expect.reached:
        missed = sorted(set(expect.reached) - set(simulation.judge.marks.reached))
        yield "reached", _unless(not missed, f"not reached: {', '.join(missed)}")


def _unless(holds: bool, text: str) -> tuple[str, ...]:
    return () if holds else (text,)


def _otherwise(last: SwitchResult | None, words: str) -> Iterator[str]:
    """Laggards that are behind for another reason; that there is none is no reason either."""
    if last is None or not last.laggards:
        yield "there is no laggard"
        return
    for agent, reason in zip(last.laggards, last.reasons, strict=True):
        if words not in reason:
            yield f"of {agent} is said: {reason}"


def _slow(switches: Sequence[SwitchResult], limit_s: float) -> Iterator[str]:
    """Switches that took too long; a partial one is over when that is written down."""
    for switch in switches:
        is_partial = switch.outcome == OutcomeKind.PARTIAL
        took_ns = switch.known_ns if is_partial else switch.elapsed_ns
        if took_ns is None:
            yield f"epoch {switch.epoch} was never over"
        elif took_ns > limit_s * SECOND:
            yield f"epoch {switch.epoch} took {took_ns / SECOND:.3f} s"


def _behind(simulation: Simulation, limit_s: float) -> Iterator[str]:
    """Agents that did not serve the newest commit so soon after the last heal (the commit, include)."""
    chronicle = simulation.judge.chronicle
    commits = list(chronicle.commits())
    if not commits:
        return
    epoch, decided_ns, _ = commits[-1]
    hurt = {name for one in simulation.injector.befell if one.until_ns is None for name in one.hurt}
    since_ns = max(decided_ns, simulation.injector.last_healed_ns)
    for node in simulation.agents.values():
        days = chronicle.days_of(node.agent)
        if node.process.name in hurt or days.kept_out:
            continue
        from_ns = max(since_ns, days.let_in_ns)
        served_ns = min((ns for ns, a in days.served if a.epoch >= epoch), default=None)
        if served_ns is None or served_ns - from_ns > limit_s * SECOND:
            when = "never" if served_ns is None else f"{(served_ns - from_ns) / SECOND:.3f} s after"
            yield f"{node.agent} served epoch {epoch} {when}"


def _refusal(simulation: Simulation, wanted: str) -> tuple[str, ...]:
    wish = simulation.director.last
    answer = wish.answer if wish else None
    if isinstance(answer, Refused) and answer.code == wanted:
        return ()
    found = answer.code if isinstance(answer, Refused) else "not refused"
    return (f"the last operation was {found}, not {wanted}",)
