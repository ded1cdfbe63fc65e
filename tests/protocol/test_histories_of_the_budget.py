"""L1 as it is promised: within 30 s through one coordinator's crash, one of etcd's and one agent's.

Nothing else goes wrong: no message is lost, but distances are as long as the promise allows, and
the lease of a crashed leader is gone as late as etcd may keep it.
"""

from __future__ import annotations

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from simulator.explore.nodes import TIMING
from simulator.judging.course import Core
from tests.protocol.fabric import Fabric
from tests.protocol.fabric_domains import after_a_power_cut, apply, rollback, switch
from tests.protocol.fabric_weather import Weather
from tests.protocol.histories import examples, set_clocks
from tests.protocol.history_ends import judge_history
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.effects import Accepted, Transact
from turnout.protocol.identifiers import ReplicaId
from turnout.protocol.records import Mode, Request
from turnout.protocol.routing import Colour

LATEST_LEASE_NS = TIMING.failover_ns - 1500 * MS
"""When a dead leader's key is gone at the latest: F without what a takeover itself takes."""

FAR = Weather(
    delay_ns=(1 * MS, TIMING.max_round_trip_ns // 2 - 10 * MS),
    store_ns=(2 * MS, 200 * MS),
    proxy_ns=(1 * MS, 300 * MS),
    lease_ns=(0, LATEST_LEASE_NS - TIMING.lease_ttl_ns),
)


@frozen(kw_only=True)
class Luck:
    """What goes wrong after the request, and when; None: it does not.

    Attributes:
        crash_ms, doom: a leader dies then, or before the effect of that number in its next step.
        restart_ms, down_ms, proxy_too: an agent dies, and its proxy perhaps, and is started again.
        dies_at_flip: the agent dies when its proxy has flipped, instead.
        etcd_ms, election_ms: a member of etcd dies, and nothing is answered until it is replaced.
    """

    crash_ms: int | None
    doom: int | None
    restart_ms: int | None
    down_ms: int
    proxy_too: bool
    dies_at_flip: bool
    etcd_ms: int | None
    election_ms: int


moments = st.none() | st.integers(0, 1500) | st.integers(0, 14_000)
lucks = st.builds(
    Luck,
    crash_ms=moments,
    doom=st.none() | st.integers(0, 4),
    restart_ms=moments,
    down_ms=st.integers(0, 1500),
    proxy_too=st.booleans(),
    dies_at_flip=st.booleans(),
    etcd_ms=moments,
    election_ms=st.integers(0, 2000),
)


def ask(kind: str, mode: Mode) -> Request:
    """One of the three things that are promised to end in time."""
    if kind == "rollback":
        return rollback("the one")
    return switch(Colour.BLUE, "the one", mode) if kind == "switch" else apply("the one")


@pytest.mark.parametrize("kind", ["switch", "rollback", "apply"])
@examples(60)
@given(luck=lucks, agent=st.integers(0, 2), mode=st.sampled_from(Mode), seed=st.integers(0, 2**32))
def test_switch_through_one_crash_of_each_kind_keeps_l1(
    kind: str, luck: Luck, agent: int, mode: Mode, seed: int
) -> None:
    fabric = after_a_power_cut(seed)
    set_clocks(fabric)
    fabric.elect(ReplicaId("r0"))
    fabric.run_for(2 * SECOND)
    fabric.request(switch(Colour.GREEN, "before"))
    fabric.run_for(6 * SECOND)
    fabric.weather = FAR
    core = Core(agents=tuple(fabric.edges), healed_ns=fabric.now_ns, is_whole=True)
    wish = fabric.request(ask(kind, mode))
    befall(fabric, luck, agent)
    fabric.run_for(60 * SECOND)
    course = judge_history(fabric, core)
    assert isinstance(wish.answer, Accepted), wish.answer
    assert course.switches


def befall(fabric: Fabric, luck: Luck, agent: int) -> None:
    """Let it go wrong when its time comes."""
    edge = list(fabric.edges.values())[agent]
    leader = fabric.replicas[ReplicaId("r0")]
    if luck.crash_ms is not None:
        fabric.after(luck.crash_ms * MS, lambda: fabric.crash(leader) if leader.alive else None)
    elif luck.doom is not None:
        leader.dies_after = luck.doom
    if luck.dies_at_flip:
        edge.dies_at = "Activate"
    elif luck.restart_ms is not None:
        fabric.after(luck.restart_ms * MS, lambda: fabric.kill(edge))
        later = (luck.restart_ms + luck.down_ms) * MS
        fabric.after(later, lambda: fabric.boot(edge, proxy_too=luck.proxy_too))
    _supervise(fabric)
    if luck.etcd_ms is not None:
        fabric.after(luck.etcd_ms * MS, lambda: _outage(fabric, luck.election_ms))


def _supervise(fabric: Fabric) -> None:
    """A process that died by itself is started again within two seconds."""
    for edge in fabric.edges.values():
        if not edge.alive:
            fabric.boot(edge)
    fabric.after(2 * SECOND, lambda: _supervise(fabric))


def _outage(fabric: Fabric, election_ms: int) -> None:
    """What is asked of etcd while it elects is carried out or not, and nobody hears which."""

    def fate(_: Transact) -> str:
        return fabric.random.choice(["unheard", "unsent"])

    def over() -> None:
        fabric.fate, fabric.deaf = None, False

    fabric.fate, fabric.deaf = fate, True
    fabric.after(election_ms * MS, over)
