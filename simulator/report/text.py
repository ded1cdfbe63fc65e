"""Reports for a terminal: what a run or a sweep came to, and what it looked like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen
from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from simulator.report import timeline
from simulator.report.figures import (
    Spread,
    by_kind,
    count,
    duration,
    events,
    expectations,
    invariants,
    late,
    left_out,
    promise,
    rule_of_three,
    speed,
    unanswered,
)
from simulator.report.lanes import Window, around, lanes, whole
from simulator.results import Finding, RunResult, SweepResult, SwitchResult, Verdict
from turnout.protocol.clock import SECOND

_VERDICT = {
    Verdict.VALID: "bold green",
    Verdict.UNKNOWN: "bold yellow",
    Verdict.INVALID: "bold red",
}
_WIDEST = 120
_DRAWN_SWITCHES = 6
_SHOWN_SEEDS = 20
_SHOWN_EVENTS = 40


@frozen
class RunText:
    """A run, for a rich console."""

    run: RunResult

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        """The report, as wide as the console, but for one without an end."""
        run, width = self.run, min(options.max_width, _WIDEST)
        yield _headline(run.name, run.verdict, f"seed {run.seed}")
        yield ""
        yield from _drawings(run, width)
        yield from _switches(run)
        yield from _events(run)
        yield from _findings(run.findings)
        yield _requests(run)
        for line in unanswered(run):
            yield Text(f"{line[0].upper()}{line[1:]}.", style="yellow")
        for fault in run.never_struck:
            yield Text(f"Never struck: {fault}.", style="yellow")
        if run.reached:
            yield Text(f"Reached: {', '.join(run.reached)}.")
        yield Text(
            f"{duration(run.simulated_ns)} in {duration(run.wall_ns)}: "
            f"{speed(run.simulated_ns, run.wall_ns)}, {count(run.events)} events; "
            f"trace {run.trace_digest[:16]}",
            style="dim",
        )


def _headline(name: str, verdict: str, rest: str) -> Text:
    style = _VERDICT[Verdict(verdict)] if verdict in list(Verdict) else "bold red"
    return Text.assemble((verdict.upper(), style), "  ", (name, "bold"), f"  {rest}")


def _drawings(run: RunResult, width: int) -> Iterator[RenderableType]:
    if not run.story.serving:
        return
    drawn = run.switches[:_DRAWN_SWITCHES]
    yield from _drawing("The whole run", run, run.switches, whole(run), width)
    for switch in drawn:
        title = f"Epoch {switch.epoch}: {switch.kind}, {switch.outcome or 'open'}"
        yield from _drawing(title, run, [switch], around(switch, run), width)
    yield Text(timeline.KEY, style="dim")
    if len(drawn) < len(run.switches):
        yield Text(f"{len(run.switches) - len(drawn)} more switches are not drawn.", style="dim")
    yield ""


def _drawing(
    title: str, run: RunResult, switches: Sequence[SwitchResult], window: Window, width: int
) -> Iterator[RenderableType]:
    yield Text(title, style="bold underline")
    yield from timeline.draw(lanes(run), switches, window, width)
    yield ""


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, no_wrap=heading not in ("LAGGARDS", "WHAT"), overflow="fold")
    return table


def _switches(run: RunResult) -> Iterator[RenderableType]:
    if not run.switches:
        yield Text("No switch was accepted.")
        return
    table = _table(
        "EPOCH", "KIND", "OUTCOME", "ACCEPTED", "ELAPSED", "KNOWN", "LOWER BOUND",
        f"in {promise([run.budget_ns])}".upper(), "SKEW", "LAGGARDS",
    )  # fmt: skip
    for one in run.switches:
        met = {True: Text("met", "green"), False: Text("missed", "bold red"), None: Text("-")}
        table.add_row(
            str(one.epoch),
            one.kind,
            one.outcome or "open",
            duration(one.accepted_ns),
            duration(one.elapsed_ns),
            duration(one.known_ns),
            duration(one.lower_bound_ns),
            met[one.sla_met],
            duration(one.skew_ns),
            ", ".join(one.laggards) or "-",
        )
    yield table
    yield ""


def _events(run: RunResult) -> Iterator[RenderableType]:
    story = events(run)
    if not story:
        return
    table = _table("WHEN", "WHO", "WHAT")
    for one in story[:_SHOWN_EVENTS]:
        table.add_row(f"{one.at_ns / SECOND:.3f} s", one.who, one.text)
    yield table
    if len(story) > _SHOWN_EVENTS:
        yield Text(f"... and {count(len(story) - _SHOWN_EVENTS)} more", style="dim")
    yield ""


def _findings(findings: Sequence[Finding]) -> Iterator[RenderableType]:
    """One line where all is well; each violation in full where it is not."""
    judged = [one for one in invariants(findings) if one.is_judged]
    others = [one.number for one in invariants(findings) if not one.is_judged]
    held = sum(one.verdict is Verdict.VALID for one in judged)
    if held == len(judged):
        numbers = " ".join(one.number for one in judged)
        yield Text(f"All {held} invariants held: {numbers}", style="green")
    else:
        yield Text(f"{held} of {len(judged)} invariants held.")
    if others:
        text = f"Not judged, since nothing works that could keep them: {' '.join(others)}"
        yield Text(text, style="yellow")
    expected = expectations(findings)
    if expected and all(one.verdict is Verdict.VALID for one in expected):
        yield Text("It came to what was expected.", style="green")
    for one in (*judged, *expected):
        if one.verdict is not Verdict.VALID:
            yield Text(f"{one.number} {one.verdict}", style=_VERDICT[one.verdict])
            for sentence in one.violations:
                yield Text(f"  {sentence}")


def _requests(run: RunResult) -> Text:
    requests = run.requests
    kinds = ("failed", "misrouted", "cut", "regressed")
    parts = [f"{count(getattr(requests, kind))} {kind}" for kind in kinds]
    lost = requests.failed or requests.misrouted
    return Text(
        f"{count(requests.sent)} requests: {', '.join(parts)}.", style="yellow" if lost else ""
    )


# ------------------------------------------------------------------------------------- sweeps


@frozen
class SweepText:
    """A sweep, for a rich console."""

    sweep: SweepResult

    def __rich_console__(self, _: Console, __: ConsoleOptions) -> RenderResult:
        """The verdict, the figures, results by kind of fault, and whatever is wrong."""
        sweep = self.sweep
        is_weak = sweep.is_too_weak and sweep.verdict is Verdict.VALID
        verdict = "too weak" if is_weak else sweep.verdict
        yield _headline(sweep.name, verdict, f"{count(len(sweep.runs))} seeds")
        yield ""
        yield from _spreads(sweep)
        yield from _kinds(sweep)
        yield from _seeds(sweep)
        yield from _strength(sweep)
        if proves := rule_of_three(sweep):
            yield Text(proves)
        if unjudged := left_out(sweep):
            yield Text(unjudged)
        simulated_ns = sum(run.simulated_ns for run in sweep.runs)
        yield Text(
            f"{simulated_ns / 3.6e12:,.1f} simulated hours in {duration(sweep.wall_ns)} on "
            f"{sweep.workers} processes: {speed(simulated_ns, sweep.wall_ns)}, "
            f"{count(sum(run.events for run in sweep.runs))} events",
            style="dim",
        )


def _spreads(sweep: SweepResult) -> Iterator[RenderableType]:
    table = _table("SWITCHES", "COUNT", "MEDIAN", "P99", "P99.9", "MAX")
    switches = sweep.switches
    rows = {
        "elapsed": [one.elapsed_ns for one in switches],
        "known": [one.known_ns for one in switches],
        "lower bound": [one.lower_bound_ns for one in switches],
        "skew, scheduled": [one.skew_ns for one in switches if one.scheduled],
        "skew, immediate": [one.skew_ns for one in switches if not one.scheduled],
    }
    for name, values in rows.items():
        s = Spread.of(values)
        figures = (s.median_ns, s.p99_ns, s.p999_ns, s.largest_ns)
        table.add_row(name, count(s.count), *(duration(figure) for figure in figures))
    yield table
    missed = any(one.sla_met is False for one in switches)
    text = f"Of {count(len(switches))} switches {late(sweep)}."
    yield Text(text, style="bold red" if missed else "green")
    yield ""


def _kinds(sweep: SweepResult) -> Iterator[RenderableType]:
    table = _table("FAULT", "RUNS", "VALID", "INVALID", "UNKNOWN", "OUTCOMES", "MEDIAN", "MAX")
    for one in by_kind(sweep):
        bad = one.verdicts[Verdict.INVALID]
        table.add_row(
            one.kind,
            count(one.runs),
            count(one.verdicts[Verdict.VALID]),
            Text(count(bad), style="bold red" if bad else ""),
            count(one.verdicts[Verdict.UNKNOWN]),
            ", ".join(f"{number} {name}" for name, number in one.outcomes.items()),
            duration(one.elapsed.median_ns),
            duration(one.elapsed.largest_ns),
        )
    yield table
    yield ""


def _seeds(sweep: SweepResult) -> Iterator[RenderableType]:
    bad = [run for run in sweep.runs if run.verdict is not Verdict.VALID]
    for run in bad[:_SHOWN_SEEDS]:
        numbers = " ".join(run.violated) or run.verdict
        yield Text.assemble(
            (f"seed {run.seed}: {numbers}", _VERDICT[run.verdict]), f"  {run.first}"
        )
        yield Text(f"  {sweep.again(run.seed)}", style="dim")
    if len(bad) > _SHOWN_SEEDS:
        yield Text(f"... and {count(len(bad) - _SHOWN_SEEDS)} more")
    if bad:
        yield ""


def _strength(sweep: SweepResult) -> Iterator[RenderableType]:
    """What shows that the sweep could have found something."""
    if sweep.missed:
        yield Text(f"Never reached: {', '.join(sweep.missed)}.", style="bold red")
    elif sweep.marks:
        yield Text(f"All {len(sweep.marks)} marks reached.", style="green")
    for canary in sweep.uncaught:
        how = f"broke {' '.join(canary.seen)} only" if canary.seen else "was not seen"
        text = (
            f"Canary {canary.name} {how} in {count(canary.tried)} seeds: {canary.number} is blind."
        )
        yield Text(text, style="bold red")
    if sweep.canaries and not sweep.uncaught:
        yield Text(f"All {len(sweep.canaries)} canaries caught.", style="green")
