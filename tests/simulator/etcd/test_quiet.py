"""Heartbeats are left out while they change nothing, and are there as soon as they would."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simulator.etcd.knobs import EtcdKnobs
from simulator.process import Process
from tests.simulator.etcd.lab import Lab
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.transactions import Put


def rested(seed: int = 1, *, rests: bool = True) -> Lab:
    lab = Lab(3, seed=seed, round_trip_ns=40 * MS, knobs=EtcdKnobs(rests=rests))
    lab.settle()
    lab.write(Put("a", b""))
    lab.run(5 * SECOND)
    return lab


def events_in(lab: Lab, for_ns: int) -> int:
    before = lab.agenda.events
    lab.run(for_ns)
    return lab.agenda.events - before


def test_members_that_are_well_cost_nothing() -> None:
    assert events_in(rested(), 600 * SECOND) == 0
    assert events_in(rested(rests=False), 1 * SECOND) > 40


def test_writes_and_reads_do_not_end_the_rest_nor_break_what_rests() -> None:
    lab = rested()
    leader = lab.cluster.leader
    for n in range(5):
        lab.run(20 * SECOND)
        lab.write(Put("a", b"%d" % n))
        assert lab.values() == {"a": b"%d" % n}
    lab.run(SECOND)
    assert events_in(lab, 20 * SECOND) == 0
    assert lab.cluster.leader is leader
    assert {member.revision for member in lab.cluster.members} == {lab.cluster.revision}


def test_fault_elsewhere_does_not_wake_the_members() -> None:
    lab = rested()
    lab.network.cut([lab.hosts[0].name], [lab.servers[0].name])
    assert events_in(lab, 20 * SECOND) == 0


def cut_off(lab: Lab, leader: Process) -> None:
    rest = [server.name for server in lab.followers]
    lab.network.cut([leader.name], rest)
    lab.network.cut(rest, [leader.name])


def mute(lab: Lab, leader: Process) -> None:
    lab.network.clog([leader.name], [server.name for server in lab.followers])


BLOWS: dict[str, Callable[[Lab, Process], object]] = {
    "killed": lambda _lab, leader: leader.kill(),
    "stopped": lambda _lab, leader: leader.stop(),
    "cut off": cut_off,
    "muted": mute,
}


@pytest.mark.parametrize("blow", BLOWS.values(), ids=BLOWS.keys())
@pytest.mark.parametrize("rests", [True, False])
def test_leader_that_goes_silent_is_replaced_after_an_election_timeout(
    blow: Callable[[Lab, Process], object], *, rests: bool
) -> None:
    took_ns = []
    for seed in range(12):
        lab = rested(seed, rests=rests)
        lab.run(seed * 17 * MS)
        leader = lab.settle()
        blow(lab, leader)
        took_ns.append(lab.run_until(lambda: lab.cluster.leader not in (None, leader)))  # noqa: B023
    assert min(took_ns) >= 900 * MS
    assert max(took_ns) <= 4500 * MS
    assert 1100 * MS <= sorted(took_ns)[6] <= 1700 * MS


def test_cluster_rests_again_when_all_is_well_again() -> None:
    lab = rested()
    lab.followers[0].kill()
    assert events_in(lab, 5 * SECOND) > 20
    for server in lab.servers:
        server.start()
    lab.run(5 * SECOND)
    assert events_in(lab, 20 * SECOND) == 0


def test_slow_disk_ends_the_rest() -> None:
    lab = rested()
    heal = lab.cluster.slow_fsync(lab.servers[0], 10 * MS)
    assert events_in(lab, 5 * SECOND) > 20
    heal()
    lab.run(2 * SECOND)
    assert events_in(lab, 5 * SECOND) == 0
