"""How a command ends: one number a script can rely on, one sentence a person can act on.

The numbers are ``turnout.runtime.problems.ExitCode`` (DESIGN.md section 9). A command raises
``CommandError``; whatever else comes up from below is translated here, so that nobody ever sees
a traceback for a mistake of theirs or a coordinator that is away.
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from turnout.cli.switch_view import SwitchView
from turnout.protocol.records import OutcomeKind
from turnout.runtime.config import ConfigError
from turnout.runtime.http.client_errors import (
    CoordinatorError,
    OutcomeUnknownError,
    RefusedStreamError,
)
from turnout.runtime.problems import ExitCode, Problem, ProblemError

_OF_OUTCOME = {
    OutcomeKind.LIVE: ExitCode.DONE,
    OutcomeKind.PARTIAL: ExitCode.PARTIAL,
    OutcomeKind.ABORTED: ExitCode.ABORTED,
    OutcomeKind.ROLLED_BACK: ExitCode.ROLLED_BACK,
}

_LISTED = 10


class CommandError(click.ClickException):
    """Ends the command with this text on stderr and this exit code."""

    def __init__(self, text: str, exit_code: ExitCode = ExitCode.ERROR) -> None:
        super().__init__(text)
        # click declares it for the class; it is read from the instance.
        object.__setattr__(self, "exit_code", int(exit_code))


def exit_code_of(switch: SwitchView) -> ExitCode:
    """The exit code of a switch: that of its outcome; timed out while it has none."""
    if switch.outcome is None:
        return ExitCode.TIMED_OUT
    return _OF_OUTCOME[switch.outcome]


def translated(error: Exception) -> CommandError | None:
    """What an error from below means for the command; None if it is a fault of ours."""
    if isinstance(error, ProblemError):
        return of_problem(error.problem)
    if isinstance(error, RefusedStreamError):
        return of_problem(error.problem)
    if isinstance(error, OutcomeUnknownError):
        return CommandError(str(error), ExitCode.ERROR)
    if isinstance(error, CoordinatorError):
        return CommandError(str(error), ExitCode.UNREACHABLE)
    if isinstance(error, ConfigError):
        return CommandError(str(error), ExitCode.REFUSED)
    if isinstance(error, OSError):
        return CommandError(_of_system(error), ExitCode.ERROR)
    return None


def of_problem(problem: Problem) -> CommandError:
    """A coordinator's problem document as the command's end."""
    lines = [problem.detail, *_further(problem)]
    return CommandError("\n".join(lines), problem.type.exit_code)


def _further(problem: Problem) -> Iterator[str]:
    """Lists of names that a problem brings along and its text does not say already."""
    for name, value in problem.extensions.items():
        if isinstance(value, list) and value:
            names = [one for one in value if isinstance(one, str | int)]
            shown = [str(one) for one in names if str(one) not in problem.detail]
            if shown:
                more = "" if len(shown) <= _LISTED else f" and {len(shown) - _LISTED} more"
                yield f"  {name}: {', '.join(shown[:_LISTED])}{more}"


def _of_system(error: OSError) -> str:
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what
