"""How fast the simulator is, with everything on and every invariant judged after every event.

    python -m bench.simulation [--seconds 600] [--seed 600] [--runs 5] [--json]

*busy*: the map ``azure-24``, well placed: 24 agents, three coordinators, three members of etcd, and a
switch every half minute, without faults. *swarm*: a seed of the swarm in which much goes wrong. Each
runs in a process of its own on one core; CPU time counts, and of several runs the fastest, since others
who share the machine and its caches only add to it; the slowest is shown beside. A short
run goes before, for what a process makes once: converters, jitter tables. The bar is 500 simulated
seconds a second for *busy*, and the aim 1,000; the anchor is an almost empty machine on the same heap,
which comes to 3,350 with a trace and trivial invariants.

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

from bench.simulated import AT_S, machine, switch, well_placed, where
from simulator.results import Verdict
from simulator.scenario import Scenario
from simulator.simulation import run
from simulator.swarm import drawn
from turnout.protocol.routing import Colour

BAR: Final = 500.0
AIM: Final = 1000.0
MAP: Final = "azure-24"
EVERY_S: Final = 30.0
WARM_S: Final = 20.0


@frozen(kw_only=True)
class Speed:
    """One run: what was simulated, and what that cost.

    Attributes:
        factor: simulated seconds for a second of CPU time; ``slowest`` of all runs.
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
    events: int
    events_per_s: float
    switches: int
    faults: int
    warm_mib: float
    peak_mib: float
    verdict: str
    digest: str


def busy(seconds: float) -> Scenario:
    """24 agents that are switched back and forth."""
    colours = (Colour.GREEN, Colour.BLUE)
    switches = (
        switch("scheduled", at_s=AT_S + number * EVERY_S, to=colours[number % 2])
        for number in range(max(1, int((seconds - AT_S) // EVERY_S)))
    )
    return Scenario(
        name="busy", duration_s=seconds, topology=well_placed(MAP), operation=tuple(switches)
    )


def measure(scenario: Scenario) -> Speed:
    """One run, after a short one."""
    run(evolve(scenario, duration_s=WARM_S, core=None), keep_story=False)
    warm_mib, began_s = _peak_mib(), time.process_time()
    result = run(scenario, keep_story=False)
    cpu_s = time.process_time() - began_s
    roles = [name.split()[0] for name, _ in result.nodes]
    return Speed(
        name=scenario.name,
        agents=roles.count("agent"),
        coordinators=roles.count("coordinator"),
        etcd=roles.count("etcd"),
        simulated_s=scenario.duration_s,
        cpu_s=round(cpu_s, 3),
        factor=round(scenario.duration_s / cpu_s, 1),
        slowest=round(scenario.duration_s / cpu_s, 1),
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


def _fastest(scenario: Scenario, runs: int) -> Speed:
    """The fastest of so many runs, which all come to the same."""
    speeds = sorted((_apart(scenario) for _ in range(runs)), key=lambda speed: speed.factor)
    assert len({speed.digest for speed in speeds}) == 1, "one scenario, two traces"
    return evolve(speeds[-1], slowest=speeds[0].factor)


def _show(speed: Speed) -> None:
    click.echo(f"\n{speed.name}: {speed.agents} agents, {speed.coordinators} coordinators, "
               f"{speed.etcd} of etcd; {speed.switches} switches, {speed.faults} faults")  # fmt: skip
    click.echo(
        f"  simulated seconds a second   {speed.factor:>12,.0f} (slowest run {speed.slowest:,.0f})"
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
    speeds = [_fastest(busy(seconds), runs), _fastest(drawn(seed), runs)]
    fleet = speeds[0]
    held = [
        (
            f"{fleet.factor:,.0f} simulated seconds a second, of at least {BAR:,.0f}",
            fleet.factor >= BAR,
        ),
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
