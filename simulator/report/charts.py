"""Charts of durations: time to live against its lower bound and the promise, skew, kinds of fault."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from simulator.report.drawing import (
    BAD,
    EDGES,
    FAINT,
    INK,
    MUTED,
    in_style,
    new_figure,
    plain_axes,
    svg,
)
from simulator.report.figures import KindResult, duration, known, promise, quantile
from simulator.results import SwitchResult
from turnout.protocol.clock import MS, SECOND

LIVE, SCHEDULED, IMMEDIATE = "#2f6fde", "#7a3fc4", "#0b8fa3"
OUTCOME_COLOURS = {
    "live": EDGES["green"],
    "partial": "#e0a800",
    "aborted": "#98a3af",
    "rolled_back": "#c2660c",
    "open": BAD,
}
TARGETS = (("median", 0.5, 1.25), ("p99", 0.99, 1.6))
"""What a fault-free, immediate switch must keep to, in lower bounds."""

_BINS = 60


def _over(axes: Axes, x: float, text: str, colour: str, *, dashed: bool = False) -> None:
    """A line from top to bottom with its name above it."""
    axes.axvline(x, color=colour, linewidth=1.2, linestyle=(0, (4, 3)) if dashed else "-")
    axes.annotate(
        text, (x, 1), xycoords=("data", "axes fraction"), xytext=(0, 4),
        textcoords="offset points", ha="center", fontsize=8.5, color=colour,
    )  # fmt: skip


def _promise(axes: Axes, budgets_ns: Sequence[int]) -> None:
    """Where the promise ends: a line; of runs that promise different times all between."""
    least_s, most_s = budgets_ns[0] / SECOND, budgets_ns[-1] / SECOND
    if least_s < most_s:
        axes.axvspan(least_s, most_s, color=BAD, alpha=0.14, linewidth=0)
    _over(axes, most_s, promise(budgets_ns), BAD)


def _end_ns(budgets_ns: Sequence[int]) -> int:
    """How far an axis goes: the promise is not its end."""
    return max(60 * SECOND, 2 * budgets_ns[-1])


def _log_seconds(axes: Axes, low_ns: float, high_ns: float) -> None:
    """A logarithmic axis whose ticks are round durations."""
    axes.set_xscale("log")
    axes.set_xlim(low_ns / SECOND, high_ns / SECOND)
    ticks_ns = [n * 10**power for power in range(4, 13) for n in (1, 3)]
    shown = [ns for ns in ticks_ns if low_ns <= ns <= high_ns]
    labels = [f"{ns / SECOND:g} s" if ns >= SECOND else f"{ns / MS:g} ms" for ns in shown]
    axes.set_xticks([ns / SECOND for ns in shown], labels)
    axes.minorticks_off()


def elapsed_of_run(switches: Sequence[SwitchResult], budget_ns: int) -> str:
    """Each switch's time to live as a bar, its lower bound as a tick, and the promise."""
    shown = [one for one in switches if one.elapsed_ns is not None]
    with in_style():
        figure = new_figure(0.95 + 0.34 * len(shown), 5.9)
        axes = figure.add_subplot()
        plain_axes(axes)
        for row, one in enumerate(shown):
            elapsed_s = (one.elapsed_ns or 0) / SECOND
            colour = OUTCOME_COLOURS[one.outcome or "open"]
            axes.barh(row, elapsed_s, height=0.56, color=colour, alpha=0.85)
            axes.annotate(
                duration(one.elapsed_ns), (elapsed_s, row), xytext=(5, 0),
                textcoords="offset points", va="center", fontsize=8.5, color=INK,
            )  # fmt: skip
            if one.lower_bound_ns is not None:
                bound_s = one.lower_bound_ns / SECOND
                axes.plot([bound_s] * 2, [row - 0.42, row + 0.42], color=INK, linewidth=2)
        axes.set_yticks(range(len(shown)), [f"epoch {one.epoch} {one.kind}" for one in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        least = min(known(one.lower_bound_ns or one.elapsed_ns for one in shown), default=SECOND)
        _log_seconds(axes, max(least, MS) / 4, _end_ns([budget_ns]))
        _promise(axes, [budget_ns])
        return svg(figure)


def skew_of_run(switches: Sequence[SwitchResult]) -> str:
    """When each agent that was in time flipped, counted from the first flip of its switch."""
    with in_style():
        figure = new_figure(0.95 + 0.34 * len(switches), 5.9)
        axes = figure.add_subplot()
        plain_axes(axes)
        for row, one in enumerate(switches):
            late = set(one.laggards)
            flips = known(agent.flipped_ns for agent in one.agents if agent.agent not in late)
            if one.scheduled and one.bound_ns is not None:
                axes.barh(row, 2 * one.bound_ns / MS, height=0.7, color=SCHEDULED, alpha=0.14)
            first_ns = min(flips, default=0)
            since = sorted({round((at_ns - first_ns) / MS, 2) for at_ns in flips})
            colour = SCHEDULED if one.scheduled else IMMEDIATE
            axes.plot(since, [row] * len(since), "|", color=colour, markersize=13, mew=1.6)
        names = [f"epoch {x.epoch} {'sched.' if x.scheduled else 'immed.'}" for x in switches]
        axes.set_yticks(range(len(switches)), names)
        axes.set_ylim(len(switches) - 0.4, -0.6)
        axes.set_xscale("symlog", linthresh=1.0)
        axes.set_xlim(left=-0.1)
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.set_xlabel("ms after the first flip")
        return svg(figure)


def elapsed_of_sweep(switches: Sequence[SwitchResult], budgets_ns: Sequence[int]) -> str:
    """The distribution of time to live, with that of the lower bounds behind it."""
    elapsed = known(one.elapsed_ns for one in switches)
    bounds = known(one.lower_bound_ns for one in switches)
    with in_style():
        figure = new_figure(3.4)
        axes = figure.add_subplot()
        plain_axes(axes, grid="both")
        low_ns = min([*elapsed, *bounds], default=SECOND) / 1.5
        end_ns = _end_ns(budgets_ns)
        bins = np.geomspace(max(low_ns, MS), end_ns, _BINS) / SECOND
        _histogram(axes, bounds, bins, MUTED, "lower bound", filled=False)
        _histogram(axes, elapsed, bins, LIVE, "accepted until over", filled=True)
        _log_seconds(axes, max(low_ns, MS), end_ns)
        _promise(axes, budgets_ns)
        for name, share in (("median", 0.5), ("p99", 0.99)):
            at_ns = quantile(elapsed, share)
            if at_ns is not None:
                _over(axes, at_ns / SECOND, f"{name} {duration(at_ns)}", INK, dashed=True)
        axes.set_ylabel("switches")
        axes.legend(frameon=False, loc="upper center")
        return svg(figure)


def _histogram(
    axes: Axes, values_ns: Sequence[int], bins: np.ndarray, colour: str, label: str, *, filled: bool
) -> None:
    axes.hist(
        np.asarray(values_ns) / SECOND, bins=list(bins), label=label,
        histtype="stepfilled" if filled else "step", facecolor=colour if filled else "none",
        edgecolor="none" if filled else colour, alpha=0.75 if filled else 1.0, linewidth=1.6,
    )  # fmt: skip


def ratio_of_sweep(switches: Sequence[SwitchResult]) -> str:
    """How many switches took at most so many lower bounds."""
    ratios = sorted(
        one.elapsed_ns / one.lower_bound_ns
        for one in switches
        if one.elapsed_ns and one.lower_bound_ns and one.outcome == "live" and not one.scheduled
    )
    with in_style():
        figure = new_figure(3.0, 5.9)
        axes = figure.add_subplot()
        plain_axes(axes, grid="both")
        shares = np.arange(1, len(ratios) + 1) / max(len(ratios), 1)
        axes.step(ratios, shares, where="post", color=LIVE, linewidth=2)
        for name, share, target in TARGETS:
            axes.plot([target], [share], "o", color=BAD, markersize=6)
            axes.annotate(
                f"{name}: {target:g} x", (target, share), xytext=(7, -11),
                textcoords="offset points", fontsize=8.5, color=BAD,
            )  # fmt: skip
        most = max([2.0, *ratios]) * 1.1
        axes.set_xscale("log")
        axes.set_xlim(0.9, most)
        ticks = [tick for tick in (1, 1.5, 2, 3, 5, 10, 20, 50, 100) if tick < most]
        axes.set_xticks(ticks, [f"{tick:g} x" for tick in ticks])
        axes.minorticks_off()
        axes.set_ylim(0, 1.04)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.0%}"))
        axes.set_xlabel("elapsed, in lower bounds (live, immediate)")
        return svg(figure)


def skew_of_sweep(switches: Sequence[SwitchResult]) -> str:
    """How far apart the first and the last flip were, scheduled and immediate."""
    groups = {
        "scheduled": (SCHEDULED, known(one.skew_ns for one in switches if one.scheduled)),
        "immediate": (IMMEDIATE, known(one.skew_ns for one in switches if not one.scheduled)),
    }
    allowed = known(one.bound_ns for one in switches if one.scheduled)
    with in_style():
        figure = new_figure(3.0, 5.9)
        axes = figure.add_subplot()
        plain_axes(axes, grid="both")
        every = [ns for _, values in groups.values() for ns in values if ns > 0]
        low_ns, high_ns = min(every, default=MS), max([*every, 2 * max(allowed, default=MS)])
        bins = np.geomspace(low_ns / 1.2, high_ns * 1.5, _BINS // 2) / SECOND
        for name, (colour, values) in groups.items():
            if values:
                _histogram(axes, values, bins, colour, name, filled=True)
        _log_seconds(axes, low_ns / 1.2, high_ns * 1.5)
        if allowed:
            _over(axes, 2 * max(allowed) / SECOND, "sum of two bounds", SCHEDULED, dashed=True)
        axes.set_ylabel("switches")
        axes.legend(frameon=False)
        return svg(figure)


def kinds_of_sweep(kinds: Sequence[KindResult], budgets_ns: Sequence[int]) -> str:
    """For each kind of fault: what its switches came to, and how long they took."""
    with in_style():
        figure = new_figure(0.9 + 0.27 * len(kinds))
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1))
        for axes in (left, right):
            plain_axes(axes)
        _outcome_bars(figure, left, kinds)
        for row, kind in enumerate(kinds):
            s = kind.elapsed
            if s.median_ns is not None and s.largest_ns is not None and s.p99_ns is not None:
                right.plot(
                    [s.median_ns / SECOND, s.largest_ns / SECOND], [row] * 2, color=FAINT, lw=5
                )
                right.plot(s.median_ns / SECOND, row, "o", color=LIVE, markersize=5)
                right.plot(s.p99_ns / SECOND, row, "|", color=INK, markersize=9, mew=2)
                right.plot(s.largest_ns / SECOND, row, "o", color=INK, markersize=5)
        medians = known(kind.elapsed.median_ns for kind in kinds)
        _log_seconds(right, max(min(medians, default=SECOND), MS) / 2, _end_ns(budgets_ns))
        _promise(right, budgets_ns)
        right.set_xlabel("median, p99 and longest time until over")
        left.set_yticks(range(len(kinds)), [f"{one.kind} ({one.runs:,})" for one in kinds])
        left.set_ylim(len(kinds) - 0.4, -0.6)
        return svg(figure)


def _outcome_bars(figure: Figure, axes: Axes, kinds: Sequence[KindResult]) -> None:
    starts = [0.0] * len(kinds)
    for outcome, colour in OUTCOME_COLOURS.items():
        shares = [k.outcomes.get(outcome, 0) / max(sum(k.outcomes.values()), 1) for k in kinds]
        if any(shares):
            label = outcome.replace("_", " ")
            axes.barh(range(len(kinds)), shares, 0.62, left=starts, color=colour, label=label)
            starts = [start + share for start, share in zip(starts, shares, strict=True)]
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0%}"))
    axes.set_xlabel("of the switches in runs with this fault (runs)")
    figure.legend(frameon=False, ncols=5, loc="outside upper left")
