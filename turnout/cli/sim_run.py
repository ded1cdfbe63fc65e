"""``turnout sim run`` and ``turnout sim list``: one scenario, and those that come along."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from turnout.cli import render
from turnout.cli.examples import WithExamples
from turnout.cli.options import output_option
from turnout.cli.running import for_people
from turnout.cli.sim_exit import EXIT_CODES, exit_code_of
from turnout.cli.sim_files import (
    bad_input_is_usage,
    chosen_scenario,
    page_option,
    trace_option,
    write_page,
)
from turnout.cli.terminal import say, show, show_json, stderr

if TYPE_CHECKING:
    from simulator.results import RunResult
    from simulator.scenario import Scenario


@click.command(
    cls=WithExamples,
    examples=(
        "turnout sim run tokyo-in-doubt",
        "turnout sim run my-regions.toml --seed 8 --html report.html",
    ),
    epilog=EXIT_CODES,
)
@click.argument("scenario", metavar="FILE|NAME")
@click.option("--seed", type=click.IntRange(min=0), help="Another seed than the scenario's.")
@output_option
@page_option
@trace_option
def run(
    scenario: str, seed: int | None, output: str, page: Path | None, trace: Path | None
) -> None:
    """Run a scenario in virtual time, judge it by every invariant, and say what it came to.

    FILE is a scenario file (simulator/SCENARIOS.md explains every key); NAME one of those that come
    along (turnout sim list). The same scenario and seed give the same run, to the last event.
    """
    run_and_show(chosen_scenario(scenario), seed=seed, page=page, trace=trace, output=output)


def run_and_show(
    scenario: Scenario, *, seed: int | None, page: Path | None, trace: Path | None, output: str
) -> None:
    """Runs a scenario and shows all of it; ends the command as the verdict says."""
    with for_people():
        result = _result(scenario, seed, trace)
        show_run(result, output)
        if page is not None:
            from simulator.report.html import run_page

            write_page(page, run_page(result))
    raise click.exceptions.Exit(exit_code_of(result.verdict))


def _result(scenario: Scenario, seed: int | None, trace: Path | None) -> RunResult:
    from simulator import simulation

    with _waiting(f"Running {scenario.name}"), _written(trace) as listener:
        return simulation.run(scenario, seed=seed, keep_story=True, listener=listener)


@contextmanager
def _waiting(text: str) -> Iterator[None]:
    """Somebody who looks on sees that something goes on."""
    with stderr().status(text) if sys.stderr.isatty() else nullcontext():
        yield


@contextmanager
def _written(trace: Path | None) -> Iterator[Callable[[str], None] | None]:
    """What writes each line of the trace; None where nobody asked for one."""
    if trace is None:
        yield None
        return
    with trace.open("w", encoding="utf-8") as file:
        yield lambda line: print(line, file=file)
    say(f"The trace is in {trace}")


def show_run(result: RunResult, output: str) -> None:
    """A run's report on stdout: ``table`` or ``json``."""
    from simulator.report.json_report import run_document
    from simulator.report.text import RunText

    if output == "json":
        show_json(run_document(result))
    else:
        show(RunText(result))


@click.command("list", cls=WithExamples, examples=("turnout sim list", "turnout sim list -o json"))
@output_option
def list_(output: str) -> None:
    """List the scenarios that come along."""
    from simulator.scenario_file import load_scenario
    from simulator.shipped import shipped

    with bad_input_is_usage():
        found = {name: load_scenario(path) for name, path in shipped().items()}
    if output == "json":
        listed = [
            {"name": name, "description": one.description, "duration_s": one.duration_s}
            for name, one in found.items()
        ]
        show_json({"scenarios": listed})
        return
    rows = [(name, f"{one.duration_s:g} s", one.description) for name, one in found.items()]
    show(render.table("SCENARIO", "LASTS", "TEXT", rows=rows))
