"""``turnout sim sweep``, ``replay`` and ``shrink``: many seeds, one of them again, one made small."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import evolve
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from simulator.results import SeedResult, Verdict
from turnout.cli.examples import WithExamples
from turnout.cli.exit_codes import CommandError
from turnout.cli.options import output_option
from turnout.cli.running import for_people
from turnout.cli.sim_exit import EXIT_CODES, EXIT_CODES_OF_SWEEP, exit_code_of_sweep
from turnout.cli.sim_files import (
    check_installed,
    check_writable,
    chosen_scenario,
    page_option,
    trace_option,
    writable_file,
    writable_folder,
    write_page,
)
from turnout.cli.sim_run import run_and_show
from turnout.cli.sim_seeds import Seeds
from turnout.cli.terminal import say, show, show_json, stderr
from turnout.runtime.problems import ExitCode

if TYPE_CHECKING:
    from simulator.results import SweepResult
    from simulator.scenario import Scenario

Ran = Callable[[SeedResult], None]

_FOLDER = click.Path(file_okay=False, path_type=Path)
_OUT = click.Path(dir_okay=False, path_type=Path)


@click.command(
    cls=WithExamples,
    examples=(
        "turnout sim sweep --seeds 0..299",
        "turnout sim sweep --seeds 0..1999 --keep failing --html sweep.html",
        "turnout sim sweep --scenario my-regions.toml --seeds 1..1000 --no-canaries",
    ),
    epilog=EXIT_CODES_OF_SWEEP,
)
@click.option("--seeds", type=Seeds(), default="0..299", show_default=True, help="Which seeds.")
@click.option("--scenario", metavar="FILE|NAME", help="Run this under each seed, not the swarm.")
@click.option("--workers", type=click.IntRange(1, 1024), help="Processes; all cores if not said.")
@click.option(
    "--canaries/--no-canaries",
    default=True,
    show_default=True,
    help="Show that machines broken on purpose are caught.",
)
@click.option(
    "--keep",
    type=_FOLDER,
    callback=writable_folder,
    help="Write each failing seed into this folder, as a scenario.",
)
@page_option
@output_option
def sweep(
    seeds: range,
    scenario: str | None,
    workers: int | None,
    canaries: bool,
    keep: Path | None,
    page: Path | None,
    output: str,
) -> None:
    """Run the swarm: each seed draws a world, what operators do in it, and what goes wrong there.

    A sweep that finds nothing is too weak if it never reached some rare state, or if it did not catch a
    machine that was broken on purpose.
    """
    from simulator.canaries import CANARIES
    from simulator.sweep import sweep as run_sweep

    chosen = chosen_scenario(scenario) if scenario else None
    wanted = CANARIES if canaries and chosen is None else ()
    with for_people(), _kept(keep, chosen) as kept:
        with _progress(len(seeds)) as shown:

            def ran(seed: SeedResult) -> None:
                kept(seed)
                shown(seed)

            result = run_sweep(
                seeds, workers=workers, canaries=wanted, scenario=chosen, progress=ran
            )
        result = evolve(result, scenario=scenario or "")
        _show(result, output)
        if page is not None:
            from simulator.report.html import sweep_page

            write_page(page, sweep_page(result))
    raise click.exceptions.Exit(exit_code_of_sweep(result))


_EVERY_S = 60.0
"""Between two lines of a log: a long sweep says that it goes on."""


class _Log:
    """What a sweep says where nobody looks on: what fails at once, and now and then how far it is."""

    def __init__(self, count: int) -> None:
        self._count, self._done, self._failed = count, 0, 0
        self._began_s = self._said_s = time.monotonic()

    def ran(self, result: SeedResult) -> None:
        """One more seed."""
        self._done += 1
        if result.verdict is not Verdict.VALID:
            self._failed += 1
            say(f"seed {result.seed}: {result.first}")
        now_s = time.monotonic()
        if now_s - self._said_s >= _EVERY_S:
            self._said_s = now_s
            minutes = (now_s - self._began_s) / 60
            say(f"{self._done} of {self._count} seeds, {self._failed} invalid, {minutes:.0f} min")


@contextmanager
def _progress(count: int) -> Iterator[Ran]:
    """A bar on stderr for whoever looks on, else a log; what fails is said at once."""
    if not sys.stderr.isatty():
        yield _Log(count).ran
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr(), transient=True) as bar:
        task = bar.add_task("Seeds", total=count)

        def ran(result: SeedResult) -> None:
            if result.verdict is not Verdict.VALID:
                bar.console.print(f"seed {result.seed}: {result.first}", markup=False)
            bar.advance(task)

        yield ran


def _show(result: SweepResult, output: str) -> None:
    from simulator.report.json_report import sweep_document
    from simulator.report.text import SweepText

    if output == "json":
        show_json(sweep_document(result))
    else:
        show(SweepText(result))


@contextmanager
def _kept(folder: Path | None, scenario: Scenario | None) -> Iterator[Ran]:
    """What writes each failing seed as it fails, and says in the end where they are."""
    if folder is None:
        yield lambda _: None
        return
    check_installed("tomlkit")
    keeper = _Keeper(folder, scenario)
    try:
        yield keeper.ran
    finally:
        if keeper.count:
            words = "seed is" if keeper.count == 1 else "seeds are"
            say(f"{keeper.count} failing {words} in {folder}")


class _Keeper:
    """Failing seeds as scenario files, to be run, changed and sent to somebody."""

    def __init__(self, folder: Path, scenario: Scenario | None) -> None:
        self.count = 0
        self._folder, self._scenario = folder, scenario
        self._name = re.sub(r"[^\w.-]+", "-", scenario.name) if scenario else "swarm"

    def ran(self, result: SeedResult) -> None:
        """One more seed."""
        if result.verdict is Verdict.VALID:
            return
        try:
            self._write(result.seed)
        except OSError as error:
            say(f"seed {result.seed} was not kept: {error.strerror}")
        else:
            self.count += 1

    def _write(self, seed: int) -> None:
        from simulator.scenario_file import to_toml
        from simulator.swarm import drawn

        failing = evolve(self._scenario, seed=seed) if self._scenario else drawn(seed)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{self._name}-{seed}.toml"
        path.write_text(to_toml(failing), encoding="utf-8")


@click.command(
    cls=WithExamples,
    examples=("turnout sim replay 167", "turnout sim replay 167 --html seed-167.html"),
    epilog=EXIT_CODES,
)
@click.argument("seed", type=click.IntRange(min=0))
@page_option
@trace_option
@output_option
def replay(seed: int, page: Path | None, trace: Path | None, output: str) -> None:
    """Run one seed of the swarm again, to the last event, and show all of it."""
    from simulator.swarm import drawn

    run_and_show(drawn(seed), seed=seed, page=page, trace=trace, output=output)


@click.command(
    cls=WithExamples,
    examples=(
        "turnout sim shrink 167",
        "turnout sim shrink 167 --to released-too-early.toml",
        "turnout sim shrink failing/my-regions-12.toml",
    ),
    epilog="Exit codes: 0 made small, 1 it does not fail, 2 usage or a bad scenario, 130 interrupted.",
)
@click.argument("which", metavar="SEED|FILE|NAME")
@click.option(
    "--to",
    type=_OUT,
    callback=writable_file,
    help="The file to write; default: here, called after what was made small: swarm-167-shrunk.toml.",
)
def shrink(which: str, to: Path | None) -> None:
    """Take faults and operations out of what fails while it still does, and write what is left.

    SEED is one of the swarm; FILE a scenario file, such as sweep --keep writes; NAME a scenario that
    comes along.
    """
    from simulator.scenario_file import to_toml
    from simulator.shrink import shrink as made_small

    check_installed("tomlkit")
    failing, name = _meant(which)
    target = to or Path(f"{name}-shrunk.toml")
    check_writable(target, "--to")
    with for_people():
        found = made_small(failing, progress=say)
        if found is None:
            text = f"{which} does not fail: there is nothing to make smaller."
            raise CommandError(text, ExitCode.ERROR)
        target.write_text(to_toml(found.scenario), encoding="utf-8")
        left = (
            f"{len(found.scenario.faults)} faults and {len(found.scenario.operations)} operations"
        )
        say(f"{left} are left after {found.runs} runs; it breaks {', '.join(found.numbers)}.")
        say(f"Run it: turnout sim run {target}")


def _meant(which: str) -> tuple[Scenario, str]:
    """The scenario of a seed, a file or a name, and what to call what is made of it."""
    from simulator.swarm import drawn

    if re.fullmatch(r"\d{1,18}", which, re.ASCII):
        scenario = drawn(int(which))
        return scenario, scenario.name
    return chosen_scenario(which), Path(which).stem
