"""A switch as lines of text, for logs, CI and pipes: each fact once, in the order of things.

What a coordinator tells are whole views, and views jump: one may bring votes, the decision and
the first live agents together, and the first view of a new leader may know less than the last of
the old one. So the order is not that in which facts are heard of. It is that of the steps of a
switch, and a fact of an earlier step than one that was told already is not told any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from types import TracebackType
from typing import Self

from attrs import frozen
from rich.console import Console

from turnout.cli import render
from turnout.cli.switch_view import AgentView, SwitchView
from turnout.protocol.records import OutcomeKind


class Step(IntEnum):
    """The steps of a switch, in their order."""

    ASKED = 0
    VOTES = 1
    COMMITTED = 2
    LIVE = 3
    OUTCOME = 4
    CAUGHT_UP = 5
    DRAINING = 6
    DRAINED = 7
    RELEASED = 8


_DRAIN_STEPS = {
    "draining": (Step.DRAINING, "draining"),
    "retained": (Step.DRAINED, "drained"),
    "released": (Step.RELEASED, "released"),
}


@frozen(kw_only=True)
class Fact:
    """One thing to tell; ``who`` sets apart what several agents do in one step."""

    step: Step
    text: str
    who: str = ""


class LineDisplay:
    """Tells every new fact in a line of its own."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: set[str] = set()
        self._at = Step.ASKED

    def __enter__(self) -> Self:
        """Begins to show."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is left to undo."""

    def update(self, switch: SwitchView) -> None:
        """Tells what has not been told yet."""
        for fact in facts_of(switch):
            key = fact.who or fact.step.name
            if key not in self._told and self._is_in_order(fact):
                self._told.add(key)
                self._at = max(self._at, fact.step)
                self._console.print(f"epoch {switch.epoch}: {fact.text}", soft_wrap=True)

    def _is_in_order(self, fact: Fact) -> bool:
        """Whoever catches up after a partial outcome does so while the others drain."""
        return fact.step >= self._at or fact.step is Step.CAUGHT_UP


def facts_of(switch: SwitchView) -> Iterator[Fact]:
    """All that a view tells, step by step."""
    yield Fact(step=Step.ASKED, text=switch.title)
    yield from _votes(switch)
    if switch.phase not in ("preparing", "aborted"):
        at = switch.activation.time
        due = f", flips at {render.clock_time(at)}" if at and switch.phase == "committed" else ""
        yield Fact(step=Step.COMMITTED, text=f"committed{due}")
    behind = {laggard.agent for laggard in switch.laggards}
    yield from _lives(switch, Step.LIVE, [a for a in switch.agents if a.agent not in behind])
    if switch.outcome is not None:
        yield Fact(step=Step.OUTCOME, text=render.conclusion(switch).plain)
    yield from _lives(switch, Step.CAUGHT_UP, [a for a in switch.agents if a.agent in behind])
    if switch.outcome in (OutcomeKind.LIVE, OutcomeKind.PARTIAL) and switch.phase in _DRAIN_STEPS:
        step, text = _DRAIN_STEPS[switch.phase]
        if step is Step.DRAINING and switch.is_drained:
            step, text = Step.DRAINED, "drained wherever it is live"
        yield Fact(step=step, text=text)


def _votes(switch: SwitchView) -> Iterator[Fact]:
    for region, agents in switch.regions.items():
        for agent in agents:
            if agent.vote in ("yes", "no"):
                because = f": {agent.reason}" if agent.vote == "no" and agent.reason else ""
                text = f"{region} {agent.agent} votes {agent.vote}{because}"
                yield Fact(step=Step.VOTES, text=text, who=f"{agent.agent} {agent.vote}")


def _lives(switch: SwitchView, step: Step, agents: list[AgentView]) -> Iterator[Fact]:
    there = [agent for agent in agents if agent.live_at is not None]
    for agent in sorted(there, key=lambda one: (one.live_at or "", one.agent)):
        after = render.after(switch.accepted_at, agent.live_at)
        text = f"{agent.region} {agent.agent} live {after}"
        yield Fact(step=step, text=text, who=f"{agent.agent} live")
