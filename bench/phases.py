"""Where the time of a switch goes, and whether it is as short and as simultaneous as promised.

    python -m bench.phases [--switches 50] [--regions 3] [--scheduled] [--load] [--json]

A whole fleet as `turnout dev` starts it: three regions with a real Envoy and real backends each, three
etcd members, two coordinators. The service goes back and forth; each switch begins when the one
before is drained. Phases are read from what the switch says of itself (all moments are on one
machine's clock) and, for etcd and staging, from the daemons' metrics. ``--load``: users ask meanwhile,
as in the demo; without, they send nothing.

The exit code is 1 where a promise is broken: `immediate` is live within 1 s (p99), `--scheduled` flips
within 10 ms everywhere (p99, without load), and under load no request is lost.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import trio
from attrs import define, field

from bench.meters import DECIDE, STAGING, Meters
from bench.workplace import machine, workplace
from turnout.cli.render import parsed
from turnout.cli.switch_view import SwitchView, view_of
from turnout.dev.fleet import Fleet
from turnout.dev.observations import Requests, total_of
from turnout.dev.plan import make_plan, region_names
from turnout.dev.running import running_fleet
from turnout.dev.traffic import PROMISED_RATE, Traffic
from turnout.protocol.records import OutcomeKind
from turnout.protocol.routing import Colour

PHASES: Final[Mapping[str, str]] = {
    "requested to accepted": "one etcd write, beside prepare",
    "requested to decided": "prepare: D + staging + probes + health checks + fsync",
    "  staging in the proxy": "Envoy loads it beside the live table, and it is probed there",
    "  etcd: accept": "4-5 ms above the quorum's round trip",
    "etcd: decide": "4-5 ms above the quorum's round trip",
    "announced to flipped": "Envoy takes a route update in 2.1 ms; scheduled: G more",
    "first flip to last": "(D - d_min)/2 on receipt, nothing on loopback",
    "flipped to live": "three probes, and 20 ms in which the source gets nothing new",
    "live to known": "D/2, and the reports' way",
    "etcd: outcome": "not waited for",
    "lower bound": "1.5 D + W + staging + flip: these switches' own W and staging, D = 0",
    "elapsed": "lower bound + proof; Traefik on etcd 91 ms, in a row 1,664 ms",
    "known": "elapsed + D/2",
    "skew": "scheduled: p99 at most 10 ms",
    "bound": "two clock bounds: at most twice D/2",
}
"""Every phase, and what it is compared with (facts.md sections 1, 3 and 4)."""

BARS_MS: Final[Mapping[str, float]] = {"elapsed": 1000, "skew": 10}
"""What the 99th percentile of a phase must not exceed."""

_FLIP_MS = 2.1
"""Envoy taking a route update (facts.md section 3)."""

_PERCENTILES = (50, 90, 99)
_DRAIN_TIMEOUT_S = 60.0

Samples = defaultdict[str, list[float]]
Verdict = tuple[str, bool]


@define
class Measured:
    """Each phase's times in milliseconds; what users saw, where some asked."""

    samples: Samples = field(factory=lambda: defaultdict(list))
    undrained: int = 0
    requests: Requests | None = None
    rate_per_s: float = 0.0


async def measure(
    folder: Path, regions: str, switches: int, activation: str, *, load: bool
) -> Measured:
    """Starts a fleet and switches back and forth."""
    plan = make_plan(folder, region_names(regions), coordinators=2, etcd_members=3)
    measured, traffic = Measured(), Traffic(plan) if load else None
    async with running_fleet(plan, _say) as fleet:
        await fleet.apply_table()
        meters = Meters(plan)
        try:
            if traffic is not None:
                await traffic.start()
                await traffic.slow_answers()
            for number in range(switches + 1):
                colour = _colour(number).value
                document = await _switched(fleet, colour, activation)
                laps = await meters.laps_ms()
                if traffic is not None:
                    traffic.expect_switch(document, colour)
                if number:  # the first warms up what is allocated and loaded once
                    _take(measured.samples, document, laps)
                    measured.undrained += not all(one["drained"] for one in document["agents"])
            if traffic is not None:
                requests, measured.rate_per_s = traffic.judge()
                measured.requests = total_of(requests)
        finally:
            if traffic is not None:
                traffic.kill()
    return measured


def _colour(number: int) -> Colour:
    return Colour.BLUE if number % 2 else Colour.GREEN


def _say(text: str) -> None:
    click.echo(text, err=True)


async def _switched(fleet: Fleet, colour: str, activation: str) -> dict[str, Any]:
    """A switch when it is drained. Raises ClickException if it is not live."""
    with trio.fail_after(_DRAIN_TIMEOUT_S):
        document = await fleet.switch(colour, activation=activation, is_drained=True)
    if document["outcome"] != OutcomeKind.LIVE:
        raise click.ClickException(f"a switch came to {document['outcome']}: {document}")
    return document


# ------------------------------------------------------------------------------------- figures


def _take(samples: Samples, document: Mapping[str, Any], laps_ms: Mapping[str, float]) -> None:
    """Adds one switch's phases."""
    switch, moments = view_of(document), _moments_ms(document)
    decided_ms = moments["decided"]
    announced_ms = decided_ms + laps_ms[DECIDE]
    flips, lives = _agents_ms(switch)
    figures: dict[str, list[float]] = {
        "requested to accepted": [moments["accepted"] - moments["requested"]],
        "requested to decided": [decided_ms - moments["requested"]],
        "announced to flipped": [flip - announced_ms for flip in flips],
        "first flip to last": [max(flips) - min(flips)],
        "flipped to live": [live - flip for flip, live in zip(flips, lives, strict=True)],
        "lower bound": [laps_ms[DECIDE] + laps_ms[STAGING] + _FLIP_MS],
        "elapsed": _milliseconds(switch.elapsed_s),
        "known": _milliseconds(switch.known_s),
        **{phase: [lap] for phase, lap in laps_ms.items()},
    }
    for known, elapsed in zip(figures["known"], figures["elapsed"], strict=True):
        figures["live to known"] = [known - elapsed]
    if switch.activation.mode == "scheduled":
        figures["skew"] = [switch.activation.skew_ms or 0.0]
        figures["bound"] = [switch.activation.bound_ms or 0.0]
    for phase, values in figures.items():
        samples[phase] += values


def _moments_ms(document: Mapping[str, Any]) -> dict[str, float]:
    return {entry["event"]: _ms(entry["at"]) for entry in document["timeline"]}


def _agents_ms(switch: SwitchView) -> tuple[list[float], list[float]]:
    """When each agent flipped and was live."""
    return (
        [_ms(agent.flipped_at) for agent in switch.agents if agent.flipped_at],
        [_ms(agent.live_at) for agent in switch.agents if agent.live_at],
    )


def _ms(moment: str) -> float:
    return parsed(moment).timestamp() * 1e3


def _milliseconds(seconds: float | None) -> list[float]:
    return [] if seconds is None else [seconds * 1e3]


def summary(samples: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Percentiles and the maximum of each phase that has samples, in milliseconds."""
    return {
        phase.strip(): {f"p{p}": round(percentile(samples[phase], p), 2) for p in _PERCENTILES}
        | {"max": round(max(samples[phase]), 2), "samples": len(samples[phase])}
        for phase in PHASES
        if samples.get(phase)
    }


def percentile(values: Iterable[float], percent: int) -> float:
    """The least value that so many percent of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


# -------------------------------------------------------------------------------------- verdicts


def verdicts(measured: Measured, *, scheduled: bool) -> Iterator[Verdict]:
    """What is promised of such switches, and whether it was kept."""
    figures, requests = summary(measured.samples), measured.requests
    if not scheduled:
        yield _below_its_bar("elapsed", figures)
    elif requests is None:
        text, is_held = _below_its_bar("skew", figures)
        bound = f" (bound: {_percentiles(figures['bound'])})" if "bound" in figures else ""
        yield text + bound, is_held
    if requests is not None:
        yield f"{requests.failed} of {requests.sent:,} requests failed", not requests.failed
        yield f"{requests.misrouted} misrouted after live", not requests.misrouted
        text = f"{measured.undrained} drains ended with requests left, of {requests.slow} slow ones"
        yield text, not measured.undrained and requests.slow > 0
        rate = f"{measured.rate_per_s:,.0f} requests/s, of at least {PROMISED_RATE:,}"
        yield rate, measured.rate_per_s >= PROMISED_RATE


def _below_its_bar(phase: str, figures: Mapping[str, Mapping[str, float]]) -> Verdict:
    row, bar_ms = figures.get(phase), BARS_MS[phase]
    bar = f"p99 at most {bar_ms:,g} ms"
    if row is None:
        return f"{phase}: no switch has one; {bar}", False
    return f"{phase}: {_percentiles(row)}; {bar}", row["p99"] <= bar_ms


def _percentiles(row: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {row[name]:.1f}" for name in ("p50", "p90", "p99", "max")) + " ms"


def _show(figures: Mapping[str, Mapping[str, float]], what: str, held: Iterable[Verdict]) -> None:
    click.echo(f"{what}, in milliseconds. {machine()}\n")
    click.echo(f"{'phase':24}{'p50':>9}{'p90':>9}{'p99':>9}{'max':>9}   compare with")
    for phase, anchor in PHASES.items():
        if phase.strip() in figures:
            row = figures[phase.strip()]
            cells = "".join(f"{row[name]:9.1f}" for name in ("p50", "p90", "p99", "max"))
            click.echo(f"{phase:24}{cells}   {anchor}")
    click.echo()
    for text, is_held in held:
        click.echo(f"{'met' if is_held else 'BROKEN':8}{text}")


@click.command()
@click.option("--switches", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--regions", default="3", show_default=True, help="How many, or their names.")
@click.option("--scheduled", is_flag=True, help="Flip at one instant; without: on receipt.")
@click.option("--load", is_flag=True, help="Users ask meanwhile, as in the demo.")
@click.option("--json", "as_json", is_flag=True)
def main(switches: int, regions: str, *, scheduled: bool, load: bool, as_json: bool) -> None:
    """Measure the phases of a switch on a real fleet, and judge them."""
    activation = "scheduled" if scheduled else "immediate"
    with workplace() as folder:
        measured = trio.run(lambda: measure(folder, regions, switches, activation, load=load))
    figures, held = summary(measured.samples), list(verdicts(measured, scheduled=scheduled))
    if as_json:
        document = {"switches": switches, "activation": activation, "machine": machine()}
        judged = [{"promise": text, "held": is_held} for text, is_held in held]
        document |= {"phases_ms": figures, "anchors": PHASES, "verdicts": judged}
        click.echo(json.dumps(document))
    else:
        users = "under the demo's load" if load else "without load"
        _show(figures, f"{switches} switches, {activation}, {users}", held)
    sys.exit(not all(is_held for _, is_held in held))


if __name__ == "__main__":
    main()
