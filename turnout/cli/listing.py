"""A list of things for people: a table where it fits, a block of lines for each where it does not.

Nothing is ever cut off: a name that ends in the middle names something else. A column in which
nobody has anything to say is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

Row = Sequence[str | Text]

# What may run on over several lines, and how narrow it may become before a table is none any more.
_PROSE = frozenset(
    {"REASON", "TEXT", "CHANGE", "MATCHES", "IN FORCE", "IN THE FILE", "FOUND", "MEND"}
)
_LEAST_PROSE = 18
_GAP = 2


class Listing(Table):
    """Headings and rows, which draw themselves for the width at hand."""

    def __init__(self, headings: Sequence[str], rows: Iterable[Row]) -> None:
        super().__init__(
            box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0)
        )
        given = [list(row) for row in rows]
        said = [n for n in range(len(headings)) if not given or any(str(row[n]) for row in given)]
        self._headings = [headings[n] for n in said]
        self._given = [[row[n] for n in said] for row in given]
        for heading in self._headings:
            self.add_column(heading, no_wrap=heading not in _PROSE, overflow="fold")
        for row in self._given:
            self.add_row(*row)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, or the blocks where even with its prose wrapped it would not fit."""
        if self._least_width() <= options.max_width:
            yield from super().__rich_console__(console, options)
        else:
            yield from self._blocks()

    def _least_width(self) -> int:
        widths = [
            min(width, _LEAST_PROSE) if heading in _PROSE else width
            for heading, width in zip(self._headings, self._widths(), strict=True)
        ]
        return sum(widths) + _GAP * (len(widths) - 1)

    def _widths(self) -> list[int]:
        return [
            max(_width(heading), *(_width(str(row[n])) for row in self._given), 0)
            for n, heading in enumerate(self._headings)
        ]

    def _blocks(self) -> RenderResult:
        for number, (first, *others) in enumerate(self._given):
            if number and str(first):
                yield ""
            if str(first):
                yield Text(str(first), style="bold")
            block = Table.grid(padding=(0, _GAP, 0, 0))
            block.add_column(no_wrap=True, style="dim")
            block.add_column(overflow="fold")
            for heading, value in zip(self._headings[1:], others, strict=True):
                if str(value):
                    block.add_row(f"  {heading.lower()}", value)
            yield block


def _width(cell: str) -> int:
    """How many columns the longest of its lines takes."""
    return max(cell_len(line) for line in cell.split("\n"))
