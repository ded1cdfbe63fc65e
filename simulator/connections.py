"""One TCP connection: two ends, and between them a way in each direction that keeps its order.

How TCP behaves here, and what is left out:

- A segment that gets lost is sent again after a round trip and 200 ms, then after twice that, and so
  on; all that was sent after it waits and arrives with it, for small messages fit in one segment.
- Under a cut the sender goes on like that, so what it sent arrives at its first attempt after the heal,
  or never, if the connection ended before: after a time the sender's kernel gives up.
- Acknowledgements are not packets of their own. If only their direction is blocked, the data arrives
  once, and the sender's kernel gives up all the same, unless the block is over before.
- Whoever closes has sent all that it sent, then its end. Whoever dies has its kernel send a reset,
  which is a lone packet: lost, the other end learns nothing until what it sends is answered by another.
- There are no windows: an end that does not read never stops the other from sending.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from simulator.paths import JITTER_BITS, Fate, Path
from simulator.process import Condition, Process
from simulator.virtual_time import Act, Appointment

Ended = Callable[[str], None]

RESET = "connection reset"
TIMED_OUT = "connection timed out"


def _nobody(_reason: str) -> None:
    """Nobody at this end wants to know."""


class End:
    """What one process, in one life, has of a connection.

    Attributes:
        way: on which this end sends.
        others: all ends that this process has, itself among them until it is over; in the order in
            which they came.
    """

    __slots__ = ("ended", "is_open", "is_over", "life", "others", "process", "way")

    def __init__(self, process: Process, others: dict[End, None]) -> None:
        self.process = process
        self.life = process.life
        self.others = others
        self.way: Way
        self.ended: Ended = _nobody
        self.is_open = False
        self.is_over = False

    def begin(self) -> None:
        """The process's kernel takes the connection up."""
        self.life = self.process.life
        self.others[self] = None

    def finish(self) -> None:
        """It hears nothing more."""
        self.is_open, self.is_over = False, True
        self.others.pop(self, None)

    def die(self) -> None:
        """Its process has died: its kernel resets the connection."""
        self.finish()
        self.way.reset()

    def hear(self, reason: str) -> None:
        """The other end has gone: say so to whoever listens here, once."""
        if not self.is_over:
            self.process.deliver(partial(self._tell, reason), self.life)

    def _tell(self, reason: str) -> None:
        if not self.is_over:
            self.finish()
            self.ended(reason)


class Way:
    """One direction of a connection."""

    __slots__ = ("_attempts", "_doubts", "_last_ns", "_lost_ns", "_timer", "_waiting", "acks", "give_up_ns",
                 "path", "source", "target")  # fmt: skip

    def __init__(self, path: Path, acks: Path, source: End, target: End) -> None:
        self.path, self.acks, self.source, self.target = path, acks, source, target
        self.give_up_ns = path.knobs.give_up_ns
        source.way = self
        self._last_ns = 0
        self._waiting: list[Act] = []
        self._attempts = 0
        self._timer: Appointment | None = None
        self._lost_ns = 0
        self._doubts = False

    def end(self, reason: str) -> None:
        """Let the other end hear, after all that was sent before, that this one has closed."""
        self.put(partial(self._arrive_end, reason))

    def put(self, arrival: Act) -> None:
        """Have something happen at the other end's host, after all that was sent before."""
        path = self.path
        if path.is_clear and self.acks.is_clear and not self._waiting:
            route, agenda = path.route, path.agenda
            jitter_ns = route.jitter_ns[route.draw_bits(JITTER_BITS)]
            at_ns = agenda.now_ns + route.delay_ns + jitter_ns
            self._last_ns = max(self._last_ns, at_ns)
            agenda.at(self._last_ns, arrival)
            return
        if self.acks.blocked_since_ns is not None:
            self._doubt(self.acks)
        self._waiting.append(arrival)
        if len(self._waiting) == 1:
            self._try()

    def _arrange(self, arrival: Act, delay_ns: int) -> None:
        agenda = self.path.agenda
        self._last_ns = max(agenda.now_ns + delay_ns, self._last_ns)
        agenda.at(self._last_ns, arrival)

    def _try(self) -> None:
        """Send the first of what waits; the rest goes with it."""
        self._timer = None
        if not self._waiting:
            return
        fate = self.path.fate()
        if fate is Fate.HELD:
            self.path.hold(self._try)
            self._doubt(self.path)
        elif fate is Fate.LOST:
            self._try_later()
        else:
            waiting, self._waiting, self._attempts = self._waiting, [], 0
            delay_ns = self.path.delay_ns()
            for arrival in waiting:
                self._arrange(arrival, delay_ns)

    def _try_later(self) -> None:
        knobs, agenda = self.path.knobs, self.path.agenda
        if not self._attempts:
            self._lost_ns = agenda.now_ns
        left_ns = self._lost_ns + self.give_up_ns - agenda.now_ns
        if left_ns <= 0:
            self._give_up()
            return
        round_trip_ns = self.path.route.delay_ns + self.acks.route.delay_ns
        wait_ns = (round_trip_ns + knobs.retransmit_after_ns) << self._attempts
        self._attempts += 1
        self._timer = agenda.after(min(wait_ns, knobs.retransmit_most_ns, left_ns), self._try)

    def _doubt(self, blocked: Path) -> None:
        """Give up in time, if what is blocked now stays so until then."""
        if not self._doubts:
            self._doubts = True
            agenda = self.path.agenda
            agenda.after(self.give_up_ns, partial(self._judge, blocked, agenda.now_ns))

    def _judge(self, blocked: Path, doubted_ns: int) -> None:
        self._doubts = False
        since_ns = blocked.blocked_since_ns
        if since_ns is not None and since_ns <= doubted_ns:
            self._give_up()

    def _give_up(self) -> None:
        self.abandon()
        self.source.hear(TIMED_OUT)

    def abandon(self) -> None:
        """What has not left yet never will."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def reset(self, reason: str = RESET) -> None:
        """This end is gone: a lone packet, which nobody sends again, says so."""
        self.abandon()
        fate = self.path.fate()
        if fate is Fate.HELD:
            self.path.hold(partial(self.reset, reason))
        elif fate is Fate.PASSES:
            self._arrange(partial(self._arrive_end, reason), self.path.delay_ns())

    def arrive(self, act: Act) -> None:
        """Something is at the other end's host: it happens if that end is open."""
        target = self.target
        process = target.process
        if target.is_over:
            target.way.reset()
        elif process.condition is Condition.STOPPED:
            process.deliver(partial(self._take, act), target.life)
        elif process.life == target.life and process.condition is Condition.RUNNING:
            act()

    def _take(self, act: Act) -> None:
        if self.target.is_open:
            act()

    def _arrive_end(self, reason: str) -> None:
        self.target.hear(reason)


class Connection:
    """One TCP connection, as its two processes see it."""

    __slots__ = ("_back", "_repeat", "_there", "dialler", "listener")

    def __init__(self, there: Way, back: Way, repeat: Repeat) -> None:
        self.dialler, self.listener = there.source.process, back.source.process
        self._there, self._back = there, back
        self._repeat = repeat

    def _way_of(self, sender: Process) -> Way:
        return self._there if sender is self.dialler else self._back

    def is_open(self, process: Process) -> bool:
        """Whether this process's own end is open."""
        return self._way_of(process).source.is_open

    def when_ended(self, process: Process, ended: Ended) -> None:
        """Who at this end hears that the other end closed, died or was reset: the last to ask."""
        self._way_of(process).source.ended = ended

    def send(self, sender: Process, act: Act, *, repeatable: bool = False) -> None:
        """Have something happen at the other end, after all that was sent before.

        It happens if that end is open then. ``repeatable`` is an HTTP request of its own, which an
        intermediary may deliver twice or late: see ``repeats.py``.
        """
        way = self._there if sender is self.dialler else self._back
        if not way.source.is_open:
            return
        if repeatable and self._repeat(way, act):
            return
        way.put(partial(way.arrive, act))

    def close(self, closer: Process, reason: str = "") -> None:
        """Hear nothing more; what was sent before still arrives, then the other end hears this."""
        way = self._way_of(closer)
        end = way.source
        if end.is_open:
            end.finish()
            way.end(reason)
        elif not end.is_over:
            end.die()


Repeat = Callable[[Way, Act], bool]
"""Sees each repeatable message; returns whether it took it out of the order of things."""
