"""Many seeds, each a run of its own: a sweep, on all cores.

A sweep is judged as a whole: one invalid run makes it invalid; a rare state that none of them reached,
or a machine broken on purpose that none of them caught, makes it too weak to be worth anything.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from simulator.canaries import CANARIES, Canary
from simulator.judging.marks import MARKS
from simulator.results import CanaryResult, Mark, SeedResult, SweepResult
from simulator.scenario import Scenario
from simulator.simulation import run
from simulator.swarm import drawn

Progress = Callable[[SeedResult], None]

CANARY_SEEDS = 1000
"""Within so many seeds each canary must be caught."""


def sweep(
    seeds: Sequence[int],
    *,
    workers: int | None = None,
    canaries: Sequence[Canary] = (),
    scenario: Scenario | None = None,
    progress: Progress | None = None,
) -> SweepResult:
    """Run every seed of the swarm (or of one scenario), then look for each canary.

    Args:
        workers: processes; all cores if not said.
        progress: called with each run as it ends, in the order in which they end.
    """
    began_ns = time.perf_counter_ns()
    workers = workers or os.cpu_count() or 1
    runs: list[SeedResult] = []
    reached: Counter[str] = Counter()
    with _pool(workers) as pool:
        for result, marks in pool.imap_unordered(_Runner(scenario), seeds):
            runs.append(result)
            reached.update(marks)
            if progress is not None:
                progress(result)
        caught = tuple(pool.imap_unordered(look_for, canaries))
    names = [canary.name for canary in CANARIES]
    return SweepResult(
        name=scenario.name if scenario else "swarm",
        runs=tuple(sorted(runs, key=lambda one: one.seed)),
        marks=tuple(Mark(name=name, runs=reached[name]) for name in _obliged(scenario)),
        canaries=tuple(sorted(caught, key=lambda one: names.index(one.name))),
        wall_ns=time.perf_counter_ns() - began_ns,
        workers=workers,
    )


def _obliged(scenario: Scenario | None) -> Sequence[str]:
    """What must be reached: the swarm's marks, or those that a scenario names."""
    return tuple(MARKS) if scenario is None else scenario.expect.reached


class _Runner:
    """Runs one seed, in whichever process."""

    def __init__(self, scenario: Scenario | None) -> None:
        self._scenario = scenario

    def __call__(self, seed: int) -> tuple[SeedResult, tuple[str, ...]]:
        return run_seed(seed, self._scenario)


def run_seed(seed: int, scenario: Scenario | None = None) -> tuple[SeedResult, tuple[str, ...]]:
    """One seed's result, and the marks that it reached."""
    result = run(scenario or drawn(seed), seed=seed, keep_story=False)
    return SeedResult.of(result), result.reached


def look_for(canary: Canary, most: int = CANARY_SEEDS) -> CanaryResult:
    """Run seeds with a machine broken on purpose until its invariant catches it."""
    tried = 0
    with canary.broken():
        for tried, seed in enumerate(canary.seeds(most), start=1):
            result, _ = run_seed(seed)
            if canary.number in result.violated:
                return CanaryResult(
                    name=canary.name,
                    number=canary.number,
                    seed=seed,
                    tried=tried,
                    seen=result.violated,
                )
    return CanaryResult(name=canary.name, number=canary.number, seed=None, tried=tried)


@contextmanager
def _pool(workers: int) -> Iterator[multiprocessing.pool.Pool]:
    """Processes that take one seed at a time: some take ten times as long as others.

    Ctrl-C reaches them all, and is the affair of whoever waits for them.
    """
    context = multiprocessing.get_context("fork")
    with context.Pool(workers, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        yield pool
