"""When something is done in a run: at a true moment, or when a switch reaches a point.

    at_s = 5.0
    when = "vote:ap-northeast-1"      # after_ms = 3.0, switch = 2

A reach point lies between two effects, so that whatever is done there is done exactly there: an
agent that is crashed at ``vote`` has its yes on disk and has not sent it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import attrs
from attrs import field, frozen

from simulator.population import Role, Selector
from turnout.protocol.clock import MS, SECOND

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def within(low: float, high: float) -> Validator:
    """A validator: None, or a number from ``low`` to ``high``."""

    def check(_: object, __: attrs.Attribute[Any], value: float | None) -> None:
        if value is not None and not low <= value <= high:
            raise ValueError(f"must be from {low:g} to {high:g}, not {value:g}")

    return check


class Point(enum.StrEnum):
    """Where a switch can be interrupted, in the order in which it comes there."""

    PREPARE = "prepare"
    ACCEPT_WRITE = "accept-write"
    VOTE = "vote"
    DECISION_WRITE = "decision-write"
    DECISION = "decision"
    FLIP = "flip"
    ACKNOWLEDGE = "acknowledge"
    DRAIN = "drain"


REACHED_BY: dict[Point, Role] = {
    Point.PREPARE: Role.AGENT,
    Point.ACCEPT_WRITE: Role.COORDINATOR,
    Point.VOTE: Role.AGENT,
    Point.DECISION_WRITE: Role.COORDINATOR,
    Point.DECISION: Role.ETCD,
    Point.FLIP: Role.AGENT,
    Point.ACKNOWLEDGE: Role.AGENT,
    Point.DRAIN: Role.AGENT,
}
"""What kind of process reaches each point, and so what may stand behind its colon."""


@frozen
class ReachPoint:
    """A point, and where it must be reached: a process, a region, or (None) anywhere."""

    point: Point
    where: Selector | None = None

    def __str__(self) -> str:
        """As it is written in a file."""
        return self.point if self.where is None else f"{self.point}:{self.where}"


def parse_reach_point(text: object) -> ReachPoint:
    """``vote:ap-northeast-1`` as a value. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError(f"must be a reach point such as {_EXAMPLES}, not {text!r}")
    name, colon, where = text.partition(":")
    if name not in list(Point) or (colon and not where.strip()):
        points = ", ".join(Point)
        raise ValueError(f"must be a reach point ({points}) such as {_EXAMPLES}, not {text!r}")
    return ReachPoint(Point(name), Selector(where) if colon else None)


_EXAMPLES = '"decision-write" or "vote:ap-northeast-1"'


def _one_of_both(owner: Any, _: attrs.Attribute[Any], value: ReachPoint | None) -> None:
    if (owner.at_s is None) == (value is None):
        raise ValueError("and at_s: exactly one of the two says when it happens")


def _needs_when(owner: Any, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value and owner.when is None:
        raise ValueError(f"needs when: at_s is a moment by itself, {attribute.name} is not")


@frozen(kw_only=True)
class Moment:
    """When something happens: exactly one of ``at_s`` and ``when``.

    Attributes:
        at_s: true seconds since the run began.
        when: the reach point; what happens does so the first time that it is reached.
        after_ms: how long after the reach point.
        switch: at which of the run's switches the point must be reached, counted from 1 in the order
            in which the store took them; unset: at whichever reaches it first.
    """

    at_s: float | None = field(default=None, validator=within(0, 1e9))
    when: ReachPoint | None = field(default=None, validator=_one_of_both)
    after_ms: float = field(default=0.0, validator=[within(0, 1e9), _needs_when])
    switch: int | None = field(default=None, validator=[within(1, 1e6), _needs_when])

    @property
    def at_ns(self) -> int | None:
        """``at_s`` in nanoseconds."""
        return None if self.at_s is None else round(self.at_s * SECOND)

    @property
    def after_ns(self) -> int:
        """``after_ms`` in nanoseconds."""
        return round(self.after_ms * MS)

    @property
    def moment(self) -> str:
        """The moment in words."""
        if self.at_s is not None:
            return f"at {self.at_s:g} s"
        later = f" + {self.after_ms:g} ms" if self.after_ms else ""
        which = f" of switch {self.switch}" if self.switch else ""
        return f"at {self.when}{which}{later}"
