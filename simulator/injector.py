"""Faults, injected: what each kind of ``fault_kinds.py`` does to the models, and how it heals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from attrs import define, evolve

from simulator import fault_kinds as kinds
from simulator.agent_node import AgentNode
from simulator.etcd.cluster import EtcdCluster
from simulator.etcd.member import Member
from simulator.fault_kinds import Fault, FaultKind
from simulator.judging.cores import Befell
from simulator.judging.judge import Judge
from simulator.judging.replays import Replays
from simulator.moments import Point
from simulator.moving import Moments, Whereabouts
from simulator.network import Network
from simulator.population import EVERYONE, role_of
from simulator.process import NodeName, Process
from simulator.proxy import Memory
from simulator.proxy_faults import Step
from simulator.randomness import Randomness
from simulator.replica_node import ReplicaNode
from simulator.swizzle import swizzle
from simulator.virtual_time import Agenda
from simulator.world import AgentView, ReplicaView
from turnout.protocol.clock import MS
from turnout.protocol.effects import (
    AgentEffect,
    CoordinatorEffect,
    Send,
    Stage,
    Transact,
    WatchDrain,
)
from turnout.protocol.identifiers import Epoch, ServiceName
from turnout.protocol.messages import Report, Vote
from turnout.protocol.storing import ACCEPT, DECIDE

Heal = Callable[[], None]

HERD_HANDSHAKES = 2
"""Round trips of one of a herd's handshakes."""


def _nothing() -> None:
    """What befell them in one instant needs no healing."""


@define(kw_only=True, eq=False)
class Parts:
    """All that can be hurt."""

    agenda: Agenda
    randomness: Randomness
    network: Network
    cluster: EtcdCluster
    judge: Judge
    replays: Replays
    moments: Moments
    whereabouts: Whereabouts
    processes: Mapping[NodeName, Process]
    agents: Mapping[NodeName, AgentNode]
    replicas: Mapping[NodeName, ReplicaNode]
    members: Mapping[NodeName, Member]
    services: Sequence[ServiceName]


class Injector:
    """Arranges the faults of a run, and carries them out."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.befell: list[Befell] = []
        self.last_healed_ns = 0
        self.core: frozenset[NodeName] = frozenset()
        """Who is well for good, and is not hurt any more."""
        self._heals: dict[int, Heal] = {}
        self._arranged: list[Fault] = []

    @property
    def never_struck(self) -> tuple[Fault, ...]:
        """Faults whose moment never came, or that met nobody, or only who is well for good."""
        struck = {id(one.fault) for one in self.befell if _met_somebody(one)}
        return tuple(fault for fault in self._arranged if id(fault) not in struck)

    def arrange(self, fault: Fault) -> None:
        """Let a fault begin at its moment."""
        self._arranged.append(fault)
        self._parts.moments.arrange(fault, lambda: self.inject(fault))

    def inject(self, fault: Fault) -> None:
        """Let it begin now; it heals by itself if it lasts only so long."""
        parts = self._parts
        nodes = _touched(parts, fault)
        groups: tuple[tuple[NodeName, ...], ...] = ()
        if isinstance(fault, kinds.LinkFault):
            groups = tuple(tuple(group) for group in _groups(parts, fault))
        if self._is_within_core(nodes, groups) or _finds_nothing(parts, fault):
            return
        heal_model = _DEEDS[fault.kind](parts, fault, nodes)
        heal_story = parts.judge.story.hurts(fault.kind, fault.text, self._shown(fault, nodes))
        parts.judge.hurts(fault.kind, nodes)
        place, now_ns = len(self.befell), parts.agenda.now_ns
        self.befell.append(
            Befell(
                fault=fault,
                nodes=nodes,
                hurt=_hurt(parts, fault, nodes),
                groups=groups,
                since_ns=now_ns,
                until_ns=None,
            )
        )

        def heal() -> None:
            if self._heals.pop(place, None) is not None:
                heal_model()
                heal_story()
                self.last_healed_ns = parts.agenda.now_ns
                self.befell[place] = evolve(self.befell[place], until_ns=parts.agenda.now_ns)

        self._heals[place] = heal
        lasts_ns = 0 if heal_model is _nothing else fault.lasts_ns
        if lasts_ns is not None:
            parts.agenda.after(lasts_ns, heal)

    def _shown(self, fault: Fault, nodes: tuple[NodeName, ...]) -> tuple[NodeName, ...]:
        """Whom the story shows as hurt: of two groups the smaller, which is cut off from the rest."""
        if not isinstance(fault, kinds.LinkFault):
            return nodes
        return min((self._parts.whereabouts.of(group) for group in fault.between), key=len)

    def heal_core(self, core: Sequence[NodeName]) -> None:
        """Let these be well for good; what else is of the control plane dies, and the rest stays."""
        self.core = frozenset(core)
        for place, heal in list(self._heals.items()):
            one = self.befell[place]
            if self._is_within_core(one.nodes, one.groups):
                heal()
        for name in (*self._parts.replicas, *self._parts.members):
            if name not in self.core:
                self._parts.processes[name].condemn()
        for name in core:
            self._parts.processes[name].start()

    def _is_within_core(
        self, nodes: Sequence[NodeName], groups: Sequence[Sequence[NodeName]]
    ) -> bool:
        """Whether it hurts one of the core, or what goes between two of them."""
        if groups:
            return not any(self.core.isdisjoint(group) for group in groups)
        return not self.core.isdisjoint(nodes)

    # ---------------------------------------------------------------- seams

    def at_agent_seam(self, node: AgentView, effects: tuple[AgentEffect, ...], place: int) -> None:
        """An agent is about to carry out an effect: it may be the point that a fault waits for."""
        if place == len(effects):
            return
        reached = self._parts.moments.reached
        effect, name = effects[place], node.process.name
        match effect:
            case Stage(epoch=epoch) if epoch > node.state.newest.epoch:
                reached(Point.PREPARE, name, epoch)
            case Send(message=Vote(no=None, epoch=epoch)):
                reached(Point.VOTE, name, epoch)
            case Send(message=Report() as report) if report.live_at_ns is not None:
                reached(Point.ACKNOWLEDGE, name, report.active.epoch)
            case WatchDrain(epoch=epoch):
                reached(Point.DRAIN, name, epoch)
            case _:
                pass

    def at_replica_seam(
        self, node: ReplicaView, effects: tuple[CoordinatorEffect, ...], place: int
    ) -> None:
        """A replica is about to carry out an effect."""
        if place == len(effects):
            return
        effect = effects[place]
        if isinstance(effect, Transact):
            point = _WRITES.get(effect.operation.name)
            if point is not None:
                self._parts.moments.reached(point, node.process.name, effect.operation.epoch)

    def flipped(self, node: AgentView, epoch: Epoch) -> None:
        """A proxy has flipped, and its agent has not heard of it."""
        self._parts.moments.reached(Point.FLIP, node.process.name, epoch)

    def decided(self, epoch: Epoch) -> None:
        """The store has a decision, and nobody has heard of it."""
        leader = self._parts.cluster.leader
        name = leader.name if leader else NodeName("")
        self._parts.moments.reached(Point.DECISION, name, epoch)


# --- whom it meets -------------------------------------------------------------------------------


def _finds_nothing(parts: Parts, fault: Fault) -> bool:
    """Whether there is nobody to hand over, or to; or no backup, for too few decisions were made."""
    if fault.kind is FaultKind.ETCD_MOVE_LEADER:
        return parts.cluster.leader is None or len(parts.cluster.members) == 1
    if isinstance(fault, kinds.EtcdRestoreFault):
        return parts.judge.backup_before(fault.epochs_back) is None
    return False


def _met_somebody(one: Befell) -> bool:
    """Of a fault between groups: some pair of them. One process is never cut off from itself."""
    if one.groups:
        return all(one.groups) and len({name for group in one.groups for name in group}) > 1
    return bool(one.nodes) or not one.fault.selectors


def _touched(parts: Parts, fault: Fault) -> tuple[NodeName, ...]:
    """Whom a fault touches, as things stand: of a region only those that its kind can touch."""
    if isinstance(fault, kinds.EtcdQuorumFault):
        return _majority(parts)
    roles = kinds.KINDS[fault.kind].roles
    return tuple(n for n in parts.whereabouts.of(fault.selectors) if role_of(n) in roles)


def _majority(parts: Parts) -> tuple[NodeName, ...]:
    """A majority of etcd's members, its leader among them."""
    names = sorted(parts.members)
    leader = parts.cluster.leader
    if leader is not None:
        names.sort(key=lambda name: name != leader.name)
    return tuple(names[: len(names) // 2 + 1])


def _hurt(parts: Parts, fault: Fault, nodes: tuple[NodeName, ...]) -> tuple[NodeName, ...]:
    """Whom it keeps out of a core while it lasts: of a cut between some and everybody, the some."""
    if not isinstance(fault, kinds.LinkFault):
        return nodes
    some = [group for group in fault.between if EVERYONE not in group]
    return parts.whereabouts.of(some[0]) if len(some) == 1 else nodes


_WRITES = {ACCEPT: Point.ACCEPT_WRITE, DECIDE: Point.DECISION_WRITE}

# --- the network ---------------------------------------------------------------------------------


def _groups(parts: Parts, fault: Fault) -> tuple[list[NodeName], list[NodeName]]:
    """The two groups, as things stand; whoever is in both belongs to the smaller one.

    Of two groups as large as each other none is the smaller, and every pair of one and the other is
    meant: between everybody and everybody that is every pair there is.
    """
    assert isinstance(fault, kinds.LinkFault)
    first, second = (list(parts.whereabouts.of(group)) for group in fault.between)
    both = set(first) & set(second)
    if len(first) < len(second):
        second = [name for name in second if name not in both]
    elif len(second) < len(first):
        first = [name for name in first if name not in both]
    return first, second


def _all(heals: Sequence[Heal]) -> Heal:
    def heal() -> None:
        for one in heals:
            one()

    return heal


def _partition(parts: Parts, fault: Fault, _nodes: tuple[NodeName, ...]) -> Heal:
    first, second = _groups(parts, fault)
    network = parts.network
    return _all([network.cut(first, second), network.cut(second, first)])


def _one_way(parts: Parts, fault: Fault, _nodes: tuple[NodeName, ...]) -> Heal:
    return parts.network.cut(*_groups(parts, fault))


def _partial(parts: Parts, fault: Fault, _nodes: tuple[NodeName, ...]) -> Heal:
    assert isinstance(fault, kinds.SharedLinkFault)
    first, second = _groups(parts, fault)
    chance = parts.randomness.stream("partial partitions")
    pairs = [(a, b) for a in first for b in second if chance.random() < fault.share]
    cut = parts.network.cut
    return _all([heal for a, b in pairs for heal in (cut([a], [b]), cut([b], [a]))])


def _clog(parts: Parts, fault: Fault, _nodes: tuple[NodeName, ...]) -> Heal:
    first, second = _groups(parts, fault)
    return _all([parts.network.clog(first, second), parts.network.clog(second, first)])


def _swizzle(parts: Parts, fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    assert isinstance(fault, kinds.SwizzleFault)
    chance = parts.randomness.stream("swizzle")
    over_ns = round(fault.every_ms * MS) * len(nodes)
    return swizzle(parts.network, chance, nodes, over_ns=over_ns)


def _loss(parts: Parts, fault: Fault, _nodes: tuple[NodeName, ...]) -> Heal:
    assert isinstance(fault, kinds.SharedLinkFault)
    first, second = _groups(parts, fault)
    lossy = parts.network.lossy
    share = fault.share
    return _all([lossy(first, second, share=share), lossy(second, first, share=share)])


def _latency(parts: Parts, fault: Fault, _nodes: tuple[NodeName, ...]) -> Heal:
    assert isinstance(fault, kinds.SlowLinkFault)
    first, second = _groups(parts, fault)
    add_ns = round(fault.add_ms * MS)
    slow = parts.network.slow
    return _all([slow(first, second, add_ns=add_ns), slow(second, first, add_ns=add_ns)])


# --- processes and clocks ------------------------------------------------------------------------


def _crash(parts: Parts, _fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    victims = [parts.processes[name] for name in nodes]
    for victim in victims:
        victim.kill()
    return _all([victim.start for victim in victims])


def _pause(parts: Parts, _fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    victims = [parts.processes[name] for name in nodes]
    for victim in victims:
        victim.stop()
    return _all([victim.go_on for victim in victims])


def _clock_step(parts: Parts, fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    assert isinstance(fault, kinds.ClockStepFault)
    clocks = [parts.processes[name].clock for name in nodes]
    by_ns = round(fault.by_ms * MS)
    for clock in clocks:
        clock.step_wall(by_ns)
    return _all([partial(clock.step_wall, -by_ns) for clock in clocks])


def _clock_drift(parts: Parts, fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    assert isinstance(fault, kinds.ClockDriftFault)
    victims = [(parts.processes[name], parts.processes[name].clock.ppm) for name in nodes]
    for victim, _ in victims:
        victim.drift(fault.ppm)
    return _all([partial(victim.drift, ppm) for victim, ppm in victims])


def _clock_lie(parts: Parts, fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    assert isinstance(fault, kinds.ClockLieFault)
    clocks = [(parts.processes[n].clock, parts.processes[n].clock.bound_ns) for n in nodes]
    by_ns, bound_ns = round(fault.by_ms * MS), round(fault.bound_ms * MS)
    for clock, _ in clocks:
        clock.step_wall(by_ns)
        clock.state_bound(bound_ns)

    def heal() -> None:
        for clock, said_ns in clocks:
            clock.step_wall(-by_ns)
            clock.state_bound(said_ns)

    return heal


# --- disks ---------------------------------------------------------------------------------------


def _disk_fail(parts: Parts, _fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    return _all([parts.agents[name].disk.fail() for name in nodes])


def _disk_full(parts: Parts, _fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    return _all([parts.agents[name].disk.full() for name in nodes])


def _disk_slow(parts: Parts, fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    assert isinstance(fault, kinds.SlowFault)
    add_ns = round(fault.add_ms * MS)
    return _all([parts.agents[name].disk.slow(add_ns) for name in nodes])


def _disk_torn(parts: Parts, _fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    for name in nodes:
        parts.agents[name].disk.tear()
    return _nothing


def _disk_rot(parts: Parts, _fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    for name in nodes:
        parts.judge.witness.robbed.add(parts.agents[name].agent)
        parts.agents[name].disk.rot()
    return _nothing


def _disk_replace(parts: Parts, _fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    for name in nodes:
        parts.judge.witness.robbed.add(parts.agents[name].agent)
        parts.processes[name].kill()
        parts.agents[name].disk.replace()
        parts.processes[name].start()
    return _nothing


# --- etcd ----------------------------------------------------------------------------------------


def _etcd_slow_fsync(parts: Parts, fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    assert isinstance(fault, kinds.SlowFault)
    add_ns = round(fault.add_ms * MS)
    return _all([parts.cluster.slow_fsync(parts.processes[name], add_ns) for name in nodes])


def _etcd_compact(parts: Parts, _fault: Fault, _nodes: tuple[NodeName, ...]) -> Heal:
    parts.cluster.compact()
    return _nothing


def _etcd_move_leader(parts: Parts, _fault: Fault, _nodes: tuple[NodeName, ...]) -> Heal:
    parts.cluster.move_leader()
    return _nothing


def _etcd_restore(parts: Parts, fault: Fault, _nodes: tuple[NodeName, ...]) -> Heal:
    assert isinstance(fault, kinds.EtcdRestoreFault)
    backup = parts.judge.backup_before(fault.epochs_back)
    assert backup is not None, "or it would have found nothing"
    parts.cluster.restore(backup)
    parts.judge.restored()
    return _nothing


# --- proxies -------------------------------------------------------------------------------------


def _proxy_slow(parts: Parts, fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    assert isinstance(fault, kinds.SlowProxyFault)
    step, add_ns = Step(fault.step), round(fault.add_ms * MS)
    return _all([parts.agents[name].proxy.faults.slow(step, add_ns) for name in nodes])


def _proxy_refuse_stage(parts: Parts, _fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    reason = "the proxy refuses the table"
    return _all([parts.agents[name].proxy.faults.refuse(Step.STAGE, reason) for name in nodes])


def _proxy_refuse_flip(parts: Parts, _fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    reason = "the proxy refuses the flip"
    return _all([parts.agents[name].proxy.faults.refuse(Step.FLIP, reason) for name in nodes])


def _proxy_die_after_flip(parts: Parts, _fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    for name in nodes:
        parts.agents[name].proxy.die_after_flip()
    return _nothing


def _proxy_restart(parts: Parts, _fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    for name in nodes:
        parts.agents[name].proxy.crash()
    return _nothing


def _proxy_forget(parts: Parts, _fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    for name in nodes:
        parts.judge.forgetful.add(parts.agents[name].agent)
        parts.agents[name].proxy.crash(memory=Memory.NOTHING)
    return _nothing


def _proxy_unhealthy(parts: Parts, fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    assert isinstance(fault, kinds.UnhealthyFault)
    services = [fault.service] if fault.service else list(parts.services)
    sides = [(name, service) for name in nodes for service in services]
    return _all([parts.agents[n].proxy.faults.sicken(s, fault.colour) for n, s in sides])


# --- whoever repeats, and whoever comes in crowds -------------------------------------------------


def _replay(parts: Parts, _fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    for name in nodes:
        if name in parts.agents:
            parts.replays.to_agent(parts.agents[name])
        elif name in parts.replicas:
            parts.replays.to_replica(parts.replicas[name])
    return _nothing


def _herd(parts: Parts, fault: Fault, nodes: tuple[NodeName, ...]) -> Heal:
    """As many others dial as a lost replica's agents would; each is let go once it was let in."""
    assert isinstance(fault, kinds.HerdFault)
    crowd = next(iter(parts.processes.values()))
    for name in nodes:
        for _ in range(fault.handshakes):
            parts.network.dial(
                crowd,
                parts.processes[name],
                round_trips=HERD_HANDSHAKES,
                opened=lambda connection: connection.close(crowd),
                ended=lambda _reason: None,
            )
    return _nothing


_DEEDS: Mapping[FaultKind, Callable[[Parts, Fault, tuple[NodeName, ...]], Heal]] = {
    FaultKind.PARTITION: _partition,
    FaultKind.ONE_WAY: _one_way,
    FaultKind.PARTIAL_PARTITION: _partial,
    FaultKind.CLOG: _clog,
    FaultKind.SWIZZLE: _swizzle,
    FaultKind.LOSS: _loss,
    FaultKind.LATENCY: _latency,
    FaultKind.CRASH: _crash,
    FaultKind.RESTART: _crash,
    FaultKind.PAUSE: _pause,
    FaultKind.CLOCK_STEP: _clock_step,
    FaultKind.CLOCK_DRIFT: _clock_drift,
    FaultKind.CLOCK_LIE: _clock_lie,
    FaultKind.DISK_FAIL: _disk_fail,
    FaultKind.DISK_FULL: _disk_full,
    FaultKind.DISK_SLOW: _disk_slow,
    FaultKind.DISK_TORN: _disk_torn,
    FaultKind.DISK_ROT: _disk_rot,
    FaultKind.DISK_REPLACE: _disk_replace,
    FaultKind.ETCD_LEADER_CRASH: _crash,
    FaultKind.ETCD_MEMBER_CRASH: _crash,
    FaultKind.ETCD_MEMBER_PAUSE: _pause,
    FaultKind.ETCD_QUORUM_LOSS: _crash,
    FaultKind.ETCD_SLOW_FSYNC: _etcd_slow_fsync,
    FaultKind.ETCD_COMPACT: _etcd_compact,
    FaultKind.ETCD_MOVE_LEADER: _etcd_move_leader,
    FaultKind.ETCD_RESTORE: _etcd_restore,
    FaultKind.PROXY_SLOW: _proxy_slow,
    FaultKind.PROXY_REFUSE_STAGE: _proxy_refuse_stage,
    FaultKind.PROXY_REFUSE_FLIP: _proxy_refuse_flip,
    FaultKind.PROXY_DIE_AFTER_FLIP: _proxy_die_after_flip,
    FaultKind.PROXY_RESTART: _proxy_restart,
    FaultKind.PROXY_FORGET: _proxy_forget,
    FaultKind.PROXY_UNHEALTHY: _proxy_unhealthy,
    FaultKind.REPLAY: _replay,
    FaultKind.HERD: _herd,
}
