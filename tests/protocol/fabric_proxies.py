"""The fabric's proxies: they take their time, refuse or hang, and let users' requests through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from simulator.judging.chronicle import Chronicle, Source
from simulator.judging.witness import Witness
from simulator.world import ProxyEffect
from tests.protocol.fabric_nodes import Edge, Trace
from tests.protocol.fabric_weather import Weather
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.effects import Activate, CloseSource, Prove, Stage, StopDrain, WatchDrain
from turnout.protocol.events import AgentEvent, InFlight, Refusal
from turnout.protocol.identifiers import AgentId, Digest, ServiceName
from turnout.protocol.invariants import SourceRequest
from turnout.protocol.messages import No
from turnout.protocol.routing import Colour, abandoned_colours

OUTSTANDING_NS = 300 * MS
"""When, after a flip, the proxy is looked at by a user's request: an old worker would be found."""


class Cluster(Protocol):
    """What proxies see of a fabric."""

    now_ns: int
    weather: Weather
    trace: Trace | None
    edges: dict[AgentId, Edge]
    witness: Witness
    chronicle: Chronicle

    def between(self, span: tuple[int, int]) -> int: ...
    def after(self, delay_ns: int, act: Callable[[], None]) -> None: ...
    def say(self, text: str) -> None: ...
    def kill(self, edge: Edge) -> None: ...
    def tell_agent(self, edge: Edge, event: AgentEvent) -> None: ...


class Proxies:
    """All of them.

    Attributes:
        requests: new ones at a source that was left.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.requests: list[SourceRequest] = []
        self._cluster = cluster

    def begin(self, edge: Edge, effect: ProxyEffect) -> None:
        """An agent asks something of its proxy."""
        match effect:
            case Stage() | Activate() | Prove():
                self._work(edge, effect)
            case WatchDrain():
                self._count(edge, effect.service, effect.colour)
            case CloseSource():
                edge.left.pop((effect.service, effect.colour), None)
            case StopDrain():
                pass

    def in_flight(self, agent: AgentId, service: ServiceName, colour: Colour) -> int:
        """What a source that an edge has left had in flight then, and has still."""
        return self._cluster.edges[agent].left.get((service, colour), 0)

    def _work(self, edge: Edge, operation: Stage | Activate | Prove) -> None:
        if type(operation).__name__ in edge.hangs:
            return
        life = edge.life

        def finish() -> None:
            if edge.life == life and edge.alive:
                self._finish(edge, operation)

        self._cluster.after(self._cluster.between(self._cluster.weather.proxy_ns), finish)

    def _finish(self, edge: Edge, operation: Stage | Activate | Prove) -> None:
        cluster, name = self._cluster, type(operation).__name__
        index = next((i for i, o in enumerate(edge.node.operations) if o is operation), None)
        if index is None:
            return
        refusal = None
        if name in edge.refuses:
            refusal = Refusal(no=No.REFUSED, reason=f"{name} is refused")
        now = edge.clock.now(cluster.now_ns).monotonic_ns
        before = edge.node
        edge.node, event = edge.host.finish(before, index, refusal=refusal, now=now)
        if edge.serving is not before.serving:
            self._flipped(edge, before.serving.digest)
        if cluster.trace is not None:
            cluster.trace.journal(edge, before)
        if edge.dies_at == name:
            edge.dies_at = ""
            cluster.say(f"{edge.agent} dies before it hears of its proxy")
            cluster.kill(edge)
            return
        cluster.tell_agent(edge, event)

    def _flipped(self, edge: Edge, old: Digest) -> None:
        """A user's request comes at once, and another a little later."""
        cluster = self._cluster
        cluster.witness.flips(edge.agent, edge.serving)
        cluster.chronicle.serves(edge, edge.serving, cluster.now_ns)
        for source in self._left(old, edge.serving.digest):
            edge.left[source] = edge.in_flight
        for delay_ns in (0, OUTSTANDING_NS):
            cluster.after(delay_ns, lambda: self._request(edge, old))

    def _request(self, edge: Edge, old: Digest) -> None:
        for _ in self._left(self.route(edge, old), edge.serving.digest):
            request = SourceRequest(
                agent=edge.agent, epoch=edge.serving.epoch, by_affinity=False, during_drain=True
            )
            self.requests.append(request)

    def _left(self, before: Digest, after: Digest) -> tuple[Source, ...]:
        """To what one table sends requests and the other does not."""
        known = self._cluster.chronicle.tables
        if before not in known or after not in known:
            return ()
        return tuple(abandoned_colours(known[before], known[after]))

    def route(self, edge: Edge, old: Digest) -> Digest:
        """By which table a new request is sent on: an honest proxy's, the one it flipped to.

        ``old`` is the table before the flip that the request follows.
        """
        del old
        return edge.serving.digest

    def _count(self, edge: Edge, service: ServiceName, colour: Colour) -> None:
        """Count a source's requests, now and then, until there are none."""
        life, cluster = edge.life, self._cluster

        def count() -> None:
            if edge.life == life:
                event = InFlight(service=service, colour=colour, count=edge.in_flight)
                cluster.tell_agent(edge, event)
                if edge.in_flight:
                    cluster.after(SECOND, count)

        cluster.after(200 * MS, count)
