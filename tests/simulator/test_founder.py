"""An operator begins the history anew after a restore, and is judged by the new one from then on."""

from __future__ import annotations

from simulator.simulation import Simulation
from tests.simulator.small_world import SWITCH, broken, simulated
from turnout.protocol import keys
from turnout.protocol.codec import decode
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.records import Head

RESTORE = """
[[fault]]
at_s = 15.0
kind = "etcd-restore"
"""
REBASE = """
[[operation]]
at_s = 20.0
do = "rebase"
"""
SWITCH_AGAIN = """
[[operation]]
at_s = 45.0
do = "switch"
service = "checkout"
to = "green"
"""


def head(simulation: Simulation) -> Head:
    return decode(simulation.cluster.items()[keys.HEAD].value, Head, limit=MAX_TABLE_BYTES)


def test_rebase_waits_for_the_lease_and_puts_the_restored_table_in_force_everywhere() -> None:
    simulation = simulated(SWITCH, RESTORE, REBASE, until_s=40.0)
    stored = head(simulation)
    assert (stored.incarnation.number, stored.committed) == (2, 4)
    assert stored.digest == simulation.domain.table.digest
    assert {agent.proxy.serving.epoch for agent in simulation.agents.values()} == {4}
    assert simulation.judge.founded_ns > 20_000_000_000
    assert any(replica.leads for replica in simulation.replicas.values())
    assert broken(simulation) == {}


def test_switch_after_a_rebase_is_like_any_other() -> None:
    simulation = simulated(SWITCH, RESTORE, REBASE, SWITCH_AGAIN, until_s=60.0)
    last = simulation.result(wall_ns=0).switches[-1]
    assert (last.epoch, last.outcome) == (6, "live")
    assert broken(simulation) == {}


def test_switch_that_a_rebase_cut_short_is_nobody_s_fault() -> None:
    """Its outcome is never written, for its history is over."""
    stale = '[[fault]]\nwhen = "decision"\nkind = "etcd-restore"\n'
    simulation = simulated(SWITCH, stale, REBASE.replace("20.0", "9.0"), until_s=60.0)
    assert head(simulation).incarnation.number == 2
    assert broken(simulation) == {}


def test_store_that_went_back_is_promised_little_until_it_is_founded_anew() -> None:
    simulation = simulated(SWITCH, RESTORE, until_s=60.0)
    assert simulation.judge.witness.doubts
    assert broken(simulation) == {}


def test_rebase_over_a_store_from_before_another_one_goes_above_that() -> None:
    """An edge is in incarnation 2 already, so what begins now must be the third."""
    simulation = simulated(SWITCH, RESTORE, REBASE, until_s=40.0)
    backup = simulation.judge.backup_before(1)
    assert backup is not None
    simulation.cluster.restore(backup)
    simulation.judge.restored()
    assert head(simulation).incarnation.number == 1
    simulation.director.founder.begin()
    simulation.go(60_000_000_000)
    assert head(simulation).incarnation.number == 3
    assert {agent.proxy.serving.incarnation for agent in simulation.agents.values()} == {3}
    assert broken(simulation) == {}


def test_coordinators_that_were_dead_before_stay_so_after_a_rebase() -> None:
    crash = '[[fault]]\nat_s = 8.0\nkind = "crash"\nnode = "coordinator us-east-2"\n'
    simulation = simulated(SWITCH, RESTORE, REBASE, crash, until_s=40.0)
    dead = [name for name, one in simulation.replicas.items() if not one.process.is_alive]
    assert dead == ["coordinator us-east-2"]
