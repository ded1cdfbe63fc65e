"""Where the time of a switch goes.

    python -m bench.phases [--switches 50] [--regions 3] [--scheduled] [--json]

A whole fleet as `turnout dev` starts it: three regions with a real Envoy and real backends each, three
etcd members, two coordinators. The service goes back and forth; each switch begins when the one
before is drained. Phases are read from what the switch says of itself (all moments are on one
machine's clock) and, for etcd and staging, from the daemons' metrics. Users send nothing: a switch
under load is the demo's affair (`turnout dev --demo`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import httpx
import trio
from prometheus_client.parser import text_string_to_metric_families

from bench.workplace import machine, workplace
from turnout.cli.api_client import Api, Patience
from turnout.cli.render import parsed
from turnout.cli.switch_view import SwitchView, view_of
from turnout.dev.fleet import Fleet, running_fleet
from turnout.dev.plan import SERVICE, make_plan, region_names
from turnout.protocol.codec import converter
from turnout.protocol.records import OutcomeKind
from turnout.protocol.routing import Colour
from turnout.runtime.table_file import load_table

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

_STORE_CALLS = {
    "accept": "  etcd: accept",
    "decide-commit": "etcd: decide",
    "outcome": "etcd: outcome",
}
_FLIP_MS = 2.1
"""Envoy taking a route update (facts.md section 3)."""

_PERCENTILES = (50, 90, 99)
_POLL_S = 0.05
_PATIENCE = Patience(away_s=30.0, leaderless_s=30.0)
_DRAIN_TIMEOUT_S = 60.0

Samples = defaultdict[str, list[float]]


class Meters:
    """Histograms of the fleet's daemons: how often, and for how long in all, by phase."""

    def __init__(self, fleet: Fleet) -> None:
        plan = fleet.plan
        agents = [f"http://127.0.0.1:{region.agent_port}" for region in plan.regions]
        self._urls = (*plan.coordinators, *agents)
        self._before: dict[str, tuple[float, float]] = {}

    async def laps_ms(self) -> dict[str, float]:
        """The mean of each phase's time since the last lap, in milliseconds."""
        now: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:  # noqa: S501 - plain HTTP
            for url in self._urls:
                page = await client.get(f"{url}/metrics")
                for phase, at, value in _sums(page.text):
                    now[phase][at] += value
        laps = {}
        for phase, (count, seconds) in now.items():
            old_count, old_seconds = self._before.get(phase, (0.0, 0.0))
            self._before[phase] = (count, seconds)
            if count > old_count:
                laps[phase] = (seconds - old_seconds) / (count - old_count) * 1e3
        return laps


def _sums(page: str) -> Iterator[tuple[str, int, float]]:
    """(phase, 0, count) and (phase, 1, seconds) of the histograms that are asked for."""
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            name, _, part = sample.name.rpartition("_")
            if part not in ("count", "sum"):
                continue
            if name == "turnout_store_seconds" and sample.labels["call"] in _STORE_CALLS:
                yield _STORE_CALLS[sample.labels["call"]], int(part == "sum"), sample.value
            elif name == "turnout_agent_staging_seconds":
                yield "  staging in the proxy", int(part == "sum"), sample.value


async def measure(folder: Path, regions: str, switches: int, activation: str) -> Samples:
    """Starts a fleet, switches back and forth, and returns each phase's times in milliseconds."""
    plan = make_plan(folder, region_names(regions), coordinators=2, etcd_members=3)
    samples: Samples = defaultdict(list)
    async with (
        running_fleet(plan, _say) as fleet,
        Api(plan.coordinators, actor="bench", say=_say, patience=_PATIENCE) as api,
    ):
        table = converter.unstructure(load_table(plan.table_file))
        await _finished(api, "/v1/tables", {"table": table})
        meters = Meters(fleet)
        for number in range(switches + 1):
            body = {"service": SERVICE, "to": _colour(number).value, "activation": activation}
            document = await _finished(api, "/v1/switches", body)
            laps = await meters.laps_ms()
            if number:  # the first warms up what is allocated and loaded once
                _take(samples, document, laps)
    return samples


def _colour(number: int) -> Colour:
    return Colour.BLUE if number % 2 else Colour.GREEN


def _say(text: str) -> None:
    click.echo(text, err=True)


async def _finished(api: Api, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A switch when it is drained. Raises ClickException if it is not live."""
    epoch = int((await api.post(path, body)).body["epoch"])
    with trio.fail_after(_DRAIN_TIMEOUT_S):
        while not view_of(document := await api.switch(epoch)).is_drained:  # noqa: ASYNC110 - it is another process that changes
            await trio.sleep(_POLL_S)
    if document["outcome"] != OutcomeKind.LIVE:
        raise click.ClickException(f"epoch {epoch} came to {document['outcome']}: {document}")
    return document


def _take(samples: Samples, document: Mapping[str, Any], laps_ms: Mapping[str, float]) -> None:
    """Adds one switch's phases."""
    switch, moments = view_of(document), _moments_ms(document)
    decided_ms = moments["decided"]
    announced_ms = decided_ms + laps_ms["etcd: decide"]
    flips, lives = _agents_ms(switch)
    figures: dict[str, list[float]] = {
        "requested to accepted": [moments["accepted"] - moments["requested"]],
        "requested to decided": [decided_ms - moments["requested"]],
        "announced to flipped": [flip - announced_ms for flip in flips],
        "first flip to last": [max(flips) - min(flips)],
        "flipped to live": [live - flip for flip, live in zip(flips, lives, strict=True)],
        "lower bound": [laps_ms["etcd: decide"] + laps_ms["  staging in the proxy"] + _FLIP_MS],
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


def _show(figures: Mapping[str, Mapping[str, float]], switches: int, activation: str) -> None:
    click.echo(f"{switches} switches, {activation}, in milliseconds. {machine()}\n")
    click.echo(f"{'phase':24}{'p50':>9}{'p90':>9}{'p99':>9}{'max':>9}   compare with")
    for phase, anchor in PHASES.items():
        if phase.strip() in figures:
            row = figures[phase.strip()]
            cells = "".join(f"{row[name]:9.1f}" for name in ("p50", "p90", "p99", "max"))
            click.echo(f"{phase:24}{cells}   {anchor}")


@click.command()
@click.option("--switches", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--regions", default="3", show_default=True, help="How many, or their names.")
@click.option("--scheduled", is_flag=True, help="Flip at one instant; without: on receipt.")
@click.option("--json", "as_json", is_flag=True)
def main(switches: int, regions: str, *, scheduled: bool, as_json: bool) -> None:
    """Measure the phases of a switch on a real fleet."""
    activation = "scheduled" if scheduled else "immediate"
    with workplace() as folder:
        samples = trio.run(measure, folder, regions, switches, activation)
    figures = summary(samples)
    if as_json:
        document = {"switches": switches, "activation": activation, "machine": machine()}
        click.echo(json.dumps({**document, "phases_ms": figures, "anchors": PHASES}))
    else:
        _show(figures, switches, activation)


if __name__ == "__main__":
    main()
