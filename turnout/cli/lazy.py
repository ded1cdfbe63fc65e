"""Importing no more than a subcommand needs, and that only when it is used."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module

import click


@contextmanager
def not_installed(package: str) -> Iterator[None]:
    """What is imported meanwhile does without a package that it uses only where there is one.

    structlog and httpx import rich for what a daemon never prints: 50 ms and 4 MiB of its start.
    Where the package was imported before, nothing is hidden.
    """
    is_hidden = package not in sys.modules
    if is_hidden:
        sys.modules[package] = None  # type: ignore[assignment] # the import system's "there is none"
    try:
        yield
    finally:
        if is_hidden:
            del sys.modules[package]


class LazyGroup(click.Group):
    """A group that imports a subcommand's module only when that subcommand is used.

    Subcommands are written as ``{"Look": {"watch": ("turnout.cli.watch:watch", "Follow a switch")}}``.

    The sections are those of the help. The short help stands here as well, so that listing the
    commands imports none of them.
    """

    sections: Mapping[str, Mapping[str, tuple[str, str]]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which they were written down."""
        return [*self._lazy(), *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None if there is none of this name."""
        known = self._lazy().get(cmd_name)
        if known is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = known[0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def _lazy(self) -> dict[str, tuple[str, str]]:
        return {n: entry for commands in self.sections.values() for n, entry in commands.items()}

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name; a near miss is answered with a suggestion."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if near:
                text = f"{error.message} Did you mean '{near[0]}'?"
                raise click.UsageError(text, ctx) from error
            raise

    def format_commands(  # the name and its arguments are click's
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        """The list of commands in the help, section by section, with one width of names."""
        longest = max(map(len, self._lazy()), default=0)
        for title, commands in self.sections.items():
            rows = [(f"{name:<{longest}}", text) for name, (_, text) in commands.items()]
            with formatter.section(title):
                formatter.write_dl(rows)
