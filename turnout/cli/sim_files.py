"""The files that the commands of ``turnout sim`` read and write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from turnout.cli.exit_codes import CommandError
from turnout.cli.terminal import say
from turnout.runtime.config import ConfigError
from turnout.runtime.problems import ExitCode

if TYPE_CHECKING:
    from simulator.scenario import Scenario


def _in_a_folder(_ctx: click.Context, _param: click.Parameter, value: Path | None) -> Path | None:
    """Asked before a run, not after it: where a file is to go there is a folder."""
    if value is not None and not value.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {value.parent}")
    return value


def _drawable(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Asked before a run, too: what draws the page is installed."""
    from simulator.report.extras import ExtraMissingError
    from simulator.report.html import check_packages

    if value is not None:
        try:
            check_packages()
        except ExtraMissingError as error:
            raise CommandError(str(error), ExitCode.ERROR) from error
    return _in_a_folder(ctx, param, value)


_FILE = click.Path(dir_okay=False, path_type=Path)

page_option = click.option(
    "--html",
    "page",
    type=_FILE,
    callback=_drawable,
    metavar="FILE",
    help="Write a page with pictures, which opens offline.",
)
trace_option = click.option(
    "--trace",
    type=_FILE,
    callback=_in_a_folder,
    metavar="FILE",
    help="Write every step of every machine, with its moment in nanoseconds.",
)


@contextmanager
def bad_input_is_usage() -> Iterator[None]:
    """A scenario that cannot be used ends the command like a wrong option: exit code 2."""
    from simulator.shipped import NoSuchScenarioError

    try:
        yield
    except (ConfigError, NoSuchScenarioError) as error:
        raise CommandError(str(error), ExitCode.USAGE) from error


def chosen_scenario(name_or_path: str) -> Scenario:
    """A scenario by the name under which it comes along, or from a file. Raises CommandError."""
    from simulator.scenario_file import load_scenario
    from simulator.shipped import find

    with bad_input_is_usage():
        return load_scenario(find(name_or_path))


def write_page(page: Path, text: str) -> None:
    """Writes a page, and says where it is."""
    page.write_text(text, encoding="utf-8")
    say(f"The report with pictures is in {page}")
