"""What a search came to, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from attrs import frozen
from rich.console import Group, RenderableType
from rich.text import Text

from simulator.results import Verdict
from turnout.cli import render

if TYPE_CHECKING:
    from simulator.explore.search import Count
    from simulator.explore.worlds import SmallWorld
    from turnout.protocol.invariants import Violation

INTERRUPTED = "interrupted"

_STYLES = {
    Verdict.VALID: render.GOOD,
    Verdict.UNKNOWN: render.WAITING,
    Verdict.INVALID: render.BAD,
}


@frozen(kw_only=True)
class Explored:
    """One world, and how far the search came.

    Attributes:
        count: None where it was interrupted before anything was counted.
        depth: as ``simulator.explore.search.Found`` has it; None where it was interrupted.
        stopped_by: the option whose limit was met, or ``interrupted``; empty if it ended by itself.
        transcript: how the violation comes about.
        is_history: whether one cluster can go through that as it stands.
    """

    world: SmallWorld
    count: Count | None
    elapsed_s: float
    depth: int | None = None
    stopped_by: str = ""
    violation: Violation | None = None
    transcript: tuple[str, ...] = ()
    is_history: bool = True

    @property
    def verdict(self) -> Verdict:
        """Valid only if every world was visited."""
        if self.violation is not None:
            return Verdict.INVALID
        return Verdict.UNKNOWN if self.stopped_by else Verdict.VALID

    @property
    def worlds_per_s(self) -> float:
        """How many worlds were found in a second."""
        return self.count.worlds / max(self.elapsed_s, 0.001) if self.count else 0.0

    def document(self) -> dict[str, Any]:
        """For programs."""
        count = self.count
        return {
            "name": self.world.name,
            "bounds": self.world.bounds,
            "verdict": self.verdict,
            "worlds": count.worlds if count else None,
            "frontier": count.waiting if count else None,
            "steps": count.steps if count else None,
            "depth": self.depth,
            "stopped_by": self.stopped_by or None,
            "wall_s": round(self.elapsed_s, 3),
            "worlds_per_s": round(self.worlds_per_s),
            "violation": self._violation(),
        }

    def _violation(self) -> dict[str, Any] | None:
        if self.violation is None:
            return None
        return {
            "number": self.violation.number,
            "text": self.violation.text,
            "is_history": self.is_history,
            "transcript": list(self.transcript),
        }

    def text(self) -> RenderableType:
        """For people."""
        return Group(*self._lines())

    def _lines(self) -> Iterator[Text]:
        title = Text(self.world.name, style="bold")
        yield title.append(f"  ({self.world.bounds})", style=render.QUIET)
        yield Text.assemble("  ", (self.verdict.upper(), _STYLES[self.verdict]), f"  {self._end()}")
        if self.count is not None:
            yield Text(f"  {self._figures(self.count)}")
        if self.violation is None:
            return
        yield Text("\n".join(self.transcript))
        yield Text(f"     {self.violation.number}: {self.violation.text}", style=render.BAD)
        if not self.is_history:
            yield Text(
                "No single cluster was found that goes through this: some message is of another way"
                " to the same state. Read it as a hint, and look at who may have sent it."
            )

    def _end(self) -> str:
        if self.violation is not None:
            shortest = "; no history is shorter" if self.is_history else ""
            return f"breaks {self.violation.number} in {self.depth} steps{shortest}"
        if self.stopped_by:
            return f"not exhausted ({self.stopped_by}); nothing was broken so far"
        return "every world was visited, and nothing was broken"

    def _figures(self, count: Count) -> str:
        frontier = f", {count.waiting:,} of them in the frontier" if count.waiting else ""
        depth = f", {self.depth} steps deep" if self.depth is not None else ""
        return (
            f"{count.worlds:,} worlds{frontier}, {count.steps:,} steps{depth},"
            f" {render.duration(self.elapsed_s)} ({self.worlds_per_s:,.0f} worlds/s)"
        )
