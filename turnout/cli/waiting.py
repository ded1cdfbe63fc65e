"""Waiting for a switch: following it, showing it, and ending with the exit code of its outcome."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import click
import trio
from attrs import define, frozen

from turnout.cli import render
from turnout.cli.api_client import Api
from turnout.cli.exit_codes import exit_code_of
from turnout.cli.options import DURATION, F, Target
from turnout.cli.render_switch import display_on
from turnout.cli.switch_view import SwitchView, view_of
from turnout.cli.terminal import say, show, show_json, stderr
from turnout.runtime.problems import ExitCode


@frozen(kw_only=True)
class Waiting:
    """What a command waits for, and how long."""

    wait: bool = True
    wait_for: str = "drained"
    timeout_s: float | None = None

    def is_over(self, switch: SwitchView) -> bool:
        """Whether what is waited for has come."""
        if self.wait_for == "live":
            return switch.has_reached("live")
        return switch.is_drained


def waiting_options(command: F) -> F:
    """Adds --wait, --wait-for and --timeout; the command gets ``wait wait_for timeout``."""
    for option in reversed(
        (
            click.option(
                "--wait/--no-wait",
                default=True,
                help="Wait until the old colour is drained (the default), or only for acceptance.",
            ),
            click.option(
                "--wait-for",
                type=click.Choice(["live", "drained"]),
                default="drained",
                show_default=True,
                help="What to wait for; the exit code is that of the outcome either way.",
            ),
            timeout_option,
        )
    ):
        command = option(command)
    return command


timeout_option = click.option(
    "--timeout",
    type=DURATION,
    default="60s",
    show_default=True,
    help="Stop waiting after this long (exit code 7 if the outcome is not known by then).",
)


def waiting_of(params: dict[str, Any]) -> Waiting:
    """Takes what ``waiting_options`` added out of a command's parameters."""
    return Waiting(
        wait=params.pop("wait"),
        wait_for=params.pop("wait_for"),
        timeout_s=params.pop("timeout"),
    )


@define(kw_only=True)
class Watched:
    """A switch being watched; kept outside the watching task, for whoever interrupts it."""

    target: Target
    epoch: int | None = None
    document: dict[str, Any] | None = None
    key: str | None = None

    @property
    def view(self) -> SwitchView | None:
        """The switch as last heard of."""
        return view_of(self.document) if self.document else None

    def on_interrupt(self) -> None:
        """Says that only the watching ended, and how to go on."""
        if self.epoch is not None:
            say(f"Stopped watching; switch {self.epoch} goes on. " + self._further())
        elif self.key is not None:
            say(
                "Interrupted before a coordinator answered: the switch may have been accepted."
                f" Run the same command with --idempotency-key {self.key} to find out."
            )
        else:
            say("Interrupted.")

    def say_timed_out(self, timeout_s: float) -> None:
        """Says that time is over and how to resume."""
        what = "is still draining" if self.view and self.view.outcome else "has no outcome yet"
        say(f"Switch {self.epoch} {what} after {timeout_s:g} s. It goes on. " + self._further())

    def _further(self) -> str:
        flags = self.target.flags()
        text = f"Watch it again: turnout watch {self.epoch}{flags}"
        if self.view is None or self.view.phase == "preparing":
            text += f"; abort it: turnout abort {self.epoch}{flags}"
        elif self.view.service:
            text += f"; undo it: turnout rollback {self.view.service} --undo {self.epoch}{flags}"
        return text


async def follow_to_end(
    api: Api, watched: Watched, waiting: Waiting, *, stream_json: bool = False
) -> bool:
    """Follows the switch until what is waited for has come; false if time ran out before."""
    assert watched.epoch is not None
    timeout_s = float("inf") if waiting.timeout_s is None else waiting.timeout_s
    until = "outcome" if waiting.wait_for == "live" else "drained"
    with trio.move_on_after(timeout_s), display_on(stderr()) as display:
        async with aclosing(api.follow(watched.epoch, until=until)) as documents:
            async for document in documents:
                if stream_json and document != watched.document:
                    show_json(document, compact=True)
                watched.document = document
                switch = view_of(document)
                display.update(switch)
                if waiting.is_over(switch):
                    return True
    return False


async def wait_and_report(api: Api, watched: Watched, waiting: Waiting) -> ExitCode:
    """Waits as asked, prints the switch on stdout and returns the exit code."""
    in_time = True
    if waiting.wait:
        in_time = await follow_to_end(api, watched, waiting)
    if watched.document is not None:
        report(watched.target, watched.document)
    if not in_time:
        watched.say_timed_out(waiting.timeout_s or 0.0)
    if watched.view is None:
        return ExitCode.TIMED_OUT
    if not waiting.wait and watched.view.outcome is None:
        return ExitCode.DONE
    return exit_code_of(watched.view)


def report(target: Target, document: dict[str, Any]) -> None:
    """Prints a switch as it stands."""
    if target.json:
        show_json(document)
        return
    switch = view_of(document)
    show(render.headline(switch))
    if timing := render.timing(switch):
        show(timing)
    if switch.agents:
        show("")
        show(render.agents_of(switch))
