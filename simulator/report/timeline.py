"""A window of a run in characters: a line for each region, a cell for each stretch of time.

    eu-west-1       1────────V─────────F2━━━L━━━━━━
    ap-northeast-1  1────────V╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌

A thin line is blue, a thick one green, a double one where a region's agents differ; broken while a
fault touches the region. So it can be read without colours, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text

from simulator.report.figures import duration
from simulator.report.lanes import Lane, MarkKind, Window
from simulator.results import SwitchResult
from turnout.protocol.identifiers import Region

_LINES = {"blue": ("─", "╌"), "green": ("━", "╍")}
_MIXED, _NOTHING = ("═", "═"), (" ", "░")
_STYLES = {"blue": "blue", "green": "green", "mixed": "yellow"}
_LETTERS = {MarkKind.YES: "V", MarkKind.NO: "N", MarkKind.FLIP: "F", MarkKind.LIVE: "L"}
_FAULT = " on grey23"
_TICKS = 5

KEY = (
    "A accepted  V yes  N no  D decided  T activation time  F flips  L live  "
    "─ blue  ━ green  ═ both  ╌ fault"
)


def draw(
    lanes: Sequence[Lane], switches: Sequence[SwitchResult], window: Window, width: int
) -> list[Text]:
    """The lines of a drawing this many characters wide."""
    regions = dict.fromkeys(lane.region for lane in lanes if lane.is_agent or lane.shades)
    names = max((len(region) for region in regions), default=0) + 2
    cells = max(width - names, 20)
    lines = [_axis(window, names, cells), _steps(switches, window, names, cells)]
    for region in regions:
        inside = [lane for lane in lanes if lane.region == region]
        lines.append(_region_line(region, inside, window, names, cells))
    return lines


def _cell(at_ns: int, window: Window, cells: int) -> int:
    return min(cells - 1, (at_ns - window.since_ns) * cells // window.length_ns)


def _axis(window: Window, names: int, cells: int) -> Text:
    """Moments, counted from the window's zero."""
    line = [" "] * cells
    for tick in range(_TICKS):
        at = tick * (cells - 1) // (_TICKS - 1)
        at_ns = window.since_ns + tick * window.length_ns // (_TICKS - 1) - window.zero_ns
        label = f"{'-' if at_ns < 0 else ''}{duration(abs(at_ns))}"
        start = min(at, cells - len(label))
        line[start : start + len(label)] = label
    return Text(" " * names + "".join(line), style="dim")


def _steps(switches: Sequence[SwitchResult], window: Window, names: int, cells: int) -> Text:
    """What happened to each switch as a whole."""
    line = [" "] * cells
    for switch in switches:
        steps = ((switch.live_ns, "L"), (switch.due_ns, "T"), (switch.decided_ns, "D"))
        for at_ns, letter in (*steps, (switch.accepted_ns, "A")):
            if at_ns is not None and window.shows(at_ns):
                line[_cell(at_ns, window, cells)] = letter
    return Text(f"{'switch':<{names}}" + "".join(line), style="bold")


def _region_line(
    region: Region, lanes: Sequence[Lane], window: Window, names: int, cells: int
) -> Text:
    text = Text(f"{region:<{names}}", style="none")
    letters, colours = _letters(lanes, window, cells), _colours(lanes, window, cells)
    hurt = _hurt(lanes, window, cells)
    for cell in range(cells):
        found = colours[cell]
        colour = next(iter(found)) if len(found) == 1 else "mixed" if found else ""
        line = _LINES.get(colour, _MIXED if colour == "mixed" else _NOTHING)
        style = _STYLES.get(colour, "dim") + (_FAULT if cell in hurt else "")
        letter = letters.get(cell)
        text.append(letter or line[cell in hurt], style=f"bold {style}" if letter else style)
    return text


def _colours(lanes: Sequence[Lane], window: Window, cells: int) -> list[set[str]]:
    """All that the region's agents served at the end of each cell."""
    found: list[set[str]] = [set() for _ in range(cells)]
    for lane in lanes:
        for band in lane.bands:
            if window.overlaps(band.since_ns, band.until_ns):
                first = _cell(max(band.since_ns, window.since_ns), window, cells)
                last = _cell(min(band.until_ns, window.until_ns), window, cells)
                is_end = band.until_ns >= window.until_ns
                for cell in range(first, cells if is_end else last):
                    found[cell].add(band.colour)
    return found


def _hurt(lanes: Sequence[Lane], window: Window, cells: int) -> set[int]:
    """The cells in which a fault touches any of them."""
    found: set[int] = set()
    for shade in dict.fromkeys(shade for lane in lanes for shade in lane.shades):
        if window.overlaps(shade.since_ns, shade.until_ns):
            first = _cell(max(shade.since_ns, window.since_ns), window, cells)
            last = _cell(min(shade.until_ns, window.until_ns), window, cells)
            found.update(range(first, last + 1))
    return found


def _letters(lanes: Sequence[Lane], window: Window, cells: int) -> Mapping[int, str]:
    """Marks by cell, the weightier ones over the others, and the epoch where it is new."""
    letters: dict[int, str] = {}
    epochs: dict[int, str] = {}
    for lane in lanes:
        for band in lane.bands:
            if window.overlaps(band.since_ns, band.until_ns):
                start = _cell(max(band.since_ns, window.since_ns), window, cells)
                start += band.since_ns > window.since_ns
                epochs |= {start + n: digit for n, digit in enumerate(str(band.epoch))}
    for kind in (MarkKind.YES, MarkKind.LIVE, MarkKind.FLIP, MarkKind.NO):
        for lane in lanes:
            for mark in lane.marks:
                if mark.kind is kind and window.shows(mark.at_ns):
                    letters[_cell(mark.at_ns, window, cells)] = _LETTERS[kind]
    return {cell: letter for cell, letter in (epochs | letters).items() if cell < cells}
