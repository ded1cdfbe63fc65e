"""Waiting for a switch: following it, showing it, and ending with the exit code of its outcome."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import click
import trio
from attrs import define, frozen
from rich.console import Group

from turnout.cli import render
from turnout.cli.api_client import Api
from turnout.cli.exit_codes import CommandError, exit_code_of
from turnout.cli.options import WAIT, F, Target
from turnout.cli.render_switch import display_on
from turnout.cli.switch_view import SwitchView, view_of
from turnout.cli.terminal import say, show, show_json, stderr
from turnout.protocol.records import OutcomeKind
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

    def limit(self) -> trio.CancelScope:
        """Ends all that a command does, the asking included, when its time is over."""
        timeout_s = float("inf") if self.timeout_s is None else self.timeout_s
        return trio.move_on_after(timeout_s)


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
    type=WAIT,
    default="60s",
    show_default=True,
    help="Give up after this long: exit code 8 if nobody has answered by then, 7 if it was accepted"
    " and its outcome is not known.",
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
    """A switch being watched; kept outside the watching task, for whoever interrupts it.

    Attributes:
        unanswered: what is not known, and what to do, as long as nobody has answered.
    """

    target: Target
    unanswered: str
    epoch: int | None = None
    document: dict[str, Any] | None = None

    @property
    def view(self) -> SwitchView | None:
        """The switch as last heard of."""
        return view_of(self.document) if self.document else None

    def heard(self, document: dict[str, Any]) -> None:
        """Takes in a switch as a coordinator tells it."""
        self.document, self.epoch = document, int(document["epoch"])

    def on_interrupt(self) -> None:
        """Says that only the watching ended, and how to go on."""
        view = self.view
        if view is None:
            say(f"Interrupted before a coordinator answered. {self.unanswered}")
        elif view.outcome is None:
            say(f"Stopped watching; switch {view.epoch} goes on. {self._further(view)}")
        else:
            text = f"Stopped watching; switch {view.epoch} is {_in_words(view)}, its drain goes on."
            say(f"{text} {self._further(view)}")

    def given_up(self, timeout_s: float | None, trouble: str) -> None:
        """Says that time is over and how to resume; ``trouble`` is what a coordinator said last.

        Raises CommandError if none ever took the request.
        """
        view, waited = self.view, f"{timeout_s or 0.0:g} s"
        if view is None:
            text = f"No coordinator answered within {waited}. {self.unanswered}"
            if trouble:
                text = f"{trouble}; that was so for {waited}. {self.unanswered}"
            raise CommandError(text, ExitCode.UNREACHABLE)
        if view.outcome is None:
            text = f"The outcome of switch {view.epoch} is not known after {waited}; it goes on."
        else:
            text = f"Switch {view.epoch} is {_in_words(view)}, and still draining after {waited}."
        say(f"{text} {self._further(view)}")

    def _further(self, view: SwitchView) -> str:
        flags = self.target.flags()
        text = f"Watch it again: turnout watch {view.epoch}{flags}"
        if view.phase == "preparing":
            text += f"; abort it: turnout abort {view.epoch}{flags}"
        elif view.kind != "rollback":
            what = f"{view.service} " if view.service else ""
            text += f"; undo it: turnout rollback {what}--undo {view.epoch}{flags}"
        return text


def _in_words(switch: SwitchView) -> str:
    return "live everywhere" if switch.outcome is OutcomeKind.LIVE else str(switch.outcome)


async def follow_to_end(
    api: Api, watched: Watched, waiting: Waiting, *, stream_json: bool = False
) -> None:
    """Follows the switch until what is waited for has come; a limit around it ends it sooner."""
    assert watched.epoch is not None
    until = "outcome" if waiting.wait_for == "live" else "drained"
    patient = watched.document is not None
    shown: dict[str, Any] | None = None
    with display_on(stderr()) as display:
        async with aclosing(api.follow(watched.epoch, until=until, patient=patient)) as documents:
            async for document in documents:
                if stream_json and document != shown:
                    shown = document
                    show_json(document, going_on=True)
                watched.heard(document)
                switch = view_of(document)
                display.update(switch)
                if waiting.is_over(switch):
                    return


def exit_code_after(watched: Watched, waiting: Waiting) -> ExitCode:
    """The exit code of a switch as last heard of; without waiting, acceptance is all it takes."""
    assert watched.view is not None
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
        show(Group("", render.agents_of(switch)))
        return
    for entries, listing in (
        (switch.laggards, render.laggards),
        (switch.timeline, render.timeline),
    ):
        if entries:
            show(Group("", listing(switch)))
