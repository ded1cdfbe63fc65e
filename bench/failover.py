"""How long a switch takes when something fails in the middle of it: L1, measured.

    python -m bench.failover [--seeds 10] [--map aws-19] [--json]

Simulated, on the maps ``aws-19`` and ``azure-24``, well placed. One failure strikes at one point of one
switch: the leader dies for good, a member of etcd dies for good (any, or the one that leads), or an agent
restarts; at every point of a switch in turn, `scheduled` and `immediate`. Half of the seeds strike just
there, the others up to 300 ms later. Then all three in one switch, each at a point of its own.

DESIGN.md section 7 promises that every switch, once accepted, is live everywhere or aborted within 30 s
through one of each. The exit code is 1 where one was not.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any, Final

import click
from attrs import asdict, frozen

from bench.simulated import AT_S, MAPS, machine, on_all_cores, quantile, switch, well_placed, where
from simulator.fault_kinds import EtcdLeaderFault, Fault, FaultKind, NodeFault, RestartFault
from simulator.matrices import load
from simulator.moments import REACHED_BY, Point, ReachPoint
from simulator.operations import Activation
from simulator.population import LEADER, Role, Selector
from simulator.randomness import Randomness, Stream
from simulator.results import Verdict
from simulator.scenario import Scenario
from simulator.simulation import run as simulated
from turnout.protocol.clock import SECOND

BAR_S: Final = 30.0
LASTS_S: Final = 45.0
"""How long a run goes on after the switch was asked for."""

LATER_MS: Final = 300.0
ACTIVATIONS: Final[Sequence[Activation]] = ("scheduled", "immediate")
FAILURES: Final = ("leader", "etcd member", "etcd leader", "agent")
ALL: Final = "all three"
ALL_TIMES: Final = 8
"""All three at once is one cell instead of one a point, and gets the seeds of as many."""


@frozen(kw_only=True)
class Cell:
    """What fails, in which switch, and where; ``point`` is None where each has a point of its own."""

    map: str
    activation: Activation
    failure: str
    point: Point | None


@frozen(kw_only=True)
class Run:
    """One run.

    Attributes:
        elapsed_s: of the slowest switch in it; None where one was never over, or none was accepted.
        struck: how many of the failures happened.
        violated: the invariants that were broken.
    """

    cell: Cell
    seed: int
    elapsed_s: float | None
    outcomes: tuple[str, ...]
    struck: int
    violated: tuple[str, ...]

    @property
    def took_s(self) -> float:
        """The same as a number that sorts: without an end, longer than any run."""
        return self.elapsed_s if self.elapsed_s is not None else AT_S + LASTS_S


# ---------------------------------------------------------------------------------------- planning


def cells(maps: Iterable[str]) -> Iterator[Cell]:
    """Every failure at every point, and all of them at points of their own."""
    for name, activation in product(maps, ACTIVATIONS):
        for failure, point in product(FAILURES, Point):
            yield Cell(map=name, activation=activation, failure=failure, point=point)
        yield Cell(map=name, activation=activation, failure=ALL, point=None)


def planned(maps: Iterable[str], seeds: int) -> Iterator[tuple[Cell, int]]:
    """Each cell with each of its seeds."""
    for cell in cells(maps):
        times = ALL_TIMES if cell.failure == ALL else 1
        yield from ((cell, seed) for seed in range(1, seeds * times + 1))


def scenario(cell: Cell, seed: int) -> Scenario:
    """One switch, and what strikes it."""
    chance = Randomness(seed).stream(f"{cell}")
    failures = FAILURES[:2] + FAILURES[3:] if cell.failure == ALL else (cell.failure,)
    faults = (_fault(chance, cell, failure, spread=seed % 2 == 0) for failure in failures)
    return Scenario(
        name=f"{cell.failure} at {cell.point or 'any point'}, {cell.activation}",
        seed=seed,
        duration_s=AT_S + LASTS_S,
        topology=well_placed(cell.map),
        operation=(switch(cell.activation),),
        fault=tuple(faults),
    )


def _fault(chance: Stream, cell: Cell, failure: str, *, spread: bool) -> Fault:
    point = cell.point or chance.choice(list(Point))
    regions = load(cell.map).regions
    agent = Selector(f"{Role.AGENT} {chance.choice(regions)}/1")
    member = Selector(f"{Role.ETCD} {chance.choice(well_placed(cell.map).etcd)}")
    by_agent = REACHED_BY[point] is Role.AGENT
    when = ReachPoint(point, agent if by_agent else None)
    later_ms = chance.uniform(0, LATER_MS) if spread else 0.0
    moment: dict[str, Any] = {"when": when, "after_ms": later_ms}
    match failure:
        case "leader":
            return NodeFault(kind=FaultKind.CRASH, node=(LEADER,), **moment)
        case "etcd member":
            return NodeFault(kind=FaultKind.ETCD_MEMBER_CRASH, node=(member,), **moment)
        case "etcd leader":
            return EtcdLeaderFault(kind=FaultKind.ETCD_LEADER_CRASH, **moment)
        case _:
            return RestartFault(kind=FaultKind.RESTART, node=(agent,), **moment)


# --------------------------------------------------------------------------------------- measuring


def measure(cell_and_seed: tuple[Cell, int]) -> Run:
    """One run."""
    cell, seed = cell_and_seed
    result = simulated(scenario(cell, seed), keep_story=False)
    switches = result.switches
    taken = [one.elapsed_ns for one in switches]
    times = [ns for ns in taken if ns is not None]
    is_over = bool(switches) and len(times) == len(taken)
    return Run(
        cell=cell,
        seed=seed,
        elapsed_s=max(times) / SECOND if is_over else None,
        outcomes=tuple(str(one.outcome) for one in switches),
        struck=len(result.fault_kinds),
        violated=result.violated if result.verdict is not Verdict.VALID else (),
    )


# ----------------------------------------------------------------------------------------- judging


def verdicts(runs: Sequence[Run]) -> Iterator[tuple[str, bool]]:
    """What is promised, and whether it was kept."""
    longest_s = max(run.took_s for run in runs)
    yield f"no switch longer than {BAR_S:g} s: {longest_s:.2f} s", longest_s <= BAR_S
    broken = Counter(number for run in runs for number in run.violated)
    shown = ", ".join(f"{number} in {count} runs" for number, count in sorted(broken.items()))
    yield f"invariants broken: {shown or 'none'}", not broken
    idle = {run.cell for run in runs} - {run.cell for run in runs if run.struck}
    yield f"failures and points at which nothing ever struck: {len(idle)}", not idle


def table(runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """One row for each map, and one for all."""
    for name in (*dict.fromkeys(run.cell.map for run in runs), "all"):
        chosen = [run for run in runs if name in (run.cell.map, "all")]
        times = [run.took_s for run in chosen]
        outcomes = Counter(outcome for run in chosen for outcome in run.outcomes)
        yield {
            "map": name,
            "runs": len(chosen),
            "p50_s": round(quantile(times, 500), 2),
            "p99_s": round(quantile(times, 990), 2),
            "p99.9_s": round(quantile(times, 999), 2),
            "max_s": round(max(times), 2),
            "outcomes": dict(sorted(outcomes.items())),
        }


def worst(runs: Sequence[Run], count: int = 10) -> list[Run]:
    """The slowest run of each of the slowest cells."""
    slowest: dict[Cell, Run] = {}
    for run in sorted(runs, key=lambda run: (-run.took_s, run.seed)):
        slowest.setdefault(run.cell, run)
    return list(slowest.values())[:count]


# ----------------------------------------------------------------------------------------- showing


def _show(runs: Sequence[Run]) -> None:
    click.echo(f"{'':10}{'runs':>7}{'p50':>8}{'p99':>8}{'p99.9':>8}{'most':>8}   seconds; outcomes")
    for row in table(runs):
        times = "".join(f"{row[key]:>8.2f}" for key in ("p50_s", "p99_s", "p99.9_s", "max_s"))
        outcomes = ", ".join(f"{count} {name}" for name, count in row["outcomes"].items())
        click.echo(f"{row['map']:10}{row['runs']:>7}{times}   {outcomes}")
    click.echo("\nThe worst cells:")
    for run in worst(runs):
        cell = run.cell
        what = f"{cell.failure} at {cell.point or 'points of their own'}"
        outcomes = ", ".join(run.outcomes) or "nothing accepted"
        click.echo(
            f"{run.took_s:8.2f} s  {cell.map:9} {cell.activation:10} {what:38} "
            f"seed {run.seed}: {outcomes}"
        )
    click.echo()
    for text, is_held in verdicts(runs):
        click.echo(f"{'met' if is_held else 'BROKEN':8}{text}")
    for run in [run for run in runs if run.violated][:10]:
        click.echo(f"        {', '.join(run.violated)}: {run.cell}, seed {run.seed}")
    missed = Counter(run.cell for run in runs if not run.struck)
    for cell, count in missed.items():
        click.echo(f"        never struck in {count} runs: {cell}")


@click.command()
@click.option(
    "--seeds", type=click.IntRange(min=1), default=10, show_default=True, help="Of each cell."
)
@click.option("--map", "maps", type=click.Choice(MAPS), multiple=True, help="Without: both.")
@click.option("--json", "as_json", is_flag=True)
def main(seeds: int, maps: tuple[str, ...], *, as_json: bool) -> None:
    """Let things fail in the middle of switches, and see how long these take."""
    names = maps or MAPS
    found = on_all_cores(measure, list(planned(names, seeds)))
    runs = sorted(found, key=lambda run: (str(run.cell), run.seed))
    held = list(verdicts(runs))
    if as_json:
        judged = [{"promise": text, "held": one} for text, one in held]
        slow = [asdict(run) for run in worst(runs)]
        document = {"machine": machine(), "rows": list(table(runs)), "worst": slow}
        click.echo(json.dumps(document | {"verdicts": judged}))
    else:
        click.echo(f"Switches in which something fails, simulated. {machine()}")
        for name in names:
            click.echo(where(well_placed(name)))
        click.echo()
        _show(runs)
    sys.exit(not all(one for _, one in held))


if __name__ == "__main__":
    main()
