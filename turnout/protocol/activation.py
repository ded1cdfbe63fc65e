"""When a commit flips: what an agent knows of the leader's clock, and G, how long all wait.

All agents flip at one instant of the *leader's* clock, and each waits for it on its own monotonic
clock. So each must know the *offset*: the leader's clock less its own monotonic clock. No clock is
trusted to be right, only to run evenly: two clocks move apart by at most ``DRIFT_PPM``.

**One exchange gives an interval.** An agent sends a report at ``s``, the leader reads its clock
``c`` on the way, the answer arrives at ``r`` (``s`` and ``r`` on the agent's clock). The leader
read ``c`` somewhere between, whatever the two ways took, so the offset was within
``[c - r, c - s]``: its middle, give or take half the round trip (Cristian 1989; Marzullo and Owicki
1983 for what follows). Time widens the interval at both ends by the drift. The truth lies in every
interval, hence in their intersection, which is the estimate; a repeated or delayed answer gives a
wide interval, never a false one.

**Wall clocks narrow it.** Where both hosts say credibly how far their wall clocks may be from true
time, the two readings give one more interval of the same kind, as wide as both bounds together:
useful where the round trip is long. It is a claim, and the exchange is a measurement: when they do
not meet, the claim is not believed, and the fault is reported (H16).

**An empty intersection of exchanges is a clock fault.** Some clock jumped or was paused. The
estimate starts again from the newest exchange, and states no bound until ``FAULT_CHECKS`` more
agree with it (H15).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from attrs import field, frozen

from turnout.protocol.clock import MS, ClockNs, Instant
from turnout.protocol.limits import (
    CLOCK_SAMPLES,
    DRIFT_PPM,
    RETRANSMISSION_ROOM_NS,
    Timing,
)
from turnout.protocol.messages import Receipt
from turnout.protocol.records import Activation, Mode
from turnout.protocol.wording import counted

FAULT_CHECKS = 3
"""Exchanges that must agree with the first one after a fault before a bound is stated again: at one
a second, under the time that a switch has to collect its votes."""

MILLION = 1_000_000


class Interval(NamedTuple):
    """All whole numbers from ``low`` to ``high``, both included."""

    low: int
    high: int

    @property
    def middle(self) -> int:
        """The number that is nowhere further than :attr:`bound` from any in the interval."""
        return (self.low + self.high) // 2

    @property
    def bound(self) -> int:
        """Half the width, rounded up."""
        return (self.high - self.low + 1) // 2

    def widened(self, by: int) -> Interval:
        """The interval, longer by ``by`` at both ends."""
        return Interval(self.low - by, self.high + by)

    def meet(self, other: Interval) -> Interval | None:
        """What both have in common; None where that is nothing."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return Interval(low, high) if low <= high else None


def drift(length_ns: int) -> int:
    """How far two clocks move apart within ``length_ns``, at most; rounded up."""
    return -(-length_ns * DRIFT_PPM // MILLION)


@frozen(kw_only=True)
class Exchange:
    """One report and its receipt: the offset was within ``offset`` at some time of it.

    What it says of another time is wider by the drift, on either side of its middle at the same speed:
    each end is a straight line there. ``after_low``, ``after_high``, ``before_low`` and ``before_high``
    are where these lines cross the zero of the clock, in millionths of a nanosecond, so that the ends
    are at ``after_low - t * DRIFT_PPM`` and ``after_high + t * DRIFT_PPM`` from the middle on, and at
    ``before_low + t * DRIFT_PPM`` and ``before_high - t * DRIFT_PPM`` up to it.
    """

    sent_ns: int
    received_ns: int
    offset: Interval
    twice_middle_ns: int = field(init=False, eq=False, repr=False)
    after_low: int = field(init=False, eq=False, repr=False)
    after_high: int = field(init=False, eq=False, repr=False)
    before_low: int = field(init=False, eq=False, repr=False)
    before_high: int = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """Work out the lines."""
        low, high = self.offset.low * MILLION, self.offset.high * MILLION
        sent, received = self.sent_ns * DRIFT_PPM, self.received_ns * DRIFT_PPM
        put = partial(object.__setattr__, self)
        put("twice_middle_ns", self.sent_ns + self.received_ns)
        put("after_low", low + sent)
        put("after_high", high - sent)
        put("before_low", low - received)
        put("before_high", high + received)

    @property
    def round_trip_ns(self) -> int:
        """How long the exchange took."""
        return self.received_ns - self.sent_ns


@frozen(kw_only=True)
class ClockEstimate:
    """What one agent knows of its leader's steady clock. Another leader: begin another estimate.

    Attributes:
        exchanges: the last ``CLOCK_SAMPLES``, oldest first.
        fault: why no bound is stated, or why the wall clocks are not believed; for people, and
            empty when all is well.
        unchecked: exchanges that must still agree before a bound is stated.
    """

    exchanges: tuple[Exchange, ...] = ()
    fault: str = ""
    unchecked: int = 0
    _together: tuple[int, int, int] | None = field(init=False, eq=False, repr=False)

    @_together.default
    def _after_the_last(self) -> tuple[int, int, int] | None:
        """When the last exchange ended, and what they say together from then on, drift taken away.

        All widen at the same speed then, so that the narrowest stays the narrowest.
        """
        if not self.exchanges:
            return None
        return (
            max([one.received_ns for one in self.exchanges]),
            max([one.after_low for one in self.exchanges]),
            min([one.after_high for one in self.exchanges]),
        )

    def observe(self, receipt: Receipt, now: Instant) -> ClockEstimate:
        """Take in the answer to a report, received ``now``.

        An answer that is not newer than the newest taken in is a repeat, and one that claims to
        answer what was not sent yet is nonsense: neither changes anything.
        """
        newest = self.exchanges[-1].sent_ns if self.exchanges else None
        if receipt.echo_ns > now.monotonic_ns or (newest is not None and receipt.echo_ns <= newest):
            return self
        exchange, doubt = _measured(receipt, now)
        unchecked = max(0, self.unchecked - 1)
        together = ClockEstimate(
            exchanges=(*self.exchanges, exchange)[-CLOCK_SAMPLES:],
            fault=self.fault if unchecked else doubt,
            unchecked=unchecked,
        )
        if together.offset(now.monotonic_ns) is None:
            return ClockEstimate(
                exchanges=(exchange,),
                fault="the clock of this host or of the leader's jumped, was paused or runs "
                f"unevenly: exchanges contradict each other by more than {DRIFT_PPM} ppm",
                unchecked=FAULT_CHECKS,
            )
        return together

    def offset(self, monotonic_ns: int) -> Interval | None:
        """The leader's clock less this monotonic clock at ``monotonic_ns``; None: no idea."""
        if self._together is None:
            return None
        drifted = monotonic_ns * DRIFT_PPM
        ended_ns, low, high = self._together
        if monotonic_ns >= ended_ns:
            low, high = low - drifted, high + drifted
        else:
            low, high = self._at(2 * monotonic_ns, drifted)
        low, high = low // MILLION, -(-high // MILLION)
        return Interval(low, high) if low <= high else None

    def _at(self, twice_ns: int, drifted: int) -> tuple[int, int]:
        """What the exchanges say together of any time."""
        lows = [
            one.after_low - drifted if one.twice_middle_ns <= twice_ns else one.before_low + drifted
            for one in self.exchanges
        ]
        highs = [
            one.after_high + drifted
            if one.twice_middle_ns <= twice_ns
            else one.before_high - drifted
            for one in self.exchanges
        ]
        return max(lows), min(highs)

    def bound_ns(self, monotonic_ns: int) -> int | None:
        """How far the leader's clock may be from what :meth:`to_leader_clock` says; None: unknown."""
        offset = self.offset(monotonic_ns)
        return offset.bound if offset and not self.unchecked else None

    def to_leader_clock(self, monotonic_ns: int) -> ClockNs | None:
        """A moment of this host on the leader's clock: the best guess, also after a fault."""
        offset = self.offset(monotonic_ns)
        return ClockNs(monotonic_ns + offset.middle) if offset else None

    @property
    def round_trip_ns(self) -> int | None:
        """The largest round trip among the exchanges: what a vote states."""
        return max((exchange.round_trip_ns for exchange in self.exchanges), default=None)

    @property
    def shortest_round_trip_ns(self) -> int | None:
        """The smallest: the distance with the least waiting in queues."""
        return min((exchange.round_trip_ns for exchange in self.exchanges), default=None)


def _measured(receipt: Receipt, now: Instant) -> tuple[Exchange, str]:
    """The exchange, narrowed by the wall clocks, or why they are not believed."""
    by_round_trip = Interval(
        receipt.clock_ns - now.monotonic_ns, receipt.clock_ns - receipt.echo_ns
    )
    by_walls = _offset_by_walls(receipt, now)
    narrowed = by_round_trip.meet(by_walls) if by_walls else by_round_trip
    exchange = Exchange(
        sent_ns=receipt.echo_ns,
        received_ns=now.monotonic_ns,
        offset=narrowed or by_round_trip,
    )
    doubt = (
        "this host's wall clock or the leader's is further from true time than it says: "
        "the round trip contradicts them, and counts alone"
    )
    return exchange, "" if narrowed else doubt


def _offset_by_walls(receipt: Receipt, now: Instant) -> Interval | None:
    """What the wall clocks say of the offset; None where one of them does not know its bound.

    True time passed between the two readings, as the wall clocks tell it, moves the leader's clock
    on to this moment. It cannot be longer than the round trip, which limits the drift.
    """
    if now.wall_bound_ns is None or receipt.wall_bound_ns is None:
        return None
    bound = now.wall_bound_ns + receipt.wall_bound_ns + drift(now.monotonic_ns - receipt.echo_ns)
    middle = receipt.clock_ns + (now.wall_ns - receipt.wall_ns) - now.monotonic_ns
    return Interval(middle, middle).widened(bound)


# --- an agent's wait ----------------------------------------------------------------------------


@frozen(kw_only=True)
class Wait:
    """How long to wait on the monotonic clock, and what turned out wrong with the clocks."""

    delay_ns: int
    fault: str = ""


def delay_until(activation: Activation, estimate: ClockEstimate, now: Instant) -> Wait:
    """How long to wait from receipt (``now``) of a commit, learnt in time from its decider.

    Never longer than G, since a decision is made G before its time and heard after that: a longer
    wait proves a clock wrong, so there is nothing left to wait by, and the wait is none at all (H15).
    A wait that is longer than G by no more than the bound is no proof; the truth then lies below G,
    so G is nearer to it. Without a bound the agent counts from receipt, half a round trip after
    the decision.
    """
    if activation.mode is Mode.IMMEDIATE or activation.time_ns is None:
        return Wait(delay_ns=0)
    g_ns = activation.g_ns
    offset = estimate.offset(now.monotonic_ns)
    if offset is None or estimate.unchecked:
        on_the_way = (estimate.shortest_round_trip_ns or 0) // 2
        return Wait(delay_ns=max(0, g_ns - on_the_way), fault=estimate.fault)
    delay_ns = activation.time_ns - offset.middle - now.monotonic_ns
    if delay_ns - offset.bound > g_ns:
        over_ms = (delay_ns - g_ns) / MS
        return Wait(
            delay_ns=0,
            fault=f"the activation time is {over_ms:.1f} ms further away than any can be: "
            "a clock is wrong, so this agent flipped on receipt",
        )
    return Wait(delay_ns=min(max(0, delay_ns), g_ns), fault=estimate.fault)


# --- the leader's plan --------------------------------------------------------------------------


def plan_activation(
    mode: Mode,
    votes: Iterable[tuple[int | None, int | None]],
    timing: Timing,
    now: Instant,
) -> Activation:
    """The activation of a commit decided ``now``, from each yes's (round trip, clock bound) in ns.

    G has room for the farthest agent's round trip, for the retransmission of a lost segment, and
    for two clocks that err in opposite directions. Where that cannot be known or takes too long
    (``max_g``, ``max_round_trip``: the SLA inequality counts on both), the commit is immediate and
    says why. A bound above ``max_clock_bound`` is named, and the commit is scheduled all the same.
    """
    votes = tuple(votes)
    bounds = [bound for _, bound in votes if bound is not None]
    widest = max(bounds, default=None)
    if mode is Mode.IMMEDIATE:
        return Activation(bound_ns=widest)
    reason = _why_immediate(votes, timing)
    if reason:
        return Activation(bound_ns=widest, reason=reason)
    g_ns = _g_ns(votes)
    above = sum(bound > timing.max_clock_bound_ns for bound in bounds)
    return Activation(
        mode=Mode.SCHEDULED,
        time_ns=ClockNs(now.clock_ns + g_ns),
        g_ns=g_ns,
        bound_ns=widest,
        reason=f"{_have(above)} a clock bound above max_clock_bound, "
        f"{timing.max_clock_bound_ns / MS:g} ms"
        if above
        else "",
    )


def skew_ns(flips: Iterable[int]) -> int | None:
    """Latest less earliest of moments on one clock; None where there are none."""
    moments = tuple(flips)
    return max(moments) - min(moments) if moments else None


def _g_ns(votes: tuple[tuple[int | None, int | None], ...]) -> int:
    """G, taking unknown figures for 0."""
    farthest = max(trip or 0 for trip, _ in votes)
    widest = max(bound or 0 for _, bound in votes)
    return farthest + RETRANSMISSION_ROOM_NS + 2 * widest


def _why_immediate(votes: tuple[tuple[int | None, int | None], ...], timing: Timing) -> str:
    """Why no common instant can be kept; empty where it can. Negative figures are no figures."""
    if not votes:
        return "nobody voted"
    unknown = sum(min(-1 if value is None else value for value in vote) < 0 for vote in votes)
    if unknown:
        return f"{_have(unknown)} no clock bound"
    farthest = max(trip or 0 for trip, _ in votes)
    if farthest > timing.max_round_trip_ns:
        return (
            f"a round trip of {farthest / MS:.1f} ms is above max_round_trip, "
            f"{timing.max_round_trip_ns / MS:g} ms"
        )
    g_ns = _g_ns(votes)
    if g_ns > timing.max_g_ns:
        return f"G = {g_ns / MS:.1f} ms is above max_g, {timing.max_g_ns / MS:g} ms"
    return ""


def _have(count: int) -> str:
    return f"{counted(count, 'agent')} {'has' if count == 1 else 'have'}"
