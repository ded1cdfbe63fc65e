"""Figures that every report gives: seconds of nanoseconds, quantiles, results by kind of fault."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from simulator.results import Finding, RunResult, SeedResult, SweepResult, SwitchResult, Verdict
from turnout.protocol.clock import MS, SECOND

_NUMBER = re.compile(r"[SL][0-9]+")


def seconds(ns: int | None) -> float | None:
    """Nanoseconds as seconds, to the microsecond."""
    return None if ns is None else round(ns / SECOND, 6)


def milliseconds(ns: int | None) -> float | None:
    """Nanoseconds as milliseconds, to the microsecond."""
    return None if ns is None else round(ns / MS, 3)


def duration(ns: int | None) -> str:
    """A duration for people: ``-``, ``812 us``, ``3.2 ms``, ``412 ms``, ``2.31 s``, ``600 s``."""
    if not ns:
        return "-" if ns is None else "0 s"
    for unit_ns, unit in ((SECOND, "s"), (MS, "ms")):
        if abs(ns) >= unit_ns:
            value = ns / unit_ns
            digits = max(0, 2 - int(math.log10(abs(value)))) if unit == "s" or value < 10 else 0  # noqa: PLR2004
            return f"{value:.{digits}f} {unit}"
    return f"{ns / 1000:.0f} us"


def promise(budgets_ns: Sequence[int]) -> str:
    """Within what time switches are to be over (L1): ``30 s``, or of many runs ``30 to 34.5 s``."""
    ends = dict.fromkeys(f"{ns / SECOND:.4g}" for ns in (budgets_ns[0], budgets_ns[-1]))
    return f"{' to '.join(ends)} s"


def late(sweep: SweepResult) -> str:
    """How many of a sweep's switches broke the promise, in words."""
    missed = count(sum(one.sla_met is False for one in sweep.switches))
    if not sweep.budgets_ns:
        return f"{missed} took longer than promised"
    whose = "" if len(sweep.budgets_ns) == 1 else "its run promises, "
    return f"{missed} took longer than {whose}{promise(sweep.budgets_ns)}"


def count(number: int) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,}"


def speed(simulated_ns: int, wall_ns: int) -> str:
    """Simulated seconds per second of the wall clock."""
    return f"{simulated_ns / wall_ns:,.0f} simulated s per s" if wall_ns else "-"


def invariants(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings about numbered invariants, in the order of numbers, S before L."""
    numbered = [one for one in findings if _NUMBER.fullmatch(one.number)]
    return tuple(sorted(numbered, key=lambda one: (one.number[0] != "S", int(one.number[1:]))))


def expectations(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings about what the scenario expects."""
    return tuple(one for one in findings if not _NUMBER.fullmatch(one.number))


def unanswered(run: RunResult) -> tuple[str, ...]:
    """A line for each operation of which nothing came."""
    return tuple(
        f"never asked: {one.what}, {one.moment}"
        if one.asked_ns is None
        else f"never answered: {one.what}, asked at {one.asked_ns / SECOND:.3f} s"
        for one in run.operations
        if not one.is_answered
    )


@frozen(kw_only=True)
class Event:
    """A line of a run's story."""

    at_ns: int
    who: str
    text: str


def events(run: RunResult) -> tuple[Event, ...]:
    """What operators did, what was injected, and whatever else was noted, in order."""
    found = [Event(at_ns=one.at_ns, who=one.node, text=one.text) for one in run.story.notes]
    for fault in run.story.faults:
        found.append(Event(at_ns=fault.since_ns, who="fault", text=fault.text))
        if fault.until_ns is not None and fault.until_ns <= run.simulated_ns:
            found.append(Event(at_ns=fault.until_ns, who="heal", text=fault.text))
    return tuple(sorted(found, key=lambda event: event.at_ns))


def quantile(values: Sequence[int], share: float) -> int | None:
    """The least of the values that at least this share of them does not exceed; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def known(values: Iterable[int | None]) -> list[int]:
    """Those that are there."""
    return [value for value in values if value is not None]


@frozen(kw_only=True)
class Spread:
    """How some durations lie. None where there are none."""

    count: int
    median_ns: int | None
    p99_ns: int | None
    p999_ns: int | None
    largest_ns: int | None

    @classmethod
    def of(cls, values: Iterable[int | None]) -> Spread:
        """The spread of those that are there."""
        there = known(values)
        return cls(
            count=len(there),
            median_ns=quantile(there, 0.5),
            p99_ns=quantile(there, 0.99),
            p999_ns=quantile(there, 0.999),
            largest_ns=max(there, default=None),
        )


@frozen(kw_only=True)
class KindResult:
    """What the runs with one kind of fault came to."""

    kind: str
    runs: int
    verdicts: Mapping[Verdict, int]
    outcomes: Mapping[str, int]
    elapsed: Spread


def by_kind(sweep: SweepResult) -> tuple[KindResult, ...]:
    """One result for each kind of fault that any run had, then for the runs without any."""
    kinds = sorted({kind for run in sweep.runs for kind in run.fault_kinds})
    rows = [_of_kind(kind, [r for r in sweep.runs if kind in r.fault_kinds]) for kind in kinds]
    calm = [run for run in sweep.runs if not run.fault_kinds]
    return (*rows, _of_kind("no fault", calm)) if calm else tuple(rows)


def _of_kind(kind: str, runs: Sequence[SeedResult]) -> KindResult:
    switches = [switch for run in runs for switch in run.switches]
    return KindResult(
        kind=kind,
        runs=len(runs),
        verdicts={v: sum(run.verdict is v for run in runs) for v in Verdict},
        outcomes=outcomes(switches),
        elapsed=Spread.of(switch.elapsed_ns for switch in switches),
    )


OUTCOMES = ("live", "partial", "aborted", "rolled_back", "open")


def outcomes(switches: Iterable[SwitchResult]) -> dict[str, int]:
    """How many switches came to each outcome; ``open``: to none before the run ended."""
    found = [switch.outcome or "open" for switch in switches]
    return {name: found.count(name) for name in OUTCOMES if name in found}


def left_out(sweep: SweepResult) -> str:
    """Which invariants nothing could be said about, and in how many runs; empty: all of all."""
    by_runs: dict[int, list[str]] = {}
    for number, runs in sweep.unjudged.items():
        by_runs.setdefault(runs, []).append(number)
    parts = (
        f"{' '.join(sorted(numbers))} in {count(runs)}" for runs, numbers in sorted(by_runs.items())
    )
    said = ", ".join(parts)
    return f"Not judged, since nothing worked that could keep them: {said}." if said else ""


LEAST_THAT_SAYS = 6
"""Runs: of fewer than this the rule of three says less than one in two."""


def rule_of_three(sweep: SweepResult) -> str:
    """What so many valid runs prove, and what not, in a sentence."""
    total = len(sweep.runs)
    if sweep.verdict is not Verdict.VALID or total < LEAST_THAT_SAYS:
        return ""
    return (
        f"{count(total)} runs without a violation: with 95 % confidence fewer than one run in "
        f"{count(total // 3)} drawn in this way breaks an invariant. It says nothing of "
        "worlds that are not drawn."
    )
