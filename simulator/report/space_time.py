"""The space-time diagram: every process a line, time to the right, messages slanting across.

Agents lie below the coordinators by their distance, so that what goes out from the leader is a cone,
and whoever hears late, or not at all, is seen at a glance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from attrs import define, field
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from simulator.report.drawing import (
    BAD,
    BANDS,
    EDGES,
    FAINT,
    FAULT,
    INK,
    MUTED,
    in_style,
    new_figure,
    plain_axes,
    svg,
)
from simulator.report.figures import duration
from simulator.report.lanes import Band, Lane, MarkKind, Shade, Window, around, lanes, whole
from simulator.results import Arrow, RunResult, SwitchResult
from turnout.protocol.clock import MS, SECOND

ARROWS: Mapping[str, str] = {
    "prepare": "#5b54d6",
    "vote": "#0b8fa3",
    "sync": "#c2660c",
    "report": "#a13bb8",
    "accept": "#55606e",
    "decide": "#1c2530",
}
OTHER_ARROW = "#98a3af"
MARKS: Mapping[MarkKind, tuple[str, str, float]] = {
    MarkKind.YES: ("o", "#0b8fa3", 5.0),
    MarkKind.NO: ("X", BAD, 7.0),
    MarkKind.FLIP: ("D", INK, 4.6),
    MarkKind.LIVE: ("*", "#e0a800", 9.5),
}
MOST_LANES = 44
MOST_ARROWS = 1500
_HALF = 0.34
_DENSE = 26
_NAMED_SWITCHES = 8
_LABEL_SHARE = 0.1
_DUE = "activation time"


def of_switch(run: RunResult, switch: SwitchResult) -> str:
    """One switch with all its messages, as SVG."""
    with in_style():
        return _Diagram(run, around(switch, run), [switch]).draw(messages=True)


def of_run(run: RunResult) -> str:
    """The whole run: what was served where, faults and switches; messages would be a blur."""
    with in_style():
        return _Diagram(run, whole(run), run.switches).draw(messages=False)


def hidden_lanes(run: RunResult) -> int:
    """How many processes a diagram leaves out."""
    return max(0, len(run.nodes) - MOST_LANES)


def legend(run: RunResult, switch: SwitchResult) -> tuple[dict[str, str], dict[str, str]]:
    """The colours of the messages and of the marks that a switch's diagram has."""
    sent = {arrow.what for arrow in _arrows_in(run, around(switch, run))}
    lines = {what: colour for what, colour in ARROWS.items() if what in sent}
    others = sorted(sent - set(ARROWS))
    done = {mark.kind for lane in lanes(run) for mark in lane.marks if mark.epoch == switch.epoch}
    dots = {str(kind): MARKS[kind][1] for kind in MarkKind if kind in done}
    return lines | ({", ".join(others): OTHER_ARROW} if others else {}), dots


def _arrows_in(run: RunResult, window: Window) -> list[Arrow]:
    return [
        arrow
        for arrow in run.story.arrows
        if window.overlaps(arrow.sent_ns, (arrow.received_ns or arrow.sent_ns) + 1)
    ]


@define
class _Diagram:
    run: RunResult
    window: Window
    switches: Sequence[SwitchResult]
    rows: dict[str, int] = field(factory=dict)
    titles: dict[str, str] = field(factory=dict)
    named: list[Shade] = field(factory=list)

    def draw(self, *, messages: bool) -> str:
        shown = self._shown_lanes(messages=messages)
        self.rows = {lane.node: row for row, lane in enumerate(shown)}
        figure, axes = self._axes(shown)
        self._steps(axes)
        for lane in shown:
            self._lane(axes, lane, marks=messages)
        if messages:
            seen = [a for a in _arrows_in(self.run, self.window) if self._is_drawn(a)]
            for arrow in seen[:MOST_ARROWS]:
                self._arrow(axes, arrow)
        return svg(figure, self.titles)

    # ----------------------------------------------------------------------- who is shown

    def _shown_lanes(self, *, messages: bool) -> list[Lane]:
        """The control plane first, then agents by distance; where it is too many, one a region."""
        every = [lane for lane in lanes(self.run) if not lane.node.startswith("operator ")]
        if not messages:
            every = [lane for lane in every if lane.is_agent or lane.shades]
        order = sorted(every, key=self._place())
        if len(order) <= MOST_LANES:
            return order
        firsts = {lane.region: lane.node for lane in reversed(order) if lane.is_agent}
        hurt = {lane.node for lane in order if lane.shades}
        weight = {
            lane.node: (lane.is_agent, lane.node not in firsts.values(), lane.node not in hurt)
            for lane in order
        }
        kept = {lane.node for lane in sorted(order, key=lambda x: weight[x.node])[:MOST_LANES]}
        return [lane for lane in order if lane.node in kept]

    def _place(self) -> Callable[[Lane], tuple[bool, bool, int, str]]:
        """Where a lane lies: the busiest coordinator, who leads, next to the nearest agents."""
        far, busy = self._distances(), Counter(one.sender for one in self.run.story.arrows)

        def place(lane: Lane) -> tuple[bool, bool, int, str]:
            away = far.get(lane.region, 0) if lane.is_agent else busy[lane.node]
            return lane.is_agent, not lane.node.startswith("etcd "), away, lane.region

        return place

    def _distances(self) -> dict[str, int]:
        """How long the fastest message to each region took."""
        region = dict(self.run.nodes)
        found: dict[str, int] = {}
        for arrow in self.run.story.arrows:
            if arrow.received_ns is not None and arrow.receiver.startswith("agent "):
                place, took = region[arrow.receiver], arrow.received_ns - arrow.sent_ns
                found[place] = min(found.get(place, took), took)
        return found

    # ----------------------------------------------------------------------- drawing

    def _axes(self, shown: Sequence[Lane]) -> tuple[Figure, Axes]:
        row_in = 0.19 if len(shown) > _DENSE else 0.27
        figure = new_figure(0.95 + row_in * len(shown))
        axes = figure.add_subplot()
        plain_axes(axes)
        axes.spines["bottom"].set_visible(False)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_yticks(range(len(shown)), [lane.node.removeprefix("agent ") for lane in shown])
        for label, lane in zip(axes.get_yticklabels(), shown, strict=True):
            label.set_color(INK if lane.is_agent else MUTED)
            label.set_fontsize(8.5)
        axes.set_xlim(self._x(self.window.since_ns), self._x(self.window.until_ns))
        unit = "ms after the switch was accepted" if self._unit_ns == MS else "seconds"
        axes.set_xlabel(unit, fontsize=8.5)
        return figure, axes

    @property
    def _unit_ns(self) -> int:
        return SECOND if self.window.zero_ns == 0 else MS

    def _x(self, at_ns: int) -> float:
        return (at_ns - self.window.zero_ns) / self._unit_ns

    def _clip(self, at_ns: int) -> float:
        return self._x(min(max(at_ns, self.window.since_ns), self.window.until_ns))

    def _titled(self, title: str) -> str:
        """A name for an element that shows this when pointed at."""
        name = f"t{len(self.titles)}"
        self.titles[name] = title
        return name

    def _lane(self, axes: Axes, lane: Lane, *, marks: bool) -> None:
        row = self.rows[lane.node]
        axes.axhline(row, color=FAINT, linewidth=1.0, zorder=1)
        for band in lane.bands:
            if self.window.overlaps(band.since_ns, band.until_ns):
                self._band(axes, lane, band, at_end=marks)
        for shade in lane.shades:
            if self.window.overlaps(shade.since_ns, shade.until_ns):
                self._shade(axes, lane, shade)
        for mark in lane.marks if marks else ():
            if self.window.shows(mark.at_ns):
                symbol, colour, size = MARKS[mark.kind]
                (point,) = axes.plot(
                    self._x(mark.at_ns), row, symbol, color=colour, markersize=size,
                    markeredgecolor="white", markeredgewidth=0.7, zorder=5,
                )  # fmt: skip
                after = duration(mark.at_ns - self.window.zero_ns)
                point.set_gid(self._titled(f"{lane.node} {mark.kind}, after {after}"))

    def _band(self, axes: Axes, lane: Lane, band: Band, *, at_end: bool) -> None:
        """A band with its epoch: at its beginning, or at its end where marks stand in the way."""
        since, until = self._clip(band.since_ns), self._clip(band.until_ns)
        box = Rectangle(
            (since, self.rows[lane.node] - _HALF), until - since, 2 * _HALF,
            facecolor=BANDS.get(band.colour, FAINT), linewidth=0, zorder=2,
        )  # fmt: skip
        box.set_gid(self._titled(f"{lane.node} serves epoch {band.epoch} ({band.colour})"))
        axes.add_patch(box)
        span = self._x(self.window.until_ns) - self._x(self.window.since_ns)
        if until - since > span * 0.02:
            at_end = at_end and band.since_ns > self.window.since_ns
            axes.text(
                until - span * 0.004 if at_end else since + span * 0.004, self.rows[lane.node],
                str(band.epoch), ha="right" if at_end else "left", va="center_baseline", fontsize=7,
                color=EDGES.get(band.colour, MUTED), zorder=3, clip_on=True,
            )  # fmt: skip

    def _shade(self, axes: Axes, lane: Lane, shade: Shade) -> None:
        """A fault over its lane; the uppermost lane of it says what it is."""
        row = self.rows[lane.node]
        since, until = self._clip(shade.since_ns), self._clip(shade.until_ns)
        box = Rectangle(
            (since, row - 0.5), until - since, 1.0, facecolor=(*to_rgb(FAULT), 0.16),
            linewidth=0, zorder=2.5,
        )  # fmt: skip
        box.set_gid(self._titled(f"{lane.node}: {shade.text}"))
        axes.add_patch(box)
        span = self._x(self.window.until_ns) - self._x(self.window.since_ns)
        if shade not in self.named and until - since > span * 0.08:
            self.named.append(shade)
            axes.text(
                (since + until) / 2, row, shade.kind, ha="center", va="center_baseline",
                fontsize=8, color="#8a4506", zorder=6, clip_on=True,
                bbox={"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 1.5},
            )  # fmt: skip

    def _steps(self, axes: Axes) -> None:
        """Lines down through all: what the switch as a whole came to, and when."""
        last_x, room = float("-inf"), self.window.length_ns / self._unit_ns * _LABEL_SHARE
        for at_ns, text, colour in sorted(self._moments()):
            x = self._x(at_ns)
            is_close, last_x = x - last_x < room, x
            dashes = (0, (4, 3)) if text == _DUE else "-"
            axes.axvline(x, color=colour, linestyle=dashes, linewidth=1.1, zorder=2.2)
            axes.annotate(
                text, (x, 1), xycoords=("data", "axes fraction"), fontsize=8, color=colour,
                xytext=(3, 13 if is_close else 3), textcoords="offset points",
            )  # fmt: skip

    def _moments(self) -> list[tuple[int, str, str]]:
        """When, what and in which colour; of a whole run one for each switch."""
        found: list[tuple[int | None, str, str]] = []
        for switch in self.switches:
            if self._unit_ns == MS:
                found += [
                    (switch.accepted_ns, "accepted", MUTED),
                    (switch.decided_ns, "decided", INK),
                ]
                found += [(switch.due_ns, _DUE, "#7a3fc4")]
                found += [(switch.live_ns, "live everywhere", EDGES["green"])]
            else:
                outcome = (switch.outcome or "open").replace("_", " ")
                is_few = len(self.switches) <= _NAMED_SWITCHES
                text = f"epoch {switch.epoch}: {outcome}" if is_few else str(switch.epoch)
                found.append((switch.accepted_ns, text, INK))
        return [(at, text, c) for at, text, c in found if at is not None and self.window.shows(at)]

    def _is_drawn(self, arrow: Arrow) -> bool:
        return arrow.sender in self.rows and arrow.receiver in self.rows

    def _arrow(self, axes: Axes, arrow: Arrow) -> None:
        start, end = self.rows[arrow.sender], self.rows[arrow.receiver]
        colour = ARROWS.get(arrow.what, OTHER_ARROW)
        is_lost = arrow.received_ns is None
        received_ns = arrow.received_ns or arrow.sent_ns + self.window.length_ns // 25
        tip = start + (end - start) * (0.45 if is_lost else 1.0)
        patch = FancyArrowPatch(
            (self._x(arrow.sent_ns), start), (self._x(received_ns), tip),
            arrowstyle="-" if is_lost else "-|>", mutation_scale=7, color=colour, linewidth=0.9,
            linestyle=":" if is_lost else "-", alpha=0.8, shrinkA=0, shrinkB=0, zorder=4,
        )  # fmt: skip
        took = "lost" if is_lost else f"in {duration(received_ns - arrow.sent_ns)}"
        patch.set_gid(self._titled(f"{arrow.what}: {arrow.sender} to {arrow.receiver}, {took}"))
        axes.add_patch(patch)
        if is_lost:
            axes.plot(self._x(received_ns), tip, "x", color=BAD, markersize=5, zorder=4.5)
