"""The options that several commands share, and the values they become."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Callable
from typing import Any, TypeVar

import click
from attrs import frozen

F = TypeVar("F", bound=Callable[..., Any])

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Duration(click.ParamType[float]):
    """``90``, ``1.5s``, ``500ms``, ``2m``, ``1h``: seconds as a float."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The duration in seconds."""
        if isinstance(value, int | float):
            return float(value)
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", value.strip())
        if match is None:
            self.fail(f"{value!r} is not a duration such as 60s, 500ms or 2m", param, ctx)
        return float(match[1]) * _UNITS[match[2]]


DURATION = Duration()


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
                envvar="TURNOUT_ACTOR",
                help="Who asks, for the history.  [default: the user of this machine]",
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
    try:
        urls = tuple(dict.fromkeys(checked_url(url) for url in given))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    actor = params.pop("actor") or _somebody()
    return Target(
        urls=urls, actor=actor, json=params.pop("output") == "json", explicit=bool(explicit)
    )


def _somebody() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
