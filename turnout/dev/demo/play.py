"""Plays the acts on a real fleet under load; each is shown and judged when it is over."""

from __future__ import annotations

import os
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from turnout.cli import render
from turnout.dev.demo.acts import ACTS, Act
from turnout.dev.demo.screens import show
from turnout.dev.demo.stage import ActReport, Stage
from turnout.dev.fleet import Fleet
from turnout.dev.traffic import PROMISED_RATE, TOTAL_RATE, Traffic

_LOAD: Final = f"""
Users ask in every region, {TOTAL_RATE:,} times a second in all: on kept connections, on new ones, and slowly
(5 s). There is no routing table yet: each proxy says so itself, with a 503, and until the first
table is accepted that is the right answer.\
"""


async def play(fleet: Fleet, console: Console) -> dict[str, Any]:
    """Plays every act, shows each, and returns the JSON of it all.

    An act that fails does not keep the next from being played: what follows shows whether the
    fleet recovers.
    """
    traffic = Traffic(fleet.plan)
    stage = Stage(fleet=fleet, traffic=traffic, say=console.print)
    reports = []
    try:
        console.print(_LOAD)
        traffic.expect_no_route()
        await traffic.start()
        for number, (name, act) in enumerate(ACTS.items(), start=1):
            text = (act.__doc__ or "").partition("\n")[0]
            console.print(Text(f"\nAct {number} of {len(ACTS)}: {name}. {text}", style="bold"))
            report = ActReport(name=name)
            await _play(act, stage, report)
            reports.append(report)
            show(console, report)
    finally:
        traffic.kill()
    good = all(report.ok for report in reports)
    verdict = "Every act was as promised." if good else "Not every act was as promised."
    console.print(Text(f"\n{verdict}", style=render.GOOD if good else render.BAD))
    return {"ok": good, "acts": [report.document() for report in reports]}


async def _play(act: Act, stage: Stage, report: ActReport) -> None:
    """One act, and what its users say of it."""
    await act(stage, report)
    report.serving = stage.traffic.serving()
    report.requests, report.rate_per_s = stage.traffic.judge()
    if report.total.failed:
        report.notes += stage.traffic.failures()
    judge(report)


def judge(report: ActReport) -> None:
    """Whether users were served as promised, and whether there were as many as promised."""
    total = report.total
    report.promise("no request failed", total.failed == 0)
    report.promise("no request misrouted", total.misrouted == 0)
    every_kind = min(total.on_new_connections, total.slow) > 0
    report.promise("on new connections and slow ones too", every_kind)
    is_enough = report.rate_per_s >= PROMISED_RATE
    report.promise(f"at least {PROMISED_RATE:,} requests/s", is_enough)
    if not is_enough:
        report.notes.append(_too_little(report.rate_per_s))


def _too_little(rate_per_s: float) -> str:
    """What a rate below the promised one means, and what can be done."""
    busy, cores = os.getloadavg()[0], os.cpu_count()
    return (
        f"Only {rate_per_s:,.0f} requests/s came about: this machine is too small or too busy for the "
        f"demo's load (load average {busy:.1f} on {cores} cores), which says nothing of Turnout. "
        "End what else runs, or play it where two cores are free."
    )
