"""The command ``turnout``. Each subcommand lives in a module of its own, imported when it is used."""

from __future__ import annotations

import os
import sys
import traceback

import click

from turnout.cli.lazy import LazyGroup

_COMMANDS = {
    "switch": ("turnout.cli.switch:switch", "Move a service to a colour, in every region"),
    "rollback": ("turnout.cli.rollback:rollback", "Undo a service's last switch, or an older one"),
    "abort": ("turnout.cli.abort:abort", "Stop a switch that is not decided yet"),
    "status": ("turnout.cli.status:status", "What is in force, and what is going on"),
    "watch": ("turnout.cli.watch:watch", "Follow a switch until it is drained"),
    "history": ("turnout.cli.history:history", "Who did what, when and why"),
    "services": ("turnout.cli.services:services", "The services and where they stand"),
    "apply": ("turnout.cli.table:apply", "Put a routing table from a file in force"),
    "diff": ("turnout.cli.table:diff", "What applying a file would change"),
    "exclude": ("turnout.cli.exclusions:exclude", "Leave a region out of switches"),
    "include": ("turnout.cli.exclusions:include", "Take a region in again"),
    "agents": ("turnout.cli.agents:agents", "The fleet: list, add and remove agents"),
    "waive": ("turnout.cli.waive:waive", "Do without an agent's word that its drain ended"),
    "domain": ("turnout.cli.domain:domain", "Make a domain, or a new incarnation of it"),
    "serve": ("turnout.cli.serve:serve", "Run a coordinator"),
    "agent": ("turnout.cli.agent:agent", "Run an edge agent; make its key"),
    "dev": ("turnout.cli.dev:dev", "A whole fleet on this machine, to try things out"),
}


class _Turnout(LazyGroup):
    lazy = _COMMANDS


@click.group(cls=_Turnout, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="turnout", message="turnout %(version)s")
def turnout() -> None:
    """Move all of a service's traffic, in every region, from blue to green as one action.

    Data goes to stdout, talk to stderr. Say where the coordinators are with --coordinator or
    TURNOUT_COORDINATORS.

    Exit codes: 0 done, 1 error, 2 usage, 3 refused, 4 aborted, 5 rolled back, 6 partial, 7 timed
    out, 8 nobody to ask, 9 not permitted, 130 interrupted.
    """


def main() -> None:
    """The entry point: never a traceback, unless TURNOUT_TRACEBACK asks for it."""
    try:
        turnout.main(prog_name="turnout")
    except BrokenPipeError:
        # Whoever read our output has had enough (`turnout history | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - the last resort: an operator is told, in a sentence
        if os.environ.get("TURNOUT_TRACEBACK"):
            traceback.print_exc()
        click.echo(
            f"turnout failed: {type(error).__name__}: {error}\n"
            "This is a fault in turnout. Run it again with TURNOUT_TRACEBACK=1 for the details.",
            err=True,
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
