"""How near a switch across the world comes to the least time it could take, when nothing goes wrong.

    python -m bench.elapsed [--seeds 1000] [--map aws-19] [--json]

Simulated, on the maps ``aws-19`` and ``azure-24``, one agent a region, coordinators and etcd where they
serve best. Each seed is a world of its own: other clocks, other jitter, another leader among the three.

- *quiet*, ``immediate``: ``elapsed`` and ``known`` against the bound ``1.5 D + W + staging + flip`` of
  the leader and the store as they stood; the bars are 1.25 at the median and 1.6 at the 99th percentile,
  and 1.5 for the median of ``known``.
- *rough*: the same with 1 % of all packets lost, and spikes; shown, without a bar.
- *scheduled*: in every run flips differ by no more than the sum of two bounds and timer jitter (S8); and
  in 99 of 100 the switch really is scheduled, not made immediate by what its votes say of the clocks.

The exit code is 1 where a bar is broken.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, Final

import click
from attrs import asdict, frozen

from bench.simulated import AT_S, MAPS, machine, on_all_cores, quantile, switch, well_placed, where
from simulator.judging.course import JITTER_NS
from simulator.operations import Activation
from simulator.results import SwitchResult, Verdict
from simulator.scenario import NetworkSection, Scenario
from simulator.simulation import run
from turnout.protocol.activation import drift
from turnout.protocol.clock import MS

LASTS_S: Final = 6.0
"""How long a run goes on after the switch was asked for: none without faults takes half of it."""

BARS: Final[Mapping[tuple[str, int], float]] = {
    ("elapsed", 500): 1.25,
    ("elapsed", 990): 1.6,
    ("known", 500): 1.5,
}
"""What a quantile (in a thousand) of a ratio to the lower bound must not exceed."""

SCHEDULED_BAR: Final = 0.99
"""The share of switches asked to be scheduled that must be."""

_QUANTILES = (500, 900, 990, 1000)


@frozen(kw_only=True)
class Kind:
    """One kind of switch, and the network that it has."""

    name: str
    activation: Activation
    network: NetworkSection = NetworkSection()


KINDS: Final = (
    Kind(name="quiet", activation="immediate"),
    Kind(name="rough", activation="immediate", network=NetworkSection(loss=0.01, spikes=True)),
    Kind(name="scheduled", activation="scheduled"),
)


@frozen(kw_only=True)
class Run:
    """One run's switch; None where it did not become live, or was not scheduled after all.

    Attributes:
        elapsed, known: as ratios to the lower bound.
        skew: as a ratio to what two clock bounds and timer jitter allow.
        violated: the invariants that were broken.
    """

    seed: int
    outcome: str | None
    elapsed_ms: float | None = None
    elapsed: float | None = None
    known: float | None = None
    skew_ms: float | None = None
    skew: float | None = None
    violated: tuple[str, ...] = ()


# ------------------------------------------------------------------------------------- measuring


def scenario(name: str, kind: Kind) -> Scenario:
    """One switch on one map."""
    return Scenario(
        name=f"{name} {kind.name}",
        duration_s=AT_S + LASTS_S,
        topology=well_placed(name),
        network=kind.network,
        operation=(switch(kind.activation),),
    )


def measure(planned: Scenario, seed: int) -> Run:
    """One seed's run."""
    result = run(planned, seed=seed, keep_story=False)
    violated = result.violated if result.verdict is not Verdict.VALID else ()
    if not result.switches:
        return Run(seed=seed, outcome=None, violated=violated)
    switched = result.switches[-1]
    skew_ns, allowed_ns = _skew(switched)
    return Run(
        seed=seed,
        outcome=switched.outcome,
        elapsed_ms=None if switched.elapsed_ns is None else switched.elapsed_ns / MS,
        elapsed=_ratio(switched.elapsed_ns, switched.lower_bound_ns),
        known=_ratio(switched.known_ns, switched.lower_bound_ns),
        skew_ms=None if skew_ns is None else skew_ns / MS,
        skew=_ratio(skew_ns, allowed_ns),
        violated=violated,
    )


def _skew(switched: SwitchResult) -> tuple[int | None, int | None]:
    """The skew of a scheduled switch, and what its votes' largest bound allows; S8 judges each pair."""
    if not switched.scheduled or switched.bound_ns is None:
        return None, None
    waited_ns = (switched.due_ns or 0) - (switched.decided_ns or 0)
    reach_ns = switched.bound_ns + drift(max(0, waited_ns))
    return switched.skew_ns, 2 * reach_ns + JITTER_NS


def _ratio(value: int | None, base: int | None) -> float | None:
    return None if value is None or not base else value / base


# --------------------------------------------------------------------------------------- judging


Verdicts = Iterator[tuple[str, bool]]


def verdicts(kind: Kind, runs: Sequence[Run]) -> Verdicts:
    """What is promised of such switches, and whether it was kept."""
    live = sum(run.outcome == "live" for run in runs)
    broken = sorted({number for run in runs for number in run.violated})
    yield f"{live} of {len(runs)} switches live", live == len(runs)
    yield f"invariants broken: {', '.join(broken) or 'none'}", not broken
    if kind.name == "quiet":
        for (figure, per_mille), bar in BARS.items():
            value = quantile(_known(runs, figure), per_mille)
            yield f"{figure} / bound at {_named(per_mille)}: {value:.3f} of {bar:g}", value <= bar
    elif kind.activation == "scheduled":
        ratios = list(_known(runs, "skew"))
        worst = max(ratios, default=math.inf)
        yield f"skew at most {worst:.3f} of two bounds and timer jitter", worst <= 1
        share = len(ratios) / len(runs)
        yield f"{share:.1%} scheduled, of at least {SCHEDULED_BAR:.0%}", share >= SCHEDULED_BAR


def unscheduled(kind: Kind, runs: Iterable[Run]) -> list[int]:
    """The seeds whose switch was asked to be scheduled and was not."""
    return [run.seed for run in runs if kind.activation == "scheduled" and run.skew is None]


def _known(runs: Iterable[Run], figure: str) -> Iterator[float]:
    values = (getattr(run, figure) for run in runs)
    return (value for value in values if value is not None)


def _named(per_mille: int) -> str:
    return "most" if per_mille == 1000 else f"p{per_mille / 10:g}"


# --------------------------------------------------------------------------------------- showing


def figures(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Quantiles of each figure that these runs have."""
    names = ("elapsed_ms", "elapsed", "known", "skew_ms", "skew")
    columns = {name: list(_known(runs, name)) for name in names}
    return {
        name: {_named(q): round(quantile(values, q), 3) for q in _QUANTILES}
        for name, values in columns.items()
        if values
    }


def _show(name: str, kind: Kind, runs: Sequence[Run]) -> None:
    click.echo(f"\n{name}, {kind.name} ({kind.activation}), {len(runs)} seeds")
    click.echo(f"{'':14}" + "".join(f"{_named(q):>10}" for q in _QUANTILES))
    for figure, row in figures(runs).items():
        click.echo(f"{figure:14}" + "".join(f"{value:>10.3f}" for value in row.values()))
    for text, is_held in verdicts(kind, runs):
        click.echo(f"{'met' if is_held else 'BROKEN':8}{text}")
    worst = max(runs, key=lambda run: run.elapsed or 0)
    click.echo(f"        the slowest is seed {worst.seed}")
    given_up = unscheduled(kind, runs)
    if given_up:
        seeds = ", ".join(str(seed) for seed in given_up[:10])
        click.echo(f"        {len(given_up)} were made immediate by their votes: seeds {seeds}")


def _document(name: str, kind: Kind, runs: Sequence[Run]) -> dict[str, Any]:
    judged = [{"promise": text, "held": is_held} for text, is_held in verdicts(kind, runs)]
    return {
        "map": name,
        "kind": asdict(kind),
        "runs": len(runs),
        "figures": figures(runs),
        "made_immediate": unscheduled(kind, runs),
        "verdicts": judged,
    }


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--map", "maps", type=click.Choice(MAPS), multiple=True, help="Without: both.")
@click.option("--json", "as_json", is_flag=True)
def main(seeds: int, maps: tuple[str, ...], *, as_json: bool) -> None:
    """Measure switches without faults on maps of the world, and judge them."""
    names, documents = maps or MAPS, []
    if not as_json:
        click.echo(f"Switches without faults, simulated. {machine()}\n")
        for name in names:
            click.echo(where(well_placed(name)))
    for name, kind in product(names, KINDS):
        found = on_all_cores(partial(measure, scenario(name, kind)), range(1, seeds + 1))
        runs = sorted(found, key=lambda run: run.seed)
        documents.append(_document(name, kind, runs))
        if not as_json:
            _show(name, kind, runs)
    if as_json:
        click.echo(json.dumps({"machine": machine(), "results": documents}))
    sys.exit(not all(one["held"] for document in documents for one in document["verdicts"]))


if __name__ == "__main__":
    main()
