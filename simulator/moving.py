"""Who leads, and what a switch has come to: what faults and operations are timed by, and aimed at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import define

from simulator.domain import FIRST
from simulator.etcd.cluster import EtcdCluster
from simulator.moments import Moment, Point
from simulator.population import (
    ETCD_LEADER,
    FOLLOWERS,
    LEADER,
    Node,
    Selector,
    select,
)
from simulator.process import NodeName
from simulator.replica_node import ReplicaNode
from simulator.virtual_time import Act, Agenda
from turnout.protocol.identifiers import Epoch

_OF_ACCEPTED = (Point.DECISION_WRITE, Point.DECISION)
"""Points that a switch does not come to before the store has taken it."""


@define(eq=False)
class _Waiting:
    """Something that is to happen once a point is reached."""

    moment: Moment
    act: Act


class Moments:
    """When things happen: at a true moment, or the first time that a switch reaches a point."""

    def __init__(self, agenda: Agenda, whereabouts: Whereabouts) -> None:
        self._agenda = agenda
        self._whereabouts = whereabouts
        self._waiting: list[_Waiting] = []
        self._epochs: list[Epoch] = []

    def arrange(self, moment: Moment, act: Act) -> None:
        """Have something happen at its moment."""
        if moment.at_ns is not None:
            self._agenda.at(moment.at_ns, act)
        else:
            self._waiting.append(_Waiting(moment, act))

    def accepted(self, epoch: Epoch) -> None:
        """The store took an intent: switches are counted in this order."""
        self._epochs.append(epoch)

    def reached(self, point: Point, node: NodeName, epoch: Epoch) -> None:
        """A switch has reached a point at a node: what waits for it happens now, in this seam."""
        if not self._waiting:
            return
        ready = [w for w in self._waiting if self._is_meant(w.moment, point, node, epoch)]
        for waiting in ready:
            self._waiting.remove(waiting)
            if waiting.moment.after_ns:
                self._agenda.after(waiting.moment.after_ns, waiting.act)
            else:
                waiting.act()

    def _is_meant(self, moment: Moment, point: Point, node: NodeName, epoch: Epoch) -> bool:
        when = moment.when
        if when is None or when.point is not point or epoch <= FIRST:
            return False
        if point in _OF_ACCEPTED and epoch not in self._epochs:
            return False  # a new leader uses a number up: that is nobody's switch
        if moment.switch is not None and moment.switch != self._number(epoch):
            return False
        return when.where is None or node in self._whereabouts.of([when.where])

    def _number(self, epoch: Epoch) -> int:
        """Which of the run's switches this is; one that the store has not taken yet is the next."""
        if epoch in self._epochs:
            return self._epochs.index(epoch) + 1
        return len(self._epochs) + 1


class Whereabouts:
    """Whom selectors mean at this moment."""

    def __init__(
        self,
        nodes: Sequence[Node],
        replicas: Callable[[], Mapping[NodeName, ReplicaNode]],
        cluster: Callable[[], EtcdCluster],
    ) -> None:
        self.nodes = tuple(nodes)
        self._replicas = replicas
        self._cluster = cluster

    def of(self, selectors: Sequence[Selector]) -> tuple[NodeName, ...]:
        """The processes meant, in the order of all."""
        return select(selectors, self.nodes, self._moving())

    def _moving(self) -> Mapping[Selector, Sequence[NodeName]]:
        replicas = self._replicas().values()
        leading = [r for r in replicas if r.leads]
        # Of two that both take themselves for the leader the newer one is.
        leading = sorted(leading, key=lambda r: r.state.term)[-1:]
        etcd_leader = self._cluster().leader
        return {
            LEADER: [r.process.name for r in leading],
            FOLLOWERS: [r.process.name for r in replicas if r not in leading],
            ETCD_LEADER: [etcd_leader.name] if etcd_leader else [],
        }
