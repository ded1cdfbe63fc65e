"""The fabric's proxies: they take their time, refuse or hang, and let users' requests through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tests.protocol.fabric_chronicle import Chronicle
from tests.protocol.fabric_nodes import Edge, Trace
from tests.protocol.fabric_weather import Weather
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.effects import Activate, Prove, Stage
from turnout.protocol.events import AgentEvent, InFlight, Refusal
from turnout.protocol.identifiers import Digest, ServiceName
from turnout.protocol.messages import No
from turnout.protocol.routing import Colour

OUTSTANDING_NS = 300 * MS
"""When, after a flip, the proxy is looked at by a user's request: an old worker would be found."""


class Cluster(Protocol):
    """What proxies see of a fabric."""

    now_ns: int
    weather: Weather
    trace: Trace | None
    chronicle: Chronicle

    def between(self, span: tuple[int, int]) -> int: ...
    def after(self, delay_ns: int, act: Callable[[], None]) -> None: ...
    def say(self, text: str) -> None: ...
    def kill(self, edge: Edge) -> None: ...
    def tell_agent(self, edge: Edge, event: AgentEvent) -> None: ...


class Proxies:
    """All of them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def work(self, edge: Edge, operation: Stage | Activate | Prove) -> None:
        """Begin what an agent asks of its proxy."""
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
        cluster.chronicle.see(edge, cluster.now_ns)
        if edge.node.serving is not before.serving:
            self._let_users_in(edge, before.serving.digest)
        if cluster.trace is not None:
            cluster.trace.journal(edge, before)
        if edge.dies_at == name:
            edge.dies_at = ""
            cluster.say(f"{edge.node.agent} dies before it hears of its proxy")
            cluster.kill(edge)
            return
        cluster.tell_agent(edge, event)

    def _let_users_in(self, edge: Edge, old: Digest) -> None:
        """A user's request comes at once, and another a little later."""
        for delay_ns in (0, OUTSTANDING_NS):
            self._cluster.after(delay_ns, lambda: self._request(edge, old))

    def _request(self, edge: Edge, old: Digest) -> None:
        self._cluster.chronicle.requested(edge, self.route(edge, old))

    def route(self, edge: Edge, old: Digest) -> Digest:
        """By which table a new request is sent on: an honest proxy's, the one it flipped to.

        ``old`` is the table before the flip that the request follows.
        """
        del old
        return edge.node.serving.digest

    def count(self, edge: Edge, service: ServiceName, colour: Colour) -> None:
        """Count a source's requests, now and then, until there are none."""
        life, cluster = edge.life, self._cluster

        def count() -> None:
            if edge.life == life:
                event = InFlight(service=service, colour=colour, count=edge.in_flight)
                cluster.tell_agent(edge, event)
                if edge.in_flight:
                    cluster.after(SECOND, count)

        cluster.after(200 * MS, count)
