"""One etcd and some clients of it, for the tests of the model: each question waits for its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from simulator.clocks import NodeClock
from simulator.etcd.client import EtcdClient
from simulator.etcd.cluster import EtcdCluster
from simulator.etcd.knobs import EtcdKnobs
from simulator.etcd.leases import LeaseTime
from simulator.etcd.ledger import Committed
from simulator.etcd.member import Member
from simulator.matrices import Matrix
from simulator.network import Network
from simulator.process import NodeName, Process
from simulator.randomness import Randomness
from simulator.virtual_time import Agenda
from turnout.protocol.candidacy import LeaseGone
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.identifiers import Region
from turnout.protocol.transactions import (
    Guard,
    KeyValue,
    Range,
    Result,
    Snapshot,
    Transaction,
    Won,
    Write,
)

EVERYTHING = Range("", prefix=True)

Answer = TypeVar("Answer")


def flat_matrix(regions: Sequence[Region], round_trip_ns: int) -> Matrix:
    """All regions equally far from each other."""
    pairs = {(a, b): MS if a == b else round_trip_ns for a in regions for b in regions}
    return Matrix(name="flat", regions=tuple(regions), round_trips_ns=pairs)


class Lab:
    """A cluster of so many members, each in a region of its own, and clients beside them."""

    def __init__(
        self,
        size: int = 3,
        *,
        clients: int = 1,
        seed: int = 1,
        round_trip_ns: int = 2 * MS,
        knobs: EtcdKnobs | None = None,
        judge: Callable[[Committed], None] | None = None,
    ) -> None:
        self.agenda = Agenda()
        self.randomness = Randomness(seed)
        regions = [Region(f"r{n}") for n in range(max(size, clients))]
        matrix = flat_matrix(regions, round_trip_ns)
        self.network = Network(self.agenda, self.randomness, matrix)
        self.committed: list[Committed] = []
        self.servers = [self.process(f"etcd {regions[n]}", regions[n]) for n in range(size)]
        self.cluster = EtcdCluster(
            self.agenda,
            self.randomness,
            self.network,
            self.servers,
            knobs or EtcdKnobs(),
            judge or self.committed.append,
        )
        self.hosts = [self.process(f"coordinator {regions[n]}", regions[n]) for n in range(clients)]
        self.clients = [self.client(host) for host in self.hosts]

    def process(self, name: str, region: Region) -> Process:
        """A process that has joined the network."""
        made = Process(NodeName(name), region, NodeClock(), self.agenda)
        self.network.join(made)
        return made

    def client(self, host: Process) -> EtcdClient:
        """A client in that process."""
        return EtcdClient(host, self.cluster, self.network, self.randomness)

    # --- time -----------------------------------------------------------------------------------

    def run(self, for_ns: int) -> None:
        """Let time pass."""
        self.agenda.run(self.agenda.now_ns + for_ns)

    def run_until(self, happened: Callable[[], object], within_ns: int = 30 * SECOND) -> int:
        """Let time pass until something has happened; return how long that took."""
        began_ns = self.agenda.now_ns
        assert self.agenda.run(began_ns + within_ns, lambda: bool(happened())), "it never did"
        return self.agenda.now_ns - began_ns

    def settle(self) -> Process:
        """Wait for a leader, and return it."""
        if self.cluster.leader is None:
            self.run_until(lambda: self.cluster.leader)
        self.run(100 * MS)
        leader = self.cluster.leader
        assert leader is not None
        return leader

    def is_empty(self) -> bool:
        """Whether no key is committed."""
        return not self.cluster.items()

    @property
    def followers(self) -> list[Process]:
        """The members that do not lead."""
        return [server for server in self.servers if server is not self.cluster.leader]

    def member(self, process: Process) -> Member:
        """The member in that process."""
        return self.cluster.member_of(process)

    # --- questions ------------------------------------------------------------------------------

    def _answer(self, answers: list[Answer]) -> Answer:
        """Wait for the answer that comes in here."""
        self.run_until(lambda: answers)
        return answers[0]

    def attempt(
        self, *writes: Write, guards: tuple[Guard, ...] = (), lease: int = 0, client: int = 0
    ) -> Result | LeaseGone:
        transaction = Transaction(name="test", guards=guards, writes=writes)
        asker = self.clients[client]
        answers: list[Result | LeaseGone] = []
        asker.transact(transaction, answers.append, lease=lease)
        return self._answer(answers)

    def write(
        self, *writes: Write, guards: tuple[Guard, ...] = (), lease: int = 0, client: int = 0
    ) -> int:
        """Carry out writes that must win, and return their revision."""
        result = self.attempt(*writes, guards=guards, lease=lease, client=client)
        assert isinstance(result, Won), result
        return result.revision

    def read(self, *ranges: Range, revision: int = 0, client: int = 0) -> Snapshot:
        """Read what must be there to be read."""
        snapshot = self.try_read(*ranges, revision=revision, client=client)
        assert snapshot is not None
        return snapshot

    def try_read(self, *ranges: Range, revision: int = 0, client: int = 0) -> Snapshot | None:
        asker = self.clients[client]
        answers: list[Snapshot | None] = []
        asker.read(ranges, revision, answers.append)
        return self._answer(answers)

    def values(self, client: int = 0) -> dict[str, bytes]:
        return {item.key: item.value for item in self.read(EVERYTHING, client=client).items}

    def grant(self, ttl_s: int) -> int:
        answers: list[int | None] = []
        self.clients[0].grant(ttl_s, answers.append)
        lease = self._answer(answers)
        assert lease is not None
        return lease

    def keep_alive(self, lease: int) -> bool | None:
        answers: list[bool | None] = []
        self.clients[0].keep_alive(lease, answers.append)
        return self._answer(answers)

    def lease_time(self, lease: int) -> LeaseTime | None:
        answers: list[LeaseTime | None] = []
        self.clients[0].lease_time(lease, answers.append)
        return self._answer(answers)

    def revoke(self, lease: int) -> bool:
        answers: list[bool] = []
        self.clients[0].revoke(lease, answers.append)
        return self._answer(answers)

    def follow(self, key: str, from_revision: int, client: int = 0) -> Following:
        """Watch a key, and keep what is told."""
        return Following(self.clients[client], key, from_revision)


class Following:
    """What a watch has told."""

    def __init__(self, client: EtcdClient, key: str, from_revision: int) -> None:
        self.told: list[tuple[int, KeyValue | None]] = []
        self.has_ended = False
        self.cancel = client.watch(
            key,
            from_revision,
            lambda revision, entry: self.told.append((revision, entry)),
            self._end,
        )

    def _end(self) -> None:
        self.has_ended = True

    @property
    def revisions(self) -> list[int]:
        return [revision for revision, _entry in self.told]
