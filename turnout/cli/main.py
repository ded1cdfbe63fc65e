"""The command ``turnout``. Each subcommand lives in a module of its own, imported when it is used."""

from __future__ import annotations

import os
import signal
import sys
import traceback

import click

from turnout.cli.lazy import LazyGroup
from turnout.cli.streams import forget_stdout, make_sure_of_streams

_SECTIONS = {
    "Switch": {
        "switch": ("turnout.cli.switch:switch", "Move a service to a colour, in every region"),
        "rollback": ("turnout.cli.rollback:rollback", "Undo a service's last switch, or another"),
        "abort": ("turnout.cli.abort:abort", "Stop a switch that is not decided yet"),
        "apply": ("turnout.cli.table:apply", "Put a routing table from a file in force"),
        "diff": ("turnout.cli.table:diff", "What applying a file would change"),
    },
    "Look": {
        "status": ("turnout.cli.status:status", "What is in force, and what is going on"),
        "watch": ("turnout.cli.watch:watch", "Follow a switch until it is drained"),
        "services": ("turnout.cli.services:services", "The services and where they stand"),
        "history": ("turnout.cli.history:history", "Who did what, when and why"),
    },
    "The fleet": {
        "agents": ("turnout.cli.agents:agents", "The agents: list, add and remove them"),
        "exclude": ("turnout.cli.exclusions:exclude", "Leave a region out of switches"),
        "include": ("turnout.cli.exclusions:include", "Take a region in again"),
        "waive": ("turnout.cli.waive:waive", "Do without an agent's word that its drain ended"),
    },
    "Try it without a fleet": {
        "sim": ("turnout.cli.sim:sim", "Run scenarios in virtual time, plan, explore"),
    },
    "Set up and run": {
        "dev": ("turnout.cli.dev:dev", "A whole fleet on this machine, to try things out"),
        "domain": ("turnout.cli.domain:domain", "Begin a domain's history, or begin it anew"),
        "serve": ("turnout.cli.serve:serve", "Run a coordinator"),
        "agent": ("turnout.cli.agent:agent", "Run an edge agent; make its key"),
    },
}

_EXIT_CODES = (
    ("0", "live everywhere (but where excluded or allowed by name), or nothing to do"),
    ("1", "error"),
    ("2", "usage"),
    ("3", "refused before anything changed"),
    ("4", "aborted, nothing changed"),
    ("5", "rolled back before it was live everywhere"),
    ("6", "partial: committed, and those behind are named"),
    ("7", "accepted, but the outcome was not known in time"),
    ("8", "nobody took it in time: no leader, no quorum, or out of reach"),
    ("9", "not permitted"),
    ("130", "interrupted; what was accepted goes on"),
)


class _Turnout(LazyGroup):
    sections = _SECTIONS

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What scripts rely on."""
        super().format_epilog(ctx, formatter)
        with formatter.section("Exit codes"):
            formatter.write_dl(_EXIT_CODES)


@click.group(
    cls=_Turnout,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="turnout", message="turnout %(version)s")
def turnout() -> None:
    """Move all of a service's traffic, in every region, from blue to green as one action.

    Data goes to stdout, talk to stderr. Say where the coordinators are with --coordinator or
    TURNOUT_COORDINATORS. To try it out, all on this machine: turnout dev.
    """


def main() -> None:
    """The entry point: never a traceback, unless TURNOUT_TRACEBACK asks for it."""
    make_sure_of_streams()
    sys.exit(_run())


def _run() -> int:
    try:
        return int(turnout.main(prog_name="turnout", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read our output has had enough (`turnout watch 7 -o json | head -1`).
        forget_stdout()
        return 1
    except Exception as error:  # noqa: BLE001 - the last resort: an operator is told, in a sentence
        return _of_last_resort(error)


def _of_last_resort(error: Exception) -> int:
    if os.environ.get("TURNOUT_TRACEBACK"):
        traceback.print_exc()
    if isinstance(error, OSError):
        # Of what is not the network or a file of ours: stdout on a full disk.
        forget_stdout()
        click.echo(f"turnout failed: {error.strerror or error}", err=True)
    else:
        click.echo(
            f"turnout failed: {type(error).__name__}: {error}\n"
            "This is a fault in turnout. Run it again with TURNOUT_TRACEBACK=1 for the details.",
            err=True,
        )
    return 1


if __name__ == "__main__":
    main()
