"""The least that one switch of a run could have taken, nothing going wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.placement import Costs, Distances
from simulator.population import Role
from turnout.protocol.clock import MS

if TYPE_CHECKING:
    from simulator.judging.chronicle import Switch
    from simulator.simulation import Simulation


def lower_bound_ns(simulation: Simulation, switch: Switch) -> int | None:
    """``1.5 D + W + staging + flip``, from where the leader and etcd's leader stand.

    A placement's bound assumes etcd's leader where it serves best; here it is where it was when the
    switch was accepted. None where that is not known.
    """
    leader = next(
        (r for r in simulation.replicas.values() if r.replica == switch.intent.replica), None
    )
    etcd_region = simulation.etcd_led_from.get(switch.intent.epoch)
    if leader is None or etcd_region is None:
        return None
    proxy, etcd = simulation.scenario.proxy, simulation.scenario.etcd
    costs = Costs(
        staging_ns=round(proxy.staging_ms * MS),
        flip_ns=round(proxy.flip_ms * MS),
        commit_ns=round(etcd.fsync_ms * MS),
    )
    matrix, home = simulation.network.matrix, leader.process.region
    members = [member.process.region for member in simulation.cluster.members]
    members.remove(etcd_region)
    write_ns = Distances(matrix, costs).write_ns(home, (etcd_region, *members))
    farthest_ns = max(
        matrix.round_trip_ns(home, node.region)
        for node in simulation.nodes
        if node.role is Role.AGENT
    )
    return 3 * farthest_ns // 2 + write_ns + costs.staging_ns + costs.flip_ns
