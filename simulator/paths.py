"""How packets get from one process to another: how long they take, and what is wrong on the way.

A *route* joins two regions and has a length and a jitter. A *path* joins two processes one way, along a
route, and knows the faults that lie on it now. A fault acts on a packet when it is sent: what is under
way when a cut begins still arrives, as it would behind the break.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from math import exp, log
from statistics import NormalDist

from attrs import field, frozen

from simulator.network_knobs import NetworkKnobs
from simulator.process import NodeName
from simulator.randomness import Stream
from simulator.virtual_time import Act, Agenda

JITTER_BITS = 8
"""A table of 256 quantiles ends at the 99.8th percentile, so that no message is late without end."""


class Fate(enum.Enum):
    """What becomes of a packet that is sent now."""

    PASSES = "passes"
    LOST = "lost"
    HELD = "held"


Selector = Sequence[NodeName]
"""Processes, by name."""

Heal = Callable[[], None]
"""Ends a fault; a second call does nothing."""


def _in_order(names: Selector) -> Mapping[NodeName, None]:
    return dict.fromkeys(names)


@frozen(kw_only=True, eq=False)
class Fault:
    """Something wrong between some processes and some others, one way.

    Both are kept as the keys of a dict: quick to look up in, and in the order in which they were given.
    """

    sources: Mapping[NodeName, None] = field(converter=_in_order)
    targets: Mapping[NodeName, None] = field(converter=_in_order)
    cuts: bool = False
    holds: bool = False
    add_ns: int = 0
    loss: float = 0.0

    def lies_on(self, source: NodeName, target: NodeName) -> bool:
        """Whether packets from one to the other meet it."""
        return source in self.sources and target in self.targets


class Route:
    """The way from one region to another, with a source of chance of its own."""

    __slots__ = ("delay_ns", "draw_bits", "jitter_ns", "round_trip_ns", "stream")

    def __init__(self, round_trip_ns: int, stream: Stream, knobs: NetworkKnobs) -> None:
        self.round_trip_ns = round_trip_ns
        self.delay_ns = round_trip_ns // 2
        self.jitter_ns = jitter_table(round_trip_ns, knobs.jitter_median_share, knobs.jitter_p99_ns)
        self.stream = stream
        self.draw_bits = stream.getrandbits


@lru_cache(maxsize=2048)
def jitter_table(round_trip_ns: int, median_share: float, p99_ns: int) -> tuple[int, ...]:
    """The quantiles of the lognormal distribution with this median and 99th percentile."""
    size = 1 << JITTER_BITS
    median_ns = round_trip_ns * median_share
    if median_ns == 0:
        return (0,) * size
    p99_ns = max(min(p99_ns, 2 * round_trip_ns), 1)
    normal = NormalDist()
    width = max(log(p99_ns / median_ns), 0.0) / normal.inv_cdf(0.99)
    quantiles = (normal.inv_cdf((n + 0.5) / size) for n in range(size))
    return tuple(round(median_ns * exp(width * z)) for z in quantiles)


class Path:
    """From one process to another.

    Attributes:
        is_clear: nothing can happen to a packet but jitter.
        blocked_since_ns: since when no packet gets through; None while some may.
    """

    __slots__ = ("_cut", "_faults", "_held", "_holds", "_loss", "add_ns", "agenda", "blocked_since_ns", "is_clear",
                 "knobs", "route", "source", "target")  # fmt: skip

    def __init__(
        self, source: NodeName, target: NodeName, route: Route, knobs: NetworkKnobs, agenda: Agenda
    ) -> None:
        self.source, self.target = source, target
        self.route, self.knobs, self.agenda = route, knobs, agenda
        self._faults: list[Fault] = []
        self._held: list[Act] = []
        self.blocked_since_ns: int | None = None
        self._weigh()

    def meet(self, fault: Fault) -> None:
        """A fault begins that lies on this path."""
        self._faults.append(fault)
        self._weigh()

    def recover(self, fault: Fault) -> None:
        """A fault is healed: what was held back is sent again, and held again where another holds."""
        if fault not in self._faults:
            return
        self._faults.remove(fault)
        self._weigh()
        held, self._held = self._held, []
        for go_on in held:
            go_on()

    def _weigh(self) -> None:
        passing = 1.0 - self.knobs.loss
        for fault in self._faults:
            passing *= 1.0 - fault.loss
        self._loss = 1.0 - passing
        self._cut = any(fault.cuts for fault in self._faults)
        self._holds = any(fault.holds for fault in self._faults)
        if not (self._cut or self._holds):
            self.blocked_since_ns = None
        elif self.blocked_since_ns is None:
            self.blocked_since_ns = self.agenda.now_ns
        self.add_ns = sum(fault.add_ns for fault in self._faults)
        self.is_clear = not (self._faults or self._loss or self.knobs.spikes)

    def fate(self) -> Fate:
        """What becomes of a packet sent now; where packets get lost, a die is cast."""
        if self._cut:
            return Fate.LOST
        if self._holds:
            return Fate.HELD
        if self._loss and self.route.stream.random() < self._loss:
            return Fate.LOST
        return Fate.PASSES

    def delay_ns(self) -> int:
        """How long the next packet takes."""
        route = self.route
        delay_ns = route.delay_ns + route.jitter_ns[route.draw_bits(JITTER_BITS)] + self.add_ns
        if self.knobs.spikes and route.stream.random() < self.knobs.spike_share:
            delay_ns += route.stream.randint(self.knobs.spike_least_ns, self.knobs.spike_most_ns)
        return delay_ns

    def hold(self, go_on: Act) -> None:
        """Have something sent again when what holds packets back is healed."""
        self._held.append(go_on)

    def throw(self, act: Act) -> None:
        """Send a packet that nobody sends again."""
        fate = self.fate()
        if fate is Fate.PASSES:
            self.agenda.after(self.delay_ns(), act)
        elif fate is Fate.HELD:
            self.hold(partial(self.throw, act))
