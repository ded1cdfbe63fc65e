"""How long all edges together were somewhere, between any two moments, without looking at each."""

from __future__ import annotations

from bisect import bisect_right

from attrs import define, field

from turnout.protocol.routing import RoutingTable


class Moments:
    """Moments in the order in which they came, and how much time has passed since all of them."""

    __slots__ = ("_moments", "_sums")

    def __init__(self) -> None:
        self._moments: list[int] = []
        self._sums = [0]

    def add(self, now_ns: int) -> None:
        """Another one, not before the last."""
        self._moments.append(now_ns)
        self._sums.append(self._sums[-1] + now_ns)

    def passed_ns(self, until_ns: int) -> int:
        """The sum of what passed until a moment since each that came before it."""
        count = bisect_right(self._moments, until_ns)
        return count * until_ns - self._sums[count]


@define(eq=False)
class Stay:
    """All edges' time under one table."""

    table: RoutingTable
    entered: Moments = field(factory=Moments)
    ended: Moments = field(factory=Moments)

    def between(self, since_ns: int, until_ns: int) -> int:
        """The time that edges spent under it, added up."""
        return self._before(until_ns) - self._before(since_ns)

    def _before(self, moment_ns: int) -> int:
        return self.entered.passed_ns(moment_ns) - self.ended.passed_ns(moment_ns)
