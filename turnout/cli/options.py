"""The options that several commands share, and the values they become."""

from __future__ import annotations

import getpass
import re
import socket
import sys
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click
from attrs import frozen

from turnout.runtime.problems import ExitCode

F = TypeVar("F", bound=Callable[..., Any])

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_MAX_DURATION_S = 30 * 24 * 3600.0
_SHOWN = 60


class Duration(click.ParamType[float]):
    """``90``, ``1.5s``, ``500ms``, ``2m``, ``1h``: seconds as a float, up to 30 days."""

    name = "duration"

    def __init__(self, least_s: float = 0.0) -> None:
        self._least_s = least_s

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The duration in seconds."""
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|)", value.strip())
        if match is None:
            self.fail(f"{cut(value)!r} is not a duration such as 60s, 500ms or 2m", param, ctx)
        seconds = float(match[1]) * _UNITS[match[2]]
        if not self._least_s <= seconds <= _MAX_DURATION_S:
            least = f"{self._least_s * 1000:g}ms" if self._least_s else "0s"
            self.fail(f"{cut(value)} is not from {least} to 720h", param, ctx)
        return seconds


class Name(click.ParamType[str]):
    """The name of a service, a region or an agent: a blank one, or one no name can be, is refused.

    A name that could exist and does not is the coordinator's to answer: it knows near ones.
    """

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name as it was given."""
        from turnout.protocol.identifiers import NAME_RULE, is_name

        if not isinstance(value, str) or not is_name(value.lower()):
            self.fail(f"{cut(str(value))!r} is not a name: it must have {NAME_RULE}", param, ctx)
        return value


class HeaderText(click.ParamType[str]):
    """What travels in a header field: printable ASCII, neither blank nor longer than a limit."""

    name = "text"

    def __init__(self, most: int) -> None:
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text without the blanks around it."""
        text = str(value).strip()
        if not text:
            self.fail("it must not be blank", param, ctx)
        if not text.isascii() or not text.isprintable() or len(text) > self._most:
            rule = f"it must be printable ASCII of at most {self._most} characters"
            self.fail(f"{cut(text)!r}: {rule}", param, ctx)
        return text


def confirmed(question: str) -> None:
    """Asks once more, if there is anybody to ask. Raises click's Exit if the answer is no."""
    if sys.stdin.isatty() and not click.confirm(question, err=True):
        click.echo("Nothing was asked for.", err=True)
        raise click.exceptions.Exit(int(ExitCode.ERROR))


def cut(text: str) -> str:
    """What somebody typed, short enough to be repeated to them."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


DURATION = Duration()
WAIT = Duration(least_s=0.1)
NAME = Name()
_ACTOR = HeaderText(200)


@frozen(kw_only=True)
class Target:
    """Which coordinators to ask, as whom, and how to print what they say."""

    urls: tuple[str, ...]
    actor: str
    json: bool

    def flags(self) -> str:
        """The flags that make another command ask the same coordinators."""
        return "".join(f" --coordinator {url}" for url in self.urls) if self.explicit else ""

    explicit: bool = False


def target_options(command: F) -> F:
    """Adds --coordinator, --as and -o; the command gets ``coordinator``, ``actor``, ``output``."""
    for option in reversed(
        (
            click.option(
                "--coordinator",
                "coordinator",
                metavar="URL",
                multiple=True,
                help="A coordinator's address; repeat it for each.  [env: TURNOUT_COORDINATORS]",
            ),
            click.option(
                "--as",
                "actor",
                metavar="NAME",
                type=_ACTOR,
                envvar="TURNOUT_ACTOR",
                help="Who asks, for the history.  [env: TURNOUT_ACTOR; default: USER@HOST]",
            ),
            output_option,
        )
    ):
        command = option(command)
    return command


output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How data is printed on stdout.",
)


def target_of(params: dict[str, Any]) -> Target:
    """Takes what ``target_options`` added out of a command's parameters."""
    import os

    from turnout.runtime.http.client import checked_url

    explicit: tuple[str, ...] = params.pop("coordinator")
    given = explicit or tuple(
        part for part in re.split(r"[\s,]+", os.environ.get("TURNOUT_COORDINATORS", "")) if part
    )
    if not given:
        raise click.UsageError(
            "Where are the coordinators? Name them with --coordinator URL (repeatable) or in"
            " TURNOUT_COORDINATORS."
        )
    urls = tuple(dict.fromkeys(_address(url, checked_url) for url in given))
    actor = params.pop("actor") or _somebody()
    return Target(
        urls=urls, actor=actor, json=params.pop("output") == "json", explicit=bool(explicit)
    )


def _address(given: str, checked: Callable[[str], str]) -> str:
    """A coordinator's address; a blank in it, or a port that is none, is told before it is used."""
    try:
        if re.search(r"[\s\x00-\x1f]", given):
            raise ValueError(f"{cut(given)!r} has a blank in it")
        url = checked(given)
        urlsplit(url).port  # noqa: B018 - raises ValueError
    except ValueError as error:
        text = str(error) if repr(cut(given)) in str(error) else f"{cut(given)!r}: {error}"
        raise click.BadParameter(text, param_hint="'--coordinator'") from error
    return url


def _somebody() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}".encode("ascii", "replace").decode()
