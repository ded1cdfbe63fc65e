"""A switch as it goes on: a tree of regions on a terminal, lines of text elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from turnout.cli import render
from turnout.cli.render_lines import LineDisplay
from turnout.cli.switch_view import AgentView, SwitchView
from turnout.protocol.records import OutcomeKind

_REFRESH_PER_S = 10


class Display(Protocol):
    """Shows a switch at each of its changes."""

    def __enter__(self) -> Self:
        """Begins to show."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends, leaving what was said last."""

    def update(self, switch: SwitchView) -> None:
        """Shows the switch as it stands now."""


def display_on(console: Console) -> Display:
    """The display that fits a console."""
    redraws = console.is_terminal and not console.is_dumb_terminal
    return LiveDisplay(console) if redraws else LineDisplay(console)


class LiveDisplay:
    """A tree of regions that is drawn anew in place, by a thread of rich's: no trio in here."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._spinner = Spinner("dots", style=render.WAITING)
        self._switch: SwitchView | None = None
        self._live = Live(
            console=console,
            refresh_per_second=_REFRESH_PER_S,
            get_renderable=self._draw,
            transient=True,
        )

    def __enter__(self) -> Self:
        """Begins to draw."""
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wipes the drawing: the caller prints the result."""
        self._live.__exit__(kind, error, trace)

    def update(self, switch: SwitchView) -> None:
        """Draws the switch as it stands now."""
        self._switch = switch
        self._live.refresh()

    def _draw(self) -> RenderableType:
        if self._switch is None:
            return self._spinner
        return drawing(self._switch, waited_s=self._clock() - self._started, busy=self._spinner)


def drawing(switch: SwitchView, *, waited_s: float, busy: RenderableType) -> RenderableType:
    """The tree: a headline, a line for each region (and agent, where it has several)."""
    headline = render.headline(switch).append(_so_far(switch, waited_s), style=render.QUIET)
    head = Table.grid(padding=(0, 1))
    head.add_row(busy, headline)
    rows = Table.grid(padding=(0, 1))
    for _ in ("region", "vote", "landing"):
        rows.add_column(no_wrap=True)
    for _ in ("drain", "reason"):
        rows.add_column(overflow="fold")
    regions = list(switch.regions.items())
    for number, (region, agents) in enumerate(regions, start=1):
        _add_region(rows, switch, region, agents, last=number == len(regions))
    parts: list[RenderableType] = [head, rows]
    if timing := render.timing(switch):
        parts.append(Text("  " + timing, style=render.QUIET))
    return Group(*parts)


def _so_far(switch: SwitchView, waited_s: float) -> str:
    if switch.outcome is None:
        return f", {waited_s:.1f} s of {switch.sla.budget_s:g} s"
    in_flight = sum(agent.in_flight or 0 for agent in switch.agents)
    return f", draining: {in_flight} in flight" if in_flight else ""


def _add_region(
    rows: Table, switch: SwitchView, region: str, agents: tuple[AgentView, ...], *, last: bool
) -> None:
    branch, trunk = ("└─", "  ") if last else ("├─", "│ ")
    if len(agents) == 1:
        rows.add_row(Text(f"  {branch} {region}"), *_cells(switch, agents[0]))
        return
    yes = sum(agent.vote == "yes" for agent in agents)
    live = sum(agent.live_at is not None for agent in agents)
    rows.add_row(
        Text(f"  {branch} {region}"),
        Text(f"{yes}/{len(agents)} yes"),
        Text(f"{live}/{len(agents)} live"),
    )
    for number, agent in enumerate(agents, start=1):
        leaf = "└─" if number == len(agents) else "├─"
        rows.add_row(Text(f"  {trunk} {leaf} {agent.agent}"), *_cells(switch, agent))


def _cells(switch: SwitchView, agent: AgentView) -> tuple[Text, ...]:
    return (
        _voting(switch, agent),
        _landing(switch, agent),
        _draining(switch, agent),
        Text(agent.reason, style=render.BAD if agent.reason else ""),
    )


def _voting(switch: SwitchView, agent: AgentView) -> Text:
    if agent.vote is None and agent.asked and switch.phase == "preparing":
        return Text("asked", style=render.WAITING)
    shown = render.vote(agent)
    return Text(f"votes {shown.plain}", style=shown.style) if agent.vote else shown


def _landing(switch: SwitchView, agent: AgentView) -> Text:
    if agent.live_at is not None:
        return Text(f"live {render.after(switch.accepted_at, agent.live_at)}", style=render.GOOD)
    if agent.flipped_at is not None:
        return Text("flipped, being probed", style=render.WAITING)
    if not agent.asked:
        return Text("not asked", style=render.QUIET)
    if switch.phase == "preparing":
        return Text("staged" if agent.vote == "yes" else "staging", style=render.QUIET)
    if switch.outcome in (OutcomeKind.ABORTED, OutcomeKind.ROLLED_BACK):
        return Text("unchanged", style=render.QUIET)
    if switch.outcome is None:
        return Text("committed", style=render.WAITING)
    return Text("not live", style=render.WAITING)


def _draining(switch: SwitchView, agent: AgentView) -> Text:
    if agent.in_flight is None or agent.live_at is None:
        return Text("")
    shown = render.drain(agent, switch)
    return Text(f"drain: {shown.plain}", style=shown.style)
