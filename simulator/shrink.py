"""A failing scenario, made small: fewer faults, fewer operations, less time, while it still fails.

Faults are taken out by halves, then quarters and so on (*delta debugging*, Zeller and Hildebrandt, IEEE
TSE 2002): what is left is such that no single one can be spared. All chance is drawn by name, so what
stays befalls the same nodes at the same moments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from attrs import evolve, frozen

from simulator import matrices
from simulator.results import Finding, RunResult, Verdict
from simulator.scenario import Expect, Scenario
from simulator.scenario_checks import NUMBERS, scenario_faults
from simulator.simulation import run

Fails = Callable[[Scenario], bool]
Progress = Callable[[str], None]
Item = TypeVar("Item")

_MOMENT = re.compile(r"at ([0-9.]+) s: ")
"""How a violation begins that was seen at a moment."""

_FIGURE = re.compile(r"[0-9][0-9.]*")

AFTER_S = 20.0
"""What happens after the failure is of no interest, but for so long."""


@frozen(kw_only=True)
class Shrunk:
    """A scenario that fails like the one it was made from.

    Attributes:
        scenario: says in ``[expect]`` which invariants it breaks, and is valid as long as it does; one
            that breaks none, but only what was expected of it, goes on expecting that.
        numbers: what it breaks: invariants, ``run`` if it broke down; else expectations.
        runs: how many runs it took to find.
    """

    scenario: Scenario
    numbers: tuple[str, ...]
    runs: int


class _Counter:
    """Runs scenarios and counts; fails if one of the same failures is there."""

    def __init__(self, wanted: frozenset[str], progress: Progress) -> None:
        self.runs = 0
        self._wanted = wanted
        self._progress = progress

    def __call__(self, scenario: Scenario) -> bool:
        if not _is_whole(scenario):
            return False
        self.runs += 1
        found = failures(scenario, run(scenario, keep_story=False))
        fails = not self._wanted.isdisjoint(_likeness(found))
        size = f"{len(scenario.faults)} faults, {len(scenario.operations)} operations"
        self._progress(f"run {self.runs}: {size}: {'still fails' if fails else 'passes'}")
        return fails


def _is_whole(scenario: Scenario) -> bool:
    """Whether it could be written and read again: nothing in it waits for what was taken out."""
    regions = matrices.load(scenario.topology.matrix).regions
    code = scenario.expect.refused
    return not scenario_faults(scenario, regions, (code,) if code else ())


def failures(scenario: Scenario, result: RunResult) -> tuple[Finding, ...]:
    """What a run broke that its scenario does not expect to be broken.

    What was expected of the run counts only where it broke nothing else: a run out of which everything
    is taken does not come to what was expected either.
    """
    if result.verdict is Verdict.VALID:
        return ()
    expected = scenario.expect.violated
    broken = [one for one in result.findings if one.violations and one.number not in expected]
    graver = [one for one in broken if one.number in (*NUMBERS, "run")]
    return tuple(graver or broken)


def _likeness(failed: Sequence[Finding]) -> frozenset[str]:
    """What makes two failures alike: the number; of an expectation what came instead, but for figures."""
    return frozenset(
        one.number if not one.number.startswith("expect.") else f"{one.number}: {sentence}"
        for one in failed
        for sentence in (_FIGURE.sub("#", text) for text in one.violations)
    )


def shrink(scenario: Scenario, *, progress: Progress) -> Shrunk | None:
    """Make a failing scenario small; None if it does not fail."""
    failed = failures(scenario, run(scenario, keep_story=False))
    if not failed:
        return None
    fails = _Counter(_likeness(failed), progress)
    small = scenario
    while True:
        before = small
        small = _with_faults(small, fails)
        small = _with_operations(small, fails)
        if small == before:
            break
    small = _shorter(small, run(small, keep_story=False), fails)
    result = run(small, keep_story=False)
    named = evolve(small, name=f"{scenario.name}-shrunk", expect=_expected(small, result))
    numbers = dict.fromkeys(one.number for one in failures(small, result))
    return Shrunk(scenario=named, numbers=tuple(numbers), runs=fails.runs)


def _expected(small: Scenario, result: RunResult) -> Expect:
    broken = tuple(number for number in result.violated if number in NUMBERS)
    return Expect(verdict="invalid", violated=broken) if broken else small.expect


def _with_faults(scenario: Scenario, fails: Fails) -> Scenario:
    kept = fewest(scenario.faults, lambda faults: fails(evolve(scenario, fault=tuple(faults))))
    return evolve(scenario, fault=tuple(kept))


def _with_operations(scenario: Scenario, fails: Fails) -> Scenario:
    kept = fewest(scenario.operations, lambda some: fails(evolve(scenario, operation=tuple(some))))
    return evolve(scenario, operation=tuple(kept))


def _shorter(scenario: Scenario, result: RunResult, fails: Fails) -> Scenario:
    """End it soon after the first violation, unless what fails is that something never came."""
    texts = [text for one in failures(scenario, result) for text in one.violations]
    moments = [float(found[1]) for text in texts if (found := _MOMENT.match(text))]
    if not moments:
        return scenario  # what is expected of a whole run is seen at its end
    end_s = min(moments) + AFTER_S
    brief = evolve(scenario, duration_s=min(scenario.duration_s, float(round(end_s))))
    kept = [o for o in brief.operations if o.at_s is None or o.at_s <= brief.duration_s]
    faults = [f for f in brief.faults if f.at_s is None or f.at_s <= brief.duration_s]
    brief = evolve(brief, operation=tuple(kept), fault=tuple(faults))
    if brief.core is not None and brief.core.at_s > brief.duration_s:
        brief = evolve(brief, core=None)
    return brief if fails(brief) else scenario


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
