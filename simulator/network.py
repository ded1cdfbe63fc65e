"""The network: who is connected with whom, and what is wrong between them.

    network = Network(agenda, randomness, matrices.load("aws-19"))
    network.join(agent), network.join(coordinator)
    connection = network.dial(agent, coordinator, round_trips=2, opened=greet, ended=redial)
    heal = network.cut([agent.name], [coordinator.name])

``paths.py`` says how long packets take and what faults do to them, ``connections.py`` how TCP behaves
on top of that, ``handshakes.py`` how connections come to be.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

from simulator.connections import Connection, End, Ended, Way
from simulator.handshakes import Admission, Handshake
from simulator.matrices import Matrix
from simulator.network_knobs import QUIET, NetworkKnobs
from simulator.paths import Fault, Heal, Path, Route, Selector
from simulator.process import NodeName, Process
from simulator.randomness import Randomness
from simulator.repeats import Repeats
from simulator.virtual_time import Act, Agenda
from turnout.protocol.identifiers import Region

__all__ = ["Connection", "Heal", "Network", "NetworkKnobs", "Selector"]

HANDSHAKE_BURST = 16
"""Handshakes that an idle coordinator takes at once (``turnout.runtime.http.server``)."""


class Network:
    """All paths and connections of a run."""

    def __init__(
        self,
        agenda: Agenda,
        randomness: Randomness,
        matrix: Matrix,
        knobs: NetworkKnobs = QUIET,
    ) -> None:
        self.agenda, self.randomness, self.matrix, self.knobs = agenda, randomness, matrix, knobs
        self._ends: dict[NodeName, dict[End, None]] = {}
        self._routes: dict[tuple[Region, Region], Route] = {}
        self._paths: dict[tuple[NodeName, NodeName], Path] = {}
        self._faults: dict[Fault, None] = {}
        self._admissions: dict[NodeName, Admission] = {}
        self._give_ups_ns: dict[NodeName, int] = {}
        self._repeats = Repeats(knobs, randomness.stream("network repeats"))
        self.on_fault: list[Act] = []
        """Called when a fault has begun, by whoever models what is not sent while all is well."""

    @property
    def names(self) -> tuple[NodeName, ...]:
        """Everybody who has joined, in that order."""
        return tuple(self._ends)

    def round_trip_ns(self, a: Region, b: Region) -> int:
        """As on the map, without jitter."""
        return self.matrix.round_trip_ns(a, b)

    def join(self, process: Process) -> None:
        """Take a process in, once; from now on its death resets its connections."""
        assert process.name not in self._ends
        ends = self._ends[process.name] = {}
        process.on_death.append(partial(_die, ends))

    def admit(self, listener: Process, handshakes_per_s: int, burst: int = HANDSHAKE_BURST) -> None:
        """Let a server take so many handshakes a second, one after another, after a short burst."""
        self._admissions[listener.name] = Admission(self.agenda, handshakes_per_s, burst)

    def give_up(self, listener: Process, after_ns: int) -> None:
        """Let a server's kernel break connections whose bytes go unacknowledged for so long.

        That is TCP_USER_TIMEOUT, which Turnout's server sets to its write timeout, 5 s.
        """
        self._give_ups_ns[listener.name] = after_ns

    def dial(
        self,
        dialler: Process,
        listener: Process,
        *,
        round_trips: int,
        opened: Callable[[Connection], None],
        ended: Ended,
    ) -> Connection:
        """Connect; ``opened`` follows after the handshake, ``ended`` at once if nobody listens.

        Where packets vanish neither does: whoever dials gives up by closing the connection.
        """
        dialling = End(dialler, self._ends[dialler.name])
        listening = End(listener, self._ends[listener.name])
        dialling.ended = ended
        to_listener, to_dialler = self._path(dialler, listener), self._path(listener, dialler)
        there = Way(to_listener, to_dialler, dialling, listening)
        back = Way(to_dialler, to_listener, listening, dialling)
        back.give_up_ns = self._give_ups_ns.get(listener.name, back.give_up_ns)
        connection = Connection(there, back, self._repeats.see)
        admission = self._admissions.get(listener.name)
        Handshake(there, round_trips, partial(opened, connection), admission).begin()
        return connection

    def is_clear(self, source: Process, target: Process) -> bool:
        """Whether nothing but jitter can happen to a packet on its way from one to the other."""
        return self._path(source, target).is_clear

    def _path(self, source: Process, target: Process) -> Path:
        names = source.name, target.name
        path = self._paths.get(names)
        if path is None:
            route = self._route(source.region, target.region)
            path = self._paths[names] = Path(*names, route, self.knobs, self.agenda)
            for fault in self._faults:
                if fault.lies_on(*names):
                    path.meet(fault)
        return path

    def _route(self, a: Region, b: Region) -> Route:
        route = self._routes.get((a, b))
        if route is None:
            stream = self.randomness.stream(f"network {a} {b}")
            route = Route(self.matrix.round_trip_ns(a, b), stream, self.knobs)
            self._routes[a, b] = route
        return route

    # ------------------------------------------------------------------------------------ faults

    def cut(self, sources: Selector, targets: Selector) -> Heal:
        """Let packets from any source to any target vanish, until this is healed."""
        return self._begin(Fault(sources=sources, targets=targets, cuts=True))

    def clog(self, sources: Selector, targets: Selector) -> Heal:
        """Hold packets back; they go on, in order, when this is healed."""
        return self._begin(Fault(sources=sources, targets=targets, holds=True))

    def slow(self, sources: Selector, targets: Selector, *, add_ns: int) -> Heal:
        """Let packets take so much longer."""
        return self._begin(Fault(sources=sources, targets=targets, add_ns=add_ns))

    def lossy(self, sources: Selector, targets: Selector, *, share: float) -> Heal:
        """Let this share of packets vanish."""
        return self._begin(Fault(sources=sources, targets=targets, loss=share))

    def _begin(self, fault: Fault) -> Heal:
        self._faults[fault] = None
        for path in self._paths_under(fault):
            path.meet(fault)
        for act in self.on_fault:
            act()
        return partial(self._heal, fault)

    def _heal(self, fault: Fault) -> None:
        if fault in self._faults:
            del self._faults[fault]
            for path in self._paths_under(fault):
                path.recover(fault)

    def _paths_under(self, fault: Fault) -> list[Path]:
        """The paths it lies on: found by name where it is small, by looking at all where it is not."""
        if len(fault.sources) * len(fault.targets) < len(self._paths):
            pairs = product(fault.sources, fault.targets)
            return [self._paths[pair] for pair in pairs if pair in self._paths]
        return [path for path in self._paths.values() if fault.lies_on(path.source, path.target)]


def _die(ends: dict[End, None]) -> None:
    for end in tuple(ends):
        end.die()
