"""The least that a switch could have taken is a fact of when it was made."""

from __future__ import annotations

from tests.simulator.small_world import SWITCH, simulated

MOVES = """
[[fault]]
at_s = 20.0
kind = "etcd-leader-crash"
"""


def test_bound_is_that_of_the_leader_of_etcd_at_the_time_whoever_leads_it_later() -> None:
    quiet, moved = (
        simulated(SWITCH, fault, until_s=40.0).result(wall_ns=0) for fault in ("", MOVES)
    )
    (before,), (after,) = quiet.switches, moved.switches
    assert before.lower_bound_ns is not None
    assert after.lower_bound_ns == before.lower_bound_ns


def test_bound_is_known_though_nobody_leads_etcd_any_more() -> None:
    lost = '[[fault]]\nat_s = 20.0\nkind = "etcd-quorum-loss"\n'
    (switch,) = simulated(SWITCH, lost, until_s=40.0).result(wall_ns=0).switches
    assert switch.lower_bound_ns is not None
