"""The report as one page: pictures in it, no script, nothing fetched, so that it opens offline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulator.report.extras import need
from simulator.report.figures import (
    Spread,
    by_kind,
    count,
    duration,
    events,
    expectations,
    invariants,
    known,
    late,
    left_out,
    promise,
    rule_of_three,
    speed,
    unanswered,
)
from simulator.results import AgentResult, RunResult, SweepResult, SwitchResult, Verdict

PACKAGES = ("jinja2", "matplotlib")
_DRAWN_SWITCHES = 8
_SHOWN_SEEDS = 100
_SHOWN_AGENTS = 200


def check_packages() -> None:
    """Raises ExtraMissingError where a page cannot be made: asked before a long run, not after."""
    need(*PACKAGES)


def run_page(run: RunResult) -> str:
    """The page of a run. Raises ExtraMissingError."""
    check_packages()
    from simulator.report import charts, space_time  # noqa: PLC0415 - they import matplotlib

    drawn = run.switches[:_DRAWN_SWITCHES]
    ended = [one for one in run.switches if one.elapsed_ns is not None]
    flipped = [one for one in run.switches if any(a.flipped_ns for a in one.agents)]
    return _page(
        "run.html.j2",
        run=run,
        figures=_run_figures(run),
        overview=space_time.of_run(run) if run.story.serving else "",
        switches=[
            {
                "switch": one,
                "picture": space_time.of_switch(run, one),
                "legend": space_time.legend(run, one),
                "agents": _slowest(one),
            }
            for one in drawn
        ],
        not_drawn=len(run.switches) - len(drawn),
        hidden_lanes=space_time.hidden_lanes(run),
        events=events(run),
        unanswered=unanswered(run),
        promise=promise([run.budget_ns]),
        elapsed=charts.elapsed_of_run(ended, run.budget_ns) if ended else "",
        skew=charts.skew_of_run(flipped) if flipped else "",
        invariants=invariants(run.findings),
        expectations=expectations(run.findings),
    )


def _slowest(switch: SwitchResult) -> list[AgentResult]:
    """The agents of a table: all, or of thousands those that were live last or never."""
    last = switch.known_ns or 0
    agents = sorted(switch.agents, key=lambda one: -(one.live_ns or switch.accepted_ns + last + 1))
    shown = {one.agent for one in agents[:_SHOWN_AGENTS]}
    return [one for one in switch.agents if one.agent in shown]


def _run_figures(run: RunResult) -> list[tuple[str, str, str]]:
    """The figures on top: a name, the figure, what it means."""
    switches, requests = run.switches, run.requests
    longest = max(known(one.elapsed_ns for one in switches), default=None)
    lost = requests.failed + requests.misrouted
    skew = max(known(one.skew_ns for one in switches), default=None)
    pace = speed(run.simulated_ns, run.wall_ns)
    promised = f"from accepted until over; the promise is {promise([run.budget_ns])}"
    return [
        ("Switches", count(len(switches)), _outcome_words(switches)),
        ("Longest", duration(longest), promised),
        ("Largest skew", duration(skew), "between the first and the last flip in time"),
        ("Requests lost", count(lost), f"of {count(requests.sent)}; {count(requests.cut)} cut"),
        ("Simulated", duration(run.simulated_ns), f"{count(run.events)} events, {pace}"),
    ]


def _outcome_words(switches: tuple[SwitchResult, ...]) -> str:
    found: dict[str, int] = {}
    for one in switches:
        name = (one.outcome or "open").replace("_", " ")
        found[name] = found.get(name, 0) + 1
    return ", ".join(f"{number} {name}" for name, number in found.items()) or "none was accepted"


def sweep_page(sweep: SweepResult) -> str:
    """The page of a sweep. Raises ExtraMissingError."""
    check_packages()
    from simulator.report import charts  # noqa: PLC0415 - it imports matplotlib

    switches, kinds = sweep.switches, by_kind(sweep)
    bad = [run for run in sweep.runs if run.verdict is not Verdict.VALID]
    is_weak = sweep.is_too_weak and sweep.verdict is Verdict.VALID
    return _page(
        "sweep.html.j2",
        sweep=sweep,
        verdict="too weak" if is_weak else sweep.verdict,
        figures=_sweep_figures(sweep),
        elapsed=charts.elapsed_of_sweep(switches, sweep.budgets_ns) if switches else "",
        ratio=charts.ratio_of_sweep(switches) if switches else "",
        skew=charts.skew_of_sweep(switches) if switches else "",
        kinds_picture=charts.kinds_of_sweep(kinds, sweep.budgets_ns) if switches else "",
        kinds=kinds,
        bad=bad[:_SHOWN_SEEDS],
        bad_left=max(0, len(bad) - _SHOWN_SEEDS),
        proves=" ".join(filter(None, (rule_of_three(sweep), left_out(sweep)))),
    )


def _sweep_figures(sweep: SweepResult) -> list[tuple[str, str, str]]:
    switches = sweep.switches
    elapsed = Spread.of(one.elapsed_ns for one in switches)
    simulated_ns = sum(run.simulated_ns for run in sweep.runs)
    invalid = sum(run.verdict is Verdict.INVALID for run in sweep.runs)
    unknown = sum(run.verdict is Verdict.UNKNOWN for run in sweep.runs)
    tail = f"p99 {duration(elapsed.p99_ns)}, p99.9 {duration(elapsed.p999_ns)}"
    pace = f"{speed(simulated_ns, sweep.wall_ns)} on {sweep.workers} processes"
    return [
        ("Runs", count(len(sweep.runs)), f"{count(invalid)} invalid, {count(unknown)} unknown"),
        ("Switches", count(len(switches)), late(sweep)),
        ("Median", duration(elapsed.median_ns), tail),
        ("Longest", duration(elapsed.largest_ns), "from accepted until over"),
        ("Simulated", f"{simulated_ns / 3.6e12:,.1f} h", pace),
    ]


def _page(template: str, **values: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - an extra

    environment = Environment(
        loader=PackageLoader("simulator.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    return environment.get_template(template).render(**values)


_FILTERS: Mapping[str, Any] = {"duration": duration, "count": count}
