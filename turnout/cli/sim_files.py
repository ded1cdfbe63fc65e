"""The files that the commands of ``turnout sim`` read and write."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from turnout.cli.exit_codes import CommandError
from turnout.cli.terminal import say
from turnout.runtime.config import ConfigError
from turnout.runtime.problems import ExitCode

if TYPE_CHECKING:
    from simulator.scenario import Scenario


# --- asked before a run, not found out after it ---------------------------------------------------


def writable_file(_ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """An option's file, which can be written. Raises BadParameter."""
    if value is not None:
        check_writable(value, param.opts[0])
    return value


def check_writable(path: Path, option: str) -> None:
    """Raises BadParameter, which names the option, where a file cannot be written."""
    hint = f"'{option}'"
    if not path.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}", param_hint=hint)
    try:
        _open_once(path.resolve())
    except OSError as error:
        text = f"{path} cannot be written: {error.strerror}"
        raise click.BadParameter(text, param_hint=hint) from error


def _open_once(path: Path) -> None:
    """Opens a file and leaves all as it was: permissions alone do not tell of every file system."""
    is_new = not path.exists()
    if is_new or path.is_file():
        path.open("ab").close()
        if is_new:
            path.unlink()
    elif not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def writable_folder(
    _ctx: click.Context, _param: click.Parameter, value: Path | None
) -> Path | None:
    """An option's folder, which can be made, and written into. Raises BadParameter."""
    if value is None:
        return None
    folder = value.absolute()
    new = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise click.BadParameter(f"{value} cannot be written into: {error.strerror}") from error
    finally:
        for one in new:
            with suppress(OSError):
                one.rmdir()
    return value


def check_installed(*packages: str) -> None:
    """Raises CommandError, which says what to install, where a package of an extra is missing."""
    from simulator.report.extras import ExtraMissingError, need

    try:
        need(*packages)
    except ExtraMissingError as error:
        raise CommandError(str(error), ExitCode.ERROR) from error


def _drawable(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """A page's file, and what draws the page is installed."""
    from simulator.report.html import PACKAGES

    if value is not None:
        check_installed(*PACKAGES)
    return writable_file(ctx, param, value)


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
    callback=writable_file,
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
