"""How fast the simulator is, with everything on and every invariant judged after every event.

    python -m bench.simulation [--seconds 600] [--seed 600] [--runs 5] [--json]

*busy* and *steady*: the map ``azure-24``, well placed: 24 agents, three coordinators, three members of
etcd, without faults; a switch every half minute and every minute. *swarm*: a seed of the swarm in which much
goes wrong. Each runs in a process of its own on one core, after a short run for what a process makes
once: converters, jitter tables. CPU time counts.

The bar is 500 simulated seconds a second for *busy*, in the fastest of its runs, for others who share the
machine only add to it; the aim is 1,000. They halve its speed from one minute to the next. So the loop of
``bench/anchor.py``, which drives almost empty machines, is measured right before and right after each
run, and the run in the middle is shown *at a million events a second of the anchor* too, by which figures
of different hours can be compared.

The exit code is 1 where the bar is broken.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import time
from typing import Final

import click
from attrs import asdict, evolve, frozen

from bench import anchor
from bench.simulated import AT_S, machine, switch, well_placed, where
from simulator.results import Verdict
from simulator.scenario import Scenario
from simulator.simulation import run
from simulator.swarm import drawn
from turnout.protocol.routing import Colour

BAR: Final = 500.0
AIM: Final = 1000.0
MAP: Final = "azure-24"
STEADY_S: Final = 60.0
BUSY_S: Final = 30.0
REFERENCE: Final = 1_000_000
"""Events a second of the anchor."""
WARM_S: Final = 20.0


@frozen(kw_only=True)
class Speed:
    """One run: what was simulated, and what that cost.

    Attributes:
        factor: simulated seconds for a second of CPU time; ``slowest`` and ``fastest`` of all runs.
        anchor: events a second of the anchor, around this run.
        at_reference: the factor, had the anchor come to a million.
        warm_mib, peak_mib: the most memory that was in use before the run, and in all.
        lost: what was not as it should be; empty when all is well.
    """

    name: str
    agents: int
    coordinators: int
    etcd: int
    simulated_s: float
    cpu_s: float
    factor: float
    slowest: float
    fastest: float
    anchor: float
    at_reference: float
    events: int
    events_per_s: float
    switches: int
    faults: int
    warm_mib: float
    peak_mib: float
    verdict: str
    digest: str


def fleet(name: str, every_s: float, seconds: float) -> Scenario:
    """24 agents that are switched back and forth."""
    colours = (Colour.GREEN, Colour.BLUE)
    switches = (
        switch("scheduled", at_s=AT_S + number * every_s, to=colours[number % 2])
        for number in range(max(1, int((seconds - AT_S) // every_s)))
    )
    return Scenario(
        name=name, duration_s=seconds, topology=well_placed(MAP), operation=tuple(switches)
    )


def measure(scenario: Scenario) -> Speed:
    """One run, after a short one."""
    run(evolve(scenario, duration_s=WARM_S, core=None), keep_story=False)
    warm_mib, before = _peak_mib(), anchor.events_per_s()
    began_s = time.process_time()
    result = run(scenario, keep_story=False)
    cpu_s = time.process_time() - began_s
    around = (before + anchor.events_per_s()) / 2
    factor = scenario.duration_s / cpu_s
    roles = [name.split()[0] for name, _ in result.nodes]
    return Speed(
        name=scenario.name,
        agents=roles.count("agent"),
        coordinators=roles.count("coordinator"),
        etcd=roles.count("etcd"),
        simulated_s=scenario.duration_s,
        cpu_s=round(cpu_s, 3),
        factor=round(factor, 1),
        slowest=round(factor, 1),
        fastest=round(factor, 1),
        anchor=round(around),
        at_reference=round(factor * REFERENCE / around, 1),
        events=result.events,
        events_per_s=round(result.events / cpu_s),
        switches=len(result.switches),
        faults=len(scenario.faults),
        warm_mib=round(warm_mib, 1),
        peak_mib=round(_peak_mib(), 1),
        verdict=str(result.verdict),
        digest=result.trace_digest,
    )


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _apart(scenario: Scenario) -> Speed:
    """Measured in a new process, which has used no memory yet."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (scenario,))


def _middle(scenario: Scenario, runs: int) -> Speed:
    """Of so many runs, which all come to the same, the one in the middle at the anchor's million."""
    speeds = sorted((_apart(scenario) for _ in range(runs)), key=lambda speed: speed.at_reference)
    assert len({speed.digest for speed in speeds}) == 1, "one scenario, two traces"
    factors = [speed.factor for speed in speeds]
    return evolve(speeds[runs // 2], slowest=min(factors), fastest=max(factors))


def _show(speed: Speed) -> None:
    click.echo(f"\n{speed.name}: {speed.agents} agents, {speed.coordinators} coordinators, "
               f"{speed.etcd} of etcd; {speed.switches} switches, {speed.faults} faults")  # fmt: skip
    click.echo(
        f"  simulated seconds a second   {speed.factor:>12,.0f} "
        f"(all runs: {speed.slowest:,.0f} to {speed.fastest:,.0f})"
    )
    click.echo(
        f"  at a million of the anchor   {speed.at_reference:>12,.0f} "
        f"(anchor: {speed.anchor:,.0f} events a second)"
    )
    click.echo(
        f"  simulated, CPU time          {speed.simulated_s:>12,.0f} s in {speed.cpu_s:.2f} s"
    )
    click.echo(f"  events, and a second         {speed.events:>12,} {speed.events_per_s:,}")
    click.echo(f"  most memory                  {speed.peak_mib:>12,.0f} MiB, "
               f"{speed.warm_mib:,.0f} before")  # fmt: skip
    click.echo(f"  verdict {speed.verdict}, trace {speed.digest[:16]}")


@click.command()
@click.option("--seconds", type=click.FloatRange(min=45), default=600.0, show_default=True)
@click.option("--seed", type=int, default=600, show_default=True, help="Of the swarm.")
@click.option("--runs", type=click.IntRange(min=1), default=5, show_default=True, help="Of each.")
@click.option("--json", "as_json", is_flag=True)
def main(seconds: float, seed: int, runs: int, *, as_json: bool) -> None:
    """Measure the simulator's speed and memory."""
    worlds = (fleet("busy", BUSY_S, seconds), fleet("steady", STEADY_S, seconds), drawn(seed))
    speeds = [_middle(world, runs) for world in worlds]
    busy = speeds[0]
    came_to = f"{busy.fastest:,.0f} simulated seconds a second in the fastest run of {busy.name}"
    held = [
        (f"{came_to}, of at least {BAR:,.0f}", busy.fastest >= BAR),
        *((f"{speed.name} is {speed.verdict}", speed.verdict == Verdict.VALID) for speed in speeds),
    ]
    if as_json:
        judged = [{"promise": text, "held": one} for text, one in held]
        document = {"machine": machine(), "bar": BAR, "aim": AIM, "verdicts": judged}
        click.echo(json.dumps(document | {"runs": [asdict(speed) for speed in speeds]}))
    else:
        click.echo(f"The simulator's speed. {machine()}\n{where(well_placed(MAP))}")
        for speed in speeds:
            _show(speed)
        click.echo()
        for text, is_held in held:
            click.echo(f"{'met' if is_held else 'BROKEN':8}{text}")
        click.echo(f"        the aim is {AIM:,.0f}")
    sys.exit(not all(one for _, one in held))


if __name__ == "__main__":
    main()
