"""The demo: six acts on a real fleet under load, each shown and judged when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from turnout.cli import render
from turnout.cli.switch_view import SwitchView
from turnout.dev.acts import ACTS
from turnout.dev.fleet import Fleet
from turnout.dev.observations import Requests, total_of
from turnout.dev.stage import ActReport, Stage
from turnout.dev.traffic import Traffic

PROMISED_RATE = 1200


async def play(fleet: Fleet, console: Console) -> dict[str, Any]:
    """Plays every act, shows each, and returns the JSON of it all.

    An act that fails does not keep the next from being played: what follows shows whether the
    fleet recovers.
    """
    traffic = Traffic(fleet.plan)
    stage = Stage(fleet=fleet, traffic=traffic, say=console.print)
    reports = []
    try:
        for number, (name, act) in enumerate(ACTS.items(), start=1):
            text = (act.__doc__ or "").partition("\n")[0]
            console.print(Text(f"\nAct {number} of {len(ACTS)}: {name}. {text}", style="bold"))
            report = ActReport(name=name)
            await act(stage, report)
            report.serving = traffic.serving()
            report.requests, report.rate_per_s = traffic.judge()
            total = total_of(report.requests)
            report.promise("no request failed", total.failed == 0)
            if total.failed:
                report.notes += traffic.failures()
            report.promise("no request misrouted", total.misrouted == 0)
            reports.append(report)
            show(console, report)
    finally:
        traffic.kill()
    good = all(report.ok for report in reports)
    verdict = "Every act was as promised." if good else "Not every act was as promised."
    console.print(Text(f"\n{verdict}", style=render.GOOD if good else render.BAD))
    return {"ok": good, "acts": [report.document() for report in reports]}


def show(console: Console, report: ActReport) -> None:
    """An act's table, what is to be said of it, and how its promises fared."""
    console.print()
    console.print(_table(report))
    for line in _lines(report):
        console.print(line, soft_wrap=True)


def _table(report: ActReport) -> Table:
    """A line a region; what a switch did there is left out where the act had none."""
    switch = report.switch
    titles = ("VOTE", "FLIPPED", "LIVE", "DRAIN") if switch else ()
    rows: list[tuple[str | Text, ...]] = []
    for region, requests in sorted(report.requests.items()):
        landing = _landing(switch, region) if switch else ()
        rows.append((region, *landing, report.serving.get(region, "-"), *_counts(requests)))
    rows.append(("all", *("" for _ in titles), "", *_counts(total_of(report.requests))))
    counted = ("SERVES", "REQUESTS", "FAILED", "MISROUTED", "SLOW")
    return render.table("REGION", *titles, *counted, rows=rows)


def _landing(switch: SwitchView, region: str) -> tuple[str | Text, ...]:
    agent = next((one for one in switch.agents if one.region == region), None)
    if agent is None:
        return "-", "-", "-", "-"
    return (
        render.vote(agent),
        render.after(switch.accepted_at, agent.flipped_at),
        render.after(switch.accepted_at, agent.live_at),
        render.drain(agent, switch),
    )


def _counts(requests: Requests) -> tuple[str | Text, ...]:
    return (
        f"{requests.sent:,}",
        Text(str(requests.failed), style=render.BAD if requests.failed else render.GOOD),
        Text(str(requests.misrouted), style=render.BAD if requests.misrouted else render.GOOD),
        str(requests.slow),
    )


def _lines(report: ActReport) -> Iterator[Text]:
    if report.switch is not None:
        yield render.headline(report.switch)
        if timing := render.timing(report.switch):
            yield Text(timing)
    rate = f"{report.rate_per_s:,.0f} requests/s"
    slowest = max((one.slowest_s for one in report.requests.values()), default=0.0)
    short = "" if report.rate_per_s >= PROMISED_RATE else f", below the {PROMISED_RATE:,} meant"
    yield Text(f"{rate}{short}; the slowest answer took {slowest:.2f} s")
    for note in report.notes:
        yield Text(note)
    kept = [text for text, held in report.checks if held]
    yield Text(f"as promised: {'; '.join(kept)}", style=render.GOOD)
    for text, held in report.checks:
        if not held:
            yield Text(f"NOT as promised: {text}", style=render.BAD)
