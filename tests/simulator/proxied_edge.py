"""A proxy, an agent that listens to it, and what it heard: for tests of the proxy."""

from __future__ import annotations

from simulator.clocks import NodeClock
from simulator.explore.bootstrap import CHECKOUT, table
from simulator.process import NodeName, Process
from simulator.proxy import Proxy
from simulator.proxy_knobs import ProxyKnobs
from simulator.randomness import Randomness
from simulator.users import UserKnobs, Users
from simulator.virtual_time import Agenda
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.effects import (
    Activate,
    Prove,
    Stage,
)
from turnout.protocol.events import (
    Activated,
    AgentEvent,
    Staged,
)
from turnout.protocol.identifiers import NO_DIGEST, AgentId, Digest, Epoch, Region
from turnout.protocol.records import Active
from turnout.protocol.routing import Colour, RoutingTable

EU = Region("eu")
BLUE = table(("eu",))
GREEN = BLUE.switched(CHECKOUT, Colour.GREEN)
BROKEN = RoutingTable()
TABLES = {one.digest: one for one in (BLUE, GREEN, BROKEN)}

KNOBS = ProxyKnobs(
    staging_ns=(10 * MS, 10 * MS),
    staging_per_service_ns=0,
    flip_ns=(2 * MS, 2 * MS),
    flip_per_service_ns=0,
    health_ns=(30 * MS, 30 * MS),
    proof_ns=(4 * MS, 4 * MS),
    silence_ns=20 * MS,
    start_ns=(300 * MS, 300 * MS),
)
# One edge with 100 requests a second; ten of them long, of a minute: 600 in flight at the most.
USERS = UserKnobs(
    per_day=8_640_000,
    request_ns=50 * MS,
    long_per_million=100_000,
    long_ns=60 * SECOND,
    moves_per_million=0,
)


class Edge:
    """A proxy, an agent that listens to it, and what it heard."""

    def __init__(self, knobs: ProxyKnobs = KNOBS) -> None:
        self.agenda = Agenda()
        clock = NodeClock(offset_ns=5 * SECOND)
        self.process = Process(NodeName("agent eu/1"), EU, clock, self.agenda)
        randomness = Randomness(1)
        self.users = Users(self.agenda, randomness, USERS)
        self.proxy = Proxy(AgentId("eu/1"), self.process, randomness, self.users, TABLES.get, knobs)
        self.heard: list[AgentEvent] = []
        self.found: list[Active] = []
        self.flips: list[tuple[Epoch, int]] = []
        self.restarts: list[Epoch] = []
        self.proxy.on_flip.append(lambda _, active, at_ns: self.flips.append((active.epoch, at_ns)))
        self.proxy.on_restart.append(lambda _, active, __: self.restarts.append(active.epoch))
        self.find()

    def find(self) -> None:
        self.proxy.find(self.heard.append, self.found.append)

    def wait(self, span_ns: int) -> None:
        self.agenda.run(self.agenda.now_ns + span_ns)

    def answers(self) -> list[AgentEvent]:
        heard = list(self.heard)
        self.heard.clear()
        return heard

    def staged(self, epoch: int, what: RoutingTable, wait_ns: int = SECOND) -> Staged:
        self.proxy.begin(stage(epoch, what))
        self.wait(wait_ns)
        (answer,) = self.answers()
        assert isinstance(answer, Staged)
        return answer

    def activated(self, epoch: int, what: RoutingTable, wait_ns: int = SECOND) -> Activated:
        self.proxy.begin(activate(epoch, what))
        self.wait(wait_ns)
        (answer,) = self.answers()
        assert isinstance(answer, Activated)
        return answer

    def serves(self, epoch: int, what: RoutingTable) -> None:
        assert self.staged(epoch, what).refusal is None
        assert self.activated(epoch, what).refusal is None

    def restart_agent(self) -> None:
        self.process.kill()
        self.process.start()
        self.answers()
        self.find()


def stage(
    epoch: int, what: RoutingTable, *, check: bool = False, against: Digest = NO_DIGEST
) -> Stage:
    return Stage(epoch=Epoch(epoch), digest=what.digest, check=check, against=against)


def activate(epoch: int, what: RoutingTable) -> Activate:
    return Activate(incarnation=1, epoch=Epoch(epoch), digest=what.digest)


def prove(epoch: int, what: RoutingTable, against: Digest = NO_DIGEST) -> Prove:
    return Prove(epoch=Epoch(epoch), digest=what.digest, against=against)


def serving_blue(knobs: ProxyKnobs = KNOBS) -> Edge:
    """One that serves blue as epoch 1."""
    one = Edge(knobs)
    one.serves(1, BLUE)
    one.flips.clear()
    return one
