"""``turnout sim sweep``, ``replay`` and ``shrink``: many seeds, one of them again, one made small."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import evolve
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from turnout.cli.examples import WithExamples
from turnout.cli.exit_codes import CommandError
from turnout.cli.options import output_option
from turnout.cli.running import for_people
from turnout.cli.sim_exit import EXIT_CODES, EXIT_CODES_OF_SWEEP, exit_code_of_sweep
from turnout.cli.sim_files import chosen_scenario, page_option, trace_option, write_page
from turnout.cli.sim_run import run_and_show
from turnout.cli.sim_seeds import Seeds
from turnout.cli.terminal import say, show, show_json, stderr
from turnout.runtime.problems import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.results import SeedResult, SweepResult
    from simulator.scenario import Scenario

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
    "--keep", type=_FOLDER, help="Write each failing seed into this folder, as a scenario."
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
    with for_people():
        with _progress(len(seeds)) as ran:
            result = run_sweep(
                seeds, workers=workers, canaries=wanted, scenario=chosen, progress=ran
            )
        if keep is not None:
            _keep(result, chosen, keep)
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
        if result.violated:
            self._failed += 1
            say(f"seed {result.seed}: {result.first}")
        now_s = time.monotonic()
        if now_s - self._said_s >= _EVERY_S:
            self._said_s = now_s
            minutes = (now_s - self._began_s) / 60
            say(f"{self._done} of {self._count} seeds, {self._failed} invalid, {minutes:.0f} min")


@contextmanager
def _progress(count: int) -> Iterator[Callable[[SeedResult], None]]:
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
            if result.violated:
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


def _keep(result: SweepResult, scenario: Scenario | None, folder: Path) -> None:
    """Each failing seed as a scenario file, to be run, changed and sent to somebody."""
    from simulator.scenario_file import to_toml
    from simulator.swarm import drawn

    failing = [run.seed for run in result.runs if run.violated]
    if not failing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for seed in failing:
        path = folder / f"{result.name}-{seed}.toml"
        failing_one = evolve(scenario, seed=seed) if scenario else drawn(seed)
        path.write_text(to_toml(failing_one), encoding="utf-8")
    say(f"{len(failing)} failing seeds are in {folder}")


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
    examples=("turnout sim shrink 167", "turnout sim shrink 167 --to released-too-early.toml"),
    epilog="Exit codes: 0 made small, 1 the seed does not fail, 2 usage.",
)
@click.argument("seed", type=click.IntRange(min=0))
@click.option("--to", type=_OUT, help="The file to write; default: swarm-SEED-shrunk.toml.")
def shrink(seed: int, to: Path | None) -> None:
    """Take faults and operations out of a failing seed while it still fails, and write what is left."""
    from simulator.scenario_file import to_toml
    from simulator.shrink import shrink as made_small
    from simulator.swarm import drawn

    target = to or Path(f"swarm-{seed}-shrunk.toml")
    if not target.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {target.parent}")
    with for_people():
        found = made_small(drawn(seed), progress=say)
        if found is None:
            text = f"Seed {seed} does not fail: there is nothing to make smaller."
            raise CommandError(text, ExitCode.ERROR)
        target.write_text(to_toml(found.scenario), encoding="utf-8")
        left = (
            f"{len(found.scenario.faults)} faults and {len(found.scenario.operations)} operations"
        )
        say(f"{left} are left after {found.runs} runs; it breaks {', '.join(found.numbers)}.")
        say(f"Run it: turnout sim run {target}")
