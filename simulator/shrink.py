"""A failing seed, made small: fewer faults, fewer operations, less time, while it still fails.

Faults are taken out by halves, then quarters and so on (*delta debugging*, Zeller and Hildebrandt, IEEE
TSE 2002): what is left is such that no single one can be spared. All chance is drawn by name, so what
stays befalls the same nodes at the same moments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from attrs import evolve, frozen

from simulator.results import RunResult
from simulator.scenario import Scenario
from simulator.simulation import run
from turnout.protocol.clock import SECOND

Fails = Callable[[Scenario], bool]
Progress = Callable[[str], None]
Item = TypeVar("Item")

AFTER_S = 20.0
"""What happens after the failure is of no interest, but for so long."""


@frozen(kw_only=True)
class Shrunk:
    """A scenario that fails like the one it was made from.

    Attributes:
        numbers: what it breaks.
        runs: how many runs it took to find.
    """

    scenario: Scenario
    numbers: tuple[str, ...]
    runs: int


class _Counter:
    """Runs scenarios and counts; fails if one of the same numbers is broken."""

    def __init__(self, numbers: tuple[str, ...], progress: Progress) -> None:
        self.numbers = numbers
        self.runs = 0
        self._progress = progress

    def __call__(self, scenario: Scenario) -> bool:
        self.runs += 1
        found = run(scenario, keep_story=False)
        fails = not set(self.numbers).isdisjoint(found.violated)
        size = f"{len(scenario.faults)} faults, {len(scenario.operations)} operations"
        self._progress(f"run {self.runs}: {size}: {'still fails' if fails else 'passes'}")
        return fails


def shrink(scenario: Scenario, *, progress: Progress) -> Shrunk | None:
    """Make a failing scenario small; None if it does not fail."""
    result = run(scenario, keep_story=False)
    if not result.violated:
        return None
    fails = _Counter(result.violated, progress)
    small = scenario
    while True:
        before = small
        small = _with_faults(small, fails)
        small = _with_operations(small, fails)
        if small == before:
            break
    small = _shorter(small, run(small, keep_story=False), fails)
    numbers = run(small, keep_story=False).violated
    name = f"{scenario.name}-shrunk"
    expect = evolve(small.expect, verdict="invalid", violated=numbers)
    return Shrunk(
        scenario=evolve(small, name=name, expect=expect), numbers=numbers, runs=fails.runs
    )


def _with_faults(scenario: Scenario, fails: Fails) -> Scenario:
    kept = fewest(scenario.faults, lambda faults: fails(evolve(scenario, fault=tuple(faults))))
    return evolve(scenario, fault=tuple(kept))


def _with_operations(scenario: Scenario, fails: Fails) -> Scenario:
    kept = fewest(scenario.operations, lambda some: fails(evolve(scenario, operation=tuple(some))))
    return evolve(scenario, operation=tuple(kept))


def _shorter(scenario: Scenario, result: RunResult, fails: Fails) -> Scenario:
    """End it soon after the first violation, unless what fails is that something never came."""
    moments = [_moment_ns(text) for one in result.findings for text in one.violations]
    if not moments:
        return scenario
    end_s = min(moments) / SECOND + AFTER_S
    brief = evolve(scenario, duration_s=min(scenario.duration_s, float(round(end_s))))
    kept = [o for o in brief.operations if o.at_s is None or o.at_s <= brief.duration_s]
    faults = [f for f in brief.faults if f.at_s is None or f.at_s <= brief.duration_s]
    brief = evolve(brief, operation=tuple(kept), fault=tuple(faults))
    if brief.core is not None and brief.core.at_s > brief.duration_s:
        brief = evolve(brief, core=None)
    return brief if fails(brief) else scenario


def _moment_ns(violation: str) -> int:
    """When a violation was seen: ``at 12.500000 s: ...``."""
    return round(float(violation.partition(" s:")[0].removeprefix("at ")) * SECOND)


def fewest(items: Sequence[Item], fails: Callable[[Sequence[Item]], bool]) -> Sequence[Item]:
    """A part of these with which it still fails, of which none can be left out."""
    if items and fails(()):
        return ()
    parts = 2
    while len(items) > 1:
        size = -(-len(items) // parts)
        for start in range(0, len(items), size):
            rest = [*items[:start], *items[start + size :]]
            if fails(rest):
                items, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(2 * parts, len(items))
    return items
