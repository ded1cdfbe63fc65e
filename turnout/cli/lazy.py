"""A click group that imports a subcommand's module only when that subcommand is used."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module

import click


class LazyGroup(click.Group):
    """Subcommands as ``{"switch": ("turnout.cli.switch:switch", "Move a service ...")}``.

    The short help stands here as well, so that listing the commands imports none of them.
    """

    lazy: Mapping[str, tuple[str, str]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which they were written down."""
        return [*self.lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None if there is none of this name."""
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.lazy[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

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
        """The list of commands in the help."""
        rows = [(name, text) for name, (_, text) in self.lazy.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
