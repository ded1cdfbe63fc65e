"""What a switch costs the leader for each agent, and whether that is as little as promised.

    python -m bench.agents [--agents N...] [--switches 9] [--json]

A real coordinator and a real etcd, and N agents over real HTTP (``agent_site.py``); several N, several
runs. The bars are DESIGN.md section 11, and each run is judged by them as it is: what a switch costs
whatever the fleet counts too, so that ten agents carry a tenth of it each. The line through the runs
tells the two apart. The median of the switches counts. The agents share the machine: how long a switch
takes here says more about them than about the leader, and another's load only adds to its cost.

The exit code is 1 where a bar is broken.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import click
import trio
from attrs import asdict, fields, frozen

from bench.agent_site import Cost, Site, running_site
from bench.workplace import machine, rss_bytes, workplace
from turnout.protocol.routing import Colour

BARS: Final[Mapping[str, float]] = {
    "cpu_ms_per_agent_switch": 1.2,
    "rss_kib_per_stream": 64.0,
    "etcd_writes_per_switch": 3.0,
}
"""DESIGN.md section 11."""

_FLEETS = (10, 100, 1000)
_WARM = 8
"""Agents there from the first: what is loaded and allocated once is not charged to the streams."""

_STREAMS_THAT_TELL = 500
"""Fewer streams are not judged by their memory. Starting leaves 5 MiB free in the allocators (measured),
which the first 150 streams fill without a page more: a small fleet's look free, or cost what one stray
page does. What a stream keeps is the same in any fleet."""

_COUNT = click.IntRange(min=2)


@frozen(kw_only=True)
class Result:
    """What was measured with so many agents.

    Attributes:
        cpu_ms_per_agent_switch: the median, of CPU time above what the leader uses idle;
            ``_best`` is the cheapest switch, ``_gross`` the median with what it uses idle.
        rss_kib_per_stream: with all that switches leave behind; see ``_STREAMS_THAT_TELL``.
    """

    agents: int
    switches: int
    cpu_ms_per_agent_switch: float
    cpu_ms_per_agent_switch_best: float
    cpu_ms_per_agent_switch_gross: float
    cpu_ms_per_agent_drain: float
    cpu_ms_per_agent_second_idle: float
    rss_kib_per_stream: float
    etcd_writes_per_switch: float
    elapsed_s: float
    known_s: float


@frozen(kw_only=True)
class Verdict:
    """One figure of one run beside its bar."""

    agents: int
    figure: str
    value: float
    bar: float

    @property
    def ratio(self) -> float:
        """Of the bar: at most 1 where it is met."""
        return self.value / self.bar

    @property
    def held(self) -> bool:
        """Whether the bar is met."""
        return self.value <= self.bar

    def __str__(self) -> str:
        """The verdict in a line."""
        return (
            f"{'met' if self.held else 'BROKEN':8}{self.agents:>5} agents: {self.figure} "
            f"{self.value:g} of {self.bar:g}, {self.ratio:.0%}"
        )


@frozen(kw_only=True)
class Line:
    """CPU time of a switch as a line: what no agent causes, and what each agent more does."""

    fixed_ms: float
    per_agent_ms: float


# ------------------------------------------------------------------------------------- measuring


async def measure(folder: Path, agents: int, switches: int) -> Result:
    """Starts everything, switches back and forth, and says what it cost."""
    async with running_site(folder, agents) as site:
        colours = [Colour.BLUE, Colour.GREEN] * (switches + 1)
        await site.add_agents(min(_WARM, agents - 1))
        await site.apply_table()
        for _ in range(2):
            await site.switch(colours.pop())
        warm, warm_rss = site.agents, rss_bytes(site.leader.pid)
        await site.add_agents(agents - warm)
        await site.measure_idle()
        costs = [await site.switch(colours.pop()) for _ in range(switches)]
        grown = rss_bytes(site.leader.pid) - warm_rss
        return _result(site, costs, streams=agents - warm, grown_bytes=grown)


def _result(site: Site, costs: Sequence[Cost], *, streams: int, grown_bytes: int) -> Result:
    def median_ms(of: Callable[[Cost], float]) -> float:
        return round(statistics.median(map(of, costs)) / 1e6 / site.agents, 3)

    return Result(
        agents=site.agents,
        switches=len(costs),
        cpu_ms_per_agent_switch=median_ms(lambda cost: cost.cpu_ns),
        cpu_ms_per_agent_switch_best=round(min(c.cpu_ns for c in costs) / 1e6 / site.agents, 3),
        cpu_ms_per_agent_switch_gross=median_ms(lambda cost: cost.gross_cpu_ns),
        cpu_ms_per_agent_drain=median_ms(lambda cost: cost.drain_cpu_ns),
        cpu_ms_per_agent_second_idle=round(site.idle * 1e3 / site.agents, 3),
        rss_kib_per_stream=round(grown_bytes / streams / 1024, 1),
        etcd_writes_per_switch=round(statistics.mean(c.etcd_writes for c in costs), 2),
        elapsed_s=round(statistics.median(c.elapsed_s for c in costs), 3),
        known_s=round(statistics.median(c.known_s for c in costs), 3),
    )


# --------------------------------------------------------------------------------------- judging


def verdicts(results: Sequence[Result]) -> Iterator[Verdict]:
    """Every figure that has a bar, of every run that can tell."""
    for figure, bar in BARS.items():
        for result in results:
            if figure != "rss_kib_per_stream" or result.agents - _WARM >= _STREAMS_THAT_TELL:
                value = getattr(result, figure)
                yield Verdict(agents=result.agents, figure=figure, value=value, bar=bar)


def line_through(results: Sequence[Result]) -> Line | None:
    """The line that fits the runs best, each by its cost an agent; None for a single fleet.

    That cost is ``per_agent + fixed / N``: a line over 1/N, through which the small fleet's
    figure counts as much as the large one's.
    """
    if len({result.agents for result in results}) < 2:
        return None
    costs = [result.cpu_ms_per_agent_switch for result in results]
    fit = statistics.linear_regression([1 / result.agents for result in results], costs)
    return Line(fixed_ms=round(fit.slope, 2), per_agent_ms=round(fit.intercept, 3))


def growth(results: Sequence[Result]) -> dict[str, float]:
    """What an agent costs in each fleet, as a ratio to the next smaller one: linear is at most 1."""
    return {
        f"{larger.agents}/{smaller.agents}": round(
            larger.cpu_ms_per_agent_switch / smaller.cpu_ms_per_agent_switch, 2
        )
        for smaller, larger in pairwise(results)
    }


# --------------------------------------------------------------------------------------- showing


def _document(results: Sequence[Result], judged: Sequence[Verdict]) -> dict[str, Any]:
    """The largest fleet's figures, and every run's."""
    line = line_through(results)
    return {
        **asdict(results[-1]),
        "bars": dict(BARS),
        "verdicts": [asdict(one) | {"ratio": one.ratio, "held": one.held} for one in judged],
        "line": None if line is None else asdict(line),
        "growth": growth(results),
        "machine": machine(),
        "runs": [asdict(result) for result in results],
    }


def _show(results: Sequence[Result], judged: Sequence[Verdict]) -> None:
    click.echo(f"The leader's cost of an agent. {machine()}\n")
    titles = [one.name for one in fields(Result)]
    width = max(map(len, titles))
    for title in titles:
        figures = "".join(f"{getattr(result, title):>10}" for result in results)
        bar = f"   at most {BARS[title]:g}" if title in BARS else ""
        click.echo(f"{title:{width}}{figures}{bar}")
    click.echo()
    for verdict in judged:
        click.echo(verdict)
    if all(verdict.figure != "rss_kib_per_stream" for verdict in judged):
        click.echo(f"        memory is judged with {_STREAMS_THAT_TELL} streams and more")
    line = line_through(results)
    if line is not None:
        ratios = ", ".join(f"{fleets}: {ratio:g}" for fleets, ratio in growth(results).items())
        click.echo(
            f"\nA switch costs {line.fixed_ms:g} ms whatever the fleet, and {line.per_agent_ms:g} ms "
            "an agent; the bar is on both together.\n"
            f"An agent's cost in one fleet to that in a smaller one (linear: at most 1): {ratios}"
        )


def _measured(agents: int, switches: int) -> Result:
    with workplace() as folder:
        return trio.run(measure, folder, agents, switches)


@click.command()
@click.option("--agents", type=_COUNT, multiple=True, metavar="N...", help="One run for each N.")
@click.argument("more", type=_COUNT, nargs=-1, metavar="")
@click.option("--switches", type=click.IntRange(min=1), default=9, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(agents: tuple[int, ...], more: tuple[int, ...], switches: int, *, as_json: bool) -> None:
    """Measure the leader with N agents, and judge it; without --agents with 10, 100 and 1,000."""
    fleets = sorted({*agents, *more} or _FLEETS)
    results = [_measured(count, switches) for count in fleets]
    judged = list(verdicts(results))
    if as_json:
        click.echo(json.dumps(_document(results, judged)))
    else:
        _show(results, judged)
    sys.exit(0 if all(verdict.held for verdict in judged) else 1)


if __name__ == "__main__":
    main()
