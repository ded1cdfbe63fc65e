"""Whom a fault touches, whom it keeps out of a core, and how it heals."""

from __future__ import annotations

import itertools
import json

import pytest

from simulator.process import Condition
from tests.simulator.small_world import SWITCH, broken, simulated


def fault(kind: str, more: str, at_s: float = 5.0) -> str:
    return f'[[fault]]\nat_s = {at_s}\nkind = "{kind}"\n{more}\n'


def test_region_means_only_those_whom_the_kind_can_touch() -> None:
    simulation = simulated(fault("disk-fail", 'node = "us-east-1"\nfor_s = 1.0'), until_s=5.5)
    (befell,) = simulation.injector.befell
    assert befell.nodes == ("agent us-east-1/1",)


@pytest.mark.parametrize(
    ("between", "hurt"),
    [
        ('[["eu-west-1"], ["*"]]', ("agent eu-west-1/1",)),
        ('[["*"], ["eu-west-1"]]', ("agent eu-west-1/1",)),
        ('[["agent eu-west-1/1"], ["etcd us-east-1"]]', ("agent eu-west-1/1", "etcd us-east-1")),
    ],
)
def test_cut_between_some_and_everybody_keeps_only_the_some_out_of_a_core(
    between: str, hurt: tuple[str, ...]
) -> None:
    simulation = simulated(fault("partition", f"between = {between}"), until_s=5.5)
    (befell,) = simulation.injector.befell
    assert befell.hurt == hurt


A, B, C = "agent us-east-1/1", "agent eu-west-1/1", "coordinator us-east-2"


@pytest.mark.parametrize(
    ("first", "second", "cut"),
    [
        ([A], ["*"], {(A, B), (A, C)}),
        (["*"], [A], {(A, B), (A, C)}),
        ([A, B], [A, B], {(A, B)}),
        (["*"], ["*"], {(A, B), (A, C), (B, C)}),
        ([A, B], [B, C], {(A, B), (A, C), (B, C)}),
    ],
)
def test_whoever_is_in_both_groups_belongs_to_the_smaller_and_of_equal_ones_to_both(
    first: list[str], second: list[str], cut: set[tuple[str, str]]
) -> None:
    between = json.dumps([first, second])
    simulation = simulated(fault("partition", f"between = {between}"), until_s=5.5)
    (befell,) = simulation.injector.befell
    pairs = {frozenset((a, b)) for a in befell.groups[0] for b in befell.groups[1] if a != b}
    among = {frozenset(pair) for pair in itertools.combinations((A, B, C), 2)}
    assert pairs & among == {frozenset(pair) for pair in cut}


def test_cut_of_a_process_from_itself_met_nobody_and_is_told() -> None:
    nobody = fault("partition", f'between = [["{A}"], ["{A}"]]')
    leaderless = fault("partition", 'between = [["leader"], ["*"]]', at_s=0.001)
    somebody = fault("partition", f'between = [["{A}"], ["{B}", "{A}"]]')
    result = simulated(leaderless, nobody, somebody, until_s=6.0).result(wall_ns=0)
    assert result.never_struck == (
        "partition leader | *, at 0.001 s",
        f"partition {A} | {A}, at 5 s",
    )


def test_cut_of_the_leader_keeps_whoever_led_then_out_of_a_core() -> None:
    simulation = simulated(fault("partition", 'between = [["leader"], ["*"]]'), until_s=20.0)
    (befell,) = simulation.injector.befell
    (hurt,) = befell.hurt
    assert hurt.startswith("coordinator ")
    leaders = [name for name, replica in simulation.replicas.items() if replica.leads]
    assert leaders
    assert hurt not in leaders


def test_lost_quorum_that_never_heals_is_no_core_to_hold_anybody_to() -> None:
    simulation = simulated(fault("etcd-quorum-loss", ""), SWITCH, until_s=60.0)
    (befell,) = simulation.injector.befell
    assert len(befell.hurt) == 2
    assert broken(simulation) == {}


def test_fault_whose_moment_never_comes_or_that_meets_nobody_is_told() -> None:
    never = '[[fault]]\nwhen = "decision"\nswitch = 2\nkind = "crash"\nnode = "leader"\n'
    nobody = fault("crash", 'node = "leader"', at_s=0.001)
    compacts = fault("etcd-compact", "", at_s=2.0)
    result = simulated(SWITCH, never, nobody, compacts, until_s=9.0).result(wall_ns=0)
    assert result.never_struck == (
        "crash leader, at decision of switch 2",
        "crash leader, at 0.001 s",
    )
    once = never.replace("switch = 2\n", "")
    assert simulated(SWITCH, once, until_s=9.0).result(wall_ns=0).never_struck == ()


def test_restore_that_finds_no_backup_is_told_as_one_that_never_struck() -> None:
    far_back = fault("etcd-restore", "epochs_back = 99", at_s=8.0)
    simulation = simulated(SWITCH, far_back, until_s=20.0)
    assert simulation.injector.befell == []
    assert simulation.result(wall_ns=0).never_struck == ("etcd-restore epochs_back 99, at 8 s",)
    one_back = fault("etcd-restore", "", at_s=8.0)
    assert simulated(SWITCH, one_back, until_s=20.0).result(wall_ns=0).never_struck == ()


def test_leader_of_etcd_that_is_none_does_not_move() -> None:
    lost, moves = fault("etcd-quorum-loss", "", at_s=3.0), fault("etcd-move-leader", "", at_s=8.0)
    result = simulated(lost, moves, SWITCH, until_s=9.0).result(wall_ns=0)
    assert result.never_struck == ("etcd-move-leader, at 8 s",)
    assert simulated(moves, SWITCH, until_s=9.0).result(wall_ns=0).never_struck == ()


def test_restarted_process_is_away_as_long_as_it_says() -> None:
    restart = fault("restart", 'node = "agent eu-west-1/1"\ndown_ms = 3000.0')
    simulation = simulated(restart, until_s=7.9)
    (befell,) = simulation.injector.befell
    process = simulation.processes[befell.nodes[0]]
    assert (process.condition, befell.until_ns) == (Condition.DEAD, None)
    simulation.go(8_100_000_000)
    (befell,) = simulation.injector.befell
    assert (process.condition, befell.until_ns) == (Condition.RUNNING, 8_000_000_000)


def test_coordinator_outside_a_core_stays_dead_whoever_starts_it() -> None:
    core = '[core]\nat_s = 8.0\nnode = ["us-east-1", "etcd us-east-2", "eu-west-1"]\n'
    crash = fault("crash", 'node = "coordinator us-east-2"\nfor_s = 10.0')
    simulation = simulated(crash, core, until_s=20.0)
    alive = {name for name, replica in simulation.replicas.items() if replica.process.is_alive}
    assert alive == {"coordinator us-east-1"}


def test_operator_s_restart_is_a_restart_like_any_other() -> None:
    operation = '[[operation]]\nat_s = 10.0\ndo = "restart"\nnode = ["followers"]\n'
    simulation = simulated(operation, until_s=12.0)
    (befell,) = simulation.injector.befell
    assert len(befell.nodes) == 2
    assert all(replica.process.life == 1 + (replica.process.name in befell.nodes)
               for replica in simulation.replicas.values())  # fmt: skip


def test_agent_whose_journal_lost_what_was_synced_is_started_again() -> None:
    """Its supervisor does that; the loss befalls a later sync after one that failed."""
    simulation = simulated(until_s=5.0)
    (node, *_) = simulation.agents.values()
    node.disk.on_lost()
    lives = [node.process.is_alive]
    simulation.go(6_500_000_000)
    assert [*lives, node.process.is_alive] == [False, True]


def test_replay_repeats_what_was_heard_and_nothing_comes_of_it() -> None:
    simulation = simulated(SWITCH, fault("replay", "", at_s=30.0), until_s=31.0)
    repeated = simulation.judge.chronicle.intrusions
    assert {one.what.split()[2] for one in repeated} >= {"Prepare", "Sync", "Vote", "Report"}
    assert all(one.before == one.after for one in repeated)


def test_edge_that_lost_what_it_had_staged_may_be_asked_again() -> None:
    """Its leader does it every second: the edge stages once more, and that is no intrusion."""

    def at_vote(kind: str, more: str) -> str:
        return f'[[fault]]\nwhen = "vote:eu-west-1"\nkind = "{kind}"\n{more}\n'

    edge = 'node = "agent eu-west-1/1"'
    faults = (
        at_vote("pause", 'node = "leader"\nfor_s = 2.0'),
        at_vote("proxy-restart", edge),
        at_vote("proxy-refuse-stage", f"{edge}\nfor_s = 5.0"),
        at_vote("replay", "after_ms = 1000.0"),
    )
    simulation = simulated(SWITCH, *faults, until_s=12.0)
    assert simulation.judge.chronicle.intrusions
    assert all(one.before == one.after for one in simulation.judge.chronicle.intrusions)
