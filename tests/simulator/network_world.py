from __future__ import annotations

from collections.abc import Callable

from simulator.clocks import NodeClock
from simulator.matrices import Matrix, parse
from simulator.network import Connection, Network
from simulator.network_knobs import NetworkKnobs
from simulator.process import NodeName, Process
from simulator.randomness import Randomness
from simulator.virtual_time import Agenda
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.identifiers import Region

STILL = NetworkKnobs(jitter_median_share=0.0)
EAST, WEST = Region("east"), Region("west")
MAP = parse("from,to,rtt_ms\neast,west,100\nwest,east,100\n", "map")
MINUTE = 60 * SECOND


class World:
    """Two processes 100 ms apart, a third beside the second, and a diary in milliseconds."""

    def __init__(self, knobs: NetworkKnobs = STILL, *, seed: int = 1, matrix: Matrix = MAP) -> None:
        self.agenda = Agenda()
        self.network = Network(self.agenda, Randomness(seed), matrix, knobs)
        self.agent = self.process("agent", EAST)
        self.server = self.process("server", WEST)
        self.other = self.process("other", WEST)
        self.diary: list[tuple[float, str]] = []

    def process(self, name: str, region: Region) -> Process:
        process = Process(NodeName(name), region, NodeClock(), self.agenda)
        self.network.join(process)
        return process

    def note(self, text: str) -> Callable[..., None]:
        return lambda *more: self.diary.append((self.now_ms, " ".join(map(str, (text, *more)))))

    @property
    def now_ms(self) -> float:
        return self.agenda.now_ns / MS

    def dial(self, *, round_trips: int = 1) -> Connection:
        return self.network.dial(
            self.agent,
            self.server,
            round_trips=round_trips,
            opened=lambda _: self.diary.append((self.now_ms, "opened")),
            ended=self.note("agent hears"),
        )

    def connect(self) -> Connection:
        """A connection that stands at 100 ms, both ends listening."""
        connection = self.dial()
        self.run(100 * MS)
        connection.when_ended(self.server, self.note("server hears"))
        assert self.diary == [(100.0, "opened")]
        self.diary.clear()
        return connection

    def clocked(self, took_ms: list[float]) -> Callable[[], None]:
        """To be sent now: writes down how long it took."""
        sent_ms = self.now_ms
        return lambda: took_ms.append(self.now_ms - sent_ms)

    def run(self, until_ns: int) -> None:
        self.agenda.run(until_ns)

    def told(self, *, after_ms: int = 10**7) -> list[tuple[float, str]]:
        self.run(after_ms * MS)
        return self.diary

    def cut(self, one: Process, another: Process) -> Callable[[], None]:
        return self.network.cut([one.name], [another.name])
