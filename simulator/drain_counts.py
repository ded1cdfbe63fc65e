"""Counting down what draining sources still have to finish, as an agent's driver does.

The real one reads the proxy's counters every 0.3 s, tells each change, and believes a 0 once it was
read twice in a row. Here the first count is told and then the 0, at the very reading at which the
real one would tell it: two events a drain. Nobody decides anything by the counts between.
"""

from __future__ import annotations

from collections.abc import Callable

from simulator.process import Process
from simulator.users import Users
from simulator.virtual_time import Appointment
from turnout.protocol.clock import MS
from turnout.protocol.events import InFlight
from turnout.protocol.identifiers import AgentId, ServiceName
from turnout.protocol.routing import Colour

Source = tuple[ServiceName, Colour]

POLL_NS = 300 * MS
"""Between two readings: 1.2 times the longest pause before a proxy of ours tries a request again."""


class DrainCounts:
    """The drains that one agent watches; all are forgotten when it dies."""

    def __init__(
        self, agent: AgentId, process: Process, users: Users, tell: Callable[[InFlight], None]
    ) -> None:
        self._agent = agent
        self._process = process
        self._users = users
        self._tell = tell
        self._watches: dict[Source, Appointment] = {}
        process.on_death.append(self._watches.clear)

    def begin(self, source: Source) -> None:
        """Count until stopped, or until nothing is left; beginning again starts anew."""
        self.stop(source)
        self._later(source, POLL_NS, lambda: self._first(source))

    def stop(self, source: Source) -> None:
        """Count no more."""
        watch = self._watches.pop(source, None)
        if watch is not None:
            watch.cancel()

    def pause(self) -> None:
        """The proxy is down: what cannot be read is no reading."""
        for watch in self._watches.values():
            watch.cancel()

    def resume(self) -> None:
        """It is up again: every watch goes on."""
        for source in list(self._watches):
            self.begin(source)

    def _first(self, source: Source) -> None:
        count = self._count(source)
        self._once_empty(source)
        if count:
            self._tell_count(source, count)  # upon which the agent may stop the watch

    def _once_empty(self, source: Source) -> None:
        """Come back with the second of two readings of 0."""
        now_ns = self._process.agenda.now_ns
        left_ns = self._users.empty_at_ns(self._agent, *source) - now_ns
        readings = max(0, -(-left_ns // POLL_NS)) + 1
        self._later(source, readings * POLL_NS, lambda: self._last(source))

    def _last(self, source: Source) -> None:
        if self._count(source):
            self._once_empty(source)
            return
        del self._watches[source]
        self._tell_count(source, 0)

    def _count(self, source: Source) -> int:
        return self._users.in_flight(self._agent, *source, self._process.agenda.now_ns)

    def _tell_count(self, source: Source, count: int) -> None:
        self._tell(InFlight(service=source[0], colour=source[1], count=count))

    def _later(self, source: Source, delay_ns: int, act: Callable[[], None]) -> None:
        self._watches[source] = self._process.after(delay_ns, act)
