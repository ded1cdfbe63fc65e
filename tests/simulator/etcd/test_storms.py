"""Everything at once, from a seed: what was acknowledged stays, and what is read is never older.

That members never apply different entries is asserted by the ledger itself in every run.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simulator.etcd.knobs import EtcdKnobs
from tests.simulator.etcd.lab import EVERYTHING, Following, Lab
from turnout.protocol.candidacy import LeaseGone
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.transactions import Put, Result, Snapshot, Transaction, Won


class Storm:
    """Clients that go on asking while members die, pause, are cut off and have slow disks."""

    def __init__(self, seed: int) -> None:
        self.dice = Lab(1, seed=seed).randomness.stream("storm")
        knobs = EtcdKnobs(unheard=0.05, late=0.05, timeout_ns=1500 * MS)
        round_trip_ns = self.dice.choice([2, 20, 80, 200]) * MS
        size = self.dice.choice([1, 2, 3, 3, 5])
        self.lab = Lab(size, clients=3, seed=seed, round_trip_ns=round_trip_ns, knobs=knobs)
        self.following = [Following(client, "k0", 1) for client in self.lab.clients]
        self.heals: list[Callable[[], None]] = []
        self.acknowledged = 0
        self.won = 0
        self.stale: list[str] = []

    def blow(self) -> None:
        """Do one bad thing, or (as often) undo one."""
        lab, dice = self.lab, self.dice
        server = dice.choice(lab.servers)
        names = [process.name for process in [*lab.servers, *lab.hosts]]
        some, others = dice.sample(names, 2), dice.sample(names, 3)
        match dice.randrange(12):
            case 0:
                server.kill()
            case 1:
                server.stop()
            case 2:
                self.heals.append(lab.network.cut(some, others))
            case 3:
                self.heals.append(lab.network.clog(some, others))
            case 4:
                self.heals.append(lab.cluster.slow_fsync(server, dice.choice([20, 300]) * MS))
            case 5 | 6 if self.heals:
                self.heals.pop(dice.randrange(len(self.heals)))()
            case _:
                server.start()
                server.go_on()

    def ask(self) -> None:
        """Let some clients write and some read."""
        for client in self.lab.clients:
            if self.dice.random() < 0.5:
                put = Put(f"k{self.dice.randrange(3)}", b"%d" % self.dice.randrange(1000))
                transaction = Transaction(name="storm", guards=(), writes=(put,))
                client.transact(transaction, self._written)
            if self.dice.random() < 0.5:
                client.read((EVERYTHING,), 0, self._reader())

    def _written(self, result: Result | LeaseGone) -> None:
        if isinstance(result, Won):
            self.won += 1
            self.acknowledged = max(self.acknowledged, result.revision)

    def _reader(self) -> Callable[[Snapshot | None], None]:
        floor = self.acknowledged

        def read(snapshot: Snapshot | None) -> None:
            if snapshot is not None and snapshot.revision < floor:
                self.stale.append(f"{snapshot.revision} after {floor}")

        return read

    def pass_over(self) -> None:
        """Heal everything, and give all time to find together."""
        for heal in self.heals:
            heal()
        for server in self.lab.servers:
            server.start()
            server.go_on()
        self.lab.run(15 * SECOND)


@pytest.mark.parametrize("seed", range(12))
def test_storm_passes_and_nothing_acknowledged_is_lost(seed: int) -> None:
    storm = Storm(seed)
    lab = storm.lab
    for _ in range(80):
        if storm.dice.random() < 0.5:
            storm.blow()
        storm.ask()
        lab.run(storm.dice.randrange(1, 500) * MS)
    storm.pass_over()
    assert storm.won > 0
    assert storm.stale == []
    assert lab.cluster.revision >= storm.acknowledged
    assert {member.revision for member in lab.cluster.members} == {lab.cluster.revision}
    told = [c.revision for c in lab.committed for w in c.writes if w.key == "k0"]
    assert [following.revisions for following in storm.following] == [told] * 3
