"""What the demo shows: a table of the regions after each act, and how its promises fared."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.text import Text

from turnout.cli import render
from turnout.cli.switch_view import SwitchView
from turnout.dev.demo.stage import ActReport
from turnout.dev.observations import Requests


def show(console: Console, report: ActReport) -> None:
    """An act's table, what is to be said of it, and how its promises fared."""
    console.print()
    console.print(_table(report))
    for line in _lines(report):
        console.print(line, soft_wrap=True)


def _table(report: ActReport) -> RenderableType:
    """A line a region; what a switch did there is left out where the act had none."""
    switch = report.switch
    titles = ("VOTE", "FLIPPED", "LIVE", "DRAIN") if switch else ()
    rows: list[tuple[str | Text, ...]] = []
    for region, requests in sorted(report.requests.items()):
        landing = _landing(switch, region) if switch else ()
        rows.append((region, *landing, report.serving.get(region, "-"), *_counts(requests)))
    rows.append(("all", *("" for _ in titles), "", *_counts(report.total)))
    counted = ("SERVES", "REQUESTS", "FAILED", "MISROUTED", "NEW CONN.", "SLOW")
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
        f"{requests.on_new_connections:,}",
        str(requests.slow),
    )


def _lines(report: ActReport) -> Iterator[Text]:
    if report.switch is not None:
        yield render.headline(report.switch)
        if timing := render.timing(report.switch):
            yield Text(timing)
    rate = f"{report.rate_per_s:,.0f} requests/s"
    yield Text(f"{rate}; the slowest answer took {report.total.slowest_s:.2f} s")
    for note in report.notes:
        yield Text(note)
    if kept := [text for text, held in report.checks if held]:
        yield Text(f"as promised: {'; '.join(kept)}", style=render.GOOD)
    for text, held in report.checks:
        if not held:
            yield Text(f"NOT as promised: {text}", style=render.BAD)
